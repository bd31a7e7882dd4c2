"""Base and robust branch side by side on the same recordings, and what the router makes of them.

Without references: where the branches disagree, and how sure each is. With references: error rates
of both branches, of routing, and of an oracle; and the threshold that would have been best here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from megaasr.errors import UsageError
from megaasr.records import Attempt, Transcript
from megaasr.score.intervals import PairedComparison, bootstrap_interval, paired_bootstrap
from megaasr.score.test_set import TestClip
from megaasr.text.error_rate import ErrorCounts, count_errors, disagreement, pooled
from megaasr.text.languages import UNSPACED

SYSTEMS = ("base", "robust", "routed", "oracle")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of a recording, as both branches heard it.

    Attributes:
        start, end: seconds.
        base, robust: their texts.
        base_logprob, robust_logprob: mean log-probability of the tokens; None if not known.
        language: ISO code of the text that was kept.
        degraded_probability: 0..1, of the router; None without one.
    """

    start: float
    end: float
    base: str
    robust: str
    base_logprob: float | None
    robust_logprob: float | None
    language: str | None
    degraded_probability: float | None

    def routed(self, threshold: float) -> str:
        """Return the text of the branch that the router would choose."""
        probability = self.degraded_probability
        return self.robust if probability is not None and probability >= threshold else self.base

    @property
    def disagreement(self) -> float:
        """Error rate between the two texts, the longer one being the reference; 0..1."""
        return disagreement(self.base, self.robust, self.language)


@dataclass(frozen=True, slots=True)
class Compared:
    """A recording that both branches heard.

    Attributes:
        audio: its path as given.
        duration_s: seconds.
        stretches: in order of time.
        reference: what was said, None if it is not known.
        language: ISO code of the reference, else of most of the speech.
    """

    audio: str
    duration_s: float
    stretches: tuple[Stretch, ...]
    reference: str | None
    language: str | None

    def text(self, system: str, threshold: float) -> str:
        """Return the whole text of `base`, `robust`, `routed` or `oracle` (by recording)."""
        if system == "oracle":
            return min(
                (self.text(one, threshold) for one in ("base", "robust")),
                key=lambda text: self.errors(text).errors,
            )
        texts = [
            {"base": one.base, "robust": one.robust, "routed": one.routed(threshold)}[system]
            for one in self.stretches
        ]
        return ("" if self.language in UNSPACED else " ").join(text for text in texts if text)

    def errors(self, text: str) -> ErrorCounts:
        """Count the errors of a text against the reference."""
        return count_errors(self.reference or "", text, language=self.language)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What references say about the branches.

    Attributes:
        threshold: of the router, as used.
        counts: pooled errors of each of `SYSTEMS`.
        intervals: 95 % interval of each one's error rate.
        against_base: of `robust` and `routed`.
        sweep: (threshold, error rate of routing) over thresholds.
        best_threshold: the middle of those with the fewest errors; None without a router.
    """

    threshold: float
    counts: Mapping[str, ErrorCounts]
    intervals: Mapping[str, tuple[float, float]]
    against_base: Mapping[str, PairedComparison]
    sweep: tuple[tuple[float, float], ...]
    best_threshold: float | None


def compared(transcript: Transcript, audio: str, reference: TestClip | None) -> Compared:
    """Return a recording that was transcribed with the route `both`."""
    stretches = []
    for one in transcript.segments:
        heard: dict[str, Attempt] = {}
        for attempt in one.attempts:
            if not attempt.temperature and attempt.pieces == 1:
                heard.setdefault(attempt.route, attempt)
        base, robust = heard.get("base"), heard.get("robust")
        stretches.append(
            Stretch(
                one.start,
                one.end,
                base.text if base else "",
                robust.text if robust else "",
                base.mean_logprob if base else None,
                robust.mean_logprob if robust else None,
                one.language,
                one.degraded_probability,
            )
        )
    said = None if reference is None else reference.text
    language = transcript.language if reference is None else reference.language
    return Compared(audio, transcript.duration_s, tuple(stretches), said, language)


def match_references(
    audios: Sequence[str], clips: Iterable[TestClip]
) -> dict[str, TestClip | None]:
    """Find the reference of each recording: by path, file name, name without suffix, or id.

    Raises:
        UsageError: none of the recordings has one.
    """
    known: dict[str, TestClip] = {}
    for clip in clips:
        for name in (clip.id, Path(clip.audio).stem, Path(clip.audio).name, clip.audio):
            known[name] = clip
    found: dict[str, TestClip | None] = {}
    for audio in audios:
        path = Path(audio)
        names = (audio, path.name, path.stem)
        found[audio] = next((known[name] for name in names if name in known), None)
    if not any(found.values()):
        raise UsageError(
            f"the references name none of the recordings ({', '.join(audios[:3])}); each record "
            "needs audio (or id) and text"
        )
    return found


def judge(
    recordings: Sequence[Compared], threshold: float, *, seed: int = 1, replications: int = 10_000
) -> Verdict:
    """Score both branches, routing and the oracle on the recordings that have a reference.

    Args:
        recordings: at least one with a reference.
        threshold: of the router.
        seed, replications: of the bootstrap over recordings.
    """
    known = [one for one in recordings if one.reference is not None]
    by_system = {name: [one.errors(one.text(name, threshold)) for one in known] for name in SYSTEMS}
    words = [count.reference_length for count in by_system["base"]]
    errors = {name: [count.errors for count in counts] for name, counts in by_system.items()}
    sweep = tuple(_sweep(known))
    return Verdict(
        threshold,
        {name: pooled(counts) for name, counts in by_system.items()},
        {
            name: bootstrap_interval(errors[name], words, seed=seed, replications=replications)
            for name in SYSTEMS
        },
        {
            name: paired_bootstrap(
                errors["base"], errors[name], words, seed=seed, replications=replications
            )
            for name in ("robust", "routed")
        },
        sweep,
        _best(sweep),
    )


def _sweep(known: Sequence[Compared]) -> Iterable[tuple[float, float]]:
    """Yield the error rate of routing at every threshold that makes a difference."""
    probabilities = sorted(
        {
            one.degraded_probability
            for recording in known
            for one in recording.stretches
            if one.degraded_probability is not None
        }
    )
    if not probabilities:
        return
    between = [(low + high) / 2 for low, high in pairwise(probabilities)]
    for threshold in (0.0, *between, min(1.0, probabilities[-1] + 1e-6)):
        counts = [one.errors(one.text("routed", threshold)) for one in known]
        yield threshold, pooled(counts).rate


def _best(sweep: Sequence[tuple[float, float]]) -> float | None:
    if not sweep:
        return None
    least = min(rate for _, rate in sweep)
    # Of equals the one nearest to the usual one.
    return min((at for at, rate in sweep if rate == least), key=lambda at: abs(at - 0.5))
