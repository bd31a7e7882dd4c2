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
from megaasr.route.classifier import read_classifier
from megaasr.route.router import Router
from megaasr.train.router.data import (
    GradedPair,
    LabelledClip,
    RouterClips,
    balance_labels,
    label_better_branch,
    oversample_by_error_gap,
    read_labelled,
    read_pairs,
)
from megaasr.train.router.hard_negatives import HARD_NEGATIVES, quiet, telephone, tones
from megaasr.train.router.metrics import (
    classification_metrics,
    routed_error_rates,
    score_clips,
)
from megaasr.train.router.operating_point import keep_clean
from megaasr.train.router.recipe import RouterRecipe
from megaasr.train.router.trainer import ROUTER_FILE, RouterTrainer

RATE = 16_000


pytestmark = pytest.mark.usefixtures("fresh_process_state")


def hum(seed: int, seconds: float = 1.0) -> NDArray[np.float32]:
    """A clean clip of these tests: a low hum of varying level."""
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
    for number in range(12):
        wave = hum(number)
        files.write(folder / f"c{number}.wav", Waveform(wave, RATE))
        loud = (wave + 0.1 * rng.standard_normal(wave.size)).astype(np.float32)
        files.write(folder / f"n{number}.wav", Waveform(loud, RATE))
        extra = {"duration_s": 1.0}
        clean.append(Utterance(f"c{number}", f"c{number}.wav", "words", "en", extra))
        scenario = {"scenario": "noise", "severity": 0.1 if number < 6 else 0.5}
        noisy.append(
            Utterance(f"n{number}", f"n{number}.wav", "words", "en", {**extra, **scenario})
        )
    noisy.append(Utterance("silent", "n0.wav", "", "en", {"scenario": "noise", "severity": 0.1}))
    write_manifest(folder / "clean.jsonl", clean)
    write_manifest(folder / "noisy.jsonl", noisy)
    for name, wrong_of in (("base", "n"), ("robust", "c")):
        rows = []
        for clip in [*clean, *noisy[:-1]]:
            errors = 4 if clip.id.startswith(wrong_of) else 1
            errors = 2 if clip.id in ("c0", "n0") else errors  # both branches alike
            counts = {"base_hits": 10 - errors, "base_substitutions": errors}
            counts |= {"base_deletions": 0, "base_insertions": 0}
            rows.append(Utterance(clip.id, clip.audio, clip.text, "en", {**clip.extra, **counts}))
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
    clips = read_labelled([data / "clean.jsonl"], [data / "noisy.jsonl"])
    assert [clip.robust for clip in clips] == [False] * 12 + [True] * 12  # silence is no speech
    assert clips[12].severity == 0.1


def test_clips_of_a_degraded_set_are_degraded_except_the_scenario_clean(tmp_path: Path) -> None:
    rows = [{}, {"scenario": "clean"}, {"scenario": "noise", "severity": None}]
    listed = [
        Utterance(str(number), f"{number}.wav", "a", "en", row) for number, row in enumerate(rows)
    ]
    write_manifest(tmp_path / "real.jsonl", listed)
    clips = read_labelled([tmp_path / "real.jsonl"], [tmp_path / "real.jsonl"])
    assert [clip.robust for clip in clips] == [False, False, False, True, False, True]
    assert {clip.severity for clip in clips} == {None}


def test_clips_of_held_out_scenarios_are_not_read(data: Path) -> None:
    lists = [data / "clean.jsonl"], [data / "noisy.jsonl"]
    assert read_labelled(*lists, {"noise"}) == read_labelled(lists[0], [])
    assert read_labelled(*lists, {"no such scenario"}) == read_labelled(*lists)


def test_labels_of_better_come_from_graded_pairs(data: Path, tmp_path: Path) -> None:
    plan = recipe(data)
    pairs = read_pairs(plan.dev_pairs)
    assert len(pairs) == 24
    assert {pair.words for pair in pairs} == {10}
    labelled = label_better_branch(pairs)
    assert len(labelled) == 22  # without the two that are equal
    assert all(clip.robust == Path(clip.audio).name.startswith("n") for clip in labelled)
    bare = recipe(data, dev_pairs=[{"base": data / "clean.jsonl", "robust": data / "clean.jsonl"}])
    with pytest.raises(TrainingError, match="run mega-asr grade"):
        read_pairs(bare.dev_pairs)
    write_manifest(tmp_path / "other.jsonl", [Utterance("x", "x.wav", "a", "en", {})])
    other = {"base": data / "base.jsonl", "robust": tmp_path / "other.jsonl"}
    apart = recipe(data, dev_pairs=[other])
    with pytest.raises(TrainingError, match="no clip in common"):
        read_pairs(apart.dev_pairs)


@pytest.mark.parametrize(("bad", "good"), [(3, 7), (7, 3), (4, 4)])
def test_both_labels_are_balanced(bad: int, good: int) -> None:
    clips = [LabelledClip(f"{number}", 1.0, number < bad) for number in range(bad + good)]
    balanced = balance_labels(clips, 1)
    assert sum(clip.robust for clip in balanced) * 2 == len(balanced) == 2 * max(bad, good)
    assert set(balanced) == set(clips)
    assert balanced == balance_labels(clips, 1)
    with pytest.raises(TrainingError, match="same label"):
        balance_labels(clips[:bad], 1)


def spectrum(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.abs(np.fft.rfft(samples)) ** 2


def test_hard_negatives() -> None:
    rng = np.random.default_rng(0)
    voice = (0.1 * rng.standard_normal(RATE)).astype(np.float32)
    for name, change in HARD_NEGATIVES.items():
        hard, again = (change(voice, np.random.default_rng(5)) for _ in range(2))
        assert hard.dtype == np.float32, name
        assert hard.shape == voice.shape
        np.testing.assert_array_equal(hard, again)
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
    for index, clip in enumerate(clips):
        same = np.array_equal(plain[index]["samples"], hard[index]["samples"])
        assert same == clip.robust
        assert hard[index]["label"] == int(clip.robust)


def test_only_the_listed_ways_make_clips_hard(data: Path) -> None:
    clips = read_labelled([data / "clean.jsonl"], [data / "noisy.jsonl"])
    plan = {"hard_share": 1.0, "gain_db": 0.0, "noise_share": 0.0}
    hard = RouterClips(clips, recipe(data, hard_negatives=["quiet"], **plan))
    for index in range(12):
        assert np.sqrt(np.mean(hard[index]["samples"] ** 2)) < 10 ** (-44 / 20)
    with pytest.raises(ValueError, match="hard_negatives"):
        recipe(data, hard_negatives=[])


def test_error_rates_of_routing(data: Path) -> None:
    class Oracle(Router):
        def __init__(self, *, deaf: bool = False) -> None:
            self.threshold, self._deaf = 0.5, deaf

        def decide(self, samples: NDArray[np.float32]) -> Any:
            noisy = float(np.abs(np.diff(samples)).mean()) > 0.05 and not self._deaf
            return type("Decision", (), {"degraded_probability": float(noisy)})()

    pairs = read_pairs(recipe(data).dev_pairs)
    rates = routed_error_rates(Oracle(), pairs)
    assert rates["wer_oracle"] == rates["wer_routed"] < rates["wer_base"] == rates["wer_robust"]
    assert rates["regret_noise"] == 0.0
    assert "regret_" not in rates  # clips that were not simulated have no scenario
    # The base has 46 errors in 120 words of noise, the robust branch 13.
    assert routed_error_rates(Oracle(deaf=True), pairs)["regret_noise"] == 0.275
    assert routed_error_rates(Oracle(), []) == {}
    assert isinstance(pairs[0], GradedPair)


def test_a_toy_learns_both_labels(data: Path, tmp_path: Path) -> None:
    metrics = RouterTrainer(recipe(data), tmp_path / "degraded").train().metrics
    assert metrics["accuracy"] == 1.0
    assert metrics["auc"] == 1.0
    assert {f"accuracy_{name}" for name in HARD_NEGATIVES} <= set(metrics)
    assert metrics["wer_routed"] == metrics["wer_oracle"] < metrics["wer_base"]
    pairs = [{"base": data / "base.jsonl", "robust": data / "robust.jsonl"}]
    AcceleratorState._reset_state(reset_partial_state=True)
    unused = {name: [tmp_path / "nowhere"] for name in ("clean", "degraded", "dev_clean")}
    plan = recipe(data, label="better", pairs=pairs, **unused)
    better = RouterTrainer(plan, tmp_path / "better").train().metrics
    assert better["accuracy"] == 1.0
    assert better["wer_routed"] == better["wer_oracle"]
    assert not any(f"accuracy_{name}" in better for name in HARD_NEGATIVES)
    router = Router.load(tmp_path / "better" / ROUTER_FILE)
    assert router.decide(hum(1)).route == "base"


def test_an_interrupted_run_is_resumed_exactly(data: Path, tmp_path: Path) -> None:
    plan = recipe(data, epochs=4, evaluate_steps=4)
    RouterTrainer(plan, tmp_path / "straight").train()

    def stop(row: dict[str, Any]) -> None:
        if row.get("step") == 8 and "accuracy" in row:
            raise KeyboardInterrupt

    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(KeyboardInterrupt):
        RouterTrainer(plan, tmp_path / "stopped", stop).train()
    AcceleratorState._reset_state(reset_partial_state=True)
    RouterTrainer(plan, tmp_path / "stopped").train()
    straight, resumed = (
        load_file(tmp_path / name / ROUTER_FILE) for name in ("straight", "stopped")
    )
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    results = [
        json.loads((tmp_path / n / "results.json").read_text()) for n in ("straight", "stopped")
    ]
    assert results[0] == results[1]
    steps = [
        row["step"] for row in rows(tmp_path / "stopped" / "metrics.jsonl") if "accuracy" in row
    ]
    assert steps == sorted(set(steps))
    # A deleted router is made again; the finished run is not trained again.
    (tmp_path / "stopped" / ROUTER_FILE).unlink()
    AcceleratorState._reset_state(reset_partial_state=True)
    RouterTrainer(plan, tmp_path / "stopped").train()
    assert (tmp_path / "stopped" / ROUTER_FILE).is_file()
    # Without the results, the weights that were the best stay.
    (tmp_path / "straight" / "results.json").unlink()
    AcceleratorState._reset_state(reset_partial_state=True)
    metrics = RouterTrainer(plan, tmp_path / "straight").train().metrics
    assert {**metrics, "step": 0} == {**results[0], "step": 0}
    kept = load_file(tmp_path / "straight" / ROUTER_FILE)
    assert all(torch.equal(straight[name], kept[name]) for name in straight)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_belongs_to_its_clips(data: Path, tmp_path: Path) -> None:
    mine = tmp_path / "dev.jsonl"
    write_manifest(mine, [Utterance("x", str(data / "c0.wav"), "a", "en", {"duration_s": 1.0})])
    plan = recipe(data, dev_clean=[mine], epochs=1)
    RouterTrainer(plan, tmp_path / "run").train()
    with mine.open("a", encoding="utf-8") as lines:
        lines.write(mine.read_text().replace('"x"', '"y"'))
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(TrainingError, match="started on other data"):
        RouterTrainer(plan, tmp_path / "run").train()


def test_a_broken_dev_clip_does_not_end_training(data: Path, tmp_path: Path) -> None:
    listed = [("x", data / "c0.wav"), ("broken", tmp_path / "nothing.wav")]
    clean = [Utterance(name, str(path), "a", "en", {"duration_s": 1.0}) for name, path in listed]
    write_manifest(tmp_path / "dev.jsonl", clean)
    metrics = (
        RouterTrainer(
            recipe(data, dev_clean=[tmp_path / "dev.jsonl"], epochs=1, max_left_out=0.2),
            tmp_path / "r",
        )
        .train()
        .metrics
    )
    assert 0.0 <= metrics["accuracy"] <= 1.0
    assert "unread" not in metrics  # it was left out before
    with pytest.raises(TrainingError, match="1 of 14 clips cannot be used"):
        RouterTrainer(recipe(data, dev_clean=[tmp_path / "dev.jsonl"]), tmp_path / "strict")
    assert not (tmp_path / "strict").exists()
    clips = [LabelledClip(str(tmp_path / "nothing.wav"), 1.0, True)]
    with pytest.raises(TrainingError, match=r"no clip of dev can be read, such as .*nothing\.wav"):
        classification_metrics(Router.load(tmp_path / "r" / ROUTER_FILE), clips)


def test_branches_that_never_differ_on_dev_give_no_label(data: Path, tmp_path: Path) -> None:
    pairs = [{"base": data / "base.jsonl", "robust": data / "robust.jsonl"}]
    same = [{"base": data / "base.jsonl", "robust": data / "base.jsonl"}]
    plan = recipe(data, label="better", pairs=pairs, dev_pairs=same, clean=[], degraded=[])
    with pytest.raises(TrainingError, match="same errors on every dev clip"):
        RouterTrainer(plan, tmp_path / "run").train()


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


def test_a_clip_is_weighted_by_the_cost_of_the_wrong_branch() -> None:
    pairs = [
        GradedPair(f"{number}", 1.0, 0.5, "noise", 10, *errors)
        for number, errors in enumerate([(7, 3), (1, 2), (5, 5)])
    ]
    assert [(clip.audio, clip.robust) for clip in oversample_by_error_gap(pairs)] == [
        *[("0", True)] * 4,
        ("1", False),
    ]
    with pytest.raises(TrainingError, match="same label"):
        oversample_by_error_gap(pairs[:1])


def test_the_operating_point_keeps_as_many_clean_clips_as_wanted(
    data: Path, tmp_path: Path
) -> None:
    plain = RouterTrainer(recipe(data, epochs=1), tmp_path / "plain")
    plain.train()
    clean = [clip for clip in read_labelled([data / "clean.jsonl"], []) if not clip.robust]
    network = read_classifier(plain.router_file)
    before = dict(score_clips(Router(network), clean))
    for share in (0.5, 0.9, 0.99):
        shift = keep_clean(network, clean, share)
        after = dict(score_clips(Router(network), clean))
        assert sum(p < 0.5 for p in after.values()) >= share * len(clean)
        assert shift >= 0
        assert keep_clean(network, clean, share) == 0
    order = sorted(clean, key=lambda clip: before[clip])
    assert [after[clip] for clip in order] == sorted(after.values())


def test_a_trained_router_has_its_operating_point(data: Path, tmp_path: Path) -> None:
    trainer = RouterTrainer(recipe(data, epochs=1, clean_share=0.99), tmp_path / "run")
    trainer.train()
    first = trainer.router_file.read_bytes()
    scores = score_clips(
        Router.load(trainer.router_file), read_labelled([data / "clean.jsonl"], [])
    )
    assert all(probability < 0.5 for _, probability in scores)
    RouterTrainer(recipe(data, epochs=1, clean_share=0.99), tmp_path / "run").train()
    assert trainer.router_file.read_bytes() == first
