"""Training a router: labels, balance, hard negatives, metrics, a toy that learns, exact resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from safetensors.torch import load_file

from megaasr.audio import files
from megaasr.audio.waveform import Waveform
from megaasr.errors import TrainingError
from megaasr.records import Utterance, write_manifest
from megaasr.route.router import Router
from megaasr.train.router.data import (
    GradedPair,
    LabelledClip,
    RouterClips,
    as_often_as_it_matters,
    balanced,
    read_labelled,
    read_pairs,
    which_is_better,
)
from megaasr.train.router.hard_negatives import HARD, quiet, telephone, tones
from megaasr.train.router.metrics import as_classifier, routed_words
from megaasr.train.router.recipe import RouterRecipe
from megaasr.train.router.trainer import FILE, train_router

RATE = 16_000


pytestmark = pytest.mark.usefixtures("fresh_process_state")


def hum(seed: int, seconds: float = 1.0) -> NDArray[np.float32]:
    """What is clean here: a low hum that comes and goes."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    wave = np.sin(2 * np.pi * rng.uniform(150, 250) * time) * (0.6 + 0.4 * np.sin(9 * time))
    return (0.1 * wave).astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clean clips, and the same in noise; both graded by two branches."""
    folder = tmp_path_factory.mktemp("router")
    clean, noisy = [], []
    rng = np.random.default_rng(0)
    for at in range(12):
        wave = hum(at)
        files.write(folder / f"c{at}.wav", Waveform(wave, RATE))
        loud = (wave + 0.1 * rng.standard_normal(wave.size)).astype(np.float32)
        files.write(folder / f"n{at}.wav", Waveform(loud, RATE))
        extra = {"duration_s": 1.0}
        clean.append(Utterance(f"c{at}", f"c{at}.wav", "words", "en", extra))
        scenario = {"scenario": "noise", "severity": 0.1 if at < 6 else 0.5}
        noisy.append(Utterance(f"n{at}", f"n{at}.wav", "words", "en", {**extra, **scenario}))
    noisy.append(Utterance("silent", "n0.wav", "", "en", {"scenario": "noise", "severity": 0.1}))
    write_manifest(folder / "clean.jsonl", clean)
    write_manifest(folder / "noisy.jsonl", noisy)
    for name, wrong_of in (("base", "n"), ("robust", "c")):
        rows = []
        for one in [*clean, *noisy[:-1]]:
            errors = 4 if one.id.startswith(wrong_of) else 1
            errors = 2 if one.id in ("c0", "n0") else errors  # both branches alike
            counts = {"base_hits": 10 - errors, "base_substitutions": errors}
            counts |= {"base_deletions": 0, "base_insertions": 0}
            rows.append(Utterance(one.id, one.audio, one.text, "en", {**one.extra, **counts}))
        write_manifest(folder / f"{name}.jsonl", rows)
    return folder


def recipe(data: Path, **changes: Any) -> RouterRecipe:
    values: dict[str, Any] = {
        "clean": [data / "clean.jsonl"],
        "degraded": [data / "noisy.jsonl"],
        "dev_clean": [data / "clean.jsonl"],
        "dev_degraded": [data / "noisy.jsonl"],
        "dev_pairs": [{"base": data / "base.jsonl", "robust": data / "robust.jsonl"}],
        "seed": 3,
        "sizes": {"d_model": 16, "nhead": 2, "dim_feedforward": 32},
        "epochs": 12,
        "batch_size": 8,
        "learning_rate": 3e-3,
        "evaluate_steps": 12,
        "checkpoint_steps": 6,
        "loader_workers": 0,
        "log_steps": 6,
    }
    return RouterRecipe.model_validate({**values, **changes})


def test_labels_of_degraded(data: Path) -> None:
    found = read_labelled([data / "clean.jsonl"], [data / "noisy.jsonl"])
    assert [one.robust for one in found] == [False] * 12 + [True] * 12  # silence is no speech
    assert found[12].severity == 0.1


def test_what_is_in_a_degraded_set_is_degraded_unless_it_says_clean(tmp_path: Path) -> None:
    rows = [{}, {"scenario": "clean"}, {"scenario": "noise", "severity": None}]
    listed = [Utterance(str(at), f"{at}.wav", "a", "en", row) for at, row in enumerate(rows)]
    write_manifest(tmp_path / "real.jsonl", listed)
    found = read_labelled([tmp_path / "real.jsonl"], [tmp_path / "real.jsonl"])
    assert [one.robust for one in found] == [False, False, False, True, False, True]
    assert {one.severity for one in found} == {None}


def test_labels_of_better_come_from_graded_pairs(data: Path, tmp_path: Path) -> None:
    plan = recipe(data)
    pairs = read_pairs(plan.dev_pairs)
    assert len(pairs) == 24
    assert {one.words for one in pairs} == {10}
    labelled = which_is_better(pairs)
    assert len(labelled) == 22  # without the two that are equal
    assert all(one.robust == Path(one.audio).name.startswith("n") for one in labelled)
    bare = recipe(data, dev_pairs=[{"base": data / "clean.jsonl", "robust": data / "clean.jsonl"}])
    with pytest.raises(TrainingError, match="run mega-asr grade"):
        read_pairs(bare.dev_pairs)
    write_manifest(tmp_path / "other.jsonl", [Utterance("x", "x.wav", "a", "en", {})])
    other = {"base": data / "base.jsonl", "robust": tmp_path / "other.jsonl"}
    apart = recipe(data, dev_pairs=[other])
    with pytest.raises(TrainingError, match="no clip in common"):
        read_pairs(apart.dev_pairs)


@pytest.mark.parametrize(("bad", "good"), [(3, 7), (7, 3), (4, 4)])
def test_both_labels_count_the_same(bad: int, good: int) -> None:
    clips = [LabelledClip(f"{at}", 1.0, at < bad) for at in range(bad + good)]
    found = balanced(clips, 1)
    assert sum(one.robust for one in found) * 2 == len(found) == 2 * max(bad, good)
    assert set(found) == set(clips)
    assert found == balanced(clips, 1)
    with pytest.raises(TrainingError, match="same label"):
        balanced(clips[:bad], 1)


def spectrum(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.abs(np.fft.rfft(samples)) ** 2


def test_what_hard_clips_are() -> None:
    rng = np.random.default_rng(0)
    voice = (0.1 * rng.standard_normal(RATE)).astype(np.float32)
    for name, change in HARD.items():
        one, again = (change(voice, np.random.default_rng(5)) for _ in range(2))
        assert one.dtype == np.float32, name
        assert one.shape == voice.shape
        np.testing.assert_array_equal(one, again)
    level = 20 * np.log10(np.sqrt(np.mean(quiet(voice, rng) ** 2)))
    assert -61 < level < -44
    added = tones(voice, rng) - voice
    apart = 10 * np.log10(np.mean(voice**2) / np.mean(added**2))
    assert 24 < apart < 36
    before, after = spectrum(voice), spectrum(telephone(voice, rng))
    assert after[4_200:].sum() < 1e-3 * before[4_200:].sum()
    assert after[800:3_000].sum() == pytest.approx(before[800:3_000].sum(), rel=0.1)
    assert telephone(voice[:20], rng).size == 20


def test_only_clean_clips_are_made_hard(data: Path) -> None:
    clips = read_labelled([data / "clean.jsonl"], [data / "noisy.jsonl"])
    plain = RouterClips(clips, recipe(data, hard_share=0.0, gain_db=0.0, noise_share=0.0))
    hard = RouterClips(clips, recipe(data, hard_share=1.0, gain_db=0.0, noise_share=0.0))
    for at, clip in enumerate(clips):
        same = np.array_equal(plain[at]["samples"], hard[at]["samples"])
        assert same == clip.robust
        assert hard[at]["label"] == int(clip.robust)


def test_words_of_routing(data: Path) -> None:
    class Oracle(Router):
        def __init__(self) -> None:
            self.threshold = 0.5

        def decide(self, samples: NDArray[np.float32]) -> Any:
            noisy = float(np.abs(np.diff(samples)).mean()) > 0.05
            return type("Decision", (), {"degraded_probability": float(noisy)})()

    pairs = read_pairs(recipe(data).dev_pairs)
    found = routed_words(Oracle(), pairs)
    assert found["wer_oracle"] == found["wer_routed"] < found["wer_base"] == found["wer_robust"]
    assert routed_words(Oracle(), []) == {}
    assert isinstance(pairs[0], GradedPair)


def test_a_toy_learns_both_labels(data: Path, tmp_path: Path) -> None:
    found = train_router(recipe(data), tmp_path / "degraded")
    assert found["accuracy"] == 1.0
    assert found["auc"] == 1.0
    assert {f"accuracy_{name}" for name in HARD} <= set(found)
    assert found["wer_routed"] == found["wer_oracle"] < found["wer_base"]
    pairs = [{"base": data / "base.jsonl", "robust": data / "robust.jsonl"}]
    AcceleratorState._reset_state(reset_partial_state=True)
    unused = {name: [tmp_path / "nowhere"] for name in ("clean", "degraded", "dev_clean")}
    plan = recipe(data, label="better", pairs=pairs, **unused)
    better = train_router(plan, tmp_path / "better")
    assert better["accuracy"] == 1.0
    assert better["wer_routed"] == better["wer_oracle"]
    assert not any(f"accuracy_{name}" in better for name in HARD)
    router = Router.load(tmp_path / "better" / FILE)
    assert router.decide(hum(1)).route == "base"


def test_an_interrupted_run_goes_on_exactly(data: Path, tmp_path: Path) -> None:
    plan = recipe(data, epochs=4, evaluate_steps=4)
    train_router(plan, tmp_path / "whole")

    def stop(row: dict[str, Any]) -> None:
        if row.get("step") == 8 and "accuracy" in row:
            raise KeyboardInterrupt

    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(KeyboardInterrupt):
        train_router(plan, tmp_path / "cut", stop)
    AcceleratorState._reset_state(reset_partial_state=True)
    train_router(plan, tmp_path / "cut")
    whole, cut = (load_file(tmp_path / name / FILE) for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    results = [json.loads((tmp_path / n / "results.json").read_text()) for n in ("whole", "cut")]
    assert results[0] == results[1]
    steps = [row["step"] for row in rows(tmp_path / "cut" / "metrics.jsonl") if "accuracy" in row]
    assert steps == sorted(set(steps))
    # What somebody deleted is made again; the finished run is not trained again.
    (tmp_path / "cut" / FILE).unlink()
    AcceleratorState._reset_state(reset_partial_state=True)
    train_router(plan, tmp_path / "cut")
    assert (tmp_path / "cut" / FILE).is_file()
    # Without the results, the weights that were the best stay.
    (tmp_path / "whole" / "results.json").unlink()
    AcceleratorState._reset_state(reset_partial_state=True)
    again = train_router(plan, tmp_path / "whole")
    assert {**again, "step": 0} == {**results[0], "step": 0}
    kept = load_file(tmp_path / "whole" / FILE)
    assert all(torch.equal(whole[name], kept[name]) for name in whole)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_belongs_to_its_clips(data: Path, tmp_path: Path) -> None:
    mine = tmp_path / "dev.jsonl"
    write_manifest(mine, [Utterance("x", str(data / "c0.wav"), "a", "en", {"duration_s": 1.0})])
    plan = recipe(data, dev_clean=[mine], epochs=1)
    train_router(plan, tmp_path / "run")
    with mine.open("a", encoding="utf-8") as lines:
        lines.write(mine.read_text().replace('"x"', '"y"'))
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(TrainingError, match="started on other data"):
        train_router(plan, tmp_path / "run")


def test_a_broken_dev_clip_ends_no_training(data: Path, tmp_path: Path) -> None:
    listed = [("x", data / "c0.wav"), ("broken", tmp_path / "nothing.wav")]
    clean = [Utterance(name, str(path), "a", "en", {"duration_s": 1.0}) for name, path in listed]
    write_manifest(tmp_path / "dev.jsonl", clean)
    found = train_router(recipe(data, dev_clean=[tmp_path / "dev.jsonl"], epochs=1), tmp_path / "r")
    assert 0.0 <= found["accuracy"] <= 1.0
    assert found["unread"] >= 1
    clips = [LabelledClip(str(tmp_path / "nothing.wav"), 1.0, True)]
    with pytest.raises(TrainingError, match=r"no clip of dev can be read, such as .*nothing\.wav"):
        as_classifier(Router.load(tmp_path / "r" / FILE), clips)


def test_branches_that_never_differ_on_dev_judge_nothing(data: Path, tmp_path: Path) -> None:
    pairs = [{"base": data / "base.jsonl", "robust": data / "robust.jsonl"}]
    same = [{"base": data / "base.jsonl", "robust": data / "base.jsonl"}]
    plan = recipe(data, label="better", pairs=pairs, dev_pairs=same, clean=[], degraded=[])
    with pytest.raises(TrainingError, match="same errors on every dev clip"):
        train_router(plan, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clean": []}, "clean: there is none"),
        ({"label": "better"}, "pairs: there is none"),
        ({"label": "louder"}, "label"),
    ],
)
def test_incomplete_recipes_are_refused(data: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(data, **changes)


def test_a_clip_weighs_what_the_wrong_branch_costs() -> None:
    pairs = [
        GradedPair(f"{at}", 1.0, 0.5, 10, *errors)
        for at, errors in enumerate([(7, 3), (1, 2), (5, 5)])
    ]
    assert [(one.audio, one.robust) for one in as_often_as_it_matters(pairs)] == [
        *[("0", True)] * 4,
        ("1", False),
    ]
    with pytest.raises(TrainingError, match="same label"):
        as_often_as_it_matters(pairs[:1])
