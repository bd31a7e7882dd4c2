"""Sampling transcripts on vLLM: the starting model in an engine, and the policy's adapter on it.

The engine runs in the process of the training, beside the policy. It holds the weights that the
policy has with its adapter disabled, bit for bit, and before every step it is given the adapter of
that moment. The adapter has another name each time, and vLLM's caches are emptied: what they keep
was computed with other weights.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from megaasr.adapter.merge import merge
from megaasr.adapter.peft_layout import Adapter
from megaasr.model.engine_limits import EngineLimits
from megaasr.model.engines import sizes_on_device, vllm_device
from megaasr.model.inputs import Features, InputBuilder, end_token_ids, find_end
from megaasr.model.interface import MAX_CHUNK_S
from megaasr.model.memory import ModelMemory
from megaasr.model.memory_budget import free_memory, parse_memory
from megaasr.model.vllm_adapter import buffer_rank
from megaasr.model.vllm_offline import (
    audio_prompt,
    generate,
    load_adapter,
    sampling_options,
    start_engine,
    stop_engine,
    unload_adapter,
)
from megaasr.model.vllm_sizes import EnginePlan, plan_engine
from megaasr.train.peft_model import read_trained_adapter
from megaasr.train.rl.recipe import RLRecipe
from megaasr.train.rl.rollout import Sample, token_limits
from megaasr.train.rl.start import Start

if TYPE_CHECKING:
    import torch

_LOGGER = logging.getLogger(__name__)
_NAME = "policy"
_SEED_BITS = 62  # torch takes 63, and vLLM adds the index of a sample
_SHARE = 0.5  # of what is free on a GPU: the policy's activations need the rest


class VllmEngine:
    """Samples with vLLM, in this process; implements `RolloutEngine`.

    The engine is started by the first `refresh`.

    Args:
        start: the starting model.
        model: PEFT model with the policy's adapter.
        builder: builds the model's inputs.
        recipe: recipe of the run.

    Raises:
        UsageError: vLLM is built for another device, or the engine does not fit into the memory.
        CheckpointError: the adapter has a higher rank than vLLM allows.
    """

    def __init__(self, start: Start, model: Any, builder: InputBuilder, recipe: RLRecipe) -> None:
        self._start, self._model, self._builder = start, model, builder
        self._recipe = recipe.sampling
        self._end_ids = end_token_ids(start.model.generation_config)
        self._dtype: torch.dtype = start.model.dtype
        device = vllm_device(start.model.device.type)
        plan = self._plan(read_trained_adapter(model, _NAME), device, recipe)
        self._sizes = sizes_on_device(plan, device)
        _LOGGER.info("the rollout engine %s", plan)
        self._engine: Any = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._version = 0
        self._adapter: Any = None

    def refresh(self) -> None:
        """Give the engine the policy's adapter, and empty its caches.

        Raises:
            CheckpointError: vLLM cannot load the starting model, or does not apply all of the
                adapter.
        """
        adapter = read_trained_adapter(self._model, _NAME)
        if self._engine is None:
            self._engine = self._start_engine(adapter)
        else:
            unload_adapter(self._engine, self._version)
        self._version += 1
        name = f"{_NAME}-{self._version}"
        self._adapter = load_adapter(self._engine, adapter, name, self._version)

    def draw(
        self, features: Sequence[Features], seeds: Sequence[Sequence[int]]
    ) -> list[list[Sample]]:
        """Return the samples of each clip; see `RolloutEngine`.

        Raises:
            ModelError: the engine fails.
        """
        geometry, pad_id = self._builder.geometry, self._start.model.config.audio_token_id
        ends = self._builder.prompt_ends("", None)
        limits = token_limits(features, self._recipe, geometry)
        outputs = generate(
            self._engine,
            [audio_prompt(clip, geometry, pad_id, ends) for clip in features],
            [
                sampling_options(self._recipe.settings(), limit, self._end_ids, first_seed(seed))
                for limit, seed in zip(limits, seeds, strict=True)
            ],
            [self._adapter] * len(features),
        )
        return [
            [self._sample(sample.token_ids, limit) for sample in output.outputs]
            for output, limit in zip(outputs, limits, strict=True)
        ]

    def close(self) -> None:
        """Stop the engine, and release its memory."""
        if self._engine is not None:
            stop_engine(self._engine)
            self._engine = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _sample(self, ids: Sequence[int], limit: int) -> Sample:
        return Sample(tuple(ids), find_end(ids, limit, self._end_ids) is None)

    def _plan(self, adapter: Adapter, device: torch.device, recipe: RLRecipe) -> EnginePlan:
        """Return the largest engine that fits beside the policy.

        Raises:
            UsageError: nothing fits.
        """
        config = self._start.model.config
        memory = ModelMemory(config, self._builder.geometry, max_chunk_s=MAX_CHUNK_S)
        budget = None
        if recipe.rollout_memory is not None:
            budget = parse_memory(recipe.rollout_memory) or free_memory(device)
        elif device.type == "cuda":
            budget = round(_SHARE * free_memory(device))
        # The prompt of a request is a clip without context.
        limits = EngineLimits(max_model_len=memory.prompt_tokens + memory.output_tokens)
        return plan_engine(
            memory,
            _name_of(self._dtype),
            rank=buffer_rank(adapter),
            budget=budget,
            device_type=device.type,
            limits=limits,
            advice="give it more with rollout_memory, or use sampling.engine=transformers",
        )

    def _start_engine(self, adapter: Adapter) -> Any:
        """Write the starting model, and return vLLM's engine with it."""
        self._folder = tempfile.TemporaryDirectory(prefix="megaasr-start-")
        folder = Path(self._folder.name) / "model"
        merge(self._start.base, self._start.adapter, folder, dtype=self._dtype)
        engine = start_engine(
            folder,
            self._sizes,
            _name_of(self._dtype),
            config=self._start.model.config,
            geometry=self._builder.geometry,
            adapter=adapter,
        )
        for weights in folder.glob("*.safetensors"):  # the engine has them now
            weights.unlink()
        return engine


def first_seed(seed: Sequence[int]) -> int:
    """Return vLLM's seed for the first sample of a clip; the samples' seeds are consecutive.

    Args:
        seed: seed of the clip; similar seeds give numbers that are far from each other.
    """
    (state,) = np.random.SeedSequence([*seed]).generate_state(1, np.uint64).tolist()
    return int(state) >> (64 - _SEED_BITS)


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
