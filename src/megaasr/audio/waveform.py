"""One recording in memory: mono float32 samples and their rate.

This module needs numpy only, so that every layer can name the type without loading a decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megaasr.errors import AudioEmptyError, AudioFormatError, UsageError

SAMPLE_RATE = 16_000
"""Samples per second that the model works at."""

LOUDEST_SAMPLE = 1e12
"""Largest magnitude taken for audio. Integer samples kept unscaled in a float file reach 2**31;
what lies far above is not a level but a damaged number, which would overflow in the resampler."""


class AudioTruncatedWarning(UserWarning):
    """Only a part of a damaged or cut-off file could be decoded; that part was returned.

    The message names the file, how much was decoded, and what may save the rest. Turn it into
    an error with `warnings.simplefilter("error", AudioTruncatedWarning)`.
    """


@dataclass(frozen=True, slots=True, eq=False)
class Waveform:
    """Mono audio, never empty, every sample a finite number.

    Attributes:
        samples: float32 [time], at least one; full scale is ±1, float files may exceed it.
        sample_rate: samples per second, above 0.

    Raises:
        UsageError: `samples` is not one-dimensional float32, or `sample_rate` no positive int.
        AudioEmptyError: no samples.
        AudioFormatError: a sample is NaN, infinite, or above 1e12.
    """

    samples: NDArray[np.float32]
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
        UsageError: it is not; the message names `from_array`, which converts.
    """
    if isinstance(samples, np.ndarray) and samples.dtype == np.float32 and samples.ndim == 1:
        return
    got = (
        f"{samples.dtype} {list(samples.shape)}"
        if isinstance(samples, np.ndarray)
        else type(samples).__name__
    )
    raise UsageError(
        f"samples must be a float32 numpy array of shape [time], got {got}; "
        "megaasr.audio.from_array converts other arrays"
    )


def require_finite(
    samples: NDArray[np.floating[Any]], sample_rate: int, label: str, *, offset: int = 0
) -> None:
    """Check that all samples are numbers that can be levels of sound.

    Args:
        samples: float [time].
        sample_rate: samples per second, to turn an index into a time.
        label: the file's name for the message.
        offset: how many samples of the file came before `samples`.

    Raises:
        AudioFormatError: a sample is NaN, infinite or above 1e12; names the first one's time.
    """
    # Without a copy of the samples: NaN makes both NaN, and every comparison with NaN is false.
    if not samples.size or (samples.max() <= LOUDEST_SAMPLE and samples.min() >= -LOUDEST_SAMPLE):
        return
    bad = ~(np.abs(samples) <= LOUDEST_SAMPLE)
    first = int(np.argmax(bad))
    raise AudioFormatError(
        label,
        f"the sample at {(offset + first) / sample_rate:.3f} s is {samples[first]}, not a level "
        "of sound; the file was written wrongly, export it again",
    )
