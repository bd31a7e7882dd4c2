"""From predictions to a `Result`: counts, failures, break-downs, intervals, comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from megaasr.errors import UsageError
from megaasr.score.groups import Parts, divide
from megaasr.score.intervals import bootstrap_interval, paired_bootstrap
from megaasr.score.predictions import Prediction
from megaasr.score.result import (
    FAILURES,
    OVERALL,
    Bootstrap,
    Clip,
    Comparison,
    Counts,
    Group,
    Hypothesis,
    Rate,
)
from megaasr.score.test_set import TestClip
from megaasr.text.error_rate import ErrorCounts, count_errors_of_pairs, pooled
from megaasr.text.failures import find_failures

NORMALIZERS = ("bench", "default")
"""The headline first, which can be compared with published tables; then the sensible one."""

COMPARED = (OVERALL, "category", "severity", "size", "difficulty", "voice", "language")
"""Divisions whose parts are compared between systems; the others are shown without a test."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a benchmark is summarised.

    Attributes:
        seed, replications, level: of the bootstrap.
        blocks: a field of the records (`speaker`) whose clips are drawn together; None for clips.
        baseline: the system that others are compared with; None for the first.
    """

    seed: int = 1
    replications: int = 10_000
    level: float = 0.95
    blocks: str | None = None
    baseline: str | None = None

    @property
    def bootstrap(self) -> Bootstrap:
        """What the result says of its intervals."""
        return Bootstrap(
            seed=self.seed,
            replications=self.replications,
            level=self.level,
            blocks=self.blocks,
        )


def score_clips(
    clips: Sequence[TestClip],
    said: Mapping[str, Mapping[str, Prediction]],
    blocks: str | None = None,
) -> list[Clip]:
    """Count the errors of every system on every clip.

    Args:
        clips: the test set.
        said: predictions by system and clip; every clip has one.
        blocks: see `Settings`.

    Raises:
        UsageError: the records have no such field as `blocks`.
    """
    hypotheses: dict[str, list[Hypothesis]] = {
        system: _hypotheses(clips, [answers[clip.id] for clip in clips])
        for system, answers in said.items()
    }
    scored = []
    for at, clip in enumerate(clips):
        durations = [answers[clip.id].duration_s for answers in said.values()]
        heard_s = next((one for one in durations if one is not None), clip.duration_s)
        scored.append(
            Clip(
                id=clip.id,
                audio=clip.audio,
                text=clip.text,
                language=clip.language,
                duration_s=round(heard_s or 0.0, 4),
                category=clip.category,
                origin=clip.origin,
                scenario=clip.scenario,
                severity=clip.severity,
                snr_db=clip.snr_db,
                base_error_rate=clip.base_error_rate,
                held_out_voice=clip.held_out_voice,
                block=_block(clip, blocks),
                hypotheses={system: rows[at] for system, rows in hypotheses.items()},
            )
        )
    return scored


def _hypotheses(clips: Sequence[TestClip], said: Sequence[Prediction]) -> list[Hypothesis]:
    references, texts = [clip.text for clip in clips], [one.text for one in said]
    languages = [clip.language for clip in clips]
    counts = {
        name: count_errors_of_pairs(references, texts, languages=languages, normalizer=name)
        for name in NORMALIZERS
    }
    return [
        Hypothesis(
            text=one.text,
            error=one.error,
            language=one.language,
            route=one.route,
            degraded_probability=one.degraded_probability,
            confidence=one.confidence,
            truncated=one.truncated,
            seconds=None if one.seconds is None else round(one.seconds, 5),
            counts={name: _numbers(counts[name][at]) for name in NORMALIZERS},
            failures=tuple(
                dict.fromkeys(
                    failure.kind
                    for failure in find_failures(
                        clip.text, one.text, language=clip.language, truncated=one.truncated
                    )
                )
            ),
        )
        for at, (clip, one) in enumerate(zip(clips, said, strict=True))
    ]


def _numbers(counts: ErrorCounts) -> Counts:
    return (counts.hits, counts.substitutions, counts.deletions, counts.insertions)


def _block(clip: TestClip, field: str | None) -> str | None:
    if field is None:
        return None
    record = clip.record or {}
    if record.get(field) is None:
        raise UsageError(f"clip {clip.id} has no field {field}, which --blocks asks for")
    return str(record[field])


def group_rates(clips: Sequence[Clip], settings: Settings) -> list[Group]:
    """Return the error rates of every part of every division, and by each system's own routes."""
    systems = list(clips[0].hypotheses)
    groups = [
        _group(by, name, dict.fromkeys(systems, part), settings)
        for by, parts in divide(clips).items()
        for name, part in parts.items()
    ]
    return [*groups, *_by_route(clips, systems, settings)]


def _by_route(clips: Sequence[Clip], systems: Sequence[str], settings: Settings) -> Iterator[Group]:
    routes: dict[str, dict[str, list[Clip]]] = {}
    for system in systems:
        for clip in clips:
            route = clip.hypotheses[system].route
            if route is not None:
                routes.setdefault(route, {}).setdefault(system, []).append(clip)
    for route in sorted(routes):
        yield _group("route", route, routes[route], settings)


def _group(by: str, name: str, parts: Mapping[str, Sequence[Clip]], settings: Settings) -> Group:
    """Return the rates of one part, given each system's clips in it."""
    rates = {
        system: {one: _rate(part, system, one, settings) for one in NORMALIZERS}
        for system, part in parts.items()
    }
    return Group(by=by, name=name, rates=rates)


def _rate(clips: Sequence[Clip], system: str, normalizer: str, settings: Settings) -> Rate:
    said = [clip.hypotheses[system] for clip in clips]
    counts = [one.errors(normalizer) for one in said]
    total = pooled(counts)
    low, high = bootstrap_interval(
        [one.errors for one in counts],
        [one.reference_length for one in counts],
        seed=settings.seed,
        replications=settings.replications,
        level=settings.level,
        blocks=_blocks(clips),
    )
    return Rate(
        clips=len(clips),
        counts=_numbers(total),
        rate=total.rate,
        interval=(low, high),
        failures={kind: sum(kind in one.failures for one in said) / len(said) for kind in FAILURES},
    )


def _blocks(clips: Sequence[Clip]) -> list[str] | None:
    return [str(clip.block) for clip in clips] if clips[0].block is not None else None


def comparisons(clips: Sequence[Clip], settings: Settings) -> list[Comparison]:
    """Compare every system with the baseline, over all and over the parts of some divisions.

    Raises:
        UsageError: there is no system of the baseline's name.
    """
    systems = list(clips[0].hypotheses)
    baseline = settings.baseline or systems[0]
    if baseline not in systems:
        raise UsageError(f"no system {baseline} to compare with; there are {', '.join(systems)}")
    divisions: dict[str, Parts] = divide(clips)
    return [
        _comparison((by, name), part, (baseline, system), normalizer, settings)
        for by in COMPARED
        for name, part in divisions.get(by, {}).items()
        for system in systems
        if system != baseline
        for normalizer in NORMALIZERS
    ]


def _comparison(
    place: tuple[str, str],
    clips: Sequence[Clip],
    pair: tuple[str, str],
    normalizer: str,
    settings: Settings,
) -> Comparison:
    before, after = (
        [clip.hypotheses[system].errors(normalizer) for clip in clips] for system in pair
    )
    found = paired_bootstrap(
        [one.errors for one in before],
        [one.errors for one in after],
        [one.reference_length for one in before],
        seed=settings.seed,
        replications=settings.replications,
        level=settings.level,
        blocks=_blocks(clips),
    )
    return Comparison(
        by=place[0],
        name=place[1],
        baseline=pair[0],
        system=pair[1],
        normalizer=normalizer,
        difference=found.difference,
        interval=(found.low, found.high),
        probability_of_improvement=found.probability_of_improvement,
        p_value=found.p_value,
    )
