"""Augmentation of log-mel features: level, stationary noise, SpecAugment.

Pure functions of the features and a random generator. SpecAugment: Park et al. 2019,
arXiv 1904.08779 (without time warping).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from megaasr.model.inputs import Features
from megaasr.train.base.recipe import AugmentRecipe
from megaasr.train.log_mel import FLOOR_LOG10


def augment(features: Features, recipe: AugmentRecipe, rng: np.random.Generator) -> Features:
    """Return the features at another level, and some of them with mild noise.

    Args:
        features: log10 mel powers, float32 of shape [frames, mels].
        recipe: ranges of the augmentation.
        rng: source of every random choice.
    """
    features = features + np.float32(rng.normal(0.0, recipe.gain_db) / 10)
    if rng.random() < recipe.noise_share:
        features = add_noise(features, rng.uniform(*recipe.noise_snr_db), rng)
    return np.maximum(features, np.float32(FLOOR_LOG10))


def add_noise(features: Features, snr_db: float, rng: np.random.Generator) -> Features:
    """Mix in noise with a random smooth spectrum.

    Args:
        features: log10 mel powers, float32 of shape [frames, mels].
        snr_db: ratio of the power of the loudest 40 % of the frames to the noise, in dB.
        rng: source of every random choice.
    """
    power = np.power(np.float32(10), features)
    frame_power = power.mean(axis=1)
    speech_power = frame_power[frame_power >= np.percentile(frame_power, 60)].mean()
    bins = features.shape[1]
    shape = _smooth_spectrum(bins, rng)
    # Each band averages few FFT bins, so its power fluctuates from frame to frame.
    flutter = rng.standard_gamma(3.0, size=(len(features), bins), dtype=np.float32) / np.float32(3)
    noise = flutter * (shape * speech_power * 10 ** (-snr_db / 10)).astype(np.float32)
    return np.asarray(np.log10(power + noise + np.float32(1e-10)))


def _smooth_spectrum(bins: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a spectrum in mel bands with mean 1: a tilt of up to 20 dB and a few broad bumps."""
    knots = rng.normal(0.0, 4.0, size=6) + np.linspace(0.0, -rng.uniform(0.0, 20.0), 6)
    decibels = np.interp(np.linspace(0, 5, bins), np.arange(6), knots)
    shape = 10 ** (decibels / 10)
    return np.asarray(shape / shape.mean())


def mask(
    features: Features, recipe: AugmentRecipe, rng: np.random.Generator, frames_per_s: float
) -> Features:
    """Replace random bands and time intervals by the mean of the features.

    Args:
        features: features after `floor_and_scale`, float32 of shape [frames, mels].
        recipe: number and widths of the masks.
        rng: source of their positions.
        frames_per_s: mel frames per second.
    """
    features = features.copy()
    frames, bins = features.shape
    mean = features.mean()
    for _ in range(recipe.frequency_masks):
        width = int(rng.integers(0, recipe.frequency_mask_bins + 1))
        start = int(rng.integers(0, bins - width + 1))
        features[:, start : start + width] = mean
    max_width = max(1, int(recipe.time_mask_s * frames_per_s))
    for _ in range(round(recipe.time_masks_per_s * frames / frames_per_s)):
        width = int(rng.integers(0, min(max_width, frames) + 1))
        start = int(rng.integers(0, frames - width + 1))
        features[start : start + width] = mean
    return features
