"""Spares the encoder's convolutions the padding of a chunk that no clip fills.

The native encoder wants features padded to whole chunks. Where a chunk is longer than any clip
(`small`: 32 s), most of it is padding, and the convolutions cost up to three times what they must.
Here a batch is cut behind its longest clip; the outputs are the same to the bit.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import torch
from transformers.models.qwen3_asr.modeling_qwen3_asr import Qwen3ASREncoder

MARGIN_FRAMES = 64
"""Zeros kept behind the longest clip: more than the three convolutions reach (15 frames)."""
_STRIDE = 16  # widths are multiples of it: the convolutions halve three times, a chunk once more

# State of the call, not of the module: several threads may use one model.
_WIDTH: ContextVar[int | None] = ContextVar("megaasr_chunk_width", default=None)


class TrimmingEncoder(Qwen3ASREncoder):  # type: ignore[no-untyped-call]
    """The native encoder for geometries in which every clip lies in one chunk."""

    @property
    def n_window(self) -> int:  # type: ignore[override]
        """Half the chunk in mel frames: during a call, half of the batch's width."""
        width = _WIDTH.get()
        return int(self.config.n_window) if width is None else width // 2

    @property
    def n_window_infer(self) -> int:  # type: ignore[override]
        """Mel frames within which a clip attends: all of them."""
        return int(self.config.n_window_infer) if _WIDTH.get() is None else 2 * self.n_window

    def forward(
        self, input_features: torch.Tensor, input_features_mask: torch.Tensor, **kwargs: Any
    ) -> Any:
        """Encode a batch as the native class does; arguments and result are its."""
        longest = int(input_features_mask.sum(dim=1).max())
        width = -(-(longest + MARGIN_FRAMES) // _STRIDE) * _STRIDE
        if input_features.shape[-1] <= width:
            return super().forward(input_features, input_features_mask, **kwargs)
        token = _WIDTH.set(width)
        try:
            return super().forward(
                input_features[..., :width], input_features_mask[:, :width], **kwargs
            )
        finally:
            _WIDTH.reset(token)


def trim_chunks(encoder: Qwen3ASREncoder) -> None:
    """Let an encoder skip padding from now on; its weights and configuration stay.

    Args:
        encoder: every clip that it is given must lie in one chunk.
    """
    encoder.__class__ = TrimmingEncoder
