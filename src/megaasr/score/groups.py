"""Parts of a test set: which clips belong together in a break-down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from megaasr.score.result import OVERALL, Clip
from megaasr.score.subsets import CATEGORIES, CLEAN
from megaasr.simulate.scenarios import SCENARIOS

Parts = dict[str, list[Clip]]
_SEVERITIES = ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0))
_DURATIONS_S = ((0.0, 2.0), (2.0, 5.0), (5.0, 10.0), (10.0, 20.0), (20.0, 30.0))
_SNRS_DB = ((-5.0, 0.0), (0.0, 5.0), (5.0, 10.0))
_HARD = 0.3
_DIFFICULTIES = ("below 30 %", "30 % and above")
_VOICES = ("heard in training", "held out")
CLEAN_PART = CLEAN
"""The part of the clips without degradation, in the division by severity."""


def divide(clips: Sequence[Clip]) -> dict[str, Parts]:
    """Return every division of a test set that tells something: two parts or more.

    `overall` is always there. Clips that a division does not concern are in none of its parts.
    """
    found: dict[str, Parts] = {OVERALL: {OVERALL: list(clips)}}
    for by, name_of, order in _DIVISIONS:
        parts: Parts = {}
        for clip in clips:
            name = name_of(clip)
            if name is not None:
                parts.setdefault(name, []).append(clip)
        if len(parts) > 1 or (parts and by == "category"):
            ranked = [name for name in order if name in parts]
            found[by] = {name: parts[name] for name in [*ranked, *sorted(set(parts) - set(ranked))]}
    return found


def _category(clip: Clip) -> str | None:
    if clip.category is None:
        return None
    return clip.category if clip.origin is None else f"{clip.category} / {clip.origin}"


def _size(clip: Clip) -> str | None:
    if clip.scenario is None:
        return None
    return "0" if clip.scenario == CLEAN else str(clip.scenario.count("+") + 1)


def _severity(clip: Clip) -> str | None:
    if clip.scenario == CLEAN:
        return CLEAN_PART
    return None if clip.severity is None else _bin(clip.severity, _SEVERITIES)


def _difficulty(clip: Clip) -> str | None:
    if clip.base_error_rate is None:
        return None
    return _DIFFICULTIES[clip.base_error_rate >= _HARD]


def _voice(clip: Clip) -> str | None:
    return None if clip.held_out_voice is None else _VOICES[clip.held_out_voice]


def _snr(clip: Clip) -> str | None:
    return None if clip.snr_db is None else _bin(clip.snr_db, _SNRS_DB, unit=" dB")


def _duration(clip: Clip) -> str | None:
    return _bin(clip.duration_s, _DURATIONS_S, unit=" s") if clip.duration_s > 0 else None


def _bin(value: float, bins: Sequence[tuple[float, float]], unit: str = "") -> str:
    """Return the name of the bin of a value: low end in, high end out but for the last."""
    if value < bins[0][0]:
        return f"below {bins[0][0]:g}{unit}"
    for low, high in bins:
        if value < high:
            return f"{low:g} to {high:g}{unit}"
    low, high = bins[-1]
    return f"{low:g} to {high:g}{unit}" if value == high else f"above {high:g}{unit}"


def _names(bins: Iterable[tuple[float, float]], unit: str = "") -> list[str]:
    listed = list(bins)
    inside = [f"{low:g} to {high:g}{unit}" for low, high in listed]
    return [f"below {listed[0][0]:g}{unit}", *inside, f"above {listed[-1][1]:g}{unit}"]


_IN_CATEGORIES = [
    name
    for category in (CLEAN, *CATEGORIES)
    for name in (category, f"{category} / real", f"{category} / simulated")
]
_DIVISIONS: tuple[tuple[str, Callable[[Clip], str | None], Sequence[str]], ...] = (
    ("language", lambda clip: clip.language, ("en", "zh")),
    ("category", _category, _IN_CATEGORIES),
    ("scenario", lambda clip: clip.scenario, [CLEAN, *(one.name for one in SCENARIOS)]),
    ("size", _size, ("0", "1", "2", "3", "4", "5")),
    ("severity", _severity, [CLEAN_PART, *_names(_SEVERITIES)]),
    ("difficulty", _difficulty, _DIFFICULTIES),
    ("voice", _voice, _VOICES),
    ("snr", _snr, _names(_SNRS_DB, " dB")),
    ("duration", _duration, _names(_DURATIONS_S, " s")),
)
