"""Measured room responses from folders, prepared for convolution and cached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.files import blocks
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.progress import OnProgress
from megaasr.simulate.sample_cache import RecordingFailure, SampleCache
from megaasr.simulate.sample_cache_builder import (
    EncodedRecording,
    RecordingEncoder,
    UnusableRecordingError,
    build_sample_cache,
)

_MAX_FILE_S = 30.0
_MAX_RESPONSE_S = 4.0
_FRAME = SAMPLE_RATE // 100  # 10 ms
_FADE = SAMPLE_RATE // 100
# The direct sound starts at the first sample of this magnitude relative to the peak (-20 dB).
_ONSET = 0.1
_BEFORE_ONSET = 8  # 0.5 ms: the rise of the direct sound, which resampling spreads
_DIRECT_SOUND = SAMPLE_RATE // 400  # 2.5 ms
_MIN_SWING = 1e-3
_DECAYED = 1e-6  # -60 dB, in power
_ABOVE_FLOOR = 4.0  # 6 dB, in power


@dataclass(frozen=True)
class MeasuredRooms:
    """The room responses that can be drawn.

    Cheap to create and to pickle, because the files are opened when they are needed.

    Attributes:
        recorded: cached responses.
    """

    recorded: SampleCache

    @classmethod
    def from_folders(
        cls,
        paths: Sequence[Path],
        cache: Path | None = None,
        *,
        on_progress: OnProgress = lambda done, total: None,
    ) -> MeasuredRooms:
        """Return the responses in folders, which are decoded once and cached.

        Responses are named like noises (`rooms/hall/1.wav`). A response is cut to start at its
        direct sound and to end where it has decayed by 60 dB, reaches the noise floor of the
        measurement, or is 4 s long, whichever comes first; then it is scaled to unit energy.
        Channels are averaged as everywhere, so use one file per microphone. Silent files, files
        without anything after the direct sound, and files longer than 30 s (recordings rather than
        responses) are left out, see `failures`.

        Args:
            paths: folders or single files, of any format.
            cache: folder for the decoded responses; None for a folder in the user's cache.
            on_progress: called with the number of decoded responses and the total number.

        Raises:
            UsageError: a folder does not exist, or has no recordings or no usable ones.
            AudioError: the cache cannot be written.
        """
        return cls(build_sample_cache(paths, cache, _ENCODER, on_progress))

    @property
    def names(self) -> list[str]:
        """Names of the responses, sorted."""
        return self.recorded.names

    @property
    def failures(self) -> tuple[RecordingFailure, ...]:
        """Files in the folders that cannot be used, and the reasons."""
        return self.recorded.index.failures

    def choose(self, rng: np.random.Generator) -> str:
        """Draw the name of a response; all are equally likely."""
        return self.names[int(rng.integers(len(self.names)))]

    def response(self, name: str) -> Samples:
        """Return a response by name, a float32 array [time] at 16 kHz.

        It starts with the direct sound and has an energy (sum of squares) of 1.

        Raises:
            UsageError: no response has this name; the draw may have been made with other folders.
            RecordError: the cached responses are damaged.
        """
        return self.recorded.samples(name)


def trim_response(samples: Samples) -> Samples:
    """Cut a response as `MeasuredRooms.from_folders` describes; its level is unchanged.

    Args:
        samples: float32 array [time] at 16 kHz, not silent.

    Returns:
        float32 array [time] of at least one sample, with the direct sound in its first millisecond.
    """
    magnitude = np.abs(samples)
    onset = int(np.argmax(magnitude >= _ONSET * magnitude.max()))
    response = samples[max(0, onset - _BEFORE_ONSET) :]
    end = min(_end_of_decay(response), round(_MAX_RESPONSE_S * SAMPLE_RATE))
    if end >= response.size:
        return response.copy()
    response = response[:end].copy()
    fade = min(_FADE, end // 2)
    if fade:
        response[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return response


def _end_of_decay(response: Samples) -> int:
    """Return the number of samples until the response falls below -60 dB or the noise floor."""
    frames = response.size // _FRAME
    if frames < 20:
        return response.size
    framed = response[: frames * _FRAME].astype(np.float64).reshape(frames, _FRAME)
    power = np.square(framed).mean(axis=1)
    threshold = _DECAYED * power.max()
    if (floor := _noise_floor(power)) is not None:
        threshold = max(threshold, _ABOVE_FLOOR * floor)
    if power[-1] > threshold:
        return response.size
    return (int((power > threshold).nonzero()[0][-1]) + 1) * _FRAME


def _noise_floor(power: NDArray[np.float64]) -> float | None:
    """Return the noise floor of a decay; None if the response was cut off before it reached one.

    A pure decay is as steep at its end as at its beginning; if it is flatter, there is noise.

    Args:
        power: mean square of each frame [frames].
    """
    tail = power[1:]  # without the direct sound
    tenth = tail.size // 10
    levels = 10 * np.log10(tail[: 10 * tenth].reshape(10, tenth).mean(axis=1) + 1e-30)
    falls_early, falls_late = levels[0] - levels[3], levels[6] - levels[9]
    if levels[0] - levels[9] < 10 or falls_late > falls_early / 4:
        return None
    return float(power[-tenth:].mean())


def _encode(path: Path) -> EncodedRecording:
    parts = blocks(path, block_s=_MAX_FILE_S)
    samples = next(parts)
    if next(parts, None) is not None:
        raise UnusableRecordingError("longer than 30 s: a recording, not a room response")
    peak = float(np.abs(samples).max())
    if not math.isfinite(peak):
        raise UnusableRecordingError("holds samples that are not numbers")
    if peak == 0:
        raise UnusableRecordingError("silent: every sample is zero")
    if float(np.ptp(samples)) < _MIN_SWING * peak:
        raise UnusableRecordingError("silent: nothing but a constant offset")
    response = trim_response(samples / np.float32(peak))
    energy = float(np.square(response, dtype=np.float64).sum())
    # The direct sound alone changes nothing but the level.
    tail = float(np.square(response[_DIRECT_SOUND:], dtype=np.float64).sum())
    if tail < _DECAYED * energy:
        raise UnusableRecordingError("no reverberation: nothing follows the direct sound")
    scale = 1.0 / np.sqrt(energy)
    return EncodedRecording(iter([response * np.float32(scale)]), scale / peak)


_ENCODER = RecordingEncoder("room responses", "2", _encode)
