"""Confidence of words: calibration, correctness of words, times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megaasr.errors import CheckpointError
from megaasr.model.interface import RecognizedWord
from megaasr.model.token_scores import score_words
from megaasr.score.word_hits import correct_words
from megaasr.transcribe.chunking import Chunk
from megaasr.transcribe.confidence import (
    FILE,
    Calibration,
    expected_calibration_error,
    fit,
    read_calibration,
)
from megaasr.transcribe.word_times import interpolate_words


def test_words_carry_the_probability_of_all_their_tokens() -> None:
    chunks = ["language English", "<asr_text>", "Ket", "tle", " is", " on", "."]
    logprobs = [-9.0, -9.0, -0.1, -0.2, -0.3, -0.4, -0.5]
    found = score_words(chunks, logprobs, forced=False)
    assert [one.text for one in found] == ["Kettle", "is", "on."]
    assert [round(-np.log(one.probability), 3) for one in found] == [0.3, 0.3, 0.9]


def test_chinese_words_are_characters_and_halves_of_them_count() -> None:
    found = score_words(["<asr_text>", "早", "", "上"], [0.0, -0.1, -0.2, -0.3], forced=False)
    assert [one.text for one in found] == ["早", "上"]
    assert -np.log(found[0].probability) == pytest.approx(0.3)


def test_a_forced_language_leaves_the_words_alone() -> None:
    assert [w.text for w in score_words(["one", " two"], [0.0, 0.0], forced=True)] == ["one", "two"]
    assert score_words(["no", " marker"], [0.0, 0.0], forced=False) == ()


def test_the_fit_finds_the_curve_that_made_the_data() -> None:
    rng = np.random.default_rng(2)
    p = rng.uniform(0.02, 0.999, 20_000)
    true = Calibration(0.5, -0.7)
    right = rng.random(p.size) < np.array([true(one) for one in p])
    found = fit(p.tolist(), right.tolist())
    assert found.slope == pytest.approx(0.5, abs=0.03)
    assert found.intercept == pytest.approx(-0.7, abs=0.06)
    before = expected_calibration_error(p, right)
    after = expected_calibration_error(np.array([found(one) for one in p]), right)
    assert before > 0.15
    assert after < 0.02


def test_all_right_or_all_wrong_has_a_finite_fit() -> None:
    assert 0 < fit([0.9, 0.8, 0.95], [True] * 3)(0.9) < 1
    assert 0 < fit([0.9, 0.8, 0.95], [False] * 3)(0.9) < 1


def test_the_file(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) == Calibration()
    (tmp_path / FILE).write_text(Calibration(0.5, -1.0).to_json())
    assert read_calibration(tmp_path) == Calibration(0.5, -1.0)
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(CheckpointError, match="damaged"):
        read_calibration(tmp_path)


def test_which_words_are_right() -> None:
    assert correct_words("The cat sat.", ["the", "bat", "sat!"], "en") == [True, False, True]
    assert correct_words("早上好", ["早", "下", "好"], "zh") == [True, False, True]
    assert correct_words("a b", ["a", "—", "b"], "en") == [True, True, True]


def test_words_get_the_time_of_the_speech_and_not_of_the_pause() -> None:
    samples = np.zeros(16_000 * 4, np.float32)
    speech = np.zeros(125, np.float32)
    speech[:31] = 1.0  # the first second
    speech[94:] = 1.0  # the last
    words = [RecognizedWord("hello", 0.9), RecognizedWord("world", 0.5)]
    first, second = interpolate_words(words, Chunk(16_000, samples, speech), float)
    assert first.start == pytest.approx(1.0, abs=0.05)
    assert first.end <= 4.05  # of the recording: one second comes before the chunk
    assert second.end == pytest.approx(5.0, abs=0.05)
    assert second.start >= first.end
    assert (first.confidence, second.confidence) == (0.9, 0.5)
    even = interpolate_words(words, Chunk(0, samples), float)
    assert [(one.start, one.end) for one in even] == [(0.0, 2.0), (2.0, 4.0)]
