"""The pool of noises: built-in families, the eight fixed noises, and folders of recordings."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.files import blocks
from megaasr.audio.waveform import Samples
from megaasr.errors import UsageError
from megaasr.progress import OnProgress
from megaasr.simulate.families.realisations import realisation
from megaasr.simulate.families.registry import (
    CATEGORIES,
    FAMILIES_VERSION,
    GROUPS,
    SPLITS,
    NoiseSplit,
    is_realisation,
    realisation_names,
)
from megaasr.simulate.noise_generators import BUILTIN, NAMES, builtin_noise
from megaasr.simulate.sample_cache import RecordingFailure, SampleCache
from megaasr.simulate.sample_cache_builder import (
    EncodedRecording,
    RecordingEncoder,
    UnusableRecordingError,
    build_sample_cache,
)

WHITE = "white"
"""Category of the built-in white noise."""

POOL = "pool"
"""Category of all noises of a pool."""

BuiltinNoises = Literal["families", "fixed"]
BUILTIN_KINDS: Final[tuple[BuiltinNoises, ...]] = get_args(BuiltinNoises)

_BLOCK_S = 60.0
# The SNR decides the final level of a noise. Each is therefore cached as loud as possible, so that
# it neither clips (float files, resampling) nor drowns in rounding errors.
_PEAK_LEVEL = 0.9 * 2**15
_SILENT_PEAK = 10 ** (-80 / 20)
_MIN_SAMPLES = 1600
_MIN_SOUND = 10 ** (-80 / 10)
"""Least power of the sound in a recording, without its constant offset, relative to full scale."""
MAX_OFFSET_SHARE = 0.1
"""A constant offset with a larger share of the power is removed: the SNR would be set by it."""
_FRAME = 1600  # 0.1 s
_QUIET = 10 ** (-30 / 10)
"""A part whose power is below this share of the recording's is no place to begin at."""


@dataclass(frozen=True)
class NoisePool:
    """The noises that can be drawn.

    A pool is cheap to create and to pickle, because its files are opened when they are needed.

    Attributes:
        recorded: cached recordings; None for the built-in noises alone.
        selection: the noises that the category `pool` stands for: `pool` for all recordings (all
            built-in noises if there are none), or a single name or category, see `choose`.
        builtin: `families` for many realisations of each built-in category; `fixed` for the eight
            fixed noises of the first test set.
        split: split whose realisations of the families are drawn. Splits have no realisation in
            common. Recordings are not concerned: give the manifest of a split.
    """

    recorded: SampleCache | None = None
    selection: str = POOL
    builtin: BuiltinNoises = "families"
    split: NoiseSplit = "train"

    def __post_init__(self) -> None:
        for field, value, options in (
            ("builtin", self.builtin, BUILTIN_KINDS),
            ("split", self.split, SPLITS),
        ):
            if value not in options:
                raise UsageError(f"{field} must be one of {', '.join(options)}, not {value!r}")

    @classmethod
    def from_folders(
        cls,
        paths: Sequence[Path],
        cache: Path | None = None,
        *,
        builtin: BuiltinNoises = "families",
        split: NoiseSplit = "train",
        on_progress: OnProgress = lambda done, total: None,
    ) -> NoisePool:
        """Return the pool of the recordings in folders, which are decoded once and cached.

        The name of a recording consists of its folder and the path below it
        (`noises/rain/1.wav`); its category is the folder that contains it (`noises/rain`).
        Recordings that cannot be decoded, are shorter than 0.1 s or silent (peak below -80 dBFS, or
        nothing but a constant offset) are left out, see `failures`. Silence at both ends is cut,
        and a constant offset with more than a tenth of the power is removed.

        Args:
            paths: folders or single files, of any format.
            cache: folder for the decoded samples (115 MB per hour); None for a folder in the
                user's cache. The cache is reused as long as the recordings do not change.
            builtin: built-in noises that can be named beside the recordings, and white noise.
            split: split of the built-in noises.
            on_progress: called with the number of decoded recordings and the total number.

        Raises:
            UsageError: a folder does not exist, or has no recordings or no usable ones.
            AudioError: the cache cannot be written.
        """
        recorded = build_sample_cache(paths, cache, _ENCODER, on_progress)
        return cls(recorded, builtin=builtin, split=split)

    def narrowed(self, selection: str) -> NoisePool:
        """Return a copy of this pool whose category `pool` draws from one noise or category.

        Raises:
            UsageError: no noise or category has this name.
        """
        self._candidates(selection)
        return replace(self, selection=selection)

    @property
    def categories(self) -> list[str]:
        """Categories of the recordings; those of the built-in noises if there are none."""
        return list(self._by_category)

    @property
    def failures(self) -> tuple[RecordingFailure, ...]:
        """Recordings in the folders that cannot be used, and the reasons."""
        return self.recorded.index.failures if self.recorded else ()

    @property
    def builtin_identity(self) -> dict[str, str]:
        """What the built-in noises of a data set depend on, for its `recipe.json`."""
        if self.builtin == "fixed":
            return {"builtin": self.selection}
        return {"builtin": self.selection, "split": self.split, "families": FAMILIES_VERSION}

    def choose(self, category: str, rng: np.random.Generator) -> str:
        """Draw a noise: first a category, then one of its recordings, with equal probability.

        Of all built-in families, first a group of categories is drawn, see `registry.GROUPS`.

        Args:
            category: `white` (always the built-in noise), `pool` (see `selection`), a category or
                whole folder names from one (`rain`, `noises`), the name of a recording, a
                built-in category (`builtin:babble`, or `babble` if no category of the recordings
                has this name), a realisation of one (`builtin:babble/train-07`), or a fixed noise
                that is no family (`builtin:pink`).
            rng: random stream.

        Returns:
            The name of the noise, for `samples`.

        Raises:
            UsageError: no noise or category has this name.
        """
        if category == WHITE:
            groups = self._builtin_candidates(WHITE)
            if self.builtin == "fixed":
                return groups[0][0]  # no number of the stream is used
        else:
            groups = self._candidates(self.selection if category == POOL else category)
        group = groups[int(rng.integers(len(groups)))]
        return group[int(rng.integers(len(group)))]

    def samples(self, name: str) -> NDArray[np.int16]:
        """Return a noise by name, a read-only int16 array [time] at 16 kHz.

        Raises:
            UsageError: no noise has this name; the draw may have been made with other folders.
            RecordError: the cached samples are damaged.
        """
        if name.startswith(BUILTIN):
            is_fixed = name.removeprefix(BUILTIN) in NAMES
            return builtin_noise(name.removeprefix(BUILTIN)) if is_fixed else realisation(name)
        if self.recorded is None:
            raise UsageError(
                f"the noise {name} is a recording: name the folder that holds it (noise=, --noise)"
            )
        return self.recorded.samples(name)

    def sounding_offset(self, name: str, offset: int, rng: np.random.Generator) -> int:
        """Return an offset at which the noise sounds: the given one, or another if it is quiet.

        Recordings of single sounds are silent for most of their length, and speech mixed with
        their pauses would stay clean. The noise sounds at an offset if the power of the 0.1 s that
        follow is within 30 dB of that of the whole recording. The built-in noises sound everywhere.

        Args:
            name: name of the noise.
            offset: first sample, 0 to the length of the noise.
            rng: random stream, from which another offset is drawn if necessary.

        Raises:
            UsageError: no noise has this name.
            RecordError: the cached samples are damaged.
        """
        if name.removeprefix(BUILTIN) in NAMES and name.startswith(BUILTIN):
            return offset  # the fixed noises sound everywhere
        powers = self._powers(name)
        least = _QUIET * float(powers.mean())
        samples = self.samples(name)
        following = samples[offset : offset + _FRAME]
        if len(following) < _FRAME:
            following = samples.take(range(offset, offset + _FRAME), mode="wrap")
        if float(_frame_powers(following)[0]) >= least:
            return offset
        sounding = np.flatnonzero(powers >= least)
        return _FRAME * int(sounding[int(rng.integers(len(sounding)))])

    def _powers(self, name: str) -> NDArray[np.float64]:
        """Return the power of every 0.1 s of a noise, which is computed once per process."""
        if name not in self._known_powers:
            self._known_powers[name] = _frame_powers(self.samples(name))
        return self._known_powers[name]

    @cached_property
    def _known_powers(self) -> dict[str, NDArray[np.float64]]:
        return {}

    @cached_property
    def _by_category(self) -> dict[str, list[str]]:
        if self.recorded is None:
            categories = NAMES if self.builtin == "fixed" else CATEGORIES
            return {name: self._builtin_candidates(name)[0] for name in categories}
        groups: dict[str, list[str]] = {}
        for recording in self.recorded.index.recordings:
            groups.setdefault(recording.category, []).append(recording.name)
        return dict(sorted(groups.items()))

    def _candidates(self, category: str) -> list[list[str]]:
        """Return the groups of names that a category draws from."""
        if category == POOL:
            if self.recorded is None and self.builtin == "families":
                return [[n for name in group for n in self._by_category[name]] for group in GROUPS]
            return list(self._by_category.values())
        if self.recorded is not None and category in self.recorded:
            return [[category]]
        part = f"/{category.strip('/')}/"
        if groups := [names for key, names in self._by_category.items() if part in f"/{key}/"]:
            return groups
        if groups := self._builtin_candidates(category.removeprefix(BUILTIN)):
            return groups
        names = NAMES if self.builtin == "fixed" else CATEGORIES
        available = [*self._by_category, *(BUILTIN + name for name in names)]
        near = difflib.get_close_matches(category, available, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(available[:20])}"
        if self.builtin == "fixed" and category in CATEGORIES:
            hint = (
                f"{category} is a family, and this pool has the eight fixed noises; allow the "
                "families (builtin='families', in a recipe builtin_noises), or give recordings of "
                "this category"
            )
        raise UsageError(f"no noise or category is called {category}; {hint}")

    def _builtin_candidates(self, name: str) -> list[list[str]]:
        """Return the built-in noises that a name without its prefix stands for, as one group."""
        if self.builtin == "families" and name in CATEGORIES:
            return [realisation_names(name, self.split)]
        if name in NAMES or is_realisation(BUILTIN + name):
            return [[BUILTIN + name]]
        return []

    def __getstate__(self) -> dict[str, Any]:
        # Without the cached properties: another process opens the files itself.
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _encode(path: Path) -> EncodedRecording:
    """Decode a noise for the cache; one longer than a block is decoded twice to save memory."""
    parts = blocks(path, block_s=_BLOCK_S)
    first = next(parts)
    second = next(parts, None)
    extent = _Extent()
    for part in [first] if second is None else chain([first, second], parts):
        extent.add(part)
    offset = extent.require_sound()
    scale = _PEAK_LEVEL / max(extent.high - offset, offset - extent.low)
    decoded = iter([first]) if second is None else blocks(path, block_s=_BLOCK_S)
    levels = (_quantised(part - np.float32(offset), scale) for part in decoded)
    return EncodedRecording(_without_silent_ends(levels), scale)


class _Extent:
    """The extremes, the mean and the power of a recording, block by block."""

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        self._count, self._sum, self._squares = 0, 0.0, 0.0

    def add(self, part: Samples) -> None:
        self.low = min(self.low, float(part.min()))
        self.high = max(self.high, float(part.max()))
        self._count += part.size
        self._sum += float(part.sum(dtype=np.float64))
        self._squares += float(np.square(part, dtype=np.float64).sum())

    def require_sound(self) -> float:
        """Return the constant offset that is to be subtracted, often 0.

        Raises:
            UnusableRecordingError: there is no sound.
        """
        if not math.isfinite(self._squares):
            raise UnusableRecordingError("holds samples that are not numbers")
        if max(self.high, -self.low) < _SILENT_PEAK:
            raise UnusableRecordingError("silent: no sample above -80 dBFS")
        mean, power = self._sum / self._count, self._squares / self._count
        if power - mean**2 < _MIN_SOUND * max(power, 1e-3):
            raise UnusableRecordingError("silent: nothing but a constant offset")
        return mean if mean**2 > MAX_OFFSET_SHARE * power else 0.0


def _frame_powers(samples: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return the power of every 0.1 s without its constant offset; the last part is left out.

    Args:
        samples: at least 0.1 s, int16 of shape [time].
    """
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    # In blocks: a recording may be hours long.
    blocks_of_frames = (frames[start : start + 600] for start in range(0, len(frames), 600))
    return np.concatenate([block.var(axis=1, dtype=np.float64) for block in blocks_of_frames])


def _quantised(samples: Samples, scale: float) -> NDArray[np.int16]:
    return np.asarray(np.rint(samples * np.float32(scale)), np.int16)


def _without_silent_ends(parts: Iterator[NDArray[np.int16]]) -> Iterator[NDArray[np.int16]]:
    """Cut the zeros before the first and after the last non-zero sample.

    Collections pad their clips to equal length; speech mixed with padding would stay clean.
    """
    length = zeros = 0
    for part in parts:
        nonzero = part.nonzero()[0]
        if not nonzero.size:
            zeros += part.size
            continue
        start, end = int(nonzero[0]), int(nonzero[-1]) + 1
        if length:
            length += zeros
            while zeros:  # block by block: a recording may be silent for hours
                count = min(zeros, part.size)
                yield np.zeros(count, np.int16)
                zeros -= count
            start = 0
        yield part[start:end]
        length += end - start
        zeros = part.size - end
    if length < _MIN_SAMPLES:
        raise UnusableRecordingError("shorter than 0.1 s")


_ENCODER = RecordingEncoder("noises", "2", _encode)
