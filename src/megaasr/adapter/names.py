"""Maps the keys of an adapter, in any known spelling, to modules of the native model.

Adapters were trained on the original classes (`thinker.audio_tower…`, `thinker.model.layers…`, or
`thinker.layers…`) or on the native ones (`model.audio_tower…`, `model.language_model.layers…`),
with PEFT (prefix `base_model.model.`, and `.default` inside) or without. A file into which several
adapters were joined may spell the same module in two ways.
"""

from __future__ import annotations

import re

_PEFT = re.compile(r"^(base_model\.model\.|base_model\.|module\.)+")
_THINKER = re.compile(r"^(thinker\.)+")
_LORA = re.compile(r"^(?P<module>.+)\.lora_(?P<part>[AB])(\.(?P<adapter>[A-Za-z0-9_-]+))?\.weight$")
# The order matters: in the original model the projector is inside the audio tower.
_NATIVE = (
    (re.compile(r"^(model\.)?audio_tower\.proj([12])$"), r"model.multi_modal_projector.linear_\2"),
    (re.compile(r"^(model\.)?audio_tower\.(.+)$"), r"model.audio_tower.\2"),
    (re.compile(r"^(model\.)?multi_modal_projector\.(.+)$"), r"model.multi_modal_projector.\2"),
    (re.compile(r"^(model\.)?language_model\.(.+)$"), r"model.language_model.\2"),
    (re.compile(r"^(model\.)?(layers\..+)$"), r"model.language_model.\2"),
)


def split_key(key: str) -> tuple[str, str] | None:
    """Return (module, `A` or `B`) for the key of a tensor; None if it is not part of a LoRA."""
    match = _LORA.match(key)
    return (match["module"], match["part"]) if match else None


def trained_name(module: str) -> str:
    """Return the name that a module had in training, without the prefix that PEFT adds."""
    return _PEFT.sub("", module)


def native_name(module: str) -> str:
    """Return the name of a module in the native model.

    Args:
        module: name of the module in any spelling. An unknown name is returned without its prefix.
    """
    plain = _THINKER.sub("", trained_name(module))
    for pattern, replacement in _NATIVE:
        if pattern.match(plain):
            return pattern.sub(replacement, plain)
    return plain
