"""Rollouts on vLLM, as far as vLLM itself is not needed: recipe, checks, seeds and limits."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import mega_asr
from graded_demo import write_graded_demo
from megaasr.config import load_recipe
from megaasr.errors import UsageError
from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import Features
from megaasr.train.rl.recipe import RLRecipe, SamplingRecipe
from megaasr.train.rl.rollout import Sample, token_limits
from megaasr.train.rl.trainer import RLTrainer
from megaasr.train.rl.vllm_rollout import first_seed

HAS_VLLM = importlib.util.find_spec("vllm") is not None


def rl_recipe(*overrides: str) -> RLRecipe:
    return load_recipe(RLRecipe, "rl-tiny", overrides)


def test_the_engine_is_a_field_of_the_recipe() -> None:
    assert rl_recipe().sampling.engine == "transformers"
    assert rl_recipe("sampling.engine=vllm", "rollout_memory=8GB").sampling.engine == "vllm"
    with pytest.raises(UsageError, match=r"sampling\.engine"):
        rl_recipe("sampling.engine=tensorrt")


def test_the_engine_vllm_works_in_one_process() -> None:
    assert rl_recipe().share(2) == 16
    recipe = rl_recipe("sampling.engine=vllm")
    assert recipe.share(1) == 32
    with pytest.raises(UsageError, match=r"one process, not in 2; start without torchrun"):
        recipe.share(2)


def test_a_temperature_that_vllm_would_raise_is_refused() -> None:
    assert rl_recipe("sampling.temperature=0.005").sampling.temperature == 0.005
    with pytest.raises(UsageError, match=r"temperature 0\.005: the engine vllm samples at 0\.01"):
        rl_recipe("sampling.engine=vllm", "sampling.temperature=0.005")


def test_the_seeds_of_clips_are_far_apart() -> None:
    seeds = [first_seed((seed, position)) for seed in range(20) for position in range(500)]
    assert seeds[:500] == [first_seed((0, position)) for position in range(500)]
    ordered = sorted(seeds)
    assert min(b - a for a, b in pairwise(ordered)) > 1000
    assert 2**61 < ordered[-1] < 2**62, "vLLM adds the index of a sample, and torch takes 63 bits"
    assert first_seed((3, 0)) == 3116952031969893446


def test_a_sample_has_the_budget_of_its_clip() -> None:
    clips: list[Features] = [np.zeros((frames, 128), np.float32) for frames in (100, 3000)]
    recipe = SamplingRecipe(max_tokens=200)
    assert token_limits(clips, recipe, AudioGeometry()) == [47, 200]


class StoppedError(Exception):
    pass


class StoppingEngine:
    """An engine that fails at its first draw."""

    closed = False

    def refresh(self) -> None:
        pass

    def draw(
        self, features: Sequence[Features], seeds: Sequence[Sequence[int]]
    ) -> list[list[Sample]]:
        raise StoppedError

    def close(self) -> None:
        self.closed = True


@pytest.mark.usefixtures("fresh_process_state")
def test_the_engine_is_closed_when_training_ends(tmp_path: Path) -> None:
    write_graded_demo(tmp_path)
    values: dict[str, Any] = {
        "model": "tiny",
        "data": [str(tmp_path)],
        "dev": [str(tmp_path)],
        "seed": 1,
        "steps": 1,
        "batch_size": 1,
        "evaluate_clips": 1,
    }
    engine = StoppingEngine()
    trainer = RLTrainer(
        RLRecipe.model_validate(values), tmp_path / "run", make_engine=lambda model, builder: engine
    )
    with pytest.raises(StoppedError):
        trainer.train()
    assert engine.closed


@pytest.mark.skipif(HAS_VLLM, reason="vLLM is installed")
@pytest.mark.usefixtures("fresh_process_state")
def test_without_vllm_nothing_is_created(tmp_path: Path) -> None:
    settings = ("--set", "sampling.engine=vllm")
    result = mega_asr("train", "rl", "rl-tiny", "-o", "run", *settings, cwd=tmp_path)
    assert result.returncode == 2
    assert "pip install vllm" in result.stderr
    assert not (tmp_path / "run").exists()
