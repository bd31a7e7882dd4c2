"""Estimated times of words: within the detected speech, and never across a pause."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megaasr.transcribe.chunking import Chunk, loud_frames
from megaasr.transcribe.word_times import estimate_times, interpolate_text

RATE = 16_000
FRAME_S = 0.032


def chunk(*spans: tuple[float, float], length_s: float = 20.0, start_s: float = 0.0) -> Chunk:
    """A chunk with speech in these spans, by the detector."""
    samples = np.zeros(round(length_s * RATE), np.float32)
    speech = np.full(-(-len(samples) // 512), 0.01, np.float32)
    for start, end in spans:
        speech[round(start / FRAME_S) : round(end / FRAME_S)] = 0.9
    return Chunk(round(start_s * RATE), samples, speech)


def test_a_pause_lies_between_two_sentences_and_not_where_the_lengths_put_it() -> None:
    # The first sentence is spoken slowly: by its characters it would end within the second span.
    words = [
        "Come",
        "here",
        "now.",
        "Nobody",
        "has",
        "seen",
        "the",
        "old",
        "lighthouse",
        "keeper",
        "since.",
    ]
    times = estimate_times(words, chunk((1.0, 3.0), (8.0, 11.0)))
    assert times[0][0] == pytest.approx(1.0, abs=0.05)
    assert times[2][1] == pytest.approx(3.0, abs=0.05)
    assert times[3][0] == pytest.approx(8.0, abs=0.05)
    assert times[-1][1] == pytest.approx(11.0, abs=0.05)


def test_a_noise_that_was_taken_for_speech_gets_no_words() -> None:
    times = estimate_times(
        ["Nobody", "has", "seen", "him", "since."], chunk((0.5, 0.6), (9.0, 11.0))
    )
    assert times[0][0] == pytest.approx(9.0, abs=0.05)


def test_speech_that_the_detector_hardly_hears_is_not_squeezed_into_what_it_hears() -> None:
    quiet = chunk(length_s=20.0)
    assert quiet.speech is not None
    quiet.speech[round(10 / FRAME_S) : round(13 / FRAME_S)] = 0.2
    quiet.speech[round(11 / FRAME_S) : round(11.1 / FRAME_S)] = 0.8
    times = estimate_times(
        ["Nobody", "has", "seen", "the", "old", "lighthouse", "keeper", "since."], quiet
    )
    assert times[0][0] == pytest.approx(10.0, abs=0.05)
    assert times[-1][1] == pytest.approx(13.0, abs=0.05)
    never = chunk(length_s=4.0)
    assert never.speech is not None
    never.speech[40:60] = 0.04  # the best evidence there is
    times = estimate_times(["Nobody."], never)
    assert (times[0][0], times[0][1]) == pytest.approx((40 * FRAME_S, 60 * FRAME_S))


def test_punctuation_that_is_a_word_of_its_own_does_not_follow_a_pause() -> None:
    words = list("我看见他了。你呢？")
    times = estimate_times(words, chunk((1.0, 2.6), (6.0, 7.4)))
    assert times[words.index("。")][1] <= 2.65
    assert times[words.index("你")][0] == pytest.approx(6.0, abs=0.05)


def test_without_speech_detection_the_loud_part_counts() -> None:
    samples = np.zeros(10 * RATE, np.float32)
    tone = 0.3 * np.sin(2 * np.pi * 200 * np.arange(2 * RATE) / RATE)
    samples[6 * RATE : 8 * RATE] = tone
    samples += np.random.default_rng(1).normal(0, 1e-3, len(samples)).astype(np.float32)
    ((start, _), (_, end)) = estimate_times(["one", "two"], Chunk(RATE, samples))
    assert (start, end) == pytest.approx((7.0, 9.0), abs=0.07)
    assert loud_frames(np.ones(100, np.float32)).tolist() == [True]
    assert loud_frames(np.zeros(16_000, np.float32)).all()


def test_a_text_without_words_gets_words_with_times_and_no_confidence() -> None:
    spoken = chunk((4.0, 6.0), start_s=30.0)
    words = interpolate_text("Good morning.", "en", spoken)
    assert [word.text for word in words] == ["Good", "morning."]
    assert words[0].start == pytest.approx(34.0, abs=0.05)
    assert words[-1].end == pytest.approx(36.0, abs=0.05)
    assert {word.confidence for word in words} == {None}
    thai = interpolate_text("กำลัง ดี", "th", spoken)
    assert [word.text for word in thai] == ["กำ", "ลั", "ง", "ดี"]


@settings(max_examples=60)
@given(
    texts=st.lists(st.text(alphabet="ab.,漢", min_size=1, max_size=12), min_size=1, max_size=40),
    frames=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=200),
    start_s=st.integers(0, 100),
)
def test_times_are_in_order_and_within_the_chunk(
    texts: list[str], frames: list[float], start_s: int
) -> None:
    samples = np.zeros(len(frames) * 512, np.float32)
    audio = Chunk(start_s * RATE, samples, np.array(frames, np.float32))
    times = [time for word in estimate_times(texts, audio) for time in word]
    assert len(times) == 2 * len(texts)
    assert times == sorted(times)
    assert round(audio.start_s, 3) <= times[0] <= times[-1] <= round(audio.end_s, 3)
