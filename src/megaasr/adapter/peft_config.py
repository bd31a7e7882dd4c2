"""Decides whether an adapter's `adapter_config.json` describes a change that we reproduce exactly.

The keys are those of PEFT's `LoraConfig` up to version 0.21. A key is accepted with the values
under which B A, times its scale, is the whole difference to the base; every other value, and every
key that is not known here, is refused: it may change the base, the scale, or when the adapter acts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from megaasr.errors import CheckpointError

CONFIG_FILE: Final = "adapter_config.json"
_MERGE = "merge it into its base with PEFT (merge_and_unload) and use the result as a model"
_CONVERT = (
    "let PEFT turn it into a plain adapter: save_pretrained(…, "
    "path_initial_model_for_weight_conversion=…)"
)
_PLAIN_INITIALISATIONS = ("gaussian", "orthogonal", "eva", "mica")
"""Initialisations that set A or B alone and leave the base as it is."""


def _is_anything(value: Any) -> bool:
    return True


def _is_off(value: Any) -> bool:
    return value is None or value is False or value in ([], {})


def _is_flag(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _are_numbers(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and all(map(_is_number, value.values())))


def _are_ranks(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and all(map(_is_rank, value.values())))


def _keeps_the_base(value: Any) -> bool:
    return _is_flag(value) or value in _PLAIN_INITIALISATIONS


@dataclass(frozen=True, slots=True)
class _Key:
    """What a key may hold, and what to say if it holds something else."""

    accepts: Callable[[Any], bool]
    problem: str = "it changes more than linear layers by low rank"
    mend: str = _MERGE


_MALFORMED = "this is no value of PEFT's"
_SAVE_AGAIN = "save the adapter again with PEFT"
_KEYS: Final[Mapping[str, _Key]] = {
    # What the change is: B A times a scale.
    "peft_type": _Key(lambda value: value in (None, "LORA"), "only LORA adapters can be used"),
    "r": _Key(_is_rank, _MALFORMED, _SAVE_AGAIN),
    "lora_alpha": _Key(_is_number, _MALFORMED, _SAVE_AGAIN),
    "use_rslora": _Key(_is_flag, _MALFORMED, _SAVE_AGAIN),
    "rank_pattern": _Key(_are_ranks, _MALFORMED, _SAVE_AGAIN),
    "alpha_pattern": _Key(_are_numbers, _MALFORMED, _SAVE_AGAIN),
    # Where it acts: the file of weights lists every layer that is changed.
    "target_modules": _Key(_is_anything),
    "exclude_modules": _Key(_is_anything),
    "layers_to_transform": _Key(_is_anything),
    "layers_pattern": _Key(_is_anything),
    # What matters in training alone, or is a name. PEFT ignores fan_in_fan_out for linear layers.
    "lora_dropout": _Key(_is_number, _MALFORMED, _SAVE_AGAIN),
    "fan_in_fan_out": _Key(_is_flag, _MALFORMED, _SAVE_AGAIN),
    "inference_mode": _Key(_is_anything),
    "base_model_name_or_path": _Key(_is_anything),
    "revision": _Key(_is_anything),
    "task_type": _Key(_is_anything),
    "auto_mapping": _Key(_is_anything),
    "peft_version": _Key(_is_anything),
    "runtime_config": _Key(_is_anything),
    # Initialisations: those that are not plain put a part of the base's weights into A and B.
    "init_lora_weights": _Key(
        _keeps_the_base, "this initialisation changed the weights of the base", _CONVERT
    ),
    # Settings of initialisations, which PEFT reads only if init_lora_weights names theirs.
    "loftq_config": _Key(_is_anything),
    "eva_config": _Key(_is_anything),
    "corda_config": _Key(_is_anything),
    "lora_ga_config": _Key(_is_anything),
    # Settings of a feature that is refused below, or of other kinds of layers.
    "qalora_group_size": _Key(_is_anything),
    "megatron_core": _Key(_is_anything),
    # Features that make another model of it.
    "bias": _Key(lambda value: value in (None, "none"), "trained biases cannot be used"),
    "lora_bias": _Key(_is_off, "trained biases cannot be used"),
    "use_dora": _Key(_is_off),
    "modules_to_save": _Key(_is_off),
    "trainable_token_indices": _Key(_is_off),
    "layer_replication": _Key(_is_off),
    "target_parameters": _Key(_is_off),
    "alora_invocation_tokens": _Key(
        _is_off,
        "it acts only behind certain tokens",
        "train one without alora_invocation_tokens: this one cannot be merged either",
    ),
    "use_qalora": _Key(_is_off),
    "use_bdlora": _Key(_is_off),
    "arrow_config": _Key(_is_off),
    "kasa_config": _Key(_is_off),
    "monteclora_config": _Key(_is_off),
    "velora_config": _Key(_is_off),
    "megatron_config": _Key(_is_off),
    "ensure_weight_tying": _Key(_is_off),
}
_UNKNOWN: Final = _Key(
    lambda value: not value,
    "this key is not known (those of PEFT 0.21 are), so what it changes cannot be told",
    f"{_MERGE}, or remove the key if it plays no part in what the adapter computes",
)


def require_plain_lora(config: Mapping[str, Any], folder: Path) -> None:
    """Check that low-rank changes of linear layers are all that an adapter consists of.

    Args:
        config: content of `adapter_config.json`.
        folder: folder of the adapter, for messages.

    Raises:
        CheckpointError: a key has a value that we do not reproduce; names the key, the value, and
            what to do about it.
    """
    for required in ("r", "lora_alpha"):
        if config.get(required) is None:
            raise CheckpointError(f"{folder}/{CONFIG_FILE}: {required} is missing; {_SAVE_AGAIN}")
    for name, value in config.items():
        key = _KEYS.get(name, _UNKNOWN)
        if not key.accepts(value):
            mend = _MERGE if value == "loftq" else key.mend
            raise CheckpointError(
                f"{folder}/{CONFIG_FILE}: {name} is {_short(value)}: {key.problem}; {mend}"
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
