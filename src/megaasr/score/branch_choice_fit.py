"""Fit the choice between the branches on clips with references, and measure what it gains.

A choice looks too good on the clips that it was fitted on, so every clip is chosen for by
coefficients that the other folds gave.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import Waveform
from megaasr.errors import AudioError, UsageError
from megaasr.progress import OnRemarkedProgress
from megaasr.records import Segment
from megaasr.score.branches import greedy_attempts
from megaasr.score.folds import draw_folds
from megaasr.score.test_set import TestClip, TestSetFile
from megaasr.text.error_rate import count_errors
from megaasr.transcribe.branch_choice import BranchChoice, BranchTexts, fit_branch_choice

if TYPE_CHECKING:
    from megaasr.transcribe.recognizer import MegaASR

Rule = Literal["base", "robust", "routed", "unfitted", "fitted", "oracle"]
RULES: tuple[Rule, ...] = ("base", "robust", "routed", "unfitted", "fitted", "oracle")
"""Whose text of a clip is kept: one branch's, the router's, that of the recogniser's rules without
a fitted choice, the fitted choice's, or the better one's."""


@dataclass(frozen=True, slots=True)
class ChoiceClip:
    """A clip that both branches decoded as one chunk.

    Attributes:
        id: id of the clip.
        block: name of the group of clips that stays in one fold.
        category: subgroup of the test set; None without one.
        texts: the texts of both branches.
        base_errors, robust_errors: errors of each branch.
        routed: branch that the router selects.
        unfitted: branch that the recogniser keeps without a fitted choice.
        words: tokens in the reference.
    """

    id: str
    block: str
    category: str | None
    texts: BranchTexts
    base_errors: int
    robust_errors: int
    routed: str
    unfitted: str
    words: int

    def errors(self, rule: Rule, fitted: str) -> int:
        """Return the errors of the text that a rule keeps.

        Args:
            rule: the rule.
            fitted: branch of the fitted choice.
        """
        if rule == "oracle":
            return min(self.base_errors, self.robust_errors)
        branches = {"routed": self.routed, "unfitted": self.unfitted, "fitted": fitted}
        branch = branches.get(rule, rule)
        return self.robust_errors if branch == "robust" else self.base_errors


@dataclass(frozen=True, slots=True)
class ChoiceRates:
    """Error rates of all rules in a subgroup of the clips.

    Attributes:
        category: name of the subgroup.
        clips: number of clips.
        words: tokens in their references.
        rates: error rate by rule.
    """

    category: str
    clips: int
    words: int
    rates: dict[Rule, float]


@dataclass(frozen=True, slots=True)
class ChoiceClips:
    """The clips of a test set that both branches decoded.

    Attributes:
        clips: the clips.
        left_out: reasons why other clips were left out, by id.
    """

    clips: tuple[ChoiceClip, ...]
    left_out: dict[str, str]

    def fit(self) -> BranchChoice:
        """Return the choice fitted on all clips.

        Raises:
            UsageError: the branches have the same number of errors on every clip.
        """
        return _fit(self.clips)

    def cross_validated(self, folds: int, seed: int) -> list[ChoiceRates]:
        """Return the rates of all rules, each clip chosen for by the other folds.

        Args:
            folds: number of folds, at least 2.
            seed: seed of the folds.

        Raises:
            UsageError: there are too few clips to divide.
        """
        blocks = [clip.block for clip in self.clips]
        if len(set(blocks)) < folds:
            raise UsageError(f"{len(set(blocks))} independent clips are too few for {folds} folds")
        fold_of_clip = draw_folds(blocks, folds, seed).tolist()
        branches = [""] * len(self.clips)
        for fold in range(folds):
            others = [c for c, f in zip(self.clips, fold_of_clip, strict=True) if f != fold]
            choose = _fit(others)
            for index, clip in enumerate(self.clips):
                if fold_of_clip[index] == fold:
                    branches[index] = choose(clip.texts)
        return self.rates(branches)

    def rates(self, fitted: Sequence[str]) -> list[ChoiceRates]:
        """Return the rates of all rules in each category, and of all clips last.

        Args:
            fitted: branch of the fitted choice for each clip.
        """
        pairs = list(zip(self.clips, fitted, strict=True))
        names = sorted({clip.category for clip in self.clips if clip.category is not None})
        groups = [(name, [pair for pair in pairs if pair[0].category == name]) for name in names]
        return [_rates(name, members) for name, members in [*groups, ("overall", pairs)]]


def measure_branches(
    asr: MegaASR,
    test_set: TestSetFile,
    *,
    blocks: Sequence[str | None],
    on_progress: OnRemarkedProgress = lambda done, total, remark: None,
) -> ChoiceClips:
    """Transcribe clips with both branches.

    Clips without a reference, that cannot be read, or that are not decoded as one chunk are left
    out.

    Args:
        asr: recogniser with the route `both`, without retries and without a fitted choice.
        test_set: clips with references.
        blocks: block of each clip; None for a clip that stands alone.
        on_progress: called after every clip.
    """
    left_out: dict[str, str] = {}
    clips: list[ChoiceClip] = []
    started: deque[tuple[TestClip, str]] = deque()

    def waveforms() -> Iterator[Waveform]:
        for clip, block in zip(test_set.clips, blocks, strict=True):
            try:
                waveform = read_clip(test_set.audio_root, clip.audio)
            except AudioError as error:
                left_out[clip.id] = str(error)
                continue
            started.append((clip, block or clip.id))
            yield waveform

    for index, outcome in enumerate(asr.transcribe_many(waveforms())):
        clip, block = started.popleft()
        on_progress(index + 1, len(test_set.clips), "")
        if outcome.transcript is None:
            left_out[clip.id] = str(outcome.error)
            continue
        segments = outcome.transcript.segments
        measured = _measured(clip, block, segments[0]) if len(segments) == 1 else None
        if measured is None:
            left_out[clip.id] = f"{len(segments)} chunks, or one that was not decoded"
        else:
            clips.append(measured)
    return ChoiceClips(tuple(clips), left_out)


def _measured(clip: TestClip, block: str, segment: Segment) -> ChoiceClip | None:
    """Return a clip of one segment; None if the branches did not both decode it."""
    greedy = greedy_attempts(segment.attempts)
    if set(greedy) != {"base", "robust"}:
        return None
    start, end = segment.chunk_start, segment.chunk_end
    texts = BranchTexts(
        greedy["base"],
        greedy["robust"],
        duration_s=0.0 if start is None or end is None else end - start,
        degraded_probability=segment.degraded_probability,
        language=segment.language,
    )
    counts = {
        route: count_errors(clip.text, attempt.text, language=clip.language)
        for route, attempt in greedy.items()
    }
    return ChoiceClip(
        id=clip.id,
        block=block,
        category=clip.category,
        texts=texts,
        base_errors=counts["base"].errors,
        robust_errors=counts["robust"].errors,
        routed=segment.attempts[0].route,
        unfitted=segment.route or "base",
        words=counts["base"].reference_length,
    )


def _fit(clips: Sequence[ChoiceClip]) -> BranchChoice:
    if all(clip.base_errors == clip.robust_errors for clip in clips):
        raise UsageError("both branches have the same errors on every clip; nothing can be fitted")
    return fit_branch_choice(
        [clip.texts for clip in clips],
        [clip.base_errors for clip in clips],
        [clip.robust_errors for clip in clips],
    )


def _rates(category: str, members: Sequence[tuple[ChoiceClip, str]]) -> ChoiceRates:
    words = sum(clip.words for clip, _ in members)
    rates = {
        rule: sum(clip.errors(rule, branch) for clip, branch in members) / max(1, words)
        for rule in RULES
    }
    return ChoiceRates(category, len(members), words, rates)
