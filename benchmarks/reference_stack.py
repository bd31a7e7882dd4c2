"""The effects one would reach for today (pedalboard, pyloudnorm, librosa), given the same draws."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import librosa  # type: ignore[import-not-found,unused-ignore]
import numpy as np
import pedalboard  # type: ignore[import-not-found,unused-ignore]
import pyloudnorm  # type: ignore[import-not-found,unused-ignore]
from numpy.typing import NDArray

from benchmarks.clips import RATE
from megaasr.audio.waveform import Samples
from megaasr.simulate.primitives import (
    AdditiveNoise,
    AnyPrimitive,
    EchoDelay,
    FrameStutter,
    NonlinearDistortion,
    Resampling,
    Reverberation,
    SpectralFilter,
)

_FILTERS = {"lowpass": pedalboard.LowpassFilter, "highpass": pedalboard.HighpassFilter}


class ReferenceStack:
    """Written as a user would: effects made for each clip, since their parameters change.

    What no library has is plain numpy: a noise added by its RMS over the whole clip, white noise
    drawn for each clip, frames copied in a loop. (Our own noise step also measures where there
    is speech, which would only make this slower.)
    """

    def __init__(self, noises: Mapping[str, Samples]) -> None:
        """Take the pool of noises by name: float32 [time] in memory."""
        self._noises = noises
        self._meter = pyloudnorm.Meter(RATE)
        self._rng = np.random.default_rng(0)
        warnings.filterwarnings("ignore", "Possible clipped samples", module="pyloudnorm")

    def degrade(self, x: Samples, steps: Sequence[AnyPrimitive]) -> Samples:
        """Return a clip with all steps applied, within ±1."""
        plugins: list[Any] = []
        for step in steps:
            if step_plugins := _plugins(step):
                plugins += step_plugins
                continue
            x = _played(plugins, x)
            plugins = []
            x = self._by_hand(step, x)
        return np.clip(_played(plugins, x), -1.0, 1.0)

    def _by_hand(self, step: Any, x: Samples) -> Samples:
        if isinstance(step, SpectralFilter):
            filters = [_FILTERS[step.filter_type](step.cutoff_hz) for _ in range(step.repeat)]
            return step.wet * _played(filters, x) + (1 - step.wet) * x
        if isinstance(step, Resampling):
            low = librosa.resample(x, orig_sr=RATE, target_sr=step.target_rate_hz)
            return np.asarray(librosa.resample(low, orig_sr=step.target_rate_hz, target_sr=RATE))
        if isinstance(step, AdditiveNoise):
            return self._with_noise(step, x)
        if isinstance(step, FrameStutter):
            return self._stuttered(step, x)
        measured = self._meter.integrated_loudness(x)
        louder = pyloudnorm.normalize.loudness(x, measured, step.target_lufs)
        return np.asarray(louder, dtype=np.float32)

    def _with_noise(self, step: AdditiveNoise, x: Samples) -> Samples:
        if step.source == "builtin:white":
            noise = self._rng.standard_normal(len(x), dtype=np.float32)
        else:
            noise = self._noises[step.source][step.offset_samples :]
            if len(noise) < len(x):
                noise = np.resize(self._noises[step.source], len(x))
            noise = noise[: len(x)]
        gain = _rms(x) / (_rms(noise) + 1e-9) * 10 ** (-step.snr_db / 20)
        return x + np.float32(gain) * noise

    def _stuttered(self, step: FrameStutter, x: Samples) -> Samples:
        frame = int(step.frame_ms * RATE / 1000)
        y = x.copy()
        position = frame
        while position + frame <= len(y):
            if self._rng.random() >= step.stutter_prob:
                position += frame
                continue
            repeat = self._rng.random() < step.repeat_prob
            last = y[position - frame : position].copy()
            for _ in range(self._rng.integers(1, step.max_repeats + 1)):
                if position + frame > len(y):
                    break
                y[position : position + frame] = last if repeat else 0.0
                position += frame
        return y


def _plugins(step: AnyPrimitive) -> list[Any]:
    """Return the plug-ins that do all of a step, if there are such."""
    if isinstance(step, SpectralFilter) and step.wet == 1:
        return [_FILTERS[step.filter_type](step.cutoff_hz) for _ in range(step.repeat)]
    if isinstance(step, Reverberation):
        return [
            pedalboard.Reverb(
                room_size=step.room_size,
                damping=step.damping,
                wet_level=step.wet_level,
                dry_level=step.dry_level,
            )
        ]
    if isinstance(step, EchoDelay):
        return [pedalboard.Delay(step.delay_s, step.feedback, step.mix)]
    if isinstance(step, NonlinearDistortion):
        return [pedalboard.Distortion(step.drive_db)]
    return []


def _played(plugins: list[Any], x: Samples) -> Samples:
    if not plugins:
        return x
    played: Samples = pedalboard.Pedalboard(plugins)(x, RATE)
    return played


def _rms(x: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(x**2)))
