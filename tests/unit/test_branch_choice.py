"""The choice between the texts of the branches: features, fit, file, and its place in decoding."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from megaasr.errors import CheckpointError, UsageError
from megaasr.model.interface import Recognition, Request, SamplingSettings
from megaasr.records import Attempt
from megaasr.score.branch_choice_fit import ChoiceClip, ChoiceClips
from megaasr.transcribe.branch_choice import (
    CHOICE_FILE,
    FEATURES,
    BranchChoice,
    BranchTexts,
    fit_branch_choice,
    read_branch_choice,
)
from megaasr.transcribe.checks import CheckThresholds, ChunkStats
from megaasr.transcribe.fallback import DecodeTask, FallbackDecoder


def attempt(route: str, text: str, logprob: float, failed: tuple[str, ...] = ()) -> Attempt:
    return Attempt(route, 0.0, 1, text, logprob, failed)


def pair(base: Attempt, robust: Attempt, probability: float | None = 0.9) -> BranchTexts:
    return BranchTexts(base, robust, 3.0, probability, "en")


def random_pairs(count: int) -> tuple[list[BranchTexts], list[int], list[int]]:
    """Pairs in which the robust branch is better where the router says degraded."""
    rng = np.random.default_rng(5)
    texts, base_errors, robust_errors = [], [], []
    for _ in range(count):
        probability = float(rng.uniform(0.01, 0.99))
        words = ["one", "two", "three", "four", "five", "six"]
        base = attempt("base", " ".join(words[: rng.integers(0, 6)]), -float(rng.uniform(0, 1)))
        robust = attempt("robust", " ".join(words[: rng.integers(1, 7)]), -float(rng.uniform(0, 1)))
        texts.append(pair(base, robust, probability))
        better = rng.random() < probability
        base_errors.append(4 if better else 1)
        robust_errors.append(1 if better else 4)
    return texts, base_errors, robust_errors


def test_features_have_names_and_stay_finite_and_bounded() -> None:
    extreme = pair(attempt("base", "", -99.0), attempt("robust", "a " * 999, 0.0, ("x",)), 1.0)
    unknown = pair(Attempt("base", 0.0, 1), Attempt("robust", 0.0, 1), None)
    for texts in (extreme, unknown):
        values = texts.features()
        assert values.shape == (len(FEATURES),)
        assert np.abs(values).max() < 5
    named = dict(zip(FEATURES, extreme.features(), strict=True))
    assert named["base_empty"] == 1
    assert named["robust_empty"] == 0
    assert named["robust_failed_checks"] == 1
    assert named["disagreement"] == 1


def test_the_fit_finds_what_tells_the_better_branch() -> None:
    texts, base_errors, robust_errors = random_pairs(600)
    choice = fit_branch_choice(texts, base_errors, robust_errors)
    named = dict(zip(FEATURES, choice.coefficients, strict=True))
    assert named["router_log_odds"] == max(named.values())
    kept = [
        robust if choice(each) == "robust" else base
        for each, base, robust in zip(texts, base_errors, robust_errors, strict=True)
    ]
    assert sum(kept) < 0.8 * min(sum(base_errors), sum(robust_errors))


def test_chunks_weigh_the_words_at_stake() -> None:
    texts = [pair(attempt("base", "a", -0.1), attempt("robust", "b", -0.1), 0.5)] * 11
    choice = fit_branch_choice(texts, [1] * 10 + [40], [2] * 10 + [0])
    assert choice(texts[0]) == "robust"  # ten chunks lose a word each, one gains forty
    assert fit_branch_choice(texts[:10], [1] * 10, [2] * 10)(texts[0]) == "base"


def test_the_file_is_read_back(tmp_path: Path) -> None:
    assert read_branch_choice(tmp_path) is None
    choice = BranchChoice(tuple(float(i) for i in range(len(FEATURES))))
    (tmp_path / CHOICE_FILE).write_text(choice.to_json(), encoding="utf-8")
    assert read_branch_choice(tmp_path) == choice


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ('{"schema": 1}', "is damaged"),
        ('{"coefficients": {"constant": 1}}', "fit it again with mega-asr branch-choice"),
        (json.dumps({"coefficients": dict.fromkeys(FEATURES, "x")}), "is damaged"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / CHOICE_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        read_branch_choice(tmp_path)


class TwoBranches:
    """The base is sure of nothing, the robust branch less sure of some words."""

    name = "two"
    has_robust_route = True

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        results = {
            "base": Recognition("go on", "en", 3, False, "", mean_logprob=-0.01),
            "robust": Recognition("go home now", "en", 4, False, "", mean_logprob=-0.9),
        }
        return [results[request.route] for request in requests]

    def sample(
        self, requests: Sequence[Request], settings: SamplingSettings
    ) -> list[list[Recognition]]:
        raise AssertionError("nothing is sampled")


def decoder(coefficient: float | None) -> FallbackDecoder:
    choice = None
    if coefficient is not None:
        choice = BranchChoice((coefficient, *[0.0] * (len(FEATURES) - 1)))
    return FallbackDecoder(
        TwoBranches(), CheckThresholds(), retry=False, route="both", choose_branch=choice
    )


@pytest.mark.parametrize(
    ("coefficient", "text"), [(None, "go on"), (-1.0, "go on"), (1.0, "go home now")]
)
def test_the_choice_decides_between_greedy_texts(coefficient: float | None, text: str) -> None:
    task = DecodeTask(np.zeros(32_000, np.float32), "base", ChunkStats(2.0))
    (decoding,) = decoder(coefficient).decode([task])
    assert decoding.best.attempt.text == text
    assert len(decoding.attempts) == 2  # both stay in the record
    assert decoding.branch_disagreement() == pytest.approx(2 / 3)


def choice_clips(count: int) -> ChoiceClips:
    texts, base_errors, robust_errors = random_pairs(count)
    clips = [
        ChoiceClip(
            id=str(i),
            block=str(i // 2),
            category="noise" if i % 2 else "echo",
            texts=each,
            base_errors=base_errors[i],
            robust_errors=robust_errors[i],
            routed="robust" if (each.degraded_probability or 0) >= 0.5 else "base",
            unfitted="base",
            words=6,
        )
        for i, each in enumerate(texts)
    ]
    return ChoiceClips(tuple(clips), {})


def test_rates_of_all_rules_are_cross_validated_per_category() -> None:
    clips = choice_clips(400)
    groups = clips.cross_validated(5, 1)
    assert [group.category for group in groups] == ["echo", "noise", "overall"]
    assert [group.clips for group in groups] == [200, 200, 400]
    rates = groups[-1].rates
    assert rates["oracle"] < rates["fitted"] < min(rates["base"], rates["robust"])
    assert rates["unfitted"] == rates["base"]
    # What was fitted on the clips themselves looks better, or as good.
    choice = clips.fit()
    own = clips.rates([choice(clip.texts) for clip in clips.clips])[-1].rates["fitted"]
    assert own <= rates["fitted"] + 0.01


def test_too_few_or_equal_clips_are_refused() -> None:
    with pytest.raises(UsageError, match="2 independent clips are too few for 5 folds"):
        choice_clips(4).cross_validated(5, 1)
    clips = [clip for clip in choice_clips(8).clips if False]
    with pytest.raises(UsageError, match="nothing can be fitted"):
        ChoiceClips(tuple(clips), {}).fit()
