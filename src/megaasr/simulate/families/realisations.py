"""Realisations of noises: computed once per machine, and mapped from the user's cache.

noise-families-VERSION/CATEGORY/SPLIT-NN.int16     samples at 16 kHz, then their hash (16 bytes)

A file appears when it is complete. A file that is missing or damaged is computed again; where the
cache cannot be written, a process keeps the samples in its memory. The folder may be deleted at
any time.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megaasr.atomic import atomic_file, remove_leftovers
from megaasr.simulate.families.circular import LENGTH
from megaasr.simulate.families.registry import FAMILIES_VERSION, generate, is_realisation
from megaasr.simulate.noise_generators import BUILTIN
from megaasr.simulate.sample_cache import user_cache_folder

SUFFIX = ".int16"
_HASH_BYTES = 16
_SAMPLE_TYPE = np.dtype("<i2")
_STALE_PART_S = 3600.0
# Each mapped file takes a file descriptor, of which a process often has 1024; in memory, so many
# realisations take 123 MB.
_MAX_OPEN = 192


def realisation(name: str) -> NDArray[np.int16]:
    """Return a realisation of a family as a read-only int16 array [time], 20 s at 16 kHz.

    Args:
        name: name of the realisation, such as `builtin:rain/train-07`.

    Raises:
        UsageError: there is no such realisation.
    """
    return _opened(realisations_folder(), name)


def realisations_folder() -> Path:
    """Return the folder of the cached realisations, in the user's cache."""
    return user_cache_folder() / f"noise-families-{FAMILIES_VERSION}"


@lru_cache(maxsize=_MAX_OPEN)
def _opened(folder: Path, name: str) -> NDArray[np.int16]:
    if not is_realisation(name):
        return generate(name)  # raises the error that lists the names
    path = folder / f"{name.removeprefix(BUILTIN)}{SUFFIX}"
    samples = _mapped(path)
    if samples is None:
        generated = generate(name)
        generated.setflags(write=False)  # shared by all callers in this process
        samples = _written(path, generated)
    return samples


def _mapped(path: Path) -> NDArray[np.int16] | None:
    """Return the samples of a file, mapped; None if it is missing or damaged."""
    try:
        if path.stat().st_size != LENGTH * _SAMPLE_TYPE.itemsize + _HASH_BYTES:
            return None
        content = np.memmap(path, np.uint8, mode="r").view(np.ndarray)
    except OSError:
        return None
    samples = content[:-_HASH_BYTES].view(_SAMPLE_TYPE)
    return samples if _hash(samples) == content[-_HASH_BYTES:].tobytes() else None


def _written(path: Path, samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """Write samples to the cache and return them mapped; as they are if that is impossible.

    Several processes may write the same file: each writes the same bytes under a name of its own.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent, older_than_s=_STALE_PART_S)
        with atomic_file(path, durable=False) as file:
            file.write(samples.astype(_SAMPLE_TYPE, copy=False).tobytes() + _hash(samples))
    except OSError:
        return samples
    mapped = _mapped(path)
    return samples if mapped is None else mapped


def _hash(samples: NDArray[np.int16]) -> bytes:
    content = samples.astype(_SAMPLE_TYPE, copy=False)
    return hashlib.blake2b(content.view(np.uint8).data, digest_size=_HASH_BYTES).digest()
