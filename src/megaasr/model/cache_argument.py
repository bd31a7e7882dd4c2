"""The name of the decoder's cache of keys and values in calls of native models.

transformers 5.24 renamed it from `past_key_values` to `cache`, and warns of the former.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

from transformers import Qwen3ASRForConditionalGeneration

_NEW, _OLD = "cache", "past_key_values"
CACHE_ARGUMENT = (
    _NEW if _NEW in signature(Qwen3ASRForConditionalGeneration.forward).parameters else _OLD
)
"""The name of the argument, and of the field of a model's output."""


def cache_argument(cache: Any) -> dict[str, Any]:
    """Return the argument of a model's call or of `generate` that hands a cache over."""
    return {CACHE_ARGUMENT: cache}


def output_cache(output: Any) -> Any:
    """Return the cache in a model's output."""
    return getattr(output, CACHE_ARGUMENT)
