"""A transcript for each channel: bleed is told once, and what a speaker says is never removed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from megaasr.records import Segment, Transcript, Word
from megaasr.records.marking import mark_segments
from megaasr.records.segments import UnintelligibleSpan
from megaasr.transcribe.channels import ChannelTranscript, channel_names, without_bleed
from megaasr.transcribe.levels import LEVEL_FRAME_S, LevelMeter

SPEECH_DB, SILENCE_DB = -20.0, -70.0


def transcript(*sentences: tuple[float, str], channel: str = "left") -> Transcript:
    """A transcript of one segment whose words take 0.4 s each, from the given times on."""
    words = [
        Word(text, start + 0.4 * index, start + 0.4 * index + 0.3)
        for start, sentence in sentences
        for index, text in enumerate(sentence.split())
    ]
    text = " ".join(word.text for word in words)
    segment = Segment(0.0, 20.0, text, language="en", words=tuple(words))
    return Transcript(text, "en", 20.0, "m", (segment,), channel=channel)


def powers(*speech: tuple[float, float, float, int]) -> list[float]:
    """Mean squares of 20 s of silence with speech, given as start, end, level in dB and seed."""
    levels = np.full(round(20 / LEVEL_FRAME_S), SILENCE_DB)
    for start, end, level_db, seed in speech:
        frames = slice(round(start / LEVEL_FRAME_S), round(end / LEVEL_FRAME_S))
        length = frames.stop - frames.start
        levels[frames] = level_db + 8 * np.random.default_rng(seed).standard_normal(length)
    return (10 ** (levels / 10)).tolist()


def test_each_keeps_its_own_words() -> None:
    hello, answer = "Hello, who is there?", "It is your brother speaking."
    left = transcript((1.0, hello), (6.0, "Is your brother speaking."))
    right = transcript((1.2, "Hello who's there?"), (6.0, answer), channel="right")
    channels = [
        ChannelTranscript(left, powers((1, 3, -20, 1), (6, 8, -40, 2))),
        ChannelTranscript(right, powers((1, 3, -38, 1), (6, 8, -22, 2))),
    ]
    kept = without_bleed(channels)
    assert [t.text for t in kept] == [hello, answer]
    assert [t.channel for t in kept] == ["left", "right"]
    assert [t.flags for t in kept] == [("bleed_removed",), ("bleed_removed",)]
    assert kept[1].segments[0].start == 6.0


def test_unintelligible_words_are_those_that_are_left() -> None:
    """In the right channel the first five words are bleed, and three others were guessed."""
    right = transcript(
        (1.0, "Hello, who is there now?"), (6.0, "It is glub frotz."), channel="right"
    )
    spans = tuple(
        UnintelligibleSpan(0.0, 1.0, "?", 0.1, first, last)
        for first, last in ((1, 2), (4, 5), (7, 8))
    )
    right = replace(right, segments=(replace(right.segments[0], unintelligible=spans),))
    left = transcript((1.0, "Hello, who is there now?"))
    channels = [
        ChannelTranscript(left, powers((1, 4, -20, 1))),
        ChannelTranscript(right, powers((1, 4, -40, 1), (6, 8, -22, 2))),
    ]
    (segment,) = without_bleed(channels)[1].segments
    assert segment.text == "It is glub frotz."
    (span,) = segment.unintelligible
    assert [word.text for word in segment.words[span.first_word : span.last_word + 1]] == [
        "glub",
        "frotz.",
    ]
    assert mark_segments([segment], "drop")[0].text == "It is"


@pytest.mark.parametrize("other", ["Yes, I think so.", "Yes, I do not think so at all."])
def test_two_speakers_who_say_the_same_are_both_kept(other: str) -> None:
    left, right = transcript((1.0, "Yes, I think so.")), transcript((1.0, other), channel="right")
    channels = [
        ChannelTranscript(left, powers((1, 4, -20, 1))),
        ChannelTranscript(right, powers((1, 4, -26, 2))),
    ]
    assert [t.text for t in without_bleed(channels)] == [left.text, right.text]


def test_a_quieter_speaker_with_other_words_is_kept() -> None:
    left = transcript((1.0, "Where did you put the keys of the car?"))
    right = transcript((1.0, "We are late already, come on, hurry up!"), channel="right")
    channels = [
        ChannelTranscript(left, powers((1, 4, -20, 1))),
        ChannelTranscript(right, powers((1, 4, -40, 1))),
    ]
    assert [t.text for t in without_bleed(channels)] == [left.text, right.text]


def test_the_same_words_later_are_kept() -> None:
    left, right = transcript((1.0, "See you tomorrow.")), transcript((8.0, "See you tomorrow."))
    channels = [
        ChannelTranscript(left, powers((1, 3, -20, 1), (8, 10, -40, 1))),
        ChannelTranscript(right, powers((1, 3, -40, 1), (8, 10, -20, 1))),
    ]
    assert [t.text for t in without_bleed(channels)] == [left.text, right.text]


def test_the_first_of_two_equal_channels_keeps_the_words() -> None:
    left = transcript((1.0, "Both channels are the same."))
    levels = powers((1, 4, -20, 1))
    kept = without_bleed([ChannelTranscript(left, levels)] * 3)
    assert [t.text for t in kept] == [left.text, "", ""]
    assert kept[1].reason == "all of its words are heard from another channel"


def test_a_text_without_word_times_is_kept() -> None:
    words = tuple(Word(text, None, None) for text in ("See", "you."))
    segment = Segment(0.0, 2.0, "See you.", language="en", words=words)
    unknown = Transcript("See you.", "en", 2.0, "m", (segment,))
    kept = without_bleed([ChannelTranscript(unknown, powers((0, 2, -20, 1)))] * 2)
    assert [t.text for t in kept] == ["See you.", "See you."]


def test_names() -> None:
    assert channel_names(1) == ("channel1",)
    assert channel_names(2) == ("left", "right")
    assert channel_names(3) == ("channel1", "channel2", "channel3")


@pytest.mark.parametrize("size", [1, 700, 1_600, 50_000])
def test_levels_do_not_depend_on_blocks(size: int) -> None:
    samples = np.random.default_rng(1).standard_normal(20_000).astype(np.float32)
    meter = LevelMeter()
    blocks = (samples[start : start + size] for start in range(0, len(samples), size))
    passed_on = np.concatenate(list(meter.measured(blocks)))
    assert np.array_equal(passed_on, samples)
    expected = np.mean(samples[:19_200].reshape(12, 1_600).astype(np.float64) ** 2, axis=1)
    assert np.allclose(meter.powers, expected)
