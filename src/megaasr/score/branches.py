"""The base and the robust branch side by side on the same recordings, and what routing makes of it.

Without references: where the branches disagree. With references: error
rates of both branches, of routing, and of an oracle; and the best threshold on these recordings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from megaasr.audio.segments import parse_segment, recording_of
from megaasr.errors import UsageError
from megaasr.records import Attempt, Transcript
from megaasr.score.intervals import PairedComparison, bootstrap_interval, paired_bootstrap
from megaasr.score.test_set import TestClip
from megaasr.text.error_rate import ErrorCounts, count_errors, disagreement, pooled
from megaasr.text.languages import join_texts

SYSTEMS = ("base", "robust", "routed", "oracle")


@dataclass(frozen=True, slots=True)
class BranchSegment:
    """A segment of a recording with the texts of both branches.

    Attributes:
        start, end: seconds from the start of the recording.
        base_text, robust_text: the text that each branch recognised.
        kept_branch: branch whose text `mega-asr transcribe --route both` keeps; None if the segment
            was not decoded.
        confidence: calibrated probability, 0..1, that a word of the kept text is correct, the mean
            over its words; None if unknown. It is the confidence of `mega-asr transcribe`.
        language: ISO code of the text that the recogniser kept; None if it recognised no speech.
        degraded_probability: the router's probability, 0..1, of degraded audio; None without a
            router.
    """

    start: float
    end: float
    base_text: str
    robust_text: str
    kept_branch: str | None
    confidence: float | None
    language: str | None
    degraded_probability: float | None

    def routed_branch(self, threshold: float) -> str:
        """Return the branch that the router chooses, `base` or `robust`.

        Args:
            threshold: the probability of degraded audio, 0..1, from which it is `robust`.
        """
        probability = self.degraded_probability
        return "robust" if probability is not None and probability >= threshold else "base"

    def text(self, system: str, threshold: float) -> str:
        """Return the text of `base`, `robust` or `routed`."""
        branch = self.routed_branch(threshold) if system == "routed" else system
        return {"base": self.base_text, "robust": self.robust_text}[branch]

    @property
    def disagreement(self) -> float:
        """Error rate between the two texts, 0..1, with the longer one as the reference."""
        return disagreement(self.base_text, self.robust_text, self.language)


@dataclass(frozen=True, slots=True)
class BranchComparison:
    """A recording that both branches transcribed.

    Attributes:
        audio: path of the recording, as the caller named it.
        duration_s: length of the recording in seconds.
        segments: the segments in order of time.
        reference: the correct transcript; None if unknown.
        language: ISO code of the reference, or else of most of the speech.
    """

    audio: str
    duration_s: float
    segments: tuple[BranchSegment, ...]
    reference: str | None
    language: str | None

    def text(self, system: str, threshold: float) -> str:
        """Return the text of the recording by one of `SYSTEMS`.

        Args:
            system: `base`, `robust`, `routed`, or `oracle` (the branch with fewer errors).
            threshold: the probability of degraded audio, 0..1, from which routing is robust.
        """
        if system == "oracle":
            return min(
                (self.text(branch, threshold) for branch in ("base", "robust")),
                key=lambda text: self.count_errors(text).errors,
            )
        return join_texts(
            (segment.text(system, threshold), self.language) for segment in self.segments
        )

    def count_errors(self, text: str) -> ErrorCounts:
        """Count the errors of a text against the reference."""
        return count_errors(self.reference or "", text, language=self.language)


@dataclass(frozen=True, slots=True)
class BranchScores:
    """Error rates of the branches on recordings with references.

    Attributes:
        threshold: the router's threshold that `routed` uses.
        counts: pooled error counts by system (`SYSTEMS`).
        intervals: 95 % interval of each system's error rate; None with too few recordings.
        against_base: paired comparison of `robust` and `routed` with `base`.
        sweep: pairs of a threshold and the error rate of routing with it.
        best_threshold: the threshold with the fewest errors; of several, the one closest to 0.5.
            None without a router.
    """

    threshold: float
    counts: Mapping[str, ErrorCounts]
    intervals: Mapping[str, tuple[float, float] | None]
    against_base: Mapping[str, PairedComparison]
    sweep: tuple[tuple[float, float], ...]
    best_threshold: float | None


def greedy_attempts(attempts: Iterable[Attempt]) -> dict[str, Attempt]:
    """Return the first greedy attempt of each branch; sampled and halved ones do not count."""
    greedy: dict[str, Attempt] = {}
    for attempt in attempts:
        if not attempt.temperature and attempt.pieces == 1:
            greedy.setdefault(attempt.route, attempt)
    return greedy


def compare_branches(
    transcript: Transcript, audio: str, reference: TestClip | None
) -> BranchComparison:
    """Return the texts of both branches for a recording transcribed with the route `both`.

    Args:
        transcript: the result of the recogniser, which lists the attempts of both branches.
        audio: path of the recording, as the caller named it.
        reference: the clip with the correct transcript; None if unknown.
    """
    segments = []
    for segment in transcript.segments:
        greedy = greedy_attempts(segment.attempts)
        base, robust = greedy.get("base"), greedy.get("robust")
        segments.append(
            BranchSegment(
                start=segment.start,
                end=segment.end,
                base_text=base.text if base else "",
                robust_text=robust.text if robust else "",
                kept_branch=segment.route,
                confidence=segment.confidence,
                language=segment.language,
                degraded_probability=segment.degraded_probability,
            )
        )
    text = None if reference is None else reference.text
    language = transcript.language if reference is None else reference.language
    return BranchComparison(
        audio=audio,
        duration_s=transcript.duration_s,
        segments=tuple(segments),
        reference=text,
        language=language,
    )


def split_into_segments(audios: Sequence[str], clips: Iterable[TestClip]) -> list[str]:
    """Replace each recording of which references list segments by these segments, in order.

    Args:
        audios: paths of recordings.
        clips: clips with references.
    """
    by_recording: dict[str, list[str]] = {}
    for clip in clips:
        segment = parse_segment(clip.audio)
        if segment is not None:
            fragment = clip.audio.removeprefix(segment.recording)
            by_recording.setdefault(Path(segment.recording).name, []).append(fragment)
    return [
        f"{audio}{fragment}"
        for audio in audios
        for fragment in by_recording.get(Path(audio).name, [""])
    ]


def match_references(
    audios: Sequence[str], clips: Iterable[TestClip]
) -> dict[str, TestClip | None]:
    """Find the reference of each recording by its path, file name, stem, or the clip's id.

    Args:
        audios: paths of recordings.
        clips: clips with references.

    Returns:
        The clip of each recording, by path; None for a recording without a reference.

    Raises:
        UsageError: no recording has a reference.
    """
    by_name: dict[str, TestClip] = {}
    for clip in clips:
        clip_names = [clip.id, Path(clip.audio).name, clip.audio]
        if recording_of(clip.audio) == clip.audio:
            clip_names.append(Path(clip.audio).stem)
        by_name |= dict.fromkeys(clip_names, clip)
    matches: dict[str, TestClip | None] = {}
    for audio in audios:
        path = Path(audio)
        names = (audio, path.name, path.stem)
        matches[audio] = next((by_name[name] for name in names if name in by_name), None)
    if not any(matches.values()):
        raise UsageError(
            f"the references name none of the recordings ({', '.join(audios[:3])}); each record "
            "needs audio (or id) and text"
        )
    return matches


def score_branches(
    recordings: Sequence[BranchComparison],
    threshold: float,
    *,
    blocks: Sequence[str] | None = None,
    seed: int = 1,
    replications: int = 10_000,
) -> BranchScores:
    """Score both branches, routing and the oracle on the recordings that have a reference.

    Args:
        recordings: recordings that both branches transcribed; at least one has a reference.
        threshold: the router's threshold, 0..1.
        blocks: the block of each recording with a reference; recordings of a block are drawn
            together. None: those with the same reference are a block.
        seed: seed of the bootstrap.
        replications: number of bootstrap replications over blocks.
    """
    labelled = [recording for recording in recordings if recording.reference is not None]
    by_system = {system: _error_counts(labelled, system, threshold) for system in SYSTEMS}
    words = [count.reference_length for count in by_system["base"]]
    if blocks is None:
        blocks = [" ".join((r.reference or "").casefold().split()) or r.audio for r in labelled]
    errors = {system: [count.errors for count in counts] for system, counts in by_system.items()}
    sweep = tuple(_sweep(labelled))
    return BranchScores(
        threshold=threshold,
        counts={system: pooled(counts) for system, counts in by_system.items()},
        intervals={
            system: bootstrap_interval(
                errors[system], words, seed=seed, replications=replications, blocks=blocks
            )
            for system in SYSTEMS
        },
        against_base={
            system: paired_bootstrap(
                errors["base"],
                errors[system],
                words,
                seed=seed,
                replications=replications,
                blocks=blocks,
            )
            for system in ("robust", "routed")
        },
        sweep=sweep,
        best_threshold=_best_threshold(sweep),
    )


def _sweep(labelled: Sequence[BranchComparison]) -> Iterable[tuple[float, float]]:
    """Yield the error rate of routing at every threshold that makes a difference."""
    probabilities = sorted(
        {
            segment.degraded_probability
            for recording in labelled
            for segment in recording.segments
            if segment.degraded_probability is not None
        }
    )
    if not probabilities:
        return
    midpoints = [(low + high) / 2 for low, high in pairwise(probabilities)]
    for threshold in (0.0, *midpoints, min(1.0, probabilities[-1] + 1e-6)):
        yield threshold, pooled(_error_counts(labelled, "routed", threshold)).rate


def _error_counts(
    labelled: Sequence[BranchComparison], system: str, threshold: float
) -> list[ErrorCounts]:
    return [recording.count_errors(recording.text(system, threshold)) for recording in labelled]


def _best_threshold(sweep: Sequence[tuple[float, float]]) -> float | None:
    if not sweep:
        return None
    lowest = min(rate for _, rate in sweep)
    # Ties go to the threshold closest to the default.
    return min(
        (threshold for threshold, rate in sweep if rate == lowest),
        key=lambda threshold: abs(threshold - 0.5),
    )
