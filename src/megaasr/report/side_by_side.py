"""Results as a report shows them: systems on the same test set together, against one baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from megaasr.errors import UsageError
from megaasr.score.result import Clip, Comparison, Group, Hypothesis, Rate, Result, TestSet
from megaasr.score.summary import Settings, comparisons


def side_by_side(results: Sequence[Result], baseline: str | None = None) -> list[Result]:
    """Return one result for every test set, with the systems of all results on it.

    Results belong together if their records, normalisers and bootstrap are the same; only then
    do their numbers mean the same. A system whose name is taken gets a number behind it.

    Args:
        results: in the order of the report.
        baseline: what systems are compared with; None for the first result's own. Comparisons
            that no result has are computed from the clips, as `mega-asr bench` would.

    Raises:
        UsageError: no test set has such a system, or comparisons are needed of a result whose
            clips were left out.
    """
    together: dict[tuple[object, ...], list[Result]] = {}
    for one in results:
        together.setdefault(_identity(one), []).append(one)
    merged = [_merged(some) for some in together.values()]
    names = dict.fromkeys(system.name for one in merged for system in one.systems)
    if baseline is not None and baseline not in names:
        raise UsageError(f"no system {baseline} to compare with; there are {', '.join(names)}")
    return [_against(one, baseline) for one in merged]


def _identity(result: Result) -> tuple[object, ...]:
    clips = tuple(clip.id for clip in result.clips)
    return (
        result.test_set.sha256,
        clips,
        tuple(result.normalizers.items()),
        result.bootstrap,
    )


def _merged(results: Sequence[Result]) -> Result:
    if len(results) == 1:
        return results[0]
    taken: set[str] = set()
    named = [_with_free_names(one, taken) for one in results]
    first = named[0]
    return first.model_copy(
        update={
            "command": "; ".join(dict.fromkeys(one.command for one in named)),
            "finished": _each(one.finished for one in named),
            "test_set": _test_set(named),
            "systems": tuple(system for one in named for system in one.systems),
            "groups": _groups(named),
            "comparisons": tuple(found for one in named for found in one.comparisons),
            "clips": _clips(named),
            "machine": _joined([one.machine for one in named]),
            "versions": _joined([one.versions for one in named]),
        }
    )


def _with_free_names(result: Result, taken: set[str]) -> Result:
    """Return the result with names that are not taken yet, and take them."""
    names = {}
    for system in result.systems:
        name, number = system.name, 2
        while name in taken:
            name, number = f"{system.name} ({number})", number + 1
        names[system.name] = name
        taken.add(name)
    if all(old == new for old, new in names.items()):
        return result
    return _renamed(result, names)


def _renamed(result: Result, names: Mapping[str, str]) -> Result:
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
                    update={"hypotheses": {names[s]: said for s, said in c.hypotheses.items()}}
                )
                for c in result.clips
            ),
        }
    )


def _test_set(results: Sequence[Result]) -> TestSet:
    unusable: dict[str, str] = {}
    for one in results:
        unusable = one.test_set.unusable | unusable
    return results[0].test_set.model_copy(update={"unusable": unusable})


def _groups(results: Sequence[Result]) -> tuple[Group, ...]:
    """Return all parts in the first result's order, each with the systems that have it."""
    found: dict[tuple[str, str], dict[str, dict[str, Rate]]] = {}
    for one in results:
        for group in one.groups:
            found.setdefault((group.by, group.name), {}).update(group.rates)
    return tuple(Group(by=by, name=name, rates=rates) for (by, name), rates in found.items())


def _clips(results: Sequence[Result]) -> tuple[Clip, ...]:
    clips = []
    for versions in zip(*(one.clips for one in results), strict=True):
        hypotheses: dict[str, Hypothesis] = {}
        for version in versions:
            hypotheses |= version.hypotheses
        clips.append(versions[0].model_copy(update={"hypotheses": hypotheses}))
    return tuple(clips)


def _each(values: Iterable[object]) -> str:
    return " / ".join(dict.fromkeys(map(str, values)))


def _joined(facts: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Return facts of several runs, with every value where they differ."""
    names = dict.fromkeys(name for one in facts for name in one)
    return {name: _each(one[name] for one in facts if name in one) for name in names}


def _against(result: Result, baseline: str | None) -> Result:
    """Return the result with every system compared with one baseline."""
    names = [system.name for system in result.systems]
    wanted = baseline if baseline in names else result.baseline
    known = {c.system for c in result.comparisons if c.baseline == wanted}
    if known >= set(names) - {wanted}:
        kept = tuple(c for c in result.comparisons if c.baseline == wanted)
        return result.model_copy(update={"baseline": wanted, "comparisons": kept})
    if not result.clips:
        raise UsageError(
            f"{result.test_set.name}: comparisons with {wanted} have to be computed, and the "
            "result's clips were left out; give the result that mega-asr bench wrote"
        )
    return result.model_copy(update={"baseline": wanted, "comparisons": _compared(result, wanted)})


def _compared(result: Result, baseline: str) -> tuple[Comparison, ...]:
    drawn = result.bootstrap
    settings = Settings(
        seed=drawn.seed,
        replications=drawn.replications,
        level=drawn.level,
        blocks=drawn.blocks,
        baseline=baseline,
    )
    return tuple(comparisons(result.clips, settings))
