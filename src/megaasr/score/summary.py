"""Compute the numbers of a `Result` from predictions: counts, failures, rates, comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from megaasr.errors import UsageError
from megaasr.score.blocks import SENTENCES, blocks_of
from megaasr.score.groups import ClipsByName, split_into_subgroups
from megaasr.score.intervals import (
    MIN_BLOCKS,
    bootstrap_interval,
    count_blocks,
    paired_bootstrap,
)
from megaasr.score.predictions import Prediction
from megaasr.score.result import (
    FAILURES,
    OVERALL,
    Bootstrap,
    Comparison,
    Counts,
    Hypothesis,
    Rate,
    ScoredClip,
    Subgroup,
)
from megaasr.score.test_set import TestClip
from megaasr.text.error_rate import ErrorCounts, count_errors_of_pairs, pooled
from megaasr.text.failures import find_failures
from megaasr.text.normalize import versioned

NORMALIZERS = ("bench", "default")
"""The headline normaliser, comparable with published tables, and the one that is fairer."""

TESTED = (OVERALL, "category", "severity", "size", "difficulty", "voice", "language")
"""Properties by whose subgroups systems are compared; the others are shown without a test."""


@dataclass(frozen=True, slots=True)
class ScoringSettings:
    """How a benchmark is summarised.

    Attributes:
        seed: seed of the bootstrap draws.
        replications: number of bootstrap draws.
        level: probability mass inside an interval, 0..1.
        blocks: field of the records (such as `speaker`) whose clips are drawn together; None for
            the copies of one sentence, see `megaasr.score.blocks`.
        baseline: name of the system that others are compared with; None for the first.
        normalizer_version: version of the rules of the normalisers; None for the latest.
    """

    seed: int = 1
    replications: int = 10_000
    level: float = 0.95
    blocks: str | None = None
    baseline: str | None = None
    normalizer_version: int | None = None

    @property
    def normalizers(self) -> dict[str, str]:
        """The normalisers with their versions (`bench@2`), by name.

        Raises:
            UsageError: there is no such version.
        """
        return {name: versioned(name, self.normalizer_version) for name in NORMALIZERS}

    @property
    def bootstrap(self) -> Bootstrap:
        """The bootstrap's settings as the result records them."""
        return Bootstrap(
            seed=self.seed,
            replications=self.replications,
            level=self.level,
            blocks=self.blocks or SENTENCES,
            min_blocks=MIN_BLOCKS,
            method="bootstrap-t",
        )


def score_clips(
    clips: Sequence[TestClip],
    predictions: Mapping[str, Mapping[str, Prediction]],
    settings: ScoringSettings,
) -> list[ScoredClip]:
    """Count the errors of every system on every clip.

    Args:
        clips: the test set.
        predictions: predictions by system and clip id; each system has one for every clip.
        settings: the normalisers' version, and the field that names a clip's block.

    Raises:
        UsageError: a record has no such field as `settings.blocks`, or the normalisers have no such
            version.
    """
    normalizers = settings.normalizers
    hypotheses: dict[str, list[Hypothesis]] = {
        system: _hypotheses(clips, [by_clip[clip.id] for clip in clips], normalizers)
        for system, by_clip in predictions.items()
    }
    block_of_clip = blocks_of(clips, settings.blocks)
    scored = []
    for index, clip in enumerate(clips):
        measured = [by_clip[clip.id].duration_s for by_clip in predictions.values()]
        duration_s = next((value for value in measured if value is not None), clip.duration_s)
        scored.append(
            ScoredClip(
                id=clip.id,
                audio=clip.audio,
                text=clip.text,
                language=clip.language,
                duration_s=round(duration_s or 0.0, 4),
                category=clip.category,
                origin=clip.origin,
                scenario=clip.scenario,
                severity=clip.severity,
                snr_db=clip.snr_db,
                base_error_rate=clip.base_error_rate,
                held_out_voice=clip.held_out_voice,
                block=block_of_clip[index],
                hypotheses={system: rows[index] for system, rows in hypotheses.items()},
            )
        )
    return scored


def _hypotheses(
    clips: Sequence[TestClip],
    predictions: Sequence[Prediction],
    normalizers: Mapping[str, str],
) -> list[Hypothesis]:
    references = [clip.text for clip in clips]
    texts = [prediction.text for prediction in predictions]
    languages = [clip.language for clip in clips]
    counts = {
        name: count_errors_of_pairs(references, texts, languages=languages, normalizer=full_name)
        for name, full_name in normalizers.items()
    }
    return [
        Hypothesis(
            text=prediction.text,
            error=prediction.error,
            language=prediction.language,
            route=prediction.route,
            degraded_probability=prediction.degraded_probability,
            confidence=prediction.confidence,
            truncated=prediction.truncated,
            seconds=None if prediction.seconds is None else round(prediction.seconds, 5),
            counts={name: _as_tuple(counts[name][index]) for name in NORMALIZERS},
            failures=tuple(
                dict.fromkeys(
                    failure.kind
                    for failure in find_failures(
                        clip.text,
                        prediction.text,
                        language=clip.language,
                        normalizer=normalizers[NORMALIZERS[0]],
                        truncated=prediction.truncated,
                    )
                )
            ),
        )
        for index, (clip, prediction) in enumerate(zip(clips, predictions, strict=True))
    ]


def _as_tuple(counts: ErrorCounts) -> Counts:
    return (counts.hits, counts.substitutions, counts.deletions, counts.insertions)


def subgroup_rates(clips: Sequence[ScoredClip], settings: ScoringSettings) -> list[Subgroup]:
    """Return the error rates of all systems on every subgroup of the clips.

    The subgroups by `route` come last; each system's are made by its own routes.
    """
    systems = list(clips[0].hypotheses)
    groups = [
        _subgroup(by, name, dict.fromkeys(systems, members), settings)
        for by, members_by_name in split_into_subgroups(clips).items()
        for name, members in members_by_name.items()
    ]
    return [*groups, *_by_route(clips, systems, settings)]


def _by_route(
    clips: Sequence[ScoredClip], systems: Sequence[str], settings: ScoringSettings
) -> Iterator[Subgroup]:
    members: dict[str, dict[str, list[ScoredClip]]] = {}
    for system in systems:
        for clip in clips:
            route = clip.hypotheses[system].route
            if route is not None:
                members.setdefault(route, {}).setdefault(system, []).append(clip)
    for route in sorted(members):
        yield _subgroup("route", route, members[route], settings)


def _subgroup(
    by: str, name: str, members: Mapping[str, Sequence[ScoredClip]], settings: ScoringSettings
) -> Subgroup:
    """Return the rates of one subgroup, from each system's clips in it."""
    rates = {
        system: {
            normalizer: _rate(clips, system, normalizer, settings) for normalizer in NORMALIZERS
        }
        for system, clips in members.items()
    }
    return Subgroup(by=by, name=name, rates=rates)


def _rate(
    clips: Sequence[ScoredClip], system: str, normalizer: str, settings: ScoringSettings
) -> Rate:
    hypotheses = [clip.hypotheses[system] for clip in clips]
    counts = [hypothesis.errors(normalizer) for hypothesis in hypotheses]
    total = pooled(counts)
    without_speech = [count for count in counts if not count.reference_length]
    interval = bootstrap_interval(
        [count.errors for count in counts],
        [count.reference_length for count in counts],
        seed=settings.seed,
        replications=settings.replications,
        level=settings.level,
        blocks=_blocks(clips),
    )
    return Rate(
        clips=len(clips),
        counts=_as_tuple(total),
        rate=total.rate,
        interval=interval,
        blocks=count_blocks(len(clips), _blocks(clips)),
        failures={
            kind: sum(kind in hypothesis.failures for hypothesis in hypotheses) / len(hypotheses)
            for kind in FAILURES
        },
        clips_without_speech=len(without_speech),
        inserted_without_speech=sum(count.insertions for count in without_speech),
    )


def _blocks(clips: Sequence[ScoredClip]) -> list[str] | None:
    return [str(clip.block) for clip in clips] if clips[0].block is not None else None


def comparisons(clips: Sequence[ScoredClip], settings: ScoringSettings) -> list[Comparison]:
    """Compare every system with the baseline, on all clips and on subgroups (`TESTED`).

    Raises:
        UsageError: no system has the baseline's name.
    """
    systems = list(clips[0].hypotheses)
    baseline = settings.baseline or systems[0]
    if baseline not in systems:
        raise UsageError(f"unknown baseline {baseline}; choose one of {', '.join(systems)}")
    break_downs: dict[str, ClipsByName] = split_into_subgroups(clips)
    return [
        _comparison((by, name), members, (baseline, system), normalizer, settings)
        for by in TESTED
        for name, members in break_downs.get(by, {}).items()
        for system in systems
        if system != baseline
        for normalizer in NORMALIZERS
    ]


def _comparison(
    subgroup: tuple[str, str],
    clips: Sequence[ScoredClip],
    systems: tuple[str, str],
    normalizer: str,
    settings: ScoringSettings,
) -> Comparison:
    """Compare (baseline, system) on the clips of the subgroup (by, name)."""
    baseline_counts, system_counts = (
        [clip.hypotheses[system].errors(normalizer) for clip in clips] for system in systems
    )
    comparison = paired_bootstrap(
        [count.errors for count in baseline_counts],
        [count.errors for count in system_counts],
        [count.reference_length for count in baseline_counts],
        seed=settings.seed,
        replications=settings.replications,
        level=settings.level,
        blocks=_blocks(clips),
    )
    return Comparison(
        by=subgroup[0],
        name=subgroup[1],
        baseline=systems[0],
        system=systems[1],
        normalizer=normalizer,
        difference=comparison.difference,
        interval=comparison.interval,
        probability_of_improvement=comparison.probability_of_improvement,
        p_value=comparison.p_value,
        blocks=comparison.blocks,
    )
