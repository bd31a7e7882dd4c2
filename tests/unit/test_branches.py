"""Both branches side by side: texts, scores with references, the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megaasr.audio.waveform import Waveform
from megaasr.errors import UsageError
from megaasr.records import Attempt, Segment, Transcript
from megaasr.report.branches_page import branches_page
from megaasr.report.threshold_wording import describe_best_threshold
from megaasr.score.branches import (
    BranchComparison,
    compare_branches,
    match_references,
    score_branches,
)
from megaasr.score.test_set import TestClip


def segment(base: str, robust: str, probability: float | None) -> Segment:
    attempts = (
        Attempt("robust", 0.0, 1, robust, -0.2),
        Attempt("base", 0.0, 1, base, -0.4),
        Attempt("base", 0.7, 1, "sampled words do not count", -2.0),
    )
    return Segment(
        0.0,
        3.0,
        base,
        "en",
        route="base",
        degraded_probability=probability,
        confidence=0.62,
        attempts=attempts,
    )


def recording(*segments: Segment, reference: str | None, audio: str = "a.wav") -> BranchComparison:
    transcript = Transcript("", "en", 3.0 * len(segments), "m", segments)
    clip = None if reference is None else TestClip("a", audio, reference, "en")
    return compare_branches(transcript, audio, clip)


CLEAN = segment("the cat sat", "the bat sat", 0.2)
NOISY = segment("hat", "the hat is red", 0.8)


def test_the_three_texts_of_a_recording() -> None:
    comparison = recording(CLEAN, NOISY, reference="the cat sat the hat is red")
    assert comparison.text("base", 0.5) == "the cat sat hat"
    assert comparison.text("robust", 0.5) == "the bat sat the hat is red"
    assert comparison.text("routed", 0.5) == "the cat sat the hat is red"
    assert comparison.text("routed", 0.9) == comparison.text("base", 0.9)
    assert comparison.text("oracle", 0.5) == comparison.text(
        "robust", 0.5
    )  # the better one for the recording
    assert comparison.segments[1].disagreement == 0.75
    assert comparison.segments[0].kept_branch == "base"
    assert comparison.segments[0].confidence == 0.62


def test_a_segment_that_was_not_decoded_has_no_texts() -> None:
    silent = Segment(0.0, 3.0, "", None, ("no_speech", "silent"))
    comparison = recording(silent, CLEAN, reference=None)
    assert comparison.text("base", 0.5) == "the cat sat"
    assert comparison.segments[0].disagreement == 0.0


def test_the_scores_have_counts_a_sweep_and_the_best_threshold() -> None:
    scores = score_branches(
        [
            recording(CLEAN, reference="the cat sat"),
            recording(NOISY, reference="the hat is red", audio="b.wav"),
            recording(NOISY, reference=None, audio="c.wav"),  # counts for nothing
        ],
        0.9,
        replications=200,
    )
    assert {name: count.errors for name, count in scores.counts.items()} == {
        "base": 3,
        "robust": 1,
        "routed": 3,
        "oracle": 0,
    }
    assert scores.best_threshold == pytest.approx(0.5)
    assert dict(scores.sweep)[0.0] == pytest.approx(1 / 7)
    assert scores.against_base["robust"].difference == pytest.approx(-2 / 7)


def test_references_are_found_by_any_of_their_names() -> None:
    clips = [TestClip("one", "clips/a.wav", "x"), TestClip("two", "elsewhere/b.flac", "y")]
    matches = match_references(["/tmp/a.wav", "b.wav", "two", "c.wav"], clips)
    assert [None if clip is None else clip.text for clip in matches.values()] == [
        "x",
        "y",
        "y",
        None,
    ]
    with pytest.raises(UsageError, match="none of the recordings"):
        match_references(["c.wav"], clips)


def test_the_page_is_whole_and_hostile_words_are_inert(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    comparison = recording(segment(hostile, "the hat", 0.7), reference=hostile, audio="<b>.wav")
    waveform = Waveform(np.zeros(1600, np.float32), 16_000)
    page = branches_page(
        [comparison],
        score_branches([comparison], 0.5, replications=100),
        "tiny",
        0.5,
        lambda _: waveform,
    )
    assert "<script" not in page
    assert "&lt;b&gt;.wav" in page
    assert "data:audio/flac" in page
    assert "http" not in page.replace("http-equiv", "")
    unlabelled = branches_page(
        [recording(CLEAN, reference=None)], None, "tiny", 0.5, lambda _: None
    )
    assert "disagree most" in unlabelled
    assert "<audio" not in unlabelled


def test_the_page_marks_errors_against_the_reference_and_has_the_calibrated_confidence() -> None:
    def page(*recordings: BranchComparison) -> str:
        return branches_page(list(recordings), None, "tiny", 0.5, lambda _: None)

    labelled = page(recording(CLEAN, reference="the cat sat"))
    assert "<dd class=diff>the cat sat</dd>" in labelled
    assert "the <del>cat</del> <ins>bat</ins> sat" in labelled
    assert "<mark>" not in labelled
    assert "confidence 0.62 (text of base)" in labelled
    unlabelled = page(recording(CLEAN, reference=None))
    assert "the <mark>bat</mark> sat" in unlabelled
    assert "<del>" not in unlabelled
    several = page(recording(CLEAN, NOISY, reference="the cat sat the hat is red"))
    assert "the cat sat <del>the</del> hat <del>is</del> <del>red</del>" in several
    assert several.count("<summary>By segment</summary>") == 1


def test_a_threshold_is_named_only_if_it_helps() -> None:
    helps = score_branches(
        [
            recording(CLEAN, reference="the cat sat"),
            recording(NOISY, reference="the hat is red", audio="b.wav"),
        ],
        0.9,
        replications=100,
    )
    assert "would have been 0.500 (0.0 %)" in describe_best_threshold(helps)
    useless = score_branches([recording(NOISY, reference="the hat is red")], 0.5, replications=100)
    assert "No threshold" in describe_best_threshold(useless)
    assert "robust branch alone (0.0 %)" in describe_best_threshold(useless)
