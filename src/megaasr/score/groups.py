"""Subgroups of a test set: which clips belong together in each break-down of the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from megaasr.score.result import OVERALL, ScoredClip
from megaasr.score.subsets import CATEGORIES, CLEAN
from megaasr.simulate.scenarios import SCENARIOS

ClipsByName = dict[str, list[ScoredClip]]
"""The clips of each subgroup, by its name."""

_SEVERITIES = ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0))
_DURATIONS_S = ((0.0, 2.0), (2.0, 5.0), (5.0, 10.0), (10.0, 20.0), (20.0, 30.0))
_SNRS_DB = ((-5.0, 0.0), (0.0, 5.0), (5.0, 10.0))
_HARD_ERROR_RATE = 0.3
_DIFFICULTIES = ("below 30 %", "30 % and above")
_VOICES = ("heard in training", "held out")


def split_into_subgroups(clips: Sequence[ScoredClip]) -> dict[str, ClipsByName]:
    """Return every break-down of a test set that has at least two subgroups, and `overall`.

    Clips without a value for a property are in none of its subgroups.

    Returns:
        The clips by property (see `result.Subgroup.by`) and name of the subgroup.
    """
    break_downs: dict[str, ClipsByName] = {OVERALL: {OVERALL: list(clips)}}
    for by, name_of, order in _BREAK_DOWNS:
        groups: ClipsByName = {}
        for clip in clips:
            name = name_of(clip)
            if name is not None:
                groups.setdefault(name, []).append(clip)
        if len(groups) > 1 or (groups and by == "category"):
            ranked = [name for name in order if name in groups]
            names = [*ranked, *sorted(set(groups) - set(ranked))]
            break_downs[by] = {name: groups[name] for name in names}
    return break_downs


def _category(clip: ScoredClip) -> str | None:
    if clip.category is None:
        return None
    return clip.category if clip.origin is None else f"{clip.category} / {clip.origin}"


def _size(clip: ScoredClip) -> str | None:
    if clip.scenario is None:
        return None
    return "0" if clip.scenario == CLEAN else str(clip.scenario.count("+") + 1)


def _severity(clip: ScoredClip) -> str | None:
    if clip.scenario == CLEAN:
        return CLEAN
    return None if clip.severity is None else _bin_name(clip.severity, _SEVERITIES)


def _difficulty(clip: ScoredClip) -> str | None:
    if clip.base_error_rate is None:
        return None
    return _DIFFICULTIES[clip.base_error_rate >= _HARD_ERROR_RATE]


def _voice(clip: ScoredClip) -> str | None:
    return None if clip.held_out_voice is None else _VOICES[clip.held_out_voice]


def _snr(clip: ScoredClip) -> str | None:
    return None if clip.snr_db is None else _bin_name(clip.snr_db, _SNRS_DB, unit=" dB")


def _duration(clip: ScoredClip) -> str | None:
    return _bin_name(clip.duration_s, _DURATIONS_S, unit=" s") if clip.duration_s > 0 else None


def _bin_name(value: float, bins: Sequence[tuple[float, float]], unit: str = "") -> str:
    """Return the name of a value's bin; bins include their low end, the last also its high end."""
    if value < bins[0][0]:
        return f"below {bins[0][0]:g}{unit}"
    for low, high in bins:
        if value < high:
            return f"{low:g} to {high:g}{unit}"
    low, high = bins[-1]
    return f"{low:g} to {high:g}{unit}" if value == high else f"above {high:g}{unit}"


def _bin_names(bins: Iterable[tuple[float, float]], unit: str = "") -> list[str]:
    ends = list(bins)
    inside = [f"{low:g} to {high:g}{unit}" for low, high in ends]
    return [f"below {ends[0][0]:g}{unit}", *inside, f"above {ends[-1][1]:g}{unit}"]


_CATEGORY_NAMES = [
    name
    for category in (CLEAN, *CATEGORIES)
    for name in (category, f"{category} / real", f"{category} / simulated")
]
# Property, the name of a clip's subgroup, and the order of the names.
_BREAK_DOWNS: tuple[tuple[str, Callable[[ScoredClip], str | None], Sequence[str]], ...] = (
    ("language", lambda clip: clip.language, ("en", "zh")),
    ("category", _category, _CATEGORY_NAMES),
    ("scenario", lambda clip: clip.scenario, [CLEAN, *(scenario.name for scenario in SCENARIOS)]),
    ("size", _size, ("0", "1", "2", "3", "4", "5")),
    ("severity", _severity, [CLEAN, *_bin_names(_SEVERITIES)]),
    ("difficulty", _difficulty, _DIFFICULTIES),
    ("voice", _voice, _VOICES),
    ("snr", _snr, _bin_names(_SNRS_DB, " dB")),
    ("duration", _duration, _bin_names(_DURATIONS_S, " s")),
)
