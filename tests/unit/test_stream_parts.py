"""The parts of a live session: resampling, online detection, endpoints, stable text."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import megaasr.cli
from megaasr.audio import read
from megaasr.audio.files import resample
from megaasr.stream.commitment import Commitment
from megaasr.stream.doubtful_speech import DoubtfulStretch
from megaasr.stream.online_speech_activity import DetectedFrame, OnlineSpeechDetector
from megaasr.stream.resampling import Resampler
from megaasr.stream.utterances import Boundary, Endpointer, LiveUtterance, Onset
from megaasr.transcribe.speech_activity import detect_speech

CLIPS = Path(megaasr.cli.__file__).parent / "demo_clips"
FRAME = 512
FRAMES_PER_S = 31.25


def divided(samples: NDArray[np.float32], lengths: list[int]) -> list[NDArray[np.float32]]:
    bounds = np.cumsum([0, *lengths])
    parts = [samples[a:b] for a, b in pairwise(bounds)]
    return [*parts, samples[bounds[-1] :]]


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_resampling_does_not_depend_on_the_division(rate: int, rng: np.random.Generator) -> None:
    samples = rng.normal(0, 0.1, rate * 2 + 7).astype(np.float32)
    results = []
    for lengths in ([], [1, 2, 3, 500, rate], [160] * 100):
        resampler = Resampler(rate)
        parts = [resampler.add(part) for part in divided(samples, lengths)]
        results.append(np.concatenate([*parts, resampler.finish()]))
    assert all(np.array_equal(result, results[0]) for result in results)
    expected = resample(samples, rate, 16_000)
    assert len(results[0]) == len(expected)
    np.testing.assert_allclose(results[0], expected, atol=1e-5)


@pytest.mark.parametrize("length", [0, 100, 5_000, 16_383, 16_384, 40_000, 100_001])
def test_online_probabilities_are_the_offline_ones(length: int) -> None:
    clip = read(CLIPS / "1-clean.flac").samples
    samples = np.concatenate([np.zeros(8_000, np.float32), clip, clip])[:length]
    expected = detect_speech(samples)
    results = []
    for size in (7_001, 320, 100_000):
        detector = OnlineSpeechDetector()
        frames = [
            frame
            for start in range(0, length, size)
            for frame in detector.add(samples[start : start + size])
        ]
        frames += detector.finish()
        results.append([frame.probability for frame in frames])
        joined = np.concatenate([np.zeros(0, np.float32), *(f.samples for f in frames)])
        assert np.array_equal(joined, samples)
    assert results[0] == results[1] == results[2]
    np.testing.assert_allclose(np.array(results[0], np.float32), expected, atol=1e-4)


def frames_of(pattern: list[tuple[float, float]]) -> list[DetectedFrame]:
    """Return frames of noise for (seconds, probability of speech)."""
    rng = np.random.default_rng(1)
    return [
        DetectedFrame((0.3 * max(p, 0.01) * rng.standard_normal(FRAME)).astype(np.float32), p)
        for seconds, p in pattern
        for _ in range(round(seconds * FRAMES_PER_S))
    ]


def boundaries(
    pattern: list[tuple[float, float]], *, longest_s: float = 30.0, end_silence_s: float = 0.6
) -> list[Boundary]:
    endpointer = Endpointer(end_silence_s, longest_s, 0.5)
    result = [b for frame in frames_of(pattern) for b in endpointer.add(frame)]
    return [*result, *endpointer.finish()]


def test_an_utterance_begins_before_speech_and_ends_after_silence() -> None:
    onset, utterance = boundaries([(2, 0), (1.6, 0.9), (2, 0)])
    assert isinstance(onset, Onset)
    assert isinstance(utterance, LiveUtterance)
    assert onset.start == utterance.start == pytest.approx(1.5 * 16_000, abs=FRAME)
    assert utterance.speech_end == pytest.approx(3.6 * 16_000, abs=FRAME)
    assert utterance.start + len(utterance.samples) == pytest.approx(4.2 * 16_000, abs=FRAME)
    assert utterance.ending == "silence"


def test_clicks_are_no_speech_and_weak_frames_continue_speech() -> None:
    clicks = boundaries([(1, 0), (0.064, 0.99), (1, 0), (0.064, 0.99), (1, 0)])
    assert [type(boundary) for boundary in clicks] == [DoubtfulStretch] * 2
    assert len(boundaries([(1, 0.9), (2, 0.36), (1, 0.9), (1, 0)])) == 2
    kinds = [type(b) for b in boundaries([(1, 0.9), (2, 0.34), (1, 0.9), (1, 0)])]
    assert kinds == [Onset, LiveUtterance, DoubtfulStretch, Onset, LiveUtterance]


def test_what_may_be_speech_is_given_out_once() -> None:
    (doubtful,) = boundaries([(2, 0), (0.3, 0.05), (1, 0.15), (0.3, 0.05), (2, 0)])
    assert isinstance(doubtful, DoubtfulStretch)
    assert doubtful.start == pytest.approx(1.5 * 16_000, abs=FRAME)
    assert doubtful.speech_end == pytest.approx(3.6 * 16_000, abs=2 * FRAME)
    assert doubtful.start + len(doubtful.samples) == pytest.approx(4.2 * 16_000, abs=2 * FRAME)


def test_noise_that_cannot_be_speech_is_dropped() -> None:
    assert boundaries([(50, 0.01), (50, 0.09), (1, 0)]) == []


def test_doubtful_speech_before_an_utterance_ends_where_the_utterance_begins() -> None:
    doubtful, onset, _ = boundaries([(1, 0), (2, 0.2), (1, 0.9), (1, 0)])
    assert isinstance(doubtful, DoubtfulStretch)
    assert isinstance(onset, Onset)
    assert doubtful.start + len(doubtful.samples) == onset.start


def test_a_long_doubtful_stretch_is_divided() -> None:
    parts = boundaries([(25, 0.2)], longest_s=10.0)
    assert [type(doubtful) for doubtful in parts] == [DoubtfulStretch] * 3
    ends = [s.start + len(s.samples) for s in parts if isinstance(s, DoubtfulStretch)]
    starts = [s.start for s in parts if isinstance(s, DoubtfulStretch)]
    assert starts[1:] == ends[:-1]


@pytest.mark.parametrize("end_silence_s", [0.1, 0.2, 0.4, 0.6])
@pytest.mark.parametrize("pause_s", [0.1, 0.25, 0.5, 1.0])
def test_what_may_be_speech_is_not_decoded_again_with_the_utterance_after_it(
    end_silence_s: float, pause_s: float
) -> None:
    pattern = [(1.3, 0), (0.6, 0.3), (pause_s, 0), (1.3, 0.9), (1, 0)]
    doubtful, onset, utterance = boundaries(pattern, end_silence_s=end_silence_s)
    assert isinstance(doubtful, DoubtfulStretch)
    assert isinstance(onset, Onset)
    assert isinstance(utterance, LiveUtterance)
    assert doubtful.speech_end <= onset.start == utterance.start


def test_a_doubtful_stretch_of_full_length_is_not_decoded_again() -> None:
    first, *others = boundaries([(9.9, 0.3), (2, 0.9), (1, 0)], longest_s=10.0)
    assert isinstance(first, DoubtfulStretch)
    end = first.start + len(first.samples)
    for boundary in others:
        assert boundary.start >= end
        if isinstance(boundary, DoubtfulStretch | LiveUtterance):
            end = boundary.start + len(boundary.samples)


def test_speech_from_the_first_sample_and_to_the_last() -> None:
    onset, utterance = boundaries([(2, 0.9)])
    assert isinstance(onset, Onset)
    assert isinstance(utterance, LiveUtterance)
    assert (onset.start, utterance.ending, len(utterance.samples)) == (0, "finish", 62 * FRAME)


def test_thirty_seconds_without_a_pause_are_divided_where_it_is_quiet() -> None:
    pattern = [(26, 0.9), (0.25, 0.1), (10, 0.9), (1, 0)]
    first_onset, first, second = boundaries(pattern)
    assert isinstance(first_onset, Onset)
    assert isinstance(first, LiveUtterance)
    assert isinstance(second, LiveUtterance)
    assert first.ending == "length"
    assert len(first.samples) == pytest.approx(26.1 * 16_000, abs=2 * FRAME)
    assert second.start == first.start + len(first.samples)
    assert len(second.samples) == pytest.approx(10.8 * 16_000, abs=3 * FRAME)


def test_a_short_silence_is_enough_in_a_long_utterance() -> None:
    assert len(boundaries([(10, 0.9), (0.4, 0), (5, 0.9), (1, 0)])) == 2
    assert len(boundaries([(16, 0.9), (0.4, 0), (5, 0.9), (1, 0)])) == 4


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0.04, 9), st.sampled_from([0.0, 0.4, 0.9])), max_size=12))
def test_utterances_are_bounded_and_never_overlap(pattern: list[tuple[float, float]]) -> None:
    frames = frames_of(pattern)
    stream = np.concatenate([np.zeros(0, np.float32), *(frame.samples for frame in frames)])
    end = 0
    for boundary in boundaries(pattern, longest_s=10.0):
        if isinstance(boundary, LiveUtterance):
            assert boundary.start >= end
            end = boundary.start + len(boundary.samples)
            assert 0 < len(boundary.samples) <= 10 * 16_000
            assert boundary.start < boundary.speech_end <= end
            assert np.array_equal(boundary.samples, stream[boundary.start : end])
    assert end <= len(stream)


def test_agreement_makes_words_stable_but_the_last() -> None:
    commitment = Commitment("agreement")
    commitment.add("there are")
    assert (commitment.is_shown, commitment.stable, commitment.volatile) == (False, "", "")
    commitment.add("there are fifty-six mon")
    assert (commitment.stable, commitment.volatile) == ("there", " are fifty-six mon")
    commitment.add("there are fifty-six monkeys near")
    assert (commitment.stable, commitment.volatile) == (
        "there are fifty-six",
        " monkeys near",
    )


def test_nothing_is_shown_before_two_hypotheses_agree() -> None:
    commitment = Commitment("agreement")
    for text in ("mumble", "thank you", "there are many"):
        commitment.add(text)
        assert not commitment.is_shown
        assert not commitment.volatile
    commitment.add("there is")
    assert commitment.is_shown
    assert (commitment.stable, commitment.volatile) == ("there", " is")


def test_rollback_holds_the_last_words_back() -> None:
    commitment = Commitment("rollback")
    for text in ("one two three four", "one two three four five", "one two three four five six"):
        commitment.add(text)
    assert (commitment.stable, commitment.volatile) == ("one two three", " four five six")


def test_nothing_is_stable_before_the_end_with_final() -> None:
    commitment = Commitment("final")
    for _ in range(4):
        commitment.add("one two three four five six")
    assert (commitment.stable, commitment.volatile) == ("", "one two three four five six")


def test_characters_of_languages_without_spaces_are_words() -> None:
    commitment = Commitment("agreement")
    commitment.add("今天天气很")
    commitment.add("今天天气很好")
    assert (commitment.stable, commitment.volatile) == ("今天天气", "很好")


def test_text_is_not_stable_where_a_division_may_come() -> None:
    commitment = Commitment("agreement")
    commitment.add("one two three")
    commitment.add("one two three four", may_commit=False)
    assert (commitment.stable, commitment.volatile) == ("", "one two three four")


WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=6).map(" ".join)


@given(st.lists(WORDS, max_size=12), st.sampled_from(["agreement", "rollback", "final"]))
def test_stable_text_is_never_taken_back(texts: list[str], policy: str) -> None:
    commitment = Commitment(policy)  # type: ignore[arg-type]
    stable = ""
    for text in texts:
        commitment.add(text)
        assert commitment.stable.startswith(stable)
        stable = commitment.stable
        assert commitment.volatile == "" or text == stable + commitment.volatile
