"""What marking unintelligible words shows and hides at every limit."""

from __future__ import annotations

import numpy as np
import pytest

from megaasr.records import Word
from megaasr.score.operating_points import operating_points
from megaasr.score.word_hits import ClipWords, WordProbabilities
from megaasr.transcribe.segment_facts import SegmentFacts


def clip(confidences: list[float], correct: list[bool], severity: float | None = None) -> ClipWords:
    words = tuple(Word(f"w{i}", float(i), i + 1.0, value) for i, value in enumerate(confidences))
    facts = (SegmentFacts(degraded_probability=severity),)
    return ClipWords((words,), facts, (tuple(correct),), len(words), severity)


def plain(probability: float, facts: SegmentFacts) -> float:
    return probability


def test_points_count_words_by_hand() -> None:
    clips = [clip([0.9, 0.9, 0.05, 0.05, 0.05], [True, True, False, False, True])]
    nothing, half = operating_points(clips, plain, (0.0, 0.5))
    assert (nothing.shown, nothing.right_shown, nothing.right_hidden) == (5, 3, 0)
    assert nothing.wrong_shown_share == 1
    assert nothing.right_hidden_share == 0
    assert (half.shown, half.right_shown, half.right_hidden, half.wrong) == (2, 2, 1, 2)
    assert half.precision == 1
    assert half.recall == pytest.approx(2 / 5)
    assert half.f1 == pytest.approx(2 * 0.4 / 1.4)
    assert half.wrong_shown_share == 0
    assert half.right_hidden_share == pytest.approx(1 / 3)


def test_a_higher_limit_never_shows_more() -> None:
    rng = np.random.default_rng(1)
    clips = []
    for _ in range(50):
        confidences = rng.uniform(0, 1, 12)
        clips.append(clip(confidences.tolist(), (rng.random(12) < confidences).tolist()))
    points = operating_points(clips, plain)
    shown = [point.shown for point in points]
    assert shown == sorted(shown, reverse=True)
    assert points[0].shown == 600
    # Words that are right as often as their confidence says: hiding the doubtful raises precision.
    assert points[5].precision > points[0].precision + 0.15


def test_confidence_is_calibrated_first() -> None:
    clips = [clip([0.9] * 4, [False] * 4)]
    assert operating_points(clips, lambda p, facts: 0.1, (0.5,))[0].shown == 0
    assert operating_points(clips, plain, (0.5,))[0].shown == 4


def test_no_words_divide_by_nothing() -> None:
    (point,) = operating_points([], plain, (0.5,))
    assert (point.precision, point.recall, point.f1) == (0, 0, 0)
    assert point.to_record()["right_hidden_share"] == 0


def test_words_are_selected_by_the_severity_of_their_clip() -> None:
    words = WordProbabilities(
        (clip([0.1], [True], 0.1), clip([0.2], [False], 0.4), clip([0.3], [True])), {}
    )
    assert words.probabilities.tolist() == [0.1, 0.2, 0.3]
    assert words.within(0.2, 0.5).probabilities.tolist() == [0.2]
    assert words.within(0.2, 0.5).correct.tolist() == [False]
    assert words.confidences(lambda p, facts: facts.degraded_probability or p).tolist() == [
        0.1,
        0.4,
        0.3,
    ]
    assert not len(words.within(0.8, 1.01).probabilities)
