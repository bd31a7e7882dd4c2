"""Log-mel features in a form that can be joined, mixed and scaled before they are floored.

The native feature extractor floors a clip at 8 decades below its own maximum and scales it.
Training joins clips and adds noise on the features (simulation at a thousandth of the cost), so
it keeps the plain log10 powers and applies floor and scale last. `finish(log_mel(x))` equals the
native extractor (tested).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

HOP_SAMPLES = 160
FFT_SAMPLES = 400
FRAMES_PER_S = 100
FLOOR_LOG10 = -10.0
Features = NDArray[np.float32]


@lru_cache(maxsize=2)
def _mel_filters(bins: int) -> torch.Tensor:
    from transformers import Qwen3ASRFeatureExtractor

    extractor: Any = Qwen3ASRFeatureExtractor
    filters = extractor(feature_size=bins).mel_filters
    return torch.from_numpy(filters.T.astype(np.float32))


def log_mel(samples: NDArray[np.float32], bins: int = 128) -> Features:
    """Return log10 mel powers.

    Args:
        samples: float32 [time], mono, 16 kHz; shorter than 0.5 s is padded as the model does.
        bins: mel bands.

    Returns:
        float32 [frames, bins], 100 frames a second, at least -10.
    """
    if samples.size < 8000:
        samples = np.pad(samples, (0, 8000 - samples.size))
    spectrum = torch.stft(
        torch.from_numpy(samples),
        FFT_SAMPLES,
        HOP_SAMPLES,
        window=torch.hann_window(FFT_SAMPLES),
        return_complex=True,
    )
    power = spectrum[:, :-1].abs() ** 2
    mel = _mel_filters(bins) @ power
    return np.asarray(mel.clamp(min=1e-10).log10().T.numpy())


def finish(features: Features) -> Features:
    """Apply the native extractor's floor (8 decades under the maximum) and scale."""
    floored: Features = np.maximum(features, features.max() - np.float32(8.0))
    scaled: Features = (floored + np.float32(4.0)) / np.float32(4.0)
    return scaled
