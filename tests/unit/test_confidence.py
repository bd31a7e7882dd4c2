"""Words of a recognition: probability, calibrated confidence, correctness and times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megaasr.errors import CheckpointError
from megaasr.model.interface import RecognizedWord
from megaasr.model.token_scores import score_words, words_of_tokens
from megaasr.score.word_hits import correct_words
from megaasr.transcribe.chunking import Chunk
from megaasr.transcribe.confidence import (
    CALIBRATION_FILE,
    Calibration,
    expected_calibration_error,
    fit_calibration,
    read_calibration,
)
from megaasr.transcribe.segment_facts import SegmentFacts
from megaasr.transcribe.word_times import interpolate_words


def test_words_carry_the_probability_of_all_their_tokens() -> None:
    token_texts = ["language English", "<asr_text>", "Ket", "tle", " is", " on", "."]
    logprobs = [-9.0, -9.0, -0.1, -0.2, -0.3, -0.4, -0.5]
    spelled = words_of_tokens(token_texts, forced=False)
    assert [word.tokens for word in spelled] == [(2, 3), (4,), (5, 6)]
    words = score_words(spelled, logprobs)
    assert [word.text for word in words] == ["Kettle", "is", "on."]
    assert [round(-np.log(word.probability), 3) for word in words] == [0.3, 0.3, 0.9]


def test_chinese_words_are_characters_with_the_probability_of_all_their_tokens() -> None:
    spelled = words_of_tokens(["<asr_text>", "早", "", "上"], forced=False)
    assert [word.tokens for word in spelled] == [(1,), (2, 3)]  # the last token has the character
    words = score_words(spelled, [0.0, -0.1, -0.2, -0.3])
    assert [word.text for word in words] == ["早", "上"]
    assert -np.log(words[0].probability) == pytest.approx(0.1)
    assert -np.log(words[1].probability) == pytest.approx(0.5)


def test_with_a_forced_language_the_output_is_the_words_alone() -> None:
    words = words_of_tokens(["one", " two"], forced=True)
    assert [word.text for word in words] == ["one", "two"]
    assert words_of_tokens(["no", " marker"], forced=False) == ()
    repeated = ["<asr_text>", "sev", "en", "<asr_text>", "There", " <asr_", "text> is"]
    words = words_of_tokens(repeated, forced=False)
    assert [word.text for word in words] == ["seven", "There", "is"]
    assert score_words((), []) == ()


def test_the_fit_recovers_the_curve_that_generated_the_data() -> None:
    rng = np.random.default_rng(2)
    p = rng.uniform(0.02, 0.999, 20_000)
    true = Calibration(0.5, -0.7)
    correct = rng.random(p.size) < np.array([true(probability) for probability in p])
    fitted = fit_calibration(p.tolist(), correct.tolist())
    assert fitted.slope == pytest.approx(0.5, abs=0.03)
    assert fitted.intercept == pytest.approx(-0.7, abs=0.06)
    before = expected_calibration_error(p, correct)
    after = expected_calibration_error(
        np.array([fitted(probability) for probability in p]), correct
    )
    assert before > 0.15
    assert after < 0.02


def test_the_kind_of_audio_shifts_the_curve() -> None:
    """Words of the same probability are right less often where the segment is doubtful."""
    rng = np.random.default_rng(3)
    p = rng.uniform(0.02, 0.999, 20_000)
    facts = [
        SegmentFacts(-float(rng.uniform(0, 1.5)), float(rng.uniform(0, 1))) for _ in range(p.size)
    ]
    true = Calibration(0.6, 0.4, 1.2, -0.8)
    right = np.array([true(value, each) for value, each in zip(p, facts, strict=True)])
    correct = rng.random(p.size) < right
    fitted = fit_calibration(p.tolist(), correct.tolist(), facts)
    for name in ("slope", "intercept", "mean_logprob", "degraded_probability"):
        assert getattr(fitted, name) == pytest.approx(getattr(true, name), abs=0.12)
    degraded = np.array([(each.degraded_probability or 0) > 0.8 for each in facts])
    one_curve = fit_calibration(p.tolist(), correct.tolist())
    errors = [
        expected_calibration_error(confidences[degraded], correct[degraded])
        for confidences in (
            np.array([one_curve(value) for value in p]),
            np.array([fitted(value, each) for value, each in zip(p, facts, strict=True)]),
        )
    ]
    assert errors[1] < 0.03 < errors[0]


def test_segments_that_are_all_alike_get_no_weight() -> None:
    rng = np.random.default_rng(3)
    p = rng.uniform(0.02, 0.999, 2_000)
    facts = [SegmentFacts(-0.2, None)] * p.size
    fitted = fit_calibration(p.tolist(), (rng.random(p.size) < p).tolist(), facts)
    assert fitted.degraded_probability == 0
    assert abs(fitted(0.5, facts[0]) - 0.5) < 0.05


def test_words_that_are_all_correct_or_all_wrong_have_a_finite_fit() -> None:
    assert 0 < fit_calibration([0.9, 0.8, 0.95], [True] * 3)(0.9) < 1
    assert 0 < fit_calibration([0.9, 0.8, 0.95], [False] * 3)(0.9) < 1


def test_the_calibration_file(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) == Calibration()
    (tmp_path / CALIBRATION_FILE).write_text(Calibration(0.5, -1.0).to_json())
    assert read_calibration(tmp_path) == Calibration(0.5, -1.0)
    (tmp_path / CALIBRATION_FILE).write_text('{"schema": 1, "slope": 0.4, "intercept": 0.1}')
    assert read_calibration(tmp_path) == Calibration(0.4, 0.1)
    assert read_calibration(tmp_path)(0.9, SegmentFacts(-2.0, 1.0)) == Calibration(0.4, 0.1)(0.9)
    (tmp_path / CALIBRATION_FILE).write_text("{}")
    with pytest.raises(CheckpointError, match="damaged"):
        read_calibration(tmp_path)


def test_correct_words() -> None:
    assert correct_words("The cat sat.", ["the", "bat", "sat!"], "en") == [True, False, True]
    assert correct_words("早上好", ["早", "下", "好"], "zh") == [True, False, True]
    assert correct_words("a b", ["a", "—", "b"], "en") == [True, True, True]


def test_words_have_times_in_the_speech_and_not_in_the_pause() -> None:
    samples = np.zeros(16_000 * 4, np.float32)
    speech = np.zeros(125, np.float32)
    speech[:31] = 1.0  # the first second
    speech[94:] = 1.0  # the last second
    words = [RecognizedWord("hello", 0.9), RecognizedWord("world", 0.5)]
    first, second = interpolate_words(words, Chunk(16_000, samples, speech), float)
    assert first.start == pytest.approx(1.0, abs=0.05)
    assert first.end <= 4.05  # from the start of the recording, one second before the chunk
    assert second.end == pytest.approx(5.0, abs=0.05)
    assert second.start >= first.end
    assert (first.confidence, second.confidence) == (0.9, 0.5)
    evenly = interpolate_words(words, Chunk(0, samples), float)  # without speech detection
    assert [(word.start, word.end) for word in evenly] == [(0.0, 2.0), (2.0, 4.0)]
