"""Skips most of the padding of an encoder chunk that no clip fills.

An *encoder chunk* is what the encoder's convolutions see together; it is unrelated to the chunks of
up to 30 s that a recording is split into. The native encoder requires features that are padded to
whole encoder chunks. If a chunk is longer than any clip (`small`: 32 s), most of it is padding, and
the convolutions take up to three times as long as necessary. Here a batch is cut off shortly after
the end of its longest clip. The outputs are the same, bit for bit.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import torch
from transformers.models.qwen3_asr.modeling_qwen3_asr import Qwen3ASREncoder

MARGIN_FRAMES = 64
"""Mel frames of padding kept after the longest clip: more than the 15 frames that the three
convolutions look ahead."""
_STRIDE = 16  # widths are multiples of it: three convolutions of stride 2, and half of a chunk

# State of the call, not of the module: several threads may use one model.
_WIDTH: ContextVar[int | None] = ContextVar("megaasr_chunk_width", default=None)


def trimmed_width(frames: int) -> int:
    """Return the mel frames that are kept of a batch whose longest clip has `frames` valid ones."""
    return -(-(frames + MARGIN_FRAMES) // _STRIDE) * _STRIDE


class TrimmingEncoder(Qwen3ASREncoder):  # type: ignore[no-untyped-call]
    """The native encoder for geometries in which every clip lies in one encoder chunk."""

    @property
    def n_window(self) -> int:  # type: ignore[override]
        """Half of an encoder chunk in mel frames; during a call, half of the batch's width."""
        width = _WIDTH.get()
        return int(self.config.n_window) if width is None else width // 2

    @property
    def n_window_infer(self) -> int:  # type: ignore[override]
        """Size of an attention window in mel frames; during a call, the batch's width."""
        return int(self.config.n_window_infer) if _WIDTH.get() is None else 2 * self.n_window

    def forward(
        self, input_features: torch.Tensor, input_features_mask: torch.Tensor, **kwargs: Any
    ) -> Any:
        """Encode a batch; arguments and result are those of the native class."""
        longest = int(input_features_mask.sum(dim=1).max())
        width = trimmed_width(longest)
        if input_features.shape[-1] <= width:
            return super().forward(input_features, input_features_mask, **kwargs)
        token = _WIDTH.set(width)
        try:
            return super().forward(
                input_features[..., :width], input_features_mask[:, :width], **kwargs
            )
        finally:
            _WIDTH.reset(token)


def trim_encoder_chunks(encoder: Qwen3ASREncoder) -> None:
    """Make an encoder skip padding from now on, in place; weights and configuration do not change.

    Args:
        encoder: native encoder; every clip that it encodes must lie in one encoder chunk.
    """
    encoder.__class__ = TrimmingEncoder
