"""Speech of other people: built-in synthetic talkers, and folders of recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import UsageError
from megaasr.progress import OnProgress
from megaasr.simulate.babble import TALKERS, at_peak_level, single_talker
from megaasr.simulate.noise_pool import POOL, NoisePool
from megaasr.simulate.sample_cache import RecordingFailure
from megaasr.simulate.streams import stream, stream_key

BUILTIN_TALKER = "builtin:talker-"
"""Prefix of the names of built-in talkers in a draw, before a number from 1 on."""

_SECONDS = 30
_MAX_TRIES = 200


@dataclass(frozen=True)
class TalkerPool:
    """The talkers that can be drawn.

    A pool is cheap to create and to pickle.

    Attributes:
        recorded: recordings of speech, in the same cache as noises; None for the built-in talkers.
    """

    recorded: NoisePool | None = None

    @classmethod
    def from_folders(
        cls,
        paths: Sequence[Path],
        cache: Path | None = None,
        *,
        on_progress: OnProgress = lambda done, total: None,
    ) -> TalkerPool:
        """Return the pool of the recordings in folders or manifests, decoded once and cached.

        See `NoisePool.from_folders` for the names of recordings, and for those that are left out.
        A folder per person makes all persons equally likely. Use other voices than those of the
        clips.

        Args:
            paths: folders, single files of any format, or manifests.
            cache: folder for the decoded samples; None for a folder in the user's cache.
            on_progress: called with the number of decoded recordings and the total number.

        Raises:
            UsageError: a folder does not exist, or has no recordings or no usable ones.
            AudioError: the cache cannot be written.
        """
        return cls(NoisePool.from_folders(paths, cache, on_progress=on_progress))

    @property
    def failures(self) -> tuple[RecordingFailure, ...]:
        """Recordings in the folders that cannot be used, and the reasons."""
        return self.recorded.failures if self.recorded else ()

    def choose(self, rng: np.random.Generator, utterance: str) -> str:
        """Draw the name of a recording or built-in talker other than the clip itself.

        Args:
            rng: random stream.
            utterance: id of the clip; recordings with this name, with or without folders and
                suffix, are not drawn.

        Raises:
            UsageError: every recording is the clip itself.
        """
        if self.recorded is None:
            return f"{BUILTIN_TALKER}{1 + int(rng.integers(len(TALKERS)))}"
        for _ in range(_MAX_TRIES):
            name = self.recorded.choose(POOL, rng)
            if not _same(name, utterance):
                return name
        raise UsageError(
            f"the competing speech of {utterance} must be another recording, and there is no "
            "other; name a folder with more speech (--talkers)"
        )

    def samples(self, name: str) -> NDArray[np.int16]:
        """Return the speech behind a name, a read-only int16 array [time] at 16 kHz.

        Raises:
            UsageError: there is no speech of this name; the draw may have been made with other
                folders.
            RecordError: the cached samples are damaged.
        """
        if name.startswith(BUILTIN_TALKER):
            return builtin_talker(name)
        if self.recorded is None:
            raise UsageError(
                f"the competing speech {name} is a recording: name the folder that holds it "
                "(talkers=, --talkers)"
            )
        return self.recorded.samples(name)

    def sounding_offset(self, name: str, offset: int, rng: np.random.Generator) -> int:
        """Return an offset at which the speech sounds, see `NoisePool.sounding_offset`."""
        if self.recorded is None:
            return offset
        return self.recorded.sounding_offset(name, offset, rng)


@cache
def builtin_talker(name: str) -> NDArray[np.int16]:
    """Return 30 s of a synthetic talker, a read-only int16 array [time] at 16 kHz.

    It is computed once per process from a fixed random stream, and repeats without a seam. Draws
    refer to it by name, so the speech behind a name must not change.

    Args:
        name: `builtin:talker-1` (the lowest voice) to `builtin:talker-5`.

    Raises:
        UsageError: there is no such talker.
    """
    names = [f"{BUILTIN_TALKER}{number}" for number in range(1, len(TALKERS) + 1)]
    if name not in names:
        raise UsageError(f"unknown built-in talker {name}; choose one of {', '.join(names)}")
    rng = stream(stream_key(0, name, 0, "talker"))
    pitch_hz, formant_scale = TALKERS[names.index(name)]
    speech = single_talker(rng, _SECONDS * SAMPLE_RATE, pitch_hz, formant_scale)
    levels = at_peak_level(speech)
    levels.setflags(write=False)  # shared by all callers in this process
    return levels


def _same(name: str, utterance: str) -> bool:
    path, clip = PurePosixPath(name), PurePosixPath(utterance)
    return utterance in {name, path.name, path.stem} or path.stem in {clip.name, clip.stem}
