"""Groups of sampled transcripts for one step: rewards, advantages and dynamic sampling.

Every process takes a contiguous part of the slots of a step. A group with zero reward variance
leaves its slot to the next clip of the schedule. Which clip that is does not depend on the number
of processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch

from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import Features
from megaasr.model.prompt import parse_output
from megaasr.text.dg_reward import Rewards
from megaasr.train.clips import Clip, ClipFeatures
from megaasr.train.rl.policy_loss import group_advantages, has_reward_variance
from megaasr.train.rl.prompt_schedule import PromptSchedule
from megaasr.train.rl.recipe import DynamicRecipe
from megaasr.train.rl.rollout import RolloutEngine, Sample

Reward = Callable[[Sequence[str], Sequence[str], Sequence[str | None]], Rewards]
"""Scores hypotheses against references; arguments: hypotheses, references, languages."""
Gather = Callable[[list[int]], list[int]]
"""Joins the lists of all processes."""
Decode = Callable[[Sequence[int]], str]
"""Decodes token ids to the raw output of the model."""
_REWARD_FIELDS = tuple(reward.name for reward in fields(Rewards))


@dataclass(frozen=True, slots=True)
class Group:
    """A clip and its K samples.

    Attributes:
        clip: clip of the data set.
        features: log-mel features, float32 of shape [frames, mels].
        samples: the K sampled transcripts as tokens.
        texts: the same as text; loops are kept.
        rewards: every field of `Rewards`, as lists of K values.
        valid: samples that count, bool of shape [K].
        advantages: float of shape [K], 0 for samples that do not count.
        has_reward_variance: whether the rewards differ, so that something can be learnt.
    """

    clip: Clip
    features: Features
    samples: list[Sample]
    texts: list[str]
    rewards: dict[str, list[float]]
    valid: torch.Tensor
    advantages: torch.Tensor
    has_reward_variance: bool


@dataclass(slots=True)
class RolloutBatch:
    """The groups of one process for one step.

    Attributes:
        position: position in the schedule at which the next step continues.
        groups: groups to learn from.
        sampled_groups: number of groups that this process sampled for them.
        zero_variance: number of those groups with zero reward variance.
        unreadable: number of clips whose audio could not be read.
        seconds: seconds spent on reading audio (`data`), sampling (`generate`) and scoring
            (`score`).
    """

    position: int
    groups: list[Group] = field(default_factory=list)
    sampled_groups: int = 0
    zero_variance: int = 0
    unreadable: int = 0
    seconds: dict[str, float] = field(
        default_factory=lambda: {"data": 0.0, "generate": 0.0, "score": 0.0}
    )


class GroupSource:
    """Draws the groups of each step.

    Args:
        schedule: order of the clips.
        engine: samples the transcripts.
        decode: decodes token ids to the raw output of the model.
        reward: scores the transcripts.
        recipe: treatment of groups with zero reward variance and of truncated samples.
        seed: seed of the samples.
        geometry: audio geometry of the model.
    """

    def __init__(
        self,
        schedule: PromptSchedule,
        engine: RolloutEngine,
        *,
        decode: Decode,
        reward: Reward,
        recipe: DynamicRecipe,
        seed: int,
        geometry: AudioGeometry,
    ) -> None:
        self._schedule, self._engine, self._decode = schedule, engine, decode
        self._reward, self._recipe, self._seed = reward, recipe, seed
        self._geometry = geometry

    def draw(self, position: int, slots: range, global_batch: int, gather: Gather) -> RolloutBatch:
        """Return the groups of a step.

        Args:
            position: position in the schedule.
            slots: slots of this process among those of the step.
            global_batch: number of slots of the step, all processes together.
            gather: joins the lists of all processes.
        """
        groups: dict[int, Group] = {}
        batch = RolloutBatch(position)
        open_slots = list(range(global_batch))
        self._engine.refresh()
        for _ in range(1 + self._recipe.tries):
            positions = {
                slot: batch.position + number
                for number, slot in enumerate(open_slots)
                if slot in slots
            }
            new_groups = self._draw_groups(list(positions.values()), batch)
            still_open = []
            for slot, group in zip(positions, new_groups, strict=True):
                if group is not None:
                    groups[slot] = group
                if group is None or not group.has_reward_variance:
                    still_open.append(slot)
            batch.position += len(open_slots)
            open_slots = sorted(gather(still_open))
            if not open_slots:
                break
        batch.groups = [groups[slot] for slot in sorted(groups)]
        return batch

    def _draw_groups(self, positions: Sequence[int], batch: RolloutBatch) -> list[Group | None]:
        """Return the group of each position, None for clips that cannot be read; count in batch."""
        started = time.monotonic()
        clips = [self._schedule(position) for position in positions]
        items = ClipFeatures(clips, self._geometry)
        features = [items[index]["features"] for index in range(len(clips))]
        readable = [index for index in range(len(clips)) if features[index] is not None]
        batch.unreadable += len(clips) - len(readable)
        read_done = time.monotonic()
        samples = self._engine.draw(
            [features[index] for index in readable],
            [(self._seed, positions[index]) for index in readable],
        )
        sampling_done = time.monotonic()
        scored = self._score(
            [clips[index] for index in readable], [features[index] for index in readable], samples
        )
        batch.sampled_groups += len(scored)
        batch.zero_variance += sum(not group.has_reward_variance for group in scored)
        batch.seconds["data"] += read_done - started
        batch.seconds["generate"] += sampling_done - read_done
        batch.seconds["score"] += time.monotonic() - sampling_done
        groups: list[Group | None] = [None] * len(clips)
        for index, group in zip(readable, scored, strict=True):
            groups[index] = group
        return groups

    def _score(
        self, clips: Sequence[Clip], features: Sequence[Features], samples: Sequence[list[Sample]]
    ) -> list[Group]:
        texts = [[parse_output(self._decode(s.ids))[0] for s in of_clip] for of_clip in samples]
        count = len(samples[0]) if samples else 0
        rewards = self._reward(
            [text for of_clip in texts for text in of_clip],
            [clip.text for clip in clips for _ in range(count)],
            [clip.language for clip in clips for _ in range(count)],
        )
        values = {
            name: getattr(rewards, name).reshape(-1, count) for name in _REWARD_FIELDS if count
        }
        return [
            self._make_group(
                clip,
                features[index],
                samples[index],
                texts=texts[index],
                rewards={name: table[index].tolist() for name, table in values.items()},
            )
            for index, clip in enumerate(clips)
        ]

    def _make_group(
        self,
        clip: Clip,
        features: Features,
        samples: list[Sample],
        *,
        texts: list[str],
        rewards: dict[str, list[float]],
    ) -> Group:
        counts = [not (self._recipe.overlong_filter and sample.truncated) for sample in samples]
        total = torch.tensor([rewards["total"]], dtype=torch.float64)
        valid = torch.tensor([counts])
        return Group(
            clip=clip,
            features=features,
            samples=samples,
            texts=texts,
            rewards=rewards,
            valid=valid[0],
            advantages=group_advantages(total, valid)[0].float(),
            has_reward_variance=bool(has_reward_variance(total, valid)[0]),
        )


def summarize(batch: RolloutBatch) -> dict[str, float]:
    """Return the sums over a step's groups that `mean_metrics` turns into rates."""
    groups = batch.groups
    sums: dict[str, float] = {
        "groups": len(groups),
        "drawn": batch.sampled_groups,
        "flat": batch.zero_variance,
        "unreadable": batch.unreadable,
    }
    sums.update({f"s_{name}": seconds for name, seconds in batch.seconds.items()})
    sums["samples"] = sum(len(group.samples) for group in groups)
    for name in _REWARD_FIELDS:
        sums[name] = float(sum(np.sum(group.rewards[name]) for group in groups))
    sums["reference"] = sum(_reference_tokens(group) for group in groups)
    sums["truncated"] = sum(sample.truncated for group in groups for sample in group.samples)
    sums["tokens"] = sum(len(sample.ids) for group in groups for sample in group.samples)
    sums["empty"] = sum(
        not text.strip() and bool(group.clip.text.strip())
        for group in groups
        for text in group.texts
    )
    return sums


def mean_metrics(sums: dict[str, float]) -> dict[str, float]:
    """Return means per sample, error rates per reference token, and rates of failures.

    Args:
        sums: sums of `summarize` over any number of steps and processes.
    """
    samples, sampled_groups = max(1.0, sums["samples"]), max(1.0, sums["drawn"])
    reference = max(1.0, sums["reference"])
    rewards = {
        f"reward_{name}": sums[name] / samples
        for name in ("total", "wer", "repetition", "static", "fine", "structure", "dynamic")
    }
    errors = {name: sums[name] / reference for name in ("substitutions", "deletions", "insertions")}
    return {
        **rewards,
        "wer": sum(errors.values()),
        **errors,
        "tokens": sums["tokens"] / samples,
        "flat": sums["flat"] / sampled_groups,
        "empty": sums["empty"] / samples,
        "loop": 1.0 - sums["repetition"] / samples,
        "overlong": sums["truncated"] / samples,
    }


def _reference_tokens(group: Group) -> float:
    """Return the number of tokens of the reference, summed over the samples."""
    rewards = group.rewards
    columns = (rewards[name] for name in ("length", "insertions", "deletions"))
    return float(
        sum(
            length - insertions + deletions
            for length, insertions, deletions in zip(*columns, strict=True)
        )
    )
