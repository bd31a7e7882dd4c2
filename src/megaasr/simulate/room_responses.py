"""Measured room responses from a folder, made ready for convolution once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.files import blocks
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.progress import OnProgress
from megaasr.simulate.primitives.primitive import Floats
from megaasr.simulate.sample_store import Failure, SampleStore
from megaasr.simulate.store_building import (
    Encoded,
    Encoding,
    UnusableRecordingError,
    build_store,
)

_LONGEST_FILE_S = 30.0
_LONGEST_S = 4.0
_FRAME = SAMPLE_RATE // 100  # 10 ms
_FADE = SAMPLE_RATE // 100
# The direct sound begins where a response first comes within this of its peak (-20 dB).
_ONSET = 0.1
_BEFORE_ONSET = 8  # 0.5 ms: the rise of the direct sound, which resampling spreads
_INAUDIBLE = 1e-6  # -60 dB, in power
_ABOVE_FLOOR = 4.0  # 6 dB, in power


@dataclass(frozen=True)
class MeasuredRooms:
    """Room responses that can be drawn. Cheap to make and to pickle: opened when needed.

    Attributes:
        recorded: the stored responses.
    """

    recorded: SampleStore

    @classmethod
    def from_folders(
        cls,
        given: Sequence[Path],
        store: Path | None = None,
        *,
        on_progress: OnProgress = lambda done, total: None,
    ) -> MeasuredRooms:
        """Return the responses in folders, decoded once and then kept.

        Names are as for noises (`rooms/hall/1.wav`). A response is cut to begin at its direct
        sound and to end where it has decayed by 60 dB, drowns in the noise of the measurement,
        or is 4 s long, whichever comes first; then scaled to unit energy. Channels are averaged
        as everywhere: give one file per microphone. Silent files and those longer than 30 s
        (recordings, not responses) are left out, see `failures`.

        Args:
            given: folders, or single files, of any format.
            store: folder for what is decoded; by default in the user's cache.
            on_progress: called with responses done and responses in all.

        Raises:
            UsageError: a folder does not exist, holds no recordings, or none that can be used.
            AudioError: the store cannot be written.
        """
        return cls(build_store(given, store, _ENCODING, on_progress))

    @property
    def names(self) -> list[str]:
        """The responses' names, sorted."""
        return self.recorded.names

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What was in the folders, but could not be used, and why."""
        return self.recorded.index.failures

    def choose(self, rng: np.random.Generator) -> str:
        """Draw a response's name, each with equal chances."""
        return self.names[int(rng.integers(len(self.names)))]

    def response(self, name: str) -> Floats:
        """Return a response: float32 [time], 16 kHz, from its direct sound on, of energy 1.

        Raises:
            UsageError: there is none of this name; a draw may have been made with other folders.
            RecordError: the stored responses are damaged.
        """
        return self.recorded.samples(name)


def trim_response(samples: Floats) -> Floats:
    """Cut a response to where it sounds, see `MeasuredRooms.from_folders`; level unchanged.

    Args:
        samples: float32 [time] at 16 kHz, not silent.

    Returns:
        float32 [time], at least one sample; its first millisecond holds the direct sound.
    """
    magnitude = np.abs(samples)
    onset = int(np.argmax(magnitude >= _ONSET * magnitude.max()))
    response = samples[max(0, onset - _BEFORE_ONSET) :]
    end = min(_end_of_decay(response), round(_LONGEST_S * SAMPLE_RATE))
    if end >= response.size:
        return response.copy()
    response = response[:end].copy()
    fade = min(_FADE, end // 2)
    if fade:
        response[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return response


def _end_of_decay(response: Floats) -> int:
    """Return how many samples stand above -60 dB and above the noise of the measurement."""
    frames = response.size // _FRAME
    if frames < 20:
        return response.size
    whole = response[: frames * _FRAME].astype(np.float64).reshape(frames, _FRAME)
    power = np.square(whole).mean(axis=1)
    least = _INAUDIBLE * power.max()
    if (floor := _noise_floor(power)) is not None:
        least = max(least, _ABOVE_FLOOR * floor)
    if power[-1] > least:
        return response.size
    return (int((power > least).nonzero()[0][-1]) + 1) * _FRAME


def _noise_floor(power: NDArray[np.float64]) -> float | None:
    """Return the power [frames] that a decay ends in; None if it was cut off while it fell.

    A decay falls as fast at its end as at its beginning; if it does not, there is noise.
    """
    tail = power[1:]  # without the direct sound
    tenth = tail.size // 10
    levels = 10 * np.log10(tail[: 10 * tenth].reshape(10, tenth).mean(axis=1) + 1e-30)
    falls_early, falls_late = levels[0] - levels[3], levels[6] - levels[9]
    if levels[0] - levels[9] < 10 or falls_late > falls_early / 4:
        return None
    return float(power[-tenth:].mean())


def _encode(path: Path) -> Encoded:
    parts = blocks(path, block_s=_LONGEST_FILE_S)
    samples = next(parts)
    if next(parts, None) is not None:
        raise UnusableRecordingError("longer than 30 s: a recording, not a room response")
    peak = float(np.abs(samples).max())
    if peak == 0:
        raise UnusableRecordingError("silent: every sample is zero")
    response = trim_response(samples / np.float32(peak))
    energy = float(np.square(response, dtype=np.float64).sum())
    scale = 1.0 / np.sqrt(energy)
    return Encoded(iter([response * np.float32(scale)]), scale / peak)


_ENCODING = Encoding("room responses", "1", _encode)
