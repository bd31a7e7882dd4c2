"""Levels of frequency bands over time, and what they tell: filters, and the decay of a room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.signal import welch

from megaasr.audio.waveform import SAMPLE_RATE, Samples

HOP = 256
"""Samples between two frames (16 ms)."""
_WINDOW = 512
_BLOCK = 4096  # frames that are transformed at once
_ALL_HZ = (50, 8000)
_LOW_HZ = (50, 300)
_HIGH_HZ = (3000, 7000)
_DECAY_HZ = ((300, 700), (700, 1400), (1400, 2400), (2400, 3600))
_SHORT, _LONG = 6, 12  # frames over which levels fall: 96 and 192 ms
_FALL_QUANTILE = 0.97
_LEVEL_QUANTILE = 0.95
_BAND_FLOOR_DB = 50.0  # below the loudest band; weaker parts of the spectrum count as empty
_FLOOR_DB = -140.0


@dataclass(frozen=True, slots=True)
class BandLevels:
    """Levels of bands over time.

    Attributes:
        total, low, high: levels of 50 to 8000, 50 to 300 and 3000 to 7000 Hz in dB, float64 of
            shape [frames].
        decays: levels of four bands from 300 to 3600 Hz, float64 of shape [4, frames].
    """

    total: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    decays: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Decay:
    """How fast levels fall where sounds end.

    Attributes:
        db_per_s: fall over 96 ms that the fastest 3 % of the frames exceed, the median over four
            bands. Dry speech falls by 200 dB/s and more, and no faster than the room decays, or the
            noise lies below it.
        asymmetry: the same of rises, over that of falls, over 96 or 192 ms, whichever is larger.
            About 1 in dry speech and in noise; in a room, sounds start faster than they end.
        rt60_s: 60 dB over the fall in 192 ms: about the reverberation time of the early decay.
    """

    db_per_s: float
    asymmetry: float
    rt60_s: float


def band_levels(samples: Samples) -> BandLevels:
    """Return the levels of a recording's bands.

    Args:
        samples: float32 array [time], 16 kHz mono, at least 512 samples.
    """
    hertz = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE)
    bands = [_ALL_HZ, _LOW_HZ, _HIGH_HZ, *_DECAY_HZ]
    members = np.array([(hertz >= low) & (hertz < high) for low, high in bands], np.float64)
    window = np.hanning(_WINDOW).astype(np.float32) / _WINDOW
    frames = sliding_window_view(samples, _WINDOW)[::HOP]
    powers = [
        members @ np.square(np.abs(np.fft.rfft(frames[i : i + _BLOCK] * window, axis=1))).T
        for i in range(0, len(frames), _BLOCK)
    ]
    levels = 10 * np.log10(np.concatenate(powers, axis=1) + 10 ** (_FLOOR_DB / 10))
    return BandLevels(levels[0], levels[1], levels[2], levels[3:])


def relative_level_db(
    band: NDArray[np.float64], levels: BandLevels, region: NDArray[np.bool_]
) -> float:
    """Return how loud a band gets in comparison with all of them, in dB: the 95th percentiles.

    Args:
        band: levels of the band, float64 of shape [frames].
        levels: levels of the recording.
        region: frames that count, bool of shape [frames].
    """
    loudest = np.quantile(levels.total[region], _LEVEL_QUANTILE)
    return float(np.quantile(band[region], _LEVEL_QUANTILE) - loudest)


def measure_decay(levels: BandLevels, region: NDArray[np.bool_]) -> Decay | None:
    """Return how fast levels fall; None if the region has less than half a second.

    Args:
        levels: levels of the recording.
        region: frames that count, bool of shape [frames].
    """
    if np.count_nonzero(region) < 32:
        return None
    short_rise, short_fall = _change(levels.decays, region, _SHORT)
    long_rise, long_fall = _change(levels.decays, region, _LONG)
    frame_s = HOP / SAMPLE_RATE
    return Decay(
        db_per_s=short_fall / (_SHORT * frame_s),
        asymmetry=max(short_rise / short_fall, long_rise / long_fall),
        rt60_s=60 * _LONG * frame_s / long_fall,
    )


def _change(
    bands: Sequence[NDArray[np.float64]] | NDArray[np.float64],
    region: NDArray[np.bool_],
    frames: int,
) -> tuple[float, float]:
    """Return the rise and the fall within some frames that few exceed, in dB: over bands, the
    median."""
    inside = region[:-frames] & region[frames:]
    rises, falls = [], []
    for level in bands:
        change = (level[frames:] - level[:-frames])[inside]
        rises.append(np.quantile(change, _FALL_QUANTILE))
        falls.append(np.quantile(-change, _FALL_QUANTILE))
    return max(0.1, float(np.median(rises))), max(0.1, float(np.median(falls)))


def bandwidth_hz(samples: Samples) -> float:
    """Return the highest frequency in Hz at which the spectrum is within 50 dB of its maximum.

    Args:
        samples: float32 array [time], 16 kHz mono.
    """
    hertz, power = welch(samples.astype(np.float64), SAMPLE_RATE, nperseg=min(1024, samples.size))
    level = 10 * np.log10(power + 1e-20)
    above = np.flatnonzero(level >= level.max() - _BAND_FLOOR_DB)
    return float(hertz[above[-1]])
