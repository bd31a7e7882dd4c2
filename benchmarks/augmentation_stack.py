"""The transforms of audiomentations that come closest to each condition, over the same ranges."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import audiomentations as am  # type: ignore[import-not-found,unused-ignore]
import numpy as np

from benchmarks.clips import RATE
from megaasr.audio.waveform import Samples

Degrade = Callable[[Samples], Samples]


def conditions(noises: Path, rooms: Path, echoes: Path) -> dict[str, Degrade]:
    """Return a function for each of the seven conditions.

    Some are approximations: there is no discrete echo (an impulse response instead), no repeated
    filter (a steeper one), no stutter (one silent part).

    Args:
        noises: folder of WAV files with noises.
        rooms: folder of WAV files with impulse responses of rooms.
        echoes: folder of WAV files with impulse responses of echoes.
    """
    warnings.filterwarnings("ignore", module="audiomentations")
    room = am.ApplyImpulseResponse(str(rooms), p=1.0)
    return {
        "obstructed": _chain(_low_pass(1500, 2000, 12, 24), room, _loudness(-25, -15)),
        "far_field": _chain(room, _low_pass(3500, 4500, 18, 18), _loudness(-38, -27)),
        "echo": _chain(
            room,
            am.HighPassFilter(100, 300, 12, 12, p=1.0),
            am.ApplyImpulseResponse(str(echoes), p=1.0),
            _loudness(-30, -23),
        ),
        "recording": _recording(),
        "distortion": _chain(
            am.TanhDistortion(0.1, 0.7, p=1.0), _low_pass(2800, 6000, 12, 12), _loudness(-38, -27)
        ),
        "dropout": _chain(am.TimeMask(0.05, 0.3, p=1.0), _loudness(-23, -23)),
        "noise": _chain(
            am.AddBackgroundNoise(str(noises), -5.0, 10.0, p=1.0),
            _loudness(-23, -23),
        ),
    }


def _recording() -> Degrade:
    downsample, upsample = am.Resample(8000, 8000, p=0.6), am.Resample(RATE, RATE, p=1.0)
    effects = _chain(
        am.AddGaussianSNR(-5.0, 10.0, p=1.0),
        am.HighPassFilter(400, 600, 24, 36, p=1.0),
        _low_pass(3500, 4500, 24, 36),
        _loudness(-23, -23),
    )

    def degrade(x: Samples) -> Samples:
        low = downsample(x, RATE)
        return effects(low if len(low) == len(x) else upsample(low, 8000)[: len(x)])

    return degrade


def _chain(*transforms: Any) -> Degrade:
    composed = am.Compose(list(transforms))

    def degrade(x: Samples) -> Samples:
        return np.asarray(np.clip(composed(x, RATE), -1.0, 1.0))

    return degrade


def _low_pass(min_hz: float, max_hz: float, min_db_per_octave: int, max_db_per_octave: int) -> Any:
    return am.LowPassFilter(min_hz, max_hz, min_db_per_octave, max_db_per_octave, p=1.0)


def _loudness(min_lufs: float, max_lufs: float) -> Any:
    return am.LoudnessNormalization(min_lufs, max_lufs, p=1.0)
