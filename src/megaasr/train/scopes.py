"""The layers that a low-rank adapter may change: scopes of the released code, on native names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from megaasr.errors import UsageError

Scope = Literal["encoder", "aligner", "encoder_aligner", "encoder_b4_aligner", "llm", "all"]
LayerGroup = Literal["encoder", "aligner", "llm"]

_ENCODER = r"model\.audio_tower\.layers\.{layer}\.(self_attn\.(q|k|v|out)_proj|fc1|fc2)"
_PATTERNS: dict[LayerGroup, str] = {
    "encoder": _ENCODER.format(layer=r"(?P<layer>\d+)"),
    "aligner": r"model\.audio_tower\.conv_out|model\.multi_modal_projector\.linear_[12]",
    "llm": r"model\.language_model\.layers\.\d+\."
    r"(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)",
}
_GROUPS: dict[Scope, tuple[LayerGroup, ...]] = {
    "encoder": ("encoder",),
    "aligner": ("aligner",),
    "encoder_aligner": ("encoder", "aligner"),
    "encoder_b4_aligner": ("encoder", "aligner"),
    "llm": ("llm",),
    "all": ("encoder", "aligner", "llm"),
}
UPPER_LAYERS = 4
"""Number of the encoder's last layers that `encoder_b4_aligner` includes."""


def group_of(name: str) -> LayerGroup | None:
    """Return the layer group of a module or parameter; None if it belongs to no group.

    Args:
        name: name in the native model; prefixes of wrappers may precede it.
    """
    for group, pattern in _PATTERNS.items():
        if re.search(rf"(^|\.)({pattern})(\.|$)", name):
            return group
    return None


def modules_of(scope: Scope, names: Iterable[str]) -> list[str]:
    """Return the names of the modules in a scope.

    Args:
        scope: the scope.
        names: names of all modules of the native model.

    Raises:
        UsageError: the model has no module in the scope.
    """
    modules = {name: group for name in names if (group := _exact_group(name)) in _GROUPS[scope]}
    if scope == "encoder_b4_aligner":
        layers = {name: _layer(name) for name, group in modules.items() if group == "encoder"}
        first = max(layers.values(), default=-1) + 1 - UPPER_LAYERS
        modules = {
            name: group for name, group in modules.items() if layers.get(name, first) >= first
        }
    if not modules:
        raise UsageError(f"the model has no layer in the scope {scope}")
    return list(modules)


def _exact_group(name: str) -> LayerGroup | None:
    return next((g for g, pattern in _PATTERNS.items() if re.fullmatch(pattern, name)), None)


def _layer(name: str) -> int:
    match = re.fullmatch(_PATTERNS["encoder"], name)
    assert match is not None
    return int(match["layer"])
