"""The temperature probe: at which sampling temperature is there something to learn?

Source: Mega-ASR (arXiv 2605.19833). For clips with starting error rates b_i and K samples each:

- CPI (something to learn): share of clips whose best sample has an error rate <= b_i - delta;
- BAP (ability preserved): share of clips whose sample with the highest reward has an error rate
  <= b_i + delta;
- valid: share of samples that are not repetitive, not truncated, and not empty where the clip has
  speech.

The recommended temperature has the highest CPI among those whose BAP and valid share are at most 2
points below the best ones: exploration is worthless if the outputs break. delta is not published;
0.05 here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from megaasr.model.inputs import InputBuilder
from megaasr.text.dg_reward import score_batch
from megaasr.train.clips import read_usable_clips
from megaasr.train.rl.groups import Group, GroupSource
from megaasr.train.rl.prompt_schedule import PromptSchedule
from megaasr.train.rl.recipe import DynamicRecipe, RLRecipe
from megaasr.train.rl.rollout import NativeEngine
from megaasr.train.rl.start import load_start

TEMPERATURES = (0.3, 0.5, 0.7, 0.9)
TOLERANCE = 0.02
"""How far BAP and valid share may lie below the best ones."""
_BATCH_CLIPS = 32


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The measurements at one temperature.

    Attributes:
        temperature: temperature of the sampling.
        cpi, bap, valid: shares of 0..1, see this module.
        reward_variance: share of clips whose samples' rewards differ.
        error_rate: mean over clips of the mean error rate of their samples.
        best_error_rate: mean over clips of the error rate of their best sample.
    """

    temperature: float
    cpi: float
    bap: float
    valid: float
    reward_variance: float
    error_rate: float
    best_error_rate: float

    def to_dict(self) -> dict[str, float]:
        """Return the values by their names in `probe.json`."""
        return {
            "temperature": self.temperature,
            "cpi": self.cpi,
            "bap": self.bap,
            "valid": self.valid,
            "spread": self.reward_variance,
            "error_rate": self.error_rate,
            "best_error_rate": self.best_error_rate,
        }


def probe(
    recipe: RLRecipe,
    *,
    clips: int = 200,
    delta: float = 0.05,
    temperatures: Sequence[float] = TEMPERATURES,
    on_temperature: Callable[[float], None] = lambda temperature: None,
) -> list[ProbeResult]:
    """Probe the starting model of a recipe.

    Args:
        recipe: recipe of the training; its own temperature is not used.
        clips: number of clips, from the start of the run's schedule.
        delta: difference of error rates that counts.
        temperatures: temperatures to probe.
        on_temperature: called with each temperature before it is probed.

    Raises:
        TrainingError: adapter or data are missing.
        ModelError: the base model cannot be loaded.
    """
    start = load_start(recipe)
    start.model.eval()
    usable, _ = read_usable_clips(recipe.data, max_left_out=recipe.max_left_out)
    schedule = PromptSchedule(usable, recipe.thin, recipe.seed)
    count = min(clips, len(schedule.clips))
    tokenizer = start.processor.tokenizer
    builder = InputBuilder.for_model(start.model, start.processor)
    results = []
    for temperature in temperatures:
        on_temperature(temperature)
        sampling = recipe.sampling.model_copy(update={"temperature": temperature})
        source = GroupSource(
            schedule,
            NativeEngine(start.model, builder, sampling, _BATCH_CLIPS),
            decode=lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)),
            reward=partial(score_batch, recipe=recipe.reward),
            recipe=DynamicRecipe(tries=0, overlong_filter=False),
            seed=recipe.seed,
            geometry=builder.geometry,
        )
        batch = source.draw(0, range(count), count, lambda slots: slots)
        results.append(measure(batch.groups, temperature, delta))
    return results


def measure(groups: Sequence[Group], temperature: float, delta: float) -> ProbeResult:
    """Return the measurements of the groups that were drawn at one temperature.

    Args:
        groups: groups, at least one.
        temperature: temperature of the sampling.
        delta: difference of error rates that counts.
    """
    rates = [np.array(group.rewards["error_rate"]) for group in groups]
    before = [group.clip.error_rate or 0.0 for group in groups]
    chosen = [
        rate[int(np.argmax(group.rewards["total"]))]
        for group, rate in zip(groups, rates, strict=True)
    ]
    valid = [
        not sample.truncated
        and group.rewards["repetition"][index] > 0
        and (bool(group.texts[index].strip()) or not group.clip.text.strip())
        for group in groups
        for index, sample in enumerate(group.samples)
    ]
    return ProbeResult(
        temperature,
        cpi=float(np.mean([r.min() <= b - delta for r, b in zip(rates, before, strict=True)])),
        bap=float(np.mean([r <= b + delta for r, b in zip(chosen, before, strict=True)])),
        valid=float(np.mean(valid)),
        reward_variance=float(np.mean([group.has_reward_variance for group in groups])),
        error_rate=float(np.mean([r.mean() for r in rates])),
        best_error_rate=float(np.mean([r.min() for r in rates])),
    )


def recommend(results: Sequence[ProbeResult]) -> float:
    """Return the temperature to train at, by the rule in this module."""
    min_bap = max(result.bap for result in results) - TOLERANCE
    min_valid = max(result.valid for result in results) - TOLERANCE
    sound = [result for result in results if result.bap >= min_bap and result.valid >= min_valid]
    return max(sound or results, key=lambda result: (result.cpi, -result.temperature)).temperature


def draw_probe(results: Sequence[ProbeResult], picture: Path) -> None:
    """Plot the measurements over the temperature (needs the extra `train`).

    Args:
        results: results of all temperatures.
        picture: PNG file to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (shares, errors) = pyplot.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
    temperatures = [result.temperature for result in results]
    for name, label in (
        ("cpi", "CPI: a sample is better"),
        ("bap", "BAP: the chosen sample is no worse"),
        ("valid", "valid samples"),
        ("reward_variance", "groups with reward variance"),
    ):
        values = [100 * getattr(result, name) for result in results]
        shares.plot(temperatures, values, marker="o", label=label)
    shares.set(xlabel="temperature", ylabel="%", ylim=(0, 102))
    for name, label in (
        ("error_rate", "mean sample"),
        ("best_error_rate", "best sample"),
    ):
        values = [100 * getattr(result, name) for result in results]
        errors.plot(temperatures, values, marker="o", label=label)
    errors.set(xlabel="temperature", ylabel="word error rate, %", ylim=(0, None))
    for axis in (shares, errors):
        axis.axvline(recommend(results), color="grey", linestyle=":", label="recommended")
        axis.legend()
        axis.grid(alpha=0.3)
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)
