"""Measures of sound in float64, written from the definitions and not with the package's code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from bursts import RATE
from numpy.typing import NDArray
from scipy.signal import lfilter

from megaasr.audio.waveform import Samples


def speech_power(x: Samples) -> float:
    """Mean power of the frames of 20 ms within 30 dB of the 95th-percentile frame."""
    frame = min(320, len(x))
    frames = [x[i : i + frame].astype(float) for i in range(0, len(x) - frame + 1, frame)]
    powers = sorted(float(frame_samples @ frame_samples) / frame for frame_samples in frames)
    rank = 0.95 * (len(powers) - 1)
    low = math.floor(rank)
    reference = powers[low] + (rank - low) * (powers[min(low + 1, len(powers) - 1)] - powers[low])
    active = [power for power in powers if power >= (reference or powers[-1]) / 1000]
    return sum(active) / len(active)


def biquad(kind: str, frequency_hz: float, quality: float, gain_db: float) -> Any:
    """Return (b, a) of the bilinear high shelf or high-pass: K-weighting's two sections."""
    w = 2 * math.pi * frequency_hz / RATE
    c, alpha, root = math.cos(w), math.sin(w) / (2 * quality), 10 ** (gain_db / 40)
    if kind == "high-pass":
        return [(1 + c) / 2, -(1 + c), (1 + c) / 2], [1 + alpha, -2 * c, 1 - alpha]
    up, down, slope = root + 1, root - 1, 2 * math.sqrt(root) * alpha
    b = [
        root * (up + down * c + slope),
        -2 * root * (down + up * c),
        root * (up + down * c - slope),
    ]
    return b, [up - down * c + slope, 2 * (down - up * c), up - down * c - slope]


def integrated_lufs(x: Samples) -> float:
    """BS.1770-4 in float64; the last block may lack 50 ms, as in the implementations in use."""
    y = lfilter(*biquad("high shelf", 1500.0, 1 / math.sqrt(2), 4.0), x.astype(float))
    y = lfilter(*biquad("high-pass", 38.0, 0.5, 0.0), y)
    starts = [1600 * k for k in range(round((len(y) - 6400) / 1600) + 1)]
    power = np.array([float(np.square(y[s : s + 6400]).sum()) / 6400 for s in starts])
    with np.errstate(divide="ignore"):
        level = -0.691 + 10 * np.log10(power)
    audible = power[level > -70]
    if not audible.size:
        return -math.inf
    gate = -0.691 + 10 * math.log10(audible.mean()) - 10
    return -0.691 + 10 * math.log10(power[(level > -70) & (level > gate)].mean())


def response_db(impulse: NDArray[np.floating[Any]], frequency_hz: float) -> float:
    phase = -2j * np.pi * frequency_hz / RATE * np.arange(len(impulse))
    return 20 * math.log10(abs(np.sum(impulse * np.exp(phase))))
