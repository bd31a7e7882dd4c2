"""The families by category, and the names of their realisations.

A realisation is 20 s of a category with parameters of its own. Its name, such as
`builtin:rain/train-07`, is the key of its random stream. Draws refer to it, so that the sound
behind a name must not change. The splits have the same ranges of parameters, but no realisation in
common.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from megaasr.errors import UsageError
from megaasr.simulate.babble import at_peak_level
from megaasr.simulate.families import household, music, nature, people, signals, steady, vehicles
from megaasr.simulate.families.circular import Float64Array, filtered, high_pass
from megaasr.simulate.noise_generators import BUILTIN
from megaasr.simulate.noise_generators import NAMES as FIXED
from megaasr.simulate.streams import stream, stream_key

NoiseSplit = Literal["train", "dev", "test"]
SPLITS: Final[tuple[NoiseSplit, ...]] = get_args(NoiseSplit)
REALISATIONS: Final = 16
"""Number of realisations of each category in each split."""
FAMILIES_VERSION: Final = "1"
"""Version of the generators; realisations that were cached by another version are not used."""

_LOWEST_HZ = 15.0

_GENERATORS: dict[str, Callable[[np.random.Generator], Float64Array]] = {
    "alarm": signals.alarm,
    "applause": people.applause,
    "babble": people.babble,
    "baby": people.baby,
    "bells": signals.bells,
    "birds": nature.birds,
    "clock": household.clock,
    "coloured": steady.coloured,
    "crackle": steady.crackle,
    "dishes": household.dishes,
    "dogs": nature.dogs,
    "engine": vehicles.engine,
    "fan": steady.fan,
    "fire": nature.fire,
    "footsteps": household.footsteps,
    "hum": steady.hum,
    "insects": nature.insects,
    "keyboard": household.keyboard,
    "knocks": household.knocks,
    "music": music.music,
    "power_tool": steady.power_tool,
    "radio": steady.radio,
    "rain": nature.rain,
    "rustle": household.rustle,
    "sea": nature.sea,
    "siren": signals.siren,
    "stream": nature.stream_of_water,
    "telephone": signals.telephone,
    "traffic": vehicles.traffic,
    "train": vehicles.train,
    "white": steady.white,
    "wind": nature.wind,
}
CATEGORIES = tuple(_GENERATORS)
"""Names of the families, sorted, without the prefix `builtin:`."""

GROUPS: Final[tuple[tuple[str, ...], ...]] = (
    ("babble",),
    ("applause", "baby"),
    ("engine", "traffic", "train"),
    ("rain", "sea", "stream", "wind"),
    ("fan", "hum", "power_tool"),
    ("coloured", "crackle", "fire", "radio", "white"),
    ("clock", "dishes", "footsteps", "keyboard", "knocks", "rustle"),
    ("alarm", "bells", "siren", "telephone"),
    ("birds", "dogs", "insects"),
    ("music",),
)
"""Categories by kind of source. A noise is drawn from a group first, so that the many sounds that
hardly disturb speech (alarms, steps, a clock) do not outweigh babble, water and machines."""

_NAME = re.compile(rf"{BUILTIN}(?P<category>[a-z_]+)/(?P<split>[a-z]+)-(?P<number>\d\d)")


def realisation_names(category: str, split: NoiseSplit) -> list[str]:
    """Return the names of all realisations of a category in a split, with the prefix."""
    return [f"{BUILTIN}{category}/{split}-{number:02d}" for number in range(REALISATIONS)]


def is_realisation(name: str) -> bool:
    """Whether a name is that of a realisation of a family, with the prefix `builtin:`."""
    match = _NAME.fullmatch(name)
    return (
        match is not None
        and match["category"] in _GENERATORS
        and match["split"] in SPLITS
        and int(match["number"]) < REALISATIONS
    )


def generate(name: str) -> NDArray[np.int16]:
    """Compute a realisation: an int16 array [time] of 20 s at 16 kHz that repeats without a seam.

    Its peak is 0.9 of full scale, and there is nothing below 15 Hz.

    Args:
        name: name of the realisation, such as `builtin:rain/train-07`.

    Raises:
        UsageError: there is no such realisation.
    """
    if not is_realisation(name):
        raise UsageError(
            f"unknown built-in noise {name.removeprefix(BUILTIN)}; choose one of "
            f"{', '.join(FIXED)}, or CATEGORY/SPLIT-NN with a category of {', '.join(CATEGORIES)}, "
            f"a split of {', '.join(SPLITS)} and a number from 00 to {REALISATIONS - 1}"
        )
    category = name.removeprefix(BUILTIN).partition("/")[0]
    sound = _GENERATORS[category](stream(stream_key(0, name, 0, "noise")))
    sound = filtered(sound, high_pass(_LOWEST_HZ, 3))
    return at_peak_level(sound)
