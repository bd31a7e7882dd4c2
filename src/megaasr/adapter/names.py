"""Which module of the native model a key of an adapter means, in every spelling there is.

Adapters were trained on the original classes (`thinker.audio_tower…`, `thinker.model.layers…`, in
places `thinker.layers…`) or on the native ones (`model.audio_tower…`,
`model.language_model.layers…`), through PEFT (`base_model.model.` before it, `.default` inside) or
not. One adapter may use two spellings of the same module, when several were put into one file.
"""

from __future__ import annotations

import re

_PEFT = re.compile(r"^(base_model\.model\.|base_model\.|module\.)+")
_THINKER = re.compile(r"^(thinker\.)+")
_LORA = re.compile(r"^(?P<module>.+)\.lora_(?P<part>[AB])(\.(?P<adapter>[A-Za-z0-9_-]+))?\.weight$")
# In this order: the original's projector lies inside its audio tower.
_NATIVE = (
    (re.compile(r"^(model\.)?audio_tower\.proj([12])$"), r"model.multi_modal_projector.linear_\2"),
    (re.compile(r"^(model\.)?audio_tower\.(.+)$"), r"model.audio_tower.\2"),
    (re.compile(r"^(model\.)?multi_modal_projector\.(.+)$"), r"model.multi_modal_projector.\2"),
    (re.compile(r"^(model\.)?language_model\.(.+)$"), r"model.language_model.\2"),
    (re.compile(r"^(model\.)?(layers\..+)$"), r"model.language_model.\2"),
)


def split_key(key: str) -> tuple[str, str] | None:
    """Return (module, `A` or `B`) of a tensor's key; None if it is no part of a LoRA."""
    found = _LORA.match(key)
    return (found["module"], found["part"]) if found else None


def trained_name(module: str) -> str:
    """Return a module's name as it was in training: without the prefix that PEFT puts before it."""
    return _PEFT.sub("", module)


def native_name(module: str) -> str:
    """Return the native model's name of a module; unknown ones come back without prefix."""
    plain = _THINKER.sub("", trained_name(module))
    for pattern, replacement in _NATIVE:
        if pattern.match(plain):
            return pattern.sub(replacement, plain)
    return plain
