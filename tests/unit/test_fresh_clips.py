"""Fine-tuning on clips that are simulated while training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from megaasr.audio import files
from megaasr.audio.waveform import Waveform
from megaasr.errors import TrainingError
from megaasr.model.geometry import AudioGeometry
from megaasr.records import Utterance, write_manifest
from megaasr.simulate.corpus.build import build_corpus
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe
from megaasr.train.clips import ClipFeatures, read_clips
from megaasr.train.sft.fresh_clips import FreshFeatures, FreshSpeech
from megaasr.train.sft.plan import describe_plan
from megaasr.train.sft.recipe import SFTRecipe
from megaasr.train.sft.trainer import SFTTrainer

SIMULATION = {"seed": 3, "num_clips": 7, "shard_size": 4, "max_duration_s": 5.0}


pytestmark = pytest.mark.usefixtures("fresh_process_state")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of five clean clips, one of which is missing, beside a recipe of a simulation."""
    folder = tmp_path_factory.mktemp("clean")
    rng = np.random.default_rng(1)
    utterances = []
    for number in range(5):
        sound = (0.1 * rng.standard_normal(16_000 + 800 * number)).astype(np.float32)
        if number != 3:
            files.write(folder / f"{number}.flac", Waveform(sound, 16_000))
        extra = {"duration_s": sound.size / 16_000}
        utterances.append(Utterance(f"u{number}", f"{number}.flac", "red boats", "en", extra))
    write_manifest(folder / "clean.jsonl", utterances)
    toml = "\n".join(f"{name} = {value}" for name, value in SIMULATION.items())
    (folder / "simulation.toml").write_text(toml)
    return folder / "clean.jsonl"


def supply(clean: Path) -> FreshSpeech:
    return FreshSpeech(clean, str(clean.parent / "simulation.toml"))


def recipe(base: Path, speech: Path, **changes: Any) -> SFTRecipe:
    return SFTRecipe.model_validate(
        {
            "model": str(base),
            "clean": {
                "manifest": str(speech),
                "simulation": str(speech.parent / "simulation.toml"),
            },
            "dev": [str(speech)],
            "seed": 5,
            "batch_size": 4,
            "device_batch_size": 4,
            "checkpoint_steps": 1,
            "evaluate_clips": 4,
            "loader_workers": 1,
            "log_steps": 1,
            "max_left_out": 0.25,  # one source of five is missing
            "phases": [
                {"name": "one", "scope": "llm", "fresh": 12, "rates": {"llm": 1e-2}},
                {"name": "two", "scope": "llm", "fresh": 8, "rates": {"llm": 1e-2}},
            ],
            **changes,
        }
    )


def test_fresh_clips_equal_those_of_a_built_data_set(clean: Path, tmp_path: Path) -> None:
    build_corpus(clean, tmp_path, SimulatedCorpusRecipe.model_validate(SIMULATION), workers=1)
    built = read_clips([tmp_path])
    features = ClipFeatures(built, AudioGeometry())
    expected = {clip.id: features[number] for number, clip in enumerate(built)}
    fresh = FreshFeatures(supply(clean), AudioGeometry(), 7)
    items = {clip.id: fresh[index] for index, clip in enumerate(fresh.clips)}
    assert set(expected) < set(items)
    for name, item in items.items():
        if name not in expected:
            assert name.startswith("u3")  # its source is missing: no example, and no error
            assert item["features"] is None
            continue
        np.testing.assert_array_equal(item["features"], expected[name]["features"])
        assert item["text"] == expected[name]["text"]


def test_later_clips_differ_and_none_is_used_twice(clean: Path) -> None:
    first = FreshFeatures(supply(clean), AudioGeometry(), 12)
    later = FreshFeatures(supply(clean), AudioGeometry(), 8, 12)
    ids = [clip.id for clip in (*first.clips, *later.clips)]
    assert len(set(ids)) == 20
    assert first[0]["text"] == later[0]["text"]
    assert not np.array_equal(first[0]["features"], first[5]["features"])  # the same words


@pytest.mark.slow
def test_a_run_on_fresh_clips_is_resumed_exactly(
    random_checkpoint: Path, clean: Path, tmp_path: Path
) -> None:
    plan = recipe(random_checkpoint, clean)
    trainer = SFTTrainer(plan, tmp_path / "straight")
    assert trainer.data.left_out.problems == (("u3", "cannot be read"),)
    counts = [len(trainer.data.stages(number)[0]) for number in (0, 1)]
    assert all(clip.text for number in (0, 1) for clip in trainer.data.stages(number)[0].clips)
    straight = trainer.train().path

    def stop(row: dict[str, Any]) -> None:
        if row["phase"] == "two" and row["step"] == 1 and "loss" in row:
            raise KeyboardInterrupt

    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(KeyboardInterrupt):
        SFTTrainer(plan, tmp_path / "stopped", stop).train()
    AcceleratorState._reset_state(reset_partial_state=True)
    resumed = SFTTrainer(plan, tmp_path / "stopped").train().path
    name = "adapter_model.safetensors"
    expected, weights = load_file(straight / name), load_file(resumed / name)
    assert set(expected) == set(weights)
    assert all(torch.equal(expected[key], weights[key]) for key in expected)
    rows = [json.loads(line) for line in (tmp_path / "straight/metrics.jsonl").open()]
    trained = [row for row in rows if "loss" in row]
    assert sum(counts) == 16  # a fifth of 20 clips has the missing source
    assert [row["clips"] for row in trained] == [n for n in counts for _ in range(round(n / 4))]
    parts = ("share_data", "share_forward", "share_backward")
    for row in trained:
        assert row["share_forward"] > 0
        assert row["share_backward"] > 0
        assert sum(row[part] for part in parts) <= 1.01
        assert row["peak_memory_mb"] > 10


def test_recipes_say_what_fresh_clips_need(random_checkpoint: Path, clean: Path) -> None:
    plan = recipe(random_checkpoint, clean)
    usable = supply(clean)
    assert usable.leave_out_unusable(0.25).problems == (("u3", "cannot be read"),)
    count = len(usable.clips(12))
    assert 8 <= count < 12  # those of the missing source are left out
    assert f"simulated while training: {count} clips" in describe_plan(plan)
    with pytest.raises(TrainingError, match="1 of 5 clips cannot be used, more than 5 %"):
        describe_plan(recipe(random_checkpoint, clean, max_left_out=0.05))
    with pytest.raises(ValueError, match="no speech"):
        recipe(random_checkpoint, clean, clean=None)
    with pytest.raises(ValueError, match="data: there is none"):
        recipe(random_checkpoint, clean, phases=[{"name": "a", "scope": "llm"}])
    for field, value in (("stages", [0.7]), ("sample", 3), ("epochs", 2)):
        phase = {"name": "a", "scope": "llm", "fresh": 4, field: value}
        with pytest.raises(ValueError, match=f"there is no {field}"):
            recipe(random_checkpoint, clean, phases=[phase])


def test_speech_without_a_duration_is_refused(clean: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.jsonl", [Utterance("a", "a.flac", "x", "en", {})])
    with pytest.raises(TrainingError, match="a has no duration_s"):
        FreshFeatures(FreshSpeech(tmp_path / "m.jsonl", "simulate-train-tiny"), AudioGeometry(), 1)
