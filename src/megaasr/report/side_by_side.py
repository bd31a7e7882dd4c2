"""Merge results for a report: systems on the same test set together, against one baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from megaasr.errors import UsageError
from megaasr.score.result import (
    Comparison,
    Hypothesis,
    Rate,
    Result,
    ScoredClip,
    Subgroup,
    TestSet,
)
from megaasr.score.summary import ScoringSettings, comparisons


def side_by_side(results: Sequence[Result], baseline: str | None = None) -> list[Result]:
    """Return one result per test set, with the systems of all results on it.

    Results are merged if their records, normalisers and bootstrap settings are the same; only then
    are their numbers comparable. A number is added to the name of a system if the name is taken.

    Args:
        results: the results in the order of the report.
        baseline: name of the system that others are compared with; None for the first result's
            baseline. Missing comparisons are computed from the clips, as `mega-asr bench` does.

    Raises:
        UsageError: no test set has such a system, or comparisons are missing from a result without
            clips.
    """
    by_test_set: dict[tuple[object, ...], list[Result]] = {}
    for result in results:
        by_test_set.setdefault(_identity(result), []).append(result)
    merged = [_merge(members) for members in by_test_set.values()]
    names = dict.fromkeys(system.name for result in merged for system in result.systems)
    if baseline is not None and baseline not in names:
        raise UsageError(f"unknown baseline {baseline}; choose one of {', '.join(names)}")
    return [_with_baseline(result, baseline) for result in merged]


def _identity(result: Result) -> tuple[object, ...]:
    clips = tuple(clip.id for clip in result.clips)
    return (
        result.test_set.sha256,
        clips,
        tuple(result.normalizers.items()),
        result.bootstrap,
    )


def _merge(results: Sequence[Result]) -> Result:
    if len(results) == 1:
        return results[0]
    taken: set[str] = set()
    named = [_with_unique_names(result, taken) for result in results]
    return named[0].model_copy(
        update={
            "command": "; ".join(dict.fromkeys(result.command for result in named)),
            "finished": _distinct(result.finished for result in named),
            "test_set": _merge_test_sets(named),
            "systems": tuple(system for result in named for system in result.systems),
            "groups": _merge_groups(named),
            "comparisons": tuple(c for result in named for c in result.comparisons),
            "clips": _merge_clips(named),
            "machine": _merge_facts([result.machine for result in named]),
            "versions": _merge_facts([result.versions for result in named]),
        }
    )


def _with_unique_names(result: Result, taken: set[str]) -> Result:
    """Return the result with system names that are not taken, and add them to `taken`."""
    names = {}
    for system in result.systems:
        name, number = system.name, 2
        while name in taken:
            name, number = f"{system.name} ({number})", number + 1
        names[system.name] = name
        taken.add(name)
    if all(old == new for old, new in names.items()):
        return result
    return _rename_systems(result, names)


def _rename_systems(result: Result, names: Mapping[str, str]) -> Result:
    return result.model_copy(
        update={
            "baseline": names[result.baseline],
            "systems": tuple(s.model_copy(update={"name": names[s.name]}) for s in result.systems),
            "groups": tuple(
                g.model_copy(update={"rates": {names[s]: rate for s, rate in g.rates.items()}})
                for g in result.groups
            ),
            "comparisons": tuple(
                c.model_copy(update={"baseline": names[c.baseline], "system": names[c.system]})
                for c in result.comparisons
            ),
            "clips": tuple(
                c.model_copy(
                    update={"hypotheses": {names[s]: text for s, text in c.hypotheses.items()}}
                )
                for c in result.clips
            ),
        }
    )


def _merge_test_sets(results: Sequence[Result]) -> TestSet:
    unusable: dict[str, str] = {}
    for result in results:
        unusable = result.test_set.unusable | unusable
    return results[0].test_set.model_copy(update={"unusable": unusable})


def _merge_groups(results: Sequence[Result]) -> tuple[Subgroup, ...]:
    """Return all subgroups in the first result's order, each with the rates of all systems."""
    merged: dict[tuple[str, str], dict[str, dict[str, Rate]]] = {}
    for result in results:
        for group in result.groups:
            merged.setdefault((group.by, group.name), {}).update(group.rates)
    return tuple(Subgroup(by=by, name=name, rates=rates) for (by, name), rates in merged.items())


def _merge_clips(results: Sequence[Result]) -> tuple[ScoredClip, ...]:
    clips = []
    for copies in zip(*(result.clips for result in results), strict=True):
        hypotheses: dict[str, Hypothesis] = {}
        for clip in copies:
            hypotheses |= clip.hypotheses
        clips.append(copies[0].model_copy(update={"hypotheses": hypotheses}))
    return tuple(clips)


def _distinct(values: Iterable[object]) -> str:
    return " / ".join(dict.fromkeys(map(str, values)))


def _merge_facts(runs: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Return the facts of several runs; where they differ, all distinct values."""
    names = dict.fromkeys(name for facts in runs for name in facts)
    return {name: _distinct(facts[name] for facts in runs if name in facts) for name in names}


def _with_baseline(result: Result, baseline: str | None) -> Result:
    """Return the result with every system compared with one baseline."""
    names = [system.name for system in result.systems]
    if baseline is None or baseline not in names:
        baseline = result.baseline
    kept = tuple(c for c in result.comparisons if c.baseline == baseline)
    if {c.system for c in kept} >= set(names) - {baseline}:
        return result.model_copy(update={"baseline": baseline, "comparisons": kept})
    if not result.clips:
        raise UsageError(
            f"{result.test_set.name}: comparisons with {baseline} have to be computed, and the "
            "result's clips were left out; give the result that mega-asr bench wrote"
        )
    computed = _compute_comparisons(result, baseline)
    return result.model_copy(update={"baseline": baseline, "comparisons": computed})


def _compute_comparisons(result: Result, baseline: str) -> tuple[Comparison, ...]:
    bootstrap = result.bootstrap
    settings = ScoringSettings(
        seed=bootstrap.seed,
        replications=bootstrap.replications,
        level=bootstrap.level,
        blocks=bootstrap.blocks,
        baseline=baseline,
    )
    return tuple(comparisons(result.clips, settings))
