"""Log-mel features in a form that can be joined and mixed before they are floored and scaled.

The native feature extractor floors a clip at 8 decades below its own maximum and scales it.
Training joins clips and adds noise in the feature domain, at a thousandth of the cost of doing so
in the time domain. Therefore it keeps the plain log10 powers, and floors and scales them last.
`floor_and_scale(log_mel(x))` equals the output of the native extractor (tested).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import Features

FLOOR_LOG10 = -10.0
"""Lower bound of the log10 powers: digital silence."""


@lru_cache(maxsize=2)
def _mel_filters(bins: int, n_fft: int) -> torch.Tensor:
    from transformers import Qwen3ASRFeatureExtractor

    extractor: Any = Qwen3ASRFeatureExtractor
    filters = extractor(feature_size=bins, n_fft=n_fft).mel_filters
    return torch.from_numpy(filters.T.astype(np.float32))


def log_mel(samples: NDArray[np.float32], geometry: AudioGeometry) -> Features:
    """Return the log10 mel powers of a clip.

    Args:
        samples: audio, float32 of shape [time], 16 kHz mono; a clip shorter than the geometry's
            `min_samples` is padded as the native extractor does.
        geometry: audio geometry of the model.

    Returns:
        float32 of shape [frames, mels], `geometry.frames(samples.size)` frames, at least -10.
    """
    if samples.size < geometry.min_samples:
        samples = np.pad(samples, (0, geometry.min_samples - samples.size))
    spectrum = torch.stft(
        torch.from_numpy(samples),
        geometry.n_fft,
        geometry.hop_samples,
        window=torch.hann_window(geometry.n_fft),
        return_complex=True,
    )
    power = spectrum[:, :-1].abs() ** 2
    mel = _mel_filters(geometry.mel_bins, geometry.n_fft) @ power
    return np.asarray(mel.clamp(min=1e-10).log10().T.numpy())


def floor_and_scale(features: Features) -> Features:
    """Apply the native extractor's floor (8 decades below the maximum) and scale.

    Args:
        features: log10 mel powers, float32 of shape [frames, mels].
    """
    floored: Features = np.maximum(features, features.max() - np.float32(8.0))
    scaled: Features = (floored + np.float32(4.0)) / np.float32(4.0)
    return scaled
