"""Split a stream of audio into chunks of at most 30 s, in pauses, with bounded memory.

The boundaries depend only on the samples, never on how the stream was divided into blocks: every
decision is based on the same 31 s of audio after the previous boundary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.model.interface import MAX_CHUNK_S

VAD_FRAME = 512
"""Samples per frame of voice-activity detection (32 ms at 16 kHz)."""
SPEECH_THRESHOLD = 0.5
"""A frame with at least this probability of speech counts as speech (Silero VAD's default)."""
SILENCE_DBFS = -75.0
"""A chunk whose peak does not exceed this level is silent (5 quantisation steps of 16 bits)."""
MIN_DURATION_S = 0.1
"""A recording shorter than this cannot hold a word; it is not decoded."""
POSSIBLE_SPEECH_THRESHOLD = 0.1
"""Probability of speech, 0..1, from which a frame may be speech: audio around it is decoded."""
NO_SPEECH_THRESHOLD = 0.02
"""A chunk is not decoded if the probability of speech stays below this value in all its frames. No
clip of degraded speech with a severity up to 0.8 stays below it; of more severe ones, one in a
hundred does (`python -m benchmarks.speech_activity corpus/simulated-dev`)."""

_MIN_LAST_CHUNK_S = 1.0
_FRAME_SAMPLES = SAMPLE_RATE // 100  # 10 ms
_GAP_FRAMES = 10  # 100 ms: the shortest quiet gap worth splitting in
_PAUSE_FRAMES = 20  # 200 ms: shorter gaps are often stop consonants inside words
_LONG_PAUSE_FRAMES = 50  # 500 ms: all longer pauses are equally good
_PAUSE_DEPTH_DB = 10.0  # a pause is at least this far below the speech around it
_PAUSE_SLACK = 0.25  # quiet is the lowest quarter, in dB, between noise floor and speech
_TRIM_MARGIN_S = 0.5  # kept around possible speech
_MIN_TRIM_S = 2.0  # less at either end is not worth trimming
_FLOOR_DBFS = -70.0  # level differences below this are meaningless


class SpeechDetector(Protocol):
    """Voice-activity detection, such as `megaasr.transcribe.speech_activity.detect_speech`."""

    def __call__(self, samples: Samples, /) -> NDArray[np.float32]:
        """Return the probability of speech in every frame of 32 ms, float32 of shape [frames]."""
        ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a recording that is short enough for the model.

    Attributes:
        offset: number of samples of the recording before the chunk.
        samples: audio, float32 of shape [time], 16 kHz mono, 1 to 480,000 samples.
        speech: probability of speech in every frame of 32 ms, float32 of shape [frames]; None
            without voice-activity detection.
    """

    offset: int
    samples: Samples
    speech: NDArray[np.float32] | None = None

    @property
    def start_s(self) -> float:
        """Start time in seconds from the beginning of the recording."""
        return self.offset / SAMPLE_RATE

    @property
    def end_s(self) -> float:
        """End time in seconds; exactly the start of the next chunk."""
        return (self.offset + len(self.samples)) / SAMPLE_RATE

    @property
    def speech_probability(self) -> float | None:
        """Highest probability of speech of any frame, 0..1; None without voice-activity
        detection."""
        return None if self.speech is None else float(self.speech.max(initial=0.0))

    @property
    def speech_s(self) -> float | None:
        """Seconds of detected speech; None without voice-activity detection."""
        if self.speech is None:
            return None
        return int((self.speech >= SPEECH_THRESHOLD).sum()) * VAD_FRAME / SAMPLE_RATE

    def trimmed(self) -> Samples:
        """Return the samples without long non-speech at either end.

        The models were trained on speech; they often recognize nothing in a sentence surrounded by
        half a minute of noise. Non-speech of up to 2 s stays, and without voice-activity detection
        all of it does.
        """
        start, end = self._trim_bounds()
        return self.samples[start:end]

    @property
    def trimmed_start_s(self) -> float:
        """Start of the trimmed samples, in seconds from the recording's beginning."""
        return self.start_s + self._trim_bounds()[0] / SAMPLE_RATE

    def _trim_bounds(self) -> tuple[int, int]:
        """Return the index of the first of the trimmed samples, and that after the last."""
        count = len(self.samples)
        if self.speech is None:
            return 0, count
        speech_frames = np.flatnonzero(self.speech >= POSSIBLE_SPEECH_THRESHOLD)
        if not len(speech_frames):
            return 0, count
        margin = int(_TRIM_MARGIN_S * SAMPLE_RATE)
        start = max(0, int(speech_frames[0]) * VAD_FRAME - margin)
        end = min(count, (int(speech_frames[-1]) + 1) * VAD_FRAME + margin)
        min_trim = int(_MIN_TRIM_S * SAMPLE_RATE)
        return start if start >= min_trim else 0, end if count - end >= min_trim else count


def split_into_chunks(
    blocks: Iterable[Samples],
    detector: SpeechDetector | None = None,
    max_chunk_s: float = MAX_CHUNK_S,
) -> Iterator[Chunk]:
    """Split a stream of audio into chunks of at most 30 s, or less.

    A recording of up to 30 s is one chunk. A longer one is split in the best pause (see
    `find_pause`) between 15 and 30 s after the previous boundary; only a whole recording can be a
    chunk of less than 1 s. The concatenated chunks equal the stream, sample for sample. At most
    31 s of audio and one block are held in memory. With a smaller `max_chunk_s` it takes the place
    of the 30 s, and half of it that of the 15 s.

    Args:
        blocks: consecutive parts of the audio, float32 of shape [time], 16 kHz mono, of any
            lengths including zero.
        detector: voice-activity detection that finds the pauses; None to find them by level.
        max_chunk_s: length of the longest chunk in seconds, 2 to 30.
    """
    max_length = int(max_chunk_s * SAMPLE_RATE)
    min_length_s = max_chunk_s / 2
    min_last = int(_MIN_LAST_CHUNK_S * SAMPLE_RATE)
    stream = _LookAhead(blocks)
    offset = 0
    while len(window := stream.peek(max_length + min_last)):
        length = len(window)
        speech = None if detector is None else detector(window)
        if length > max_length:
            searched = window[: min(max_length, length - min_last)]
            pause = None
            if speech is not None:
                pause = find_speech_gap(speech, len(searched), min_length_s)
            length = pause or find_pause(searched, min_length_s)
        chunk_speech = None if speech is None else speech[: max(1, length // VAD_FRAME)].copy()
        # A copy, so that a queued chunk does not keep a long block alive.
        yield Chunk(offset, window[:length].copy(), chunk_speech)
        stream.drop(length)
        offset += length


def skip_flags(chunk: Chunk) -> tuple[str, ...]:
    """Return the flags of a chunk that need not be decoded, because it is too short, silent or
    without speech; none for a chunk that must be decoded."""
    if chunk.end_s < MIN_DURATION_S:  # only a whole recording can be this short
        return ("no_speech", "too_short")
    if is_silent(chunk.samples):
        return ("no_speech", "silent")
    probability = chunk.speech_probability
    if probability is not None and probability < NO_SPEECH_THRESHOLD:
        return ("no_speech", "no_speech_detected")
    return ()


def find_speech_gap(
    speech: NDArray[np.float32], length: int, min_length_s: float = MAX_CHUNK_S / 2
) -> int | None:
    """Return the sample index of the middle of the best gap between speech, or None if there is no
    gap.

    The best gap is the longest one of at least 0.2 s that starts `min_length_s` or more after the
    beginning. Gaps of 0.5 s and more count as equally long; ties go to the last one, as in
    `find_pause`.

    Args:
        speech: probability of speech in every frame of 32 ms, float32 of shape [frames].
        length: number of samples to search.
        min_length_s: seconds at the beginning that are not searched.
    """
    first = int(min_length_s * SAMPLE_RATE) // VAD_FRAME + 1
    quiet = speech[first : length // VAD_FRAME] < SPEECH_THRESHOLD
    edges = np.flatnonzero(np.diff(quiet.astype(np.int8), prepend=0, append=0))
    min_frames, max_frames = (
        frames * _FRAME_SAMPLES // VAD_FRAME for frames in (_PAUSE_FRAMES, _LONG_PAUSE_FRAMES)
    )
    gaps = [
        (min(end - start, max_frames), (start + end) // 2)
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        if end - start >= min_frames
    ]
    return (first + max(gaps)[1]) * VAD_FRAME if gaps else None


def find_midpoint_pause(samples: Samples) -> int:
    """Return the index of the quietest sample range of 100 ms in the middle half of the audio.

    Args:
        samples: audio of at least 1 s, float32 of shape [time], 16 kHz mono.
    """
    first = len(samples) // 4
    count = len(samples) // 2 // _FRAME_SAMPLES
    searched = samples[first : first + count * _FRAME_SAMPLES].reshape(count, _FRAME_SAMPLES)
    power = np.square(searched, dtype=np.float64).mean(axis=1)
    gaps = sliding_window_view(power, _GAP_FRAMES).mean(axis=1)
    return first + (int(np.argmin(gaps)) + _GAP_FRAMES // 2) * _FRAME_SAMPLES


def find_pause(samples: Samples, min_length_s: float = MAX_CHUNK_S / 2) -> int:
    """Return the index of the best sample to split at, `min_length_s` or more after the beginning.

    It is the middle of the longest pause of 0.2 s or more. Pauses of 0.5 s and more count as
    equally long; ties go to the last one. Without a pause it is the middle of the quietest 100 ms.

    Args:
        samples: audio that is at least 0.1 s longer than that, float32 of shape [time], 16 kHz
            mono.
        min_length_s: seconds at the beginning that are not searched.
    """
    first = int(min_length_s * SAMPLE_RATE)
    frames = (len(samples) - first) // _FRAME_SAMPLES
    searched = samples[first : first + frames * _FRAME_SAMPLES].reshape(frames, _FRAME_SAMPLES)
    power = np.square(searched, dtype=np.float64).mean(axis=1)
    power = np.maximum(power, 10.0 ** (_FLOOR_DBFS / 10.0))
    gaps = 10.0 * np.log10(sliding_window_view(power, _GAP_FRAMES).mean(axis=1))
    levels = 10.0 * np.log10(power)
    middle = _best_pause(levels, floor_db=float(gaps.min()))
    if middle is None:
        last_quietest = len(gaps) - 1 - int(np.argmin(gaps[::-1]))
        middle = last_quietest + _GAP_FRAMES // 2
    return first + middle * _FRAME_SAMPLES


def is_silent(samples: Samples) -> bool:
    """Return whether the peak does not exceed -75 dBFS (`SILENCE_DBFS`).

    The peak decides, not the RMS level, so that one quiet word in 30 s is not lost. It is measured
    around the middle of the range, so that a constant offset counts as silence.

    Args:
        samples: audio, float32 of shape [time], nominally within -1..1; an empty array is silent.
    """
    if not len(samples):
        return True
    peak = (float(samples.max()) - float(samples.min())) / 2.0
    return bool(peak <= 10.0 ** (SILENCE_DBFS / 20.0))


def loud_frames(samples: Samples) -> NDArray[np.bool_]:
    """Return which frames of 32 ms are louder than the pauses; all of them without clear pauses.

    It stands in for voice-activity detection where that is disabled.

    Args:
        samples: audio, float32 of shape [time], 16 kHz mono, at least one sample.

    Returns:
        bool of shape [frames], including a last frame that is shorter; at least one is True.
    """
    frames = -(-len(samples) // VAD_FRAME)
    padded = np.zeros(frames * VAD_FRAME)
    padded[: len(samples)] = samples
    energy = np.square(padded).reshape(frames, VAD_FRAME).sum(axis=1)
    power = energy / np.minimum(VAD_FRAME, len(samples) - VAD_FRAME * np.arange(frames))
    levels = 10.0 * np.log10(np.maximum(power, 10.0 ** (_FLOOR_DBFS / 10.0)))
    floor_db, speech_db = float(levels.min()), float(np.percentile(levels, 95))
    if speech_db - floor_db < _PAUSE_DEPTH_DB:
        return np.ones(frames, dtype=np.bool_)
    loud = levels > floor_db + _PAUSE_SLACK * (speech_db - floor_db)
    # Weak consonants at either end of a word are not louder than the pause.
    widened = np.convolve(loud, np.ones(3), mode="same") if frames >= 3 else loud
    return np.asarray(widened > 0, dtype=np.bool_)


def _best_pause(levels_db: NDArray[np.float64], floor_db: float) -> int | None:
    """Return the index of the middle frame of the best pause, or None if there is no pause.

    Args:
        levels_db: level of every frame of 10 ms, float64 of shape [frames].
        floor_db: level of the quietest 100 ms.
    """
    speech_db = float(np.percentile(levels_db, 95))
    if speech_db - floor_db < _PAUSE_DEPTH_DB:
        return None
    quiet = levels_db <= floor_db + _PAUSE_SLACK * (speech_db - floor_db)
    edges = np.flatnonzero(np.diff(quiet.astype(np.int8), prepend=0, append=0))
    pauses = [
        (min(end - start, _LONG_PAUSE_FRAMES), (start + end) // 2)
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        if end - start >= _PAUSE_FRAMES
    ]
    return max(pauses)[1] if pauses else None


class _LookAhead:
    """A stream of blocks that is read no further ahead than requested."""

    def __init__(self, blocks: Iterable[Samples]) -> None:
        self._blocks = iter(blocks)
        self._buffer = np.zeros(0, dtype=np.float32)

    def peek(self, count: int) -> Samples:
        """Return the next `count` samples, fewer only at the end of the stream."""
        parts, length = [self._buffer], len(self._buffer)
        while length < count and (block := next(self._blocks, None)) is not None:
            parts.append(np.asarray(block, dtype=np.float32))
            length += len(block)
        if len(parts) > 1:
            self._buffer = np.concatenate(parts)
        return self._buffer[:count]

    def drop(self, count: int) -> None:
        """Discard the next `count` samples."""
        self._buffer = self._buffer[count:]
