"""One transcript for each channel of a recording, without what channels hear of each other.

A call with a speaker on each side, or an interview with two microphones, is best transcribed
channel by channel. Some of each voice is heard on the other channel, too (bleed), so that its
words would be told twice. A phrase is bleed if three things come together: its words resemble what
another channel hears at the same time, its level follows that channel's, and that channel is
louder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from megaasr.records import Segment, Transcript
from megaasr.text.languages import join_texts
from megaasr.text.normalize import tokens
from megaasr.transcribe.levels import LEVEL_FRAME_S

MIN_SIMILARITY = 0.4
"""Smallest share of a phrase's words that the other channel hears in the same order."""
MIN_CORRELATION = 0.85
"""Smallest correlation of the levels, in dB, of bleed and its source."""
MIN_LOUDER_DB = 3.0
"""The source is louder than its bleed by at least this much."""
SAME_SOUND_CORRELATION = 0.95
"""Channels that are equally loud hold the same sound if their levels correlate as much; the first
of them keeps the words."""

_SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！")
_PHRASE_PAUSE_S = 0.5
_TIME_SLACK_S = 1.0  # words' times are estimates
_FLOOR = 1e-9  # -90 dBFS
_MIN_FRAMES = 4
_ACTIVE_RANGE_DB = 30.0
_MOST = 0.6  # of the frames with sound


@dataclass(frozen=True, slots=True)
class ChannelTranscript:
    """The transcript of one channel with all that it heard.

    Attributes:
        transcript: the transcript; its `channel` is set.
        powers: mean square of each frame of 0.1 s of the channel.
    """

    transcript: Transcript
    powers: Sequence[float]


def channel_names(count: int) -> tuple[str, ...]:
    """Return the names of the channels of a recording."""
    if count == 2:
        return ("left", "right")
    return tuple(f"channel{number}" for number in range(1, count + 1))


def name_channels(
    transcripts: Sequence[Transcript], powers: Sequence[Sequence[float]]
) -> tuple[Transcript, ...]:
    """Return the transcripts of a recording's channels, with their names and without bleed.

    Args:
        transcripts: transcript of each channel.
        powers: mean square of each frame of 0.1 s, for each channel.
    """
    names = channel_names(len(transcripts))
    return without_bleed(
        [
            ChannelTranscript(replace(transcript, channel=name), of_frames)
            for transcript, name, of_frames in zip(transcripts, names, powers, strict=True)
        ]
    )


def without_bleed(channels: Sequence[ChannelTranscript]) -> tuple[Transcript, ...]:
    """Return the transcripts of all channels, without phrases that are another channel's bleed.

    A segment that loses words has the flag `bleed_removed`.
    """
    words = [_words(channel.transcript) for channel in channels]
    transcripts = []
    for index, channel in enumerate(channels):
        bleed = {
            (word.segment, word.index)
            for phrase in _phrases(words[index])
            for other in range(len(channels))
            if other != index
            and _is_bleed(
                phrase,
                channel.powers,
                words[other],
                channels[other].powers,
                keeps_same_sound=index < other,
            )
            for word in phrase
        }
        transcripts.append(_without_words(channel.transcript, bleed))
    return tuple(transcripts)


@dataclass(frozen=True, slots=True)
class _TimedWord:
    """A word with its position in a transcript.

    Attributes:
        segment, index: position of its segment, and its own in the segment.
        key: the word as it is compared.
        start, end: times in seconds from the start of the recording.
        ends_sentence: whether a sentence ends with it.
    """

    segment: int
    index: int
    key: str
    start: float
    end: float
    ends_sentence: bool


def _words(transcript: Transcript) -> list[_TimedWord]:
    """Return the words of a transcript that have times, normalised for comparison."""
    return [
        _TimedWord(
            segment=segment_index,
            index=index,
            key="".join(tokens(word.text, segment.language, "basic")),
            start=word.start,
            end=word.end,
            ends_sentence=word.text.endswith(_SENTENCE_ENDS),
        )
        for segment_index, segment in enumerate(transcript.segments)
        for index, word in enumerate(segment.words)
        if word.start is not None and word.end is not None
    ]


def _phrases(words: Sequence[_TimedWord]) -> Iterator[list[_TimedWord]]:
    """Divide words into phrases: at the ends of sentences and in pauses."""
    phrase: list[_TimedWord] = []
    for word in words:
        if phrase and (phrase[-1].ends_sentence or word.start - phrase[-1].end >= _PHRASE_PAUSE_S):
            yield phrase
            phrase = []
        phrase.append(word)
    if phrase:
        yield phrase


def _is_bleed(
    phrase: Sequence[_TimedWord],
    powers: Sequence[float],
    other_words: Sequence[_TimedWord],
    other_powers: Sequence[float],
    *,
    keeps_same_sound: bool,
) -> bool:
    """Return whether a phrase is what its channel hears of another.

    Args:
        phrase: consecutive words of a channel.
        powers: mean square of each frame of the channel.
        other_words: all words of the other channel.
        other_powers: mean square of each frame of the other channel.
        keeps_same_sound: whether the phrase stays if both channels hold the same sound.
    """
    start, end = phrase[0].start, phrase[-1].end
    meanwhile = [
        word.key
        for word in other_words
        if word.end > start - _TIME_SLACK_S and word.start < end + _TIME_SLACK_S
    ]
    matcher = SequenceMatcher(a=[word.key for word in phrase], b=meanwhile, autojunk=False)
    equal = sum(block.size for block in matcher.get_matching_blocks())
    if equal < MIN_SIMILARITY * len(phrase):
        return False
    levels, other_levels = _levels(powers, start, end), _levels(other_powers, start, end)
    length = min(len(levels), len(other_levels))
    levels, other_levels = levels[:length], other_levels[:length]
    loudest = np.maximum(levels, other_levels)
    active = loudest > loudest.max(initial=-np.inf) - _ACTIVE_RANGE_DB
    louder_db = (other_levels - levels)[active]
    if np.mean(louder_db >= MIN_LOUDER_DB) > _MOST:
        # Words' times are estimates, so that speech of this channel may be among the frames.
        quiet = other_levels - levels >= MIN_LOUDER_DB
        return _correlation(levels[quiet], other_levels[quiet]) >= MIN_CORRELATION
    same_sound = np.mean(np.abs(louder_db) < MIN_LOUDER_DB) > _MOST
    correlation = _correlation(levels, other_levels)
    return bool(same_sound) and correlation >= SAME_SOUND_CORRELATION and not keeps_same_sound


def _correlation(levels: NDArray[np.float64], other_levels: NDArray[np.float64]) -> float:
    """Return the correlation of levels in dB; 0 if there are too few, or if they are constant."""
    if len(levels) < _MIN_FRAMES or not levels.std() or not other_levels.std():
        return 0.0
    return float(np.corrcoef(levels, other_levels)[0, 1])


def _levels(powers: Sequence[float], start: float, end: float) -> NDArray[np.float64]:
    """Return the levels in dB of the frames between two times in seconds."""
    frames = powers[max(0, int(start / LEVEL_FRAME_S)) : int(end / LEVEL_FRAME_S) + 1]
    return 10 * np.log10(np.asarray(frames) + _FLOOR)


def _without_words(transcript: Transcript, indices: set[tuple[int, int]]) -> Transcript:
    """Return a transcript without some words, given by segment and index."""
    if not indices:
        return transcript
    segments = [
        _shortened(
            segment, [i for i in range(len(segment.words)) if (segment_index, i) not in indices]
        )
        for segment_index, segment in enumerate(transcript.segments)
    ]
    text = join_texts((segment.text, segment.language) for segment in segments)
    reason = None if text else "all of its words are heard from another channel"
    return replace(transcript, text=text, segments=tuple(segments), reason=reason)


def _shortened(segment: Segment, kept: Sequence[int]) -> Segment:
    """Return a segment with only these of its words, given by index in ascending order."""
    if len(kept) == len(segment.words):
        return segment
    words = [segment.words[index] for index in kept]
    # A span that lost words is no longer what was guessed.
    spans = [
        replace(span, first_word=kept.index(span.first_word), last_word=kept.index(span.last_word))
        for span in segment.unintelligible
        if all(index in kept for index in range(span.first_word, span.last_word + 1))
    ]
    times = [time for word in words for time in (word.start, word.end) if time is not None]
    return replace(
        segment,
        text=join_texts((word.text, segment.language) for word in words),
        words=tuple(words),
        start=min(times, default=segment.start),
        end=max(times, default=segment.end),
        flags=(*segment.flags, "bleed_removed"),
        unintelligible=tuple(spans),
    )
