"""Groups of drawn transcripts for one step: rewards, and dynamic sampling.

Every process takes a slice of the step's places. A group without spread gives its place to the next
clip of the schedule; which clip that is does not depend on how many processes there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import Features
from megaasr.model.prompt import parse_output
from megaasr.train.clips import Clip, ClipFeatures
from megaasr.train.rl.policy_loss import group_advantages, has_spread
from megaasr.train.rl.prompt_schedule import PromptSchedule
from megaasr.train.rl.recipe import DynamicRecipe
from megaasr.train.rl.rewards import Rewards
from megaasr.train.rl.rollout import RolloutEngine, Sample

Reward = Callable[[Sequence[str], Sequence[str], Sequence[str | None]], Rewards]
Gather = Callable[[list[int]], list[int]]
Decode = Callable[[Sequence[int]], str]
_PARTS = tuple(field.name for field in fields(Rewards))


@dataclass(frozen=True, slots=True)
class Group:
    """A clip and what was drawn for it.

    Attributes:
        clip: of the data set.
        features: float [frames, mels].
        samples: K transcripts as tokens.
        texts: the same as words; not cleaned of loops.
        rewards: every part of the reward, each a list of K.
        valid: which samples count, bool [K].
        advantages: float [K], 0 for those that do not count.
        spread: whether the rewards differ, so that something can be learnt.
    """

    clip: Clip
    features: Features
    samples: list[Sample]
    texts: list[str]
    rewards: dict[str, list[float]]
    valid: torch.Tensor
    advantages: torch.Tensor
    spread: bool


@dataclass(slots=True)
class Drawn:
    """The groups of a step, of one process.

    Attributes:
        groups: that are learnt from.
        position: in the schedule, where the next step goes on.
        drawn: groups that were drawn in all, by this process.
        flat: those among them without spread.
        unreadable: clips whose sound could not be read.
        seconds: spent reading sound, generating, scoring.
    """

    groups: list[Group]
    position: int
    drawn: int
    flat: int
    unreadable: int
    seconds: dict[str, float]


class GroupSource:
    """Draws the groups of each step.

    Args:
        schedule: of the clips.
        engine: draws the transcripts.
        decode: token ids to the raw text.
        reward: of transcripts.
        recipe: of dynamic sampling.
        seed: of the draws.
        geometry: of the model's audio.
    """

    def __init__(
        self,
        schedule: PromptSchedule,
        engine: RolloutEngine,
        decode: Decode,
        reward: Reward,
        recipe: DynamicRecipe,
        seed: int,
        *,
        geometry: AudioGeometry,
    ) -> None:
        self._schedule, self._engine, self._decode = schedule, engine, decode
        self._reward, self._recipe, self._seed = reward, recipe, seed
        self._geometry = geometry

    def draw(self, position: int, places: range, whole: int, gather: Gather) -> Drawn:
        """Return the groups of a step.

        Args:
            position: in the schedule.
            places: of this process among the step's.
            whole: places of the step, all processes together.
            gather: joins lists of all processes.
        """
        found: dict[int, Group] = {}
        result = Drawn([], position, 0, 0, 0, {"data": 0.0, "generate": 0.0, "score": 0.0})
        open_places = list(range(whole))
        self._engine.refresh()
        for _ in range(1 + self._recipe.tries):
            mine = {
                place: result.position + at
                for at, place in enumerate(open_places)
                if place in places
            }
            fresh = self._groups(list(mine.values()), result)
            still = []
            for place, group in zip(mine, fresh, strict=True):
                if group is not None:
                    found[place] = group
                if group is None or not group.spread:
                    still.append(place)
            result.position += len(open_places)
            open_places = sorted(gather(still))
            if not open_places:
                break
        result.groups = [found[place] for place in sorted(found)]
        return result

    def _groups(self, positions: Sequence[int], result: Drawn) -> list[Group | None]:
        began = time.monotonic()
        clips = [self._schedule(at) for at in positions]
        read = ClipFeatures(clips, self._geometry)
        features = [read[at]["features"] for at in range(len(clips))]
        heard = [at for at, one in enumerate(features) if one is not None]
        result.unreadable += len(clips) - len(heard)
        read_at = time.monotonic()
        samples = self._engine.draw(
            [features[at] for at in heard], [(self._seed, positions[at]) for at in heard]
        )
        drawn_at = time.monotonic()
        groups: list[Group | None] = [None] * len(clips)
        for at, group in zip(
            heard,
            self._score([clips[at] for at in heard], [features[at] for at in heard], samples),
            strict=True,
        ):
            groups[at] = group
            result.drawn += 1
            result.flat += not group.spread
        spent = (read_at - began, drawn_at - read_at, time.monotonic() - drawn_at)
        for name, seconds in zip(("data", "generate", "score"), spent, strict=True):
            result.seconds[name] += seconds
        return groups

    def _score(
        self, clips: Sequence[Clip], features: Sequence[Any], samples: Sequence[list[Sample]]
    ) -> list[Group]:
        texts = [[parse_output(self._decode(one.ids))[0] for one in of_clip] for of_clip in samples]
        count = len(samples[0]) if samples else 0
        rewards = self._reward(
            [text for of_clip in texts for text in of_clip],
            [clip.text for clip in clips for _ in range(count)],
            [clip.language for clip in clips for _ in range(count)],
        )
        parts = {name: getattr(rewards, name).reshape(-1, count) for name in _PARTS if count}
        groups = []
        for at, clip in enumerate(clips):
            own = {name: values[at].tolist() for name, values in parts.items()}
            kept = [not (self._recipe.overlong_filter and one.truncated) for one in samples[at]]
            total = torch.tensor([own["total"]], dtype=torch.float64)
            valid = torch.tensor([kept])
            groups.append(
                Group(
                    clip,
                    features[at],
                    samples[at],
                    texts[at],
                    own,
                    valid[0],
                    group_advantages(total, valid)[0].float(),
                    bool(has_spread(total, valid)[0]),
                )
            )
        return groups


def summarize(drawn: Drawn) -> dict[str, float]:
    """Return the sums of a step's groups: what `mean_metrics` makes rates of."""
    groups = drawn.groups
    sums: dict[str, float] = {"groups": len(groups), "drawn": drawn.drawn, "flat": drawn.flat}
    sums["unreadable"] = drawn.unreadable
    sums.update({f"s_{name}": seconds for name, seconds in drawn.seconds.items()})
    sums["samples"] = sum(len(group.samples) for group in groups)
    for name in _PARTS:
        sums[name] = float(sum(np.sum(group.rewards[name]) for group in groups))
    sums["reference"] = sum(_reference_length(group) for group in groups)
    sums["truncated"] = sum(one.truncated for group in groups for one in group.samples)
    sums["tokens"] = sum(len(one.ids) for group in groups for one in group.samples)
    sums["empty"] = sum(
        not text.strip() and bool(group.clip.text.strip())
        for group in groups
        for text in group.texts
    )
    return sums


def mean_metrics(sums: dict[str, float]) -> dict[str, float]:
    """Return means per sample, error rates per token of the references, and rates of failures."""
    samples, drawn = max(1.0, sums["samples"]), max(1.0, sums["drawn"])
    reference = max(1.0, sums["reference"])
    parts = {
        f"reward_{name}": sums[name] / samples
        for name in ("total", "wer", "repetition", "static", "fine", "structure", "dynamic")
    }
    errors = {name: sums[name] / reference for name in ("substitutions", "deletions", "insertions")}
    return {
        **parts,
        "wer": sum(errors.values()),
        **errors,
        "tokens": sums["tokens"] / samples,
        "flat": sums["flat"] / drawn,
        "empty": sums["empty"] / samples,
        "loop": 1.0 - sums["repetition"] / samples,
        "overlong": sums["truncated"] / samples,
    }


def _reference_length(group: Group) -> float:
    """Tokens of the references of all samples: hits are in the length of the hypothesis."""
    rewards = group.rewards
    columns = (rewards[name] for name in ("length", "insertions", "deletions"))
    return float(sum(said - added + lost for said, added, lost in zip(*columns, strict=True)))
