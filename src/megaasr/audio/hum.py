"""Mains hum: steady tones at 50 or 60 Hz and their multiples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.signal import filtfilt, iirnotch

from megaasr.audio.waveform import SAMPLE_RATE, Samples

_MAINS_HZ = (50, 60)
_HARMONICS = 8
_RATE = 1000  # Hz, of the samples in which tones are sought: 480 Hz is the highest
_WINDOW = 1000  # samples, so that bins are 1 Hz apart
_HOP = 250
_MIN_PROMINENCE_DB = 10.0  # above the bins around the tone, in nine of ten windows
_NEIGHBOURS = np.array([*range(-9, -3), *range(4, 10)])  # outside the window's main lobe
_NOTCH_HZ = 3.0


@dataclass(frozen=True, slots=True)
class Hum:
    """Mains hum in a recording.

    Attributes:
        mains_hz: frequency of the mains, 50 or 60.
        tones_hz: frequencies of the steady tones, multiples of `mains_hz`.
        dbfs: level of all tones together in dBFS.
    """

    mains_hz: int
    tones_hz: tuple[int, ...]
    dbfs: float


def find_hum(samples: Samples) -> Hum | None:
    """Return the mains hum, or None if there is none or less than 1.5 s of sound.

    A tone counts if it stands out from its surroundings by 10 dB in nine of ten windows of 1 s:
    the pitch of a voice does not rest on a multiple of 50 Hz. Hum has its fundamental, or two
    multiples.

    Args:
        samples: float32 array [time], 16 kHz mono.
    """
    step = SAMPLE_RATE // _RATE
    count = samples.size // step
    if count < 1.5 * _RATE:
        return None
    # The mean of 16 samples is a low-pass that is good enough: aliases are no multiples of mains.
    slow = samples[: count * step].reshape(count, step).mean(axis=1, dtype=np.float64)
    windows = sliding_window_view(slow - slow.mean(), _WINDOW)[::_HOP] * np.hanning(_WINDOW)
    power = np.square(np.abs(np.fft.rfft(windows, axis=1)))
    for mains in _MAINS_HZ:
        tones, total = [], 0.0
        for tone in range(mains, mains * _HARMONICS + 1, mains):
            line = power[:, tone - 1 : tone + 2].sum(axis=1)
            around = 3 * np.median(power[:, tone + _NEIGHBOURS], axis=1) + 1e-12
            if np.quantile(line / around, 0.1) >= 10 ** (_MIN_PROMINENCE_DB / 10):
                tones.append(tone)
                total += float(np.quantile(line, 0.25))
        if mains in tones or len(tones) >= 2:
            # A sine of amplitude a gives the sum of three bins 6 (a _WINDOW / 8)^2.
            mean_square = total / 6 * (8 / _WINDOW) ** 2 / 2
            return Hum(mains, tuple(tones), 10 * math.log10(mean_square))
    return None


def without_hum(
    samples: NDArray[np.floating[Any]], sample_rate: int, hum: Hum
) -> NDArray[np.float32]:
    """Return the samples [time] with a notch of 3 Hz at each tone of the hum.

    Args:
        samples: float array [time].
        sample_rate: sample rate of `samples` in Hz.
        hum: the hum of the same recording.
    """
    for tone in hum.tones_hz:
        numerator, denominator = iirnotch(tone, tone / _NOTCH_HZ, sample_rate)
        samples = filtfilt(numerator, denominator, samples)
    return samples.astype(np.float32)
