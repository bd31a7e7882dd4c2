"""One input of any kind as a stream of 16 kHz samples."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.conditioning import without_low_frequencies
from megaasr.audio.decoding import source_format
from megaasr.audio.files import blocks, from_array, resample
from megaasr.audio.notes import AudioNotes
from megaasr.audio.selection import EVERYTHING, Selection
from megaasr.audio.source import AudioSource
from megaasr.audio.waveform import SAMPLE_RATE, Samples, Waveform
from megaasr.errors import AudioEmptyError, AudioError, UsageError
from megaasr.transcribe.levels import LevelMeter


class SupportsArray(Protocol):
    """A tensor that converts to a numpy array, such as a torch tensor on the CPU."""

    def __array__(self, dtype: Any = None, /) -> NDArray[Any]:
        """Return the values as a numpy array."""
        ...


Audio: TypeAlias = (
    AudioSource
    | Waveform
    | NDArray[np.generic]
    | SupportsArray
    | tuple[NDArray[np.generic] | SupportsArray, int]
    | Mapping[str, Any]
)
"""A path, the bytes of an encoded file, an open binary file, a waveform, an array or tensor (its
rate is given separately), a pair (array, rate), or a dictionary with `array` and `sampling_rate` as
in Hugging Face's datasets."""


class AudioStream:
    """Reads one input in blocks, so that memory does not grow with its length.

    Args:
        audio: the input.
        sample_rate: samples per second of an array; ignored for inputs that state their own rate.
        selection: audio track and channels.

    Attributes:
        name: the path as the caller wrote it, or `<bytes>`, `<stream>`, `<array>`.
        notes: what was unusual about the recording; complete once all blocks have been read.
        meter: the levels of what has been read.
    """

    def __init__(
        self,
        audio: Audio,
        sample_rate: int | None = None,
        selection: Selection = EVERYTHING,
    ) -> None:
        self.name = audio_name(audio)
        self.notes = AudioNotes(self.name)
        self.meter = LevelMeter()
        self._selection = selection
        self._audio, self._sample_rate = _unpacked(audio, sample_rate)

    @property
    def path(self) -> str | None:
        """The path of the file; None for an input that is not a path."""
        return self.name if isinstance(self._audio, str | os.PathLike) else None

    def blocks(self) -> Iterator[Samples]:
        """Yield consecutive parts of the audio, float32 of shape [time], 16 kHz mono.

        Raises:
            AudioError: the input cannot be read, perhaps after some blocks, or holds no sample.
            UsageError: the input is an array and its sample rate is missing.
        """
        empty = True
        try:
            conditioned = without_low_frequencies(self._decoded(), self.notes)
            for block in self.meter.measured(conditioned):
                empty = empty and not len(block)
                yield block
        except OSError as error:
            if isinstance(error, AudioError):
                raise
            reason = f"cannot be read: {error.strerror or error}"
            raise AudioError(self.name, reason) from error
        if empty:
            raise AudioEmptyError(self.name, "contains no samples; record it again")

    def _decoded(self) -> Iterator[Samples]:
        if isinstance(self._audio, np.ndarray):
            if self._sample_rate is None:
                raise UsageError("an array needs its sample_rate, in samples per second")
            waveform = from_array(
                self._audio,
                self._sample_rate,
                to_rate=SAMPLE_RATE,
                channels=self._selection.channels,
            )
            return iter([waveform.samples])
        if isinstance(self._audio, Waveform):
            samples, rate = self._audio.samples, self._audio.sample_rate
            return iter([samples if rate == SAMPLE_RATE else resample(samples, rate, SAMPLE_RATE)])
        return blocks(self._audio, selection=self._selection, notes=self.notes)


def channel_streams(
    audio: Audio, sample_rate: int | None = None, track: int | None = None
) -> list[AudioStream]:
    """Return the channels of one input as streams.

    Args:
        audio: the input; an open file is read to its end.
        sample_rate: samples per second of an array.
        track: number of the audio track, from 1 on; None selects as `Selection` does.

    Raises:
        AudioError: the input cannot be decoded, or has no such track.
    """
    source, rate = _unpacked(audio, sample_rate)
    name = audio_name(audio)
    if isinstance(source, np.ndarray):
        count = source.shape[1] if source.ndim == 2 else 1
    elif isinstance(source, Waveform):
        count = 1
    else:
        if not isinstance(source, str | os.PathLike | bytes | bytearray | memoryview):
            source = source.read()  # once for all channels
        count, _ = source_format(source, track)
    streams = [
        AudioStream(source, rate, Selection(track, number)) for number in range(1, count + 1)
    ]
    for stream in streams:
        stream.name = name
    return streams


def as_list(audio: Audio | Sequence[Audio]) -> Sequence[Audio] | None:
    """Return the recordings of a list or tuple; None for a single input.

    Raises:
        UsageError: the list contains a number, as if it were an array and its rate.
    """
    if not isinstance(audio, list | tuple) or is_array_with_rate(audio):
        return None
    recordings = cast("Sequence[Audio]", audio)
    if any(isinstance(item, int | float) for item in recordings):
        raise UsageError("a rate belongs to an array: (array, rate), or sample_rate=…")
    return recordings


def is_array_with_rate(audio: object) -> TypeGuard[tuple[NDArray[np.generic], int]]:
    """Return whether an object is a pair of an array or tensor and its sample rate."""
    return (
        isinstance(audio, tuple)
        and len(audio) == 2
        and hasattr(audio[0], "__array__")
        and isinstance(audio[1], int | np.integer)
    )


def _unpacked(
    audio: Audio, sample_rate: int | None
) -> tuple[AudioSource | Waveform | NDArray[np.generic], int | None]:
    """Return the input without a dictionary, pair or tensor around it, and its sample rate.

    Raises:
        UsageError: a dictionary lacks `array` or `sampling_rate`.
    """
    if isinstance(audio, Mapping):
        if "array" not in audio or "sampling_rate" not in audio:
            raise UsageError(
                "a dictionary needs the keys 'array' and 'sampling_rate'; it has "
                + (", ".join(map(repr, audio)) or "none")
            )
        return np.asarray(audio["array"]), int(audio["sampling_rate"])
    if is_array_with_rate(audio):
        return np.asarray(audio[0]), int(audio[1])
    if isinstance(audio, str | os.PathLike | bytes | bytearray | memoryview | Waveform):
        return audio, sample_rate
    if hasattr(audio, "__array__"):
        return np.asarray(audio), sample_rate
    return cast("AudioSource", audio), sample_rate


def audio_name(audio: Audio) -> str:
    """Return the name of an input in messages: its path, or what kind of input it is."""
    if isinstance(audio, str | os.PathLike):
        return os.fspath(audio)
    if isinstance(audio, bytes | bytearray | memoryview):
        return "<bytes>"
    if isinstance(audio, Waveform | Mapping | tuple) or hasattr(audio, "__array__"):
        return "<array>"
    name = getattr(audio, "name", None)
    return name if isinstance(name, str) else "<stream>"
