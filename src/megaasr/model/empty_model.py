"""The native model without weights, for the names and sizes of its modules."""

from __future__ import annotations

from typing import Any


def empty_model(config: Any) -> Any:
    """Return a native model on torch's device `meta`, where tensors have shapes and no memory.

    Args:
        config: native configuration, see `layout.model_config`.
    """
    import torch
    from transformers import Qwen3ASRForConditionalGeneration

    with torch.device("meta"):
        return Qwen3ASRForConditionalGeneration(config)
