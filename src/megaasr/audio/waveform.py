"""Audio in memory: mono float32 samples and their sample rate.

This module imports only numpy, so that every layer can use its types without loading a decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from megaasr.errors import AudioEmptyError, AudioFormatError, UsageError

SAMPLE_RATE = 16_000
"""Sample rate of the models in Hz."""

MIN_SAMPLE_RATE = 4_000
"""Lowest sample rate of recordings in Hz."""

MAX_SAMPLE_RATE = 192_000
"""Highest sample rate of recordings in Hz."""

Samples: TypeAlias = NDArray[np.float32]
"""Mono audio: a float32 array of shape [time]; full scale is ±1."""

MAX_MAGNITUDE = 1e12
"""Largest magnitude of a valid sample. Integer samples stored unscaled in a float file reach
2**31; values far above that are corrupt, and would overflow in the resampler."""


class AudioWarning(UserWarning):
    """A recording is unusual in a way that its user should know; the message names the file."""


class AudioTruncatedWarning(AudioWarning):
    """Only part of a damaged or truncated file could be decoded; that part was returned.

    The message names the file, how much was decoded, and how the missing part may be recovered.
    `warnings.simplefilter("error", AudioTruncatedWarning)` turns the warning into an error.
    """


@dataclass(frozen=True, slots=True, eq=False)
class Waveform:
    """Mono audio of at least one sample; every sample is a finite number.

    Attributes:
        samples: float32 array [time], at least one sample. Full scale is ±1; audio from float
            files may exceed it.
        sample_rate: samples per second, above 0.

    Raises:
        UsageError: `samples` is not a one-dimensional float32 array, or `sample_rate` is not a
            positive int.
        AudioEmptyError: there are no samples.
        AudioFormatError: a sample is NaN, infinite, or above 1e12 in magnitude.
    """

    samples: Samples
    sample_rate: int

    def __post_init__(self) -> None:
        require_mono_float32(self.samples)
        if isinstance(self.sample_rate, bool) or not isinstance(self.sample_rate, int):
            raise UsageError(f"sample_rate must be an int (Hz), got {self.sample_rate!r}")
        if self.sample_rate <= 0:
            raise UsageError(f"sample_rate must be above 0 Hz, got {self.sample_rate}")
        if not self.samples.size:
            raise AudioEmptyError("<array>", "no samples; a waveform needs at least one")
        require_finite(self.samples, self.sample_rate, "<array>")

    @property
    def duration_s(self) -> float:
        """Length in seconds, above 0."""
        return self.samples.size / self.sample_rate


def require_mono_float32(samples: object) -> None:
    """Check that `samples` is a float32 array of shape [time].

    Raises:
        UsageError: it is not; the message names `from_array`, which converts other arrays.
    """
    if isinstance(samples, np.ndarray) and samples.dtype == np.float32 and samples.ndim == 1:
        return
    received = (
        f"{samples.dtype} {list(samples.shape)}"
        if isinstance(samples, np.ndarray)
        else type(samples).__name__
    )
    raise UsageError(
        f"samples must be a float32 numpy array of shape [time], got {received}; "
        "megaasr.audio.from_array converts other arrays"
    )


def require_finite(
    samples: NDArray[np.floating[Any]], sample_rate: int, label: str, *, offset: int = 0
) -> None:
    """Check that all samples are finite numbers of at most 1e12 in magnitude.

    Args:
        samples: float array [time].
        sample_rate: samples per second, to convert an index to a time.
        label: name of the recording, for the error message.
        offset: number of samples of the recording that precede `samples`.

    Raises:
        AudioFormatError: a sample is NaN, infinite or above 1e12; the message says at which time.
    """
    # Avoids a copy of the samples: NaN makes both extremes NaN, and comparisons with NaN are false.
    if not samples.size or (samples.max() <= MAX_MAGNITUDE and samples.min() >= -MAX_MAGNITUDE):
        return
    invalid = ~(np.abs(samples) <= MAX_MAGNITUDE)
    first = int(np.argmax(invalid))
    raise AudioFormatError(
        label,
        f"the sample at {(offset + first) / sample_rate:.3f} s is {samples[first]}, not a level "
        "of sound; the file was written wrongly, export it again",
    )
