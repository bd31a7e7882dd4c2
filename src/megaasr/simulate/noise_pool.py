"""Where noises come from: built-in generators, and folders of recordings."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.files import blocks
from megaasr.errors import UsageError
from megaasr.progress import OnProgress
from megaasr.simulate.noise_generators import BUILTIN, NAMES, builtin_noise
from megaasr.simulate.sample_store import Failure, SampleStore
from megaasr.simulate.store_building import (
    Encoded,
    Encoding,
    UnusableRecordingError,
    build_store,
)

WHITE = "white"
POOL = "pool"
_BLOCK_S = 60.0
# The SNR decides how loud a noise becomes; so each is stored as loud as it can be, and neither
# clips (float files, resampling) nor drowns in rounding.
_PEAK_STEPS = 0.9 * 2**15
_SILENT_PEAK = 10 ** (-80 / 20)
_SHORTEST_SAMPLES = 1600


@dataclass(frozen=True)
class NoisePool:
    """The noises that can be drawn. Cheap to make and to pickle: files are opened when needed.

    Attributes:
        recorded: stored recordings; None for the built-in noises only.
        selection: what stands for "pool": "pool" itself (the recordings, or without any all
            built-in noises), or one name or category, see `choose`.
    """

    recorded: SampleStore | None = None
    selection: str = POOL

    @classmethod
    def from_folders(
        cls,
        given: Sequence[Path],
        store: Path | None = None,
        *,
        on_progress: OnProgress = lambda done, total: None,
    ) -> NoisePool:
        """Return the pool of recordings in folders, decoded once and then kept.

        A recording's name is its path from the given folder on (`noises/rain/1.wav`), and its
        category the folder that holds it (`noises/rain`). What cannot be decoded, is shorter
        than 0.1 s or silent (peak below -80 dBFS) is left out, see `failures`. Silence at both
        ends is cut.

        Args:
            given: folders, or single files, of any format.
            store: folder for the decoded samples (115 MB per hour); by default in the user's
                cache. It is used again as long as the recordings do not change.
            on_progress: called with recordings done and recordings in all.

        Raises:
            UsageError: a folder does not exist, holds no recordings, or none that can be used.
            AudioError: the store cannot be written.
        """
        return cls(build_store(given, store, _ENCODING, on_progress))

    def narrowed(self, selection: str) -> NoisePool:
        """Return this pool with one noise or category standing for "pool".

        Raises:
            UsageError: there is none of this name.
        """
        self._candidates(selection)
        return replace(self, selection=selection)

    @property
    def categories(self) -> list[str]:
        """The recordings' categories, sorted; without any, the names of the built-in noises."""
        return list(self._by_category)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What was in the folders, but could not be used, and why."""
        return self.recorded.index.failures if self.recorded else ()

    def choose(self, category: str, rng: np.random.Generator) -> str:
        """Draw a noise: first a category, then one of its recordings, each with equal chances.

        Args:
            category: "white" (always the built-in one), "pool" (see `selection`), a category or
                a part of one made of whole folders (`rain`, `noises`), a recording's name, or a
                built-in noise (`builtin:babble`, or `babble` if no category is called so).
            rng: the random stream.

        Returns:
            The name by which `samples` knows it.

        Raises:
            UsageError: there is no such noise or category.
        """
        if category == WHITE:
            return BUILTIN + WHITE
        groups = self._candidates(self.selection if category == POOL else category)
        group = groups[int(rng.integers(len(groups)))]
        return group[int(rng.integers(len(group)))]

    def samples(self, name: str) -> NDArray[np.int16]:
        """Return a noise by name: int16 [time], 16 kHz, read-only.

        Raises:
            UsageError: there is none of this name; a draw may have been made with other folders.
            RecordError: the stored samples are damaged.
        """
        if name.startswith(BUILTIN):
            return builtin_noise(name.removeprefix(BUILTIN))
        if self.recorded is None:
            raise UsageError(
                f"the noise {name} is a recording: name the folder that holds it (noise=, --noise)"
            )
        return self.recorded.samples(name)

    @cached_property
    def _by_category(self) -> dict[str, list[str]]:
        if self.recorded is None:
            return {name: [BUILTIN + name] for name in NAMES}
        groups: dict[str, list[str]] = {}
        for one in self.recorded.index.recordings:
            groups.setdefault(one.category, []).append(one.name)
        return dict(sorted(groups.items()))

    def _candidates(self, wanted: str) -> list[list[str]]:
        """Return the groups of names to draw from."""
        if wanted == POOL:
            return list(self._by_category.values())
        if self.recorded is not None and wanted in self.recorded:
            return [[wanted]]
        part = f"/{wanted.strip('/')}/"
        if found := [names for key, names in self._by_category.items() if part in f"/{key}/"]:
            return found
        if wanted.removeprefix(BUILTIN) in NAMES:
            return [[BUILTIN + wanted.removeprefix(BUILTIN)]]
        known = [*self._by_category, *(BUILTIN + name for name in NAMES)]
        near = difflib.get_close_matches(wanted, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known[:20])}"
        raise UsageError(f"no noise or category is called {wanted}; {hint}")

    def __getstate__(self) -> dict[str, SampleStore | str | None]:
        return {"recorded": self.recorded, "selection": self.selection}


def _encode(path: Path) -> Encoded:
    """Decode a noise for the store; one longer than a block is decoded twice, not held."""
    parts = blocks(path, block_s=_BLOCK_S)
    first = next(parts)
    second = next(parts, None)
    peak = float(np.abs(first).max())
    if second is not None:
        peak = max(float(np.abs(part).max()) for part in chain([first, second], parts))
    if peak < _SILENT_PEAK:
        raise UnusableRecordingError("silent: no sample above -80 dBFS")
    scale = _PEAK_STEPS / peak
    again = iter([first]) if second is None else blocks(path, block_s=_BLOCK_S)
    return Encoded(_without_silent_ends(_steps(part, scale) for part in again), scale)


def _steps(samples: NDArray[np.float32], scale: float) -> NDArray[np.int16]:
    return np.asarray(np.rint(samples * np.float32(scale)), np.int16)


def _without_silent_ends(parts: Iterator[NDArray[np.int16]]) -> Iterator[NDArray[np.int16]]:
    """Leave out zeros before the first and after the last other sample.

    Collections pad their clips to one length; a clip that met such padding would stay clean.
    """
    length = zeros = 0
    for part in parts:
        sounding = part.nonzero()[0]
        if not sounding.size:
            zeros += part.size
            continue
        begin, end = int(sounding[0]), int(sounding[-1]) + 1
        if length:
            length += zeros
            while zeros:  # in pieces: a recording may be silent for hours
                piece = min(zeros, part.size)
                yield np.zeros(piece, np.int16)
                zeros -= piece
            begin = 0
        yield part[begin:end]
        length += end - begin
        zeros = part.size - end
    if length < _SHORTEST_SAMPLES:
        raise UnusableRecordingError("shorter than 0.1 s")


_ENCODING = Encoding("noises", "1", _encode)
