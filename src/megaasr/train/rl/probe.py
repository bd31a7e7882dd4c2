"""The temperature probe: is there something to learn from at a temperature, and does it hold?

Source: Mega-ASR (arXiv 2605.19833). For clips with starting error rates b_i and K samples each:

- CPI (something to learn): share of clips whose best sample has an error rate <= b_i - delta;
- BAP (ability preserved): share whose sample with the highest reward has one <= b_i + delta;
- valid: share of samples that are not empty where somebody speaks, not repetitive, not cut off.

Recommended is the temperature with the highest CPI among those whose BAP and valid share are not
more than 2 points below the best there are: exploring is worth nothing on outputs that break.
delta is not published; 0.05 here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from megaasr.model.inputs import InputBuilder
from megaasr.train.clips import read_clips
from megaasr.train.rl.groups import Group, GroupSource
from megaasr.train.rl.prompt_schedule import PromptSchedule
from megaasr.train.rl.recipe import DynamicRecipe, RLRecipe
from megaasr.train.rl.rewards import score_batch
from megaasr.train.rl.rollout import NativeEngine
from megaasr.train.rl.start import load_start

TEMPERATURES = (0.3, 0.5, 0.7, 0.9)
TOLERANCE = 0.02
_SAMPLES_AT_ONCE = 32  # clips


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of a temperature.

    Attributes:
        temperature: of the sampling.
        cpi, bap, valid: see the module; 0..1.
        spread: share of clips whose samples' rewards differ.
        error_rate: mean over clips of the samples' mean error rate.
        best_error_rate: mean over clips of the best sample's.
    """

    temperature: float
    cpi: float
    bap: float
    valid: float
    spread: float
    error_rate: float
    best_error_rate: float

    def as_dict(self) -> dict[str, float]:
        """Return the fields by name."""
        return asdict(self)


def probe(
    recipe: RLRecipe,
    *,
    clips: int = 200,
    delta: float = 0.05,
    temperatures: Sequence[float] = TEMPERATURES,
    on_progress: Callable[[float], None] = lambda temperature: None,
) -> list[Probed]:
    """Probe the starting model of a recipe.

    Args:
        recipe: as for training; its own temperature is not used.
        clips: the first so many of the run's schedule.
        delta: by how much an error rate has to differ.
        temperatures: to try.
        on_progress: told each temperature before it is tried.
    """
    start = load_start(recipe)
    start.model.eval()
    schedule = PromptSchedule(read_clips(recipe.data), recipe.thin, recipe.seed)
    count = min(clips, len(schedule.clips))
    tokenizer = start.processor.tokenizer
    builder = InputBuilder.for_model(start.model, start.processor)
    found = []
    for temperature in temperatures:
        on_progress(temperature)
        sampling = recipe.sampling.model_copy(update={"temperature": temperature})
        source = GroupSource(
            schedule,
            NativeEngine(start.model, builder, sampling, _SAMPLES_AT_ONCE),
            lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)),
            partial(score_batch, recipe=recipe.reward),
            DynamicRecipe(tries=0, overlong_filter=False),
            recipe.seed,
            geometry=builder.geometry,
        )
        drawn = source.draw(0, range(count), count, lambda found: found)
        found.append(measure(drawn.groups, temperature, delta))
    return found


def measure(groups: Sequence[Group], temperature: float, delta: float) -> Probed:
    """Return the measures of one temperature's groups."""
    rates = [np.array(one.rewards["error_rate"]) for one in groups]
    before = [one.clip.error_rate or 0.0 for one in groups]
    chosen = [
        rate[int(np.argmax(one.rewards["total"]))] for one, rate in zip(groups, rates, strict=True)
    ]
    valid = [
        not sample.truncated
        and one.rewards["repetition"][at] > 0
        and (bool(one.texts[at].strip()) or not one.clip.text.strip())
        for one in groups
        for at, sample in enumerate(one.samples)
    ]
    return Probed(
        temperature,
        float(np.mean([r.min() <= b - delta for r, b in zip(rates, before, strict=True)])),
        float(np.mean([r <= b + delta for r, b in zip(chosen, before, strict=True)])),
        float(np.mean(valid)),
        float(np.mean([one.spread for one in groups])),
        float(np.mean([r.mean() for r in rates])),
        float(np.mean([r.min() for r in rates])),
    )


def recommend(found: Sequence[Probed]) -> float:
    """Return the temperature to train at; the rule is in the module."""
    least_bap = max(one.bap for one in found) - TOLERANCE
    least_valid = max(one.valid for one in found) - TOLERANCE
    sound = [one for one in found if one.bap >= least_bap and one.valid >= least_valid]
    return max(sound or found, key=lambda one: (one.cpi, -one.temperature)).temperature


def draw_probe(found: Sequence[Probed], picture: Path) -> None:
    """Draw the measures over the temperature into a PNG (needs the `train` extra)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (shares, errors) = pyplot.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
    places = [one.temperature for one in found]
    for name, label in (
        ("cpi", "CPI: a sample is better"),
        ("bap", "BAP: the chosen sample is no worse"),
        ("valid", "valid samples"),
        ("spread", "groups with spread"),
    ):
        shares.plot(places, [100 * one.as_dict()[name] for one in found], marker="o", label=label)
    shares.set(xlabel="temperature", ylabel="%", ylim=(0, 102))
    for name, label in (
        ("error_rate", "mean sample"),
        ("best_error_rate", "best sample"),
    ):
        errors.plot(places, [100 * one.as_dict()[name] for one in found], marker="o", label=label)
    errors.set(xlabel="temperature", ylabel="word error rate, %", ylim=(0, None))
    for axis in (shares, errors):
        axis.axvline(recommend(found), color="grey", linestyle=":", label="recommended")
        axis.legend()
        axis.grid(alpha=0.3)
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)
