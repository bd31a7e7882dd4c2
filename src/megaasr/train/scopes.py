"""Which layers a low-rank adapter may change: the scopes of the released code, on native names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from megaasr.errors import UsageError

Scope = Literal["encoder", "aligner", "encoder_aligner", "encoder_b4_aligner", "llm", "all"]
Group = Literal["encoder", "aligner", "llm"]

_ENCODER = r"model\.audio_tower\.layers\.{layer}\.(self_attn\.(q|k|v|out)_proj|fc1|fc2)"
_PATTERNS: dict[Group, str] = {
    "encoder": _ENCODER.format(layer=r"(?P<layer>\d+)"),
    "aligner": r"model\.audio_tower\.conv_out|model\.multi_modal_projector\.linear_[12]",
    "llm": r"model\.language_model\.layers\.\d+\."
    r"(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)",
}
_GROUPS: dict[Scope, tuple[Group, ...]] = {
    "encoder": ("encoder",),
    "aligner": ("aligner",),
    "encoder_aligner": ("encoder", "aligner"),
    "encoder_b4_aligner": ("encoder", "aligner"),
    "llm": ("llm",),
    "all": ("encoder", "aligner", "llm"),
}
UPPER_LAYERS = 4
"""`encoder_b4_aligner` takes so many of the encoder's last layers."""


def group_of(name: str) -> Group | None:
    """Return the group that a module or parameter belongs to; prefixes of wrappers may precede."""
    for group, pattern in _PATTERNS.items():
        if re.search(rf"(^|\.)({pattern})(\.|$)", name):
            return group
    return None


def modules_of(scope: Scope, names: Iterable[str]) -> list[str]:
    """Return the modules that a scope takes.

    Args:
        scope: which.
        names: of all modules of the native model.

    Raises:
        UsageError: there are none.
    """
    found = [(name, group) for name in names if (group := _exactly(name)) in _GROUPS[scope]]
    if scope == "encoder_b4_aligner":
        layers = {name: _layer(name) for name, group in found if group == "encoder"}
        first = max(layers.values(), default=-1) + 1 - UPPER_LAYERS
        found = [(name, group) for name, group in found if layers.get(name, first) >= first]
    if not found:
        raise UsageError(f"the model has no layer in the scope {scope}")
    return [name for name, _ in found]


def _exactly(name: str) -> Group | None:
    return next((g for g, pattern in _PATTERNS.items() if re.fullmatch(pattern, name)), None)


def _layer(name: str) -> int:
    found = re.fullmatch(_PATTERNS["encoder"], name)
    assert found is not None
    return int(found["layer"])
