"""Chunks to decode: those of a recording, and the chunk of a live utterance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from megaasr.audio.conditioning import without_low_frequencies
from megaasr.audio.notes import AudioNote
from megaasr.audio.waveform import Samples
from megaasr.transcribe.audio_stream import AudioStream
from megaasr.transcribe.chunking import Chunk, SpeechDetector, split_into_chunks


@dataclass(frozen=True, slots=True)
class FlaggedChunk:
    """A chunk with what is known of it before it is decoded.

    Attributes:
        chunk: the audio.
        flags: facts about the audio, such as that some of it is missing.
    """

    chunk: Chunk
    flags: tuple[str, ...] = ()


def make_chunk(samples: Samples, offset: int, detector: SpeechDetector | None) -> Chunk:
    """Return a part of a recording as the chunk that would be made of it alone.

    Args:
        samples: the part, float32 of shape [time], 16 kHz mono, 1 sample to 30 s.
        offset: number of samples of the recording before it.
        detector: voice-activity detection; None without it.
    """
    conditioned = np.concatenate(list(without_low_frequencies(iter([samples]))))
    speech = None if detector is None else detector(conditioned)
    return Chunk(offset, conditioned, speech)


def read_chunks(
    stream: AudioStream, detector: SpeechDetector | None, max_chunk_s: float
) -> Iterator[FlaggedChunk]:
    """Yield the chunks of an input, flagged where sound is missing.

    A fault that becomes known when its chunk has been yielded is flagged on the next.

    Args:
        stream: the input.
        detector: voice-activity detection; None without it.
        max_chunk_s: length of the longest chunk in seconds, 2 to 30.

    Raises:
        AudioError: the input cannot be read, perhaps after some chunks, or holds no sample.
    """
    previous: Chunk | None = None
    flagged: set[AudioNote] = set()
    for chunk in split_into_chunks(stream.blocks(), detector, max_chunk_s):
        if previous is not None:
            yield FlaggedChunk(previous, _new_flags(stream.notes, flagged, previous.end_s))
        previous = chunk
    if previous is not None:  # only now is the input known to be complete
        yield FlaggedChunk(previous, _new_flags(stream.notes, flagged, math.inf))


def _new_flags(
    notes: Iterable[AudioNote], flagged: set[AudioNote], end_s: float
) -> tuple[str, ...]:
    """Return the flags of faults before `end_s` that are not in `flagged`, and add them to it."""
    new = [
        note for note in notes if note.flag and note not in flagged and (note.at_s or 0.0) < end_s
    ]
    flagged.update(new)
    return tuple(dict.fromkeys(note.flag for note in new if note.flag))
