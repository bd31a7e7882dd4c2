"""Sampling transcripts: the interface of an engine, and the engine of transformers' native model.

An engine samples K transcripts of each clip and says which of them the token budget cut off. It
need not return log-probabilities, since the loop computes them itself. The engine on vLLM is in
`vllm_rollout`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import Features, InputBuilder
from megaasr.model.request_checks import token_budget
from megaasr.model.sampling import TranscriptSampler
from megaasr.train.rl.policy import make_prompts
from megaasr.train.rl.recipe import SamplingRecipe


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled transcript.

    Attributes:
        ids: token ids, with the end token if there is one.
        truncated: whether the token budget cut the transcript off.
    """

    ids: tuple[int, ...]
    truncated: bool


class RolloutEngine(Protocol):
    """Samples transcripts from the current policy."""

    def refresh(self) -> None:
        """Load the current weights of the policy; called before the samples of a step."""

    def draw(
        self, features: Sequence[Features], seeds: Sequence[Sequence[int]]
    ) -> list[list[Sample]]:
        """Return the samples of each clip.

        Args:
            features: log-mel features of each clip, float32 of shape [frames, mels].
            seeds: seed of each clip. Equal seeds and weights give equal transcripts, whatever
                other clips are in the batch (up to rounding).
        """
        ...

    def close(self) -> None:
        """Release what the engine holds beside the policy; a later `refresh` may need it anew."""
        ...


class NativeEngine:
    """Samples with the model in training, in this process.

    Args:
        model: native model with injected adapters.
        builder: builds the model's inputs.
        recipe: settings of the sampling.
        batch_size: clips in one batch.
    """

    def __init__(
        self, model: Any, builder: InputBuilder, recipe: SamplingRecipe, batch_size: int
    ) -> None:
        self._model, self._recipe, self._batch_size = model, recipe, batch_size
        self._builder = builder
        self._sampler = TranscriptSampler(model, builder.pad_id, recipe.settings())

    def refresh(self) -> None:
        """Do nothing: the weights are those of the policy itself."""

    def draw(
        self, features: Sequence[Features], seeds: Sequence[Sequence[int]]
    ) -> list[list[Sample]]:
        """Return the samples of each clip; see `RolloutEngine`."""
        order = sorted(range(len(features)), key=lambda index: len(features[index]))
        samples: dict[int, list[Sample]] = {}
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            rows = self._draw_batch([features[i] for i in batch], [seeds[i] for i in batch])
            samples.update(zip(batch, rows, strict=True))
        return [samples[index] for index in range(len(features))]

    def close(self) -> None:
        """Do nothing: there is no more than the policy."""

    def _draw_batch(
        self, features: Sequence[Features], seeds: Sequence[Sequence[int]]
    ) -> list[list[Sample]]:
        prompts = make_prompts(features, self._builder)
        prompts = prompts.to(self._model.device, self._model.dtype)
        budgets = token_limits(features, self._recipe, self._builder.geometry)
        sampled = self._sampler.draw(prompts.inputs(), seeds, budgets)
        return [[Sample(s.ids, s.truncated) for s in of_clip] for of_clip in sampled]


def token_limits(
    features: Sequence[Features], recipe: SamplingRecipe, geometry: AudioGeometry
) -> list[int]:
    """Return the maximum number of tokens of a sample of each clip.

    Args:
        features: log-mel features of each clip, float32 of shape [frames, mels].
        recipe: settings of the sampling.
        geometry: audio geometry of the model.
    """
    return [min(recipe.max_tokens, token_budget(geometry.seconds(len(clip)))) for clip in features]
