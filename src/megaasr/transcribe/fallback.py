"""Decoding with fallback: decode chunks, and decode those again whose text fails a check.

The attempts, in this order, until one passes all checks:

1. the selected branch, greedy,
2. the other branch (if the model has one and the caller did not restrict the branch),
3. the selected branch with sampling at each of `TEMPERATURES`,
4. the selected branch on both halves of the chunk, split in a pause (chunks of 4 s or more).

With the decoding methods `best` and `consensus`, a text is chosen from several samples and the
greedy texts after the second step, even if these pass all checks; `auto` does so for chunks of the
robust branch and for those whose greedy texts fail a check.

The best attempt has the fewest failed checks; of equals, one that was chosen from samples is
preferred, then one with words (silence is more probable than any words of hard speech, and words
where nobody speaks fail a check), then the highest mean log-probability, then the earliest attempt.
Between the greedy texts of the two branches, the model's fitted choice decides instead, if it has
one (`megaasr.transcribe.branch_choice`).
Whisper decodes with a similar temperature fallback (Radford et al. 2022).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.model.interface import Recognition, Request, Route, SamplingSettings, SpeechModel
from megaasr.records import Attempt, Check
from megaasr.records.segments import Alternative
from megaasr.route.decision import RouteChoice
from megaasr.text.error_rate import disagreement
from megaasr.text.languages import join_texts
from megaasr.transcribe.branch_choice import BranchTexts, ChooseBranch
from megaasr.transcribe.checks import CheckThresholds, ChunkStats, run_checks
from megaasr.transcribe.chunking import find_midpoint_pause
from megaasr.transcribe.consensus import (
    choose_consensus,
    choose_most_probable,
    rank_alternatives,
    spoken_text,
)
from megaasr.transcribe.search import GREEDY, SearchOptions

TEMPERATURES = (0.3, 0.7)
"""Sampling temperatures of the third and fourth attempt."""
_MIN_SPLIT_S = 4.0
# Failures that say only that speech was or was not detected: no sampling changes them.
_UNAFFECTED_BY_SAMPLING = {"speech_not_detected", "no_words_in_speech"}


@dataclass(frozen=True, slots=True)
class DecodeTask:
    """A chunk to decode.

    Attributes:
        samples: audio, float32 of shape [time], 16 kHz mono, at most 30 s.
        route: branch that the router selected.
        stats: facts about the chunk that its text is checked against.
        language: ISO code to force, or None.
        seed: seed of the attempts with sampling.
        degraded_probability: the router's probability of degraded audio, 0..1; None without one.
        prefix: text that all attempts begin with; needs a language.
    """

    samples: Samples
    route: Route
    stats: ChunkStats
    language: str | None = None
    seed: int = 0
    degraded_probability: float | None = None
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class ScoredAttempt:
    """One attempt at a chunk.

    Attributes:
        attempt: its record.
        recognition: the model's result.
        failed_checks: checks that it failed.
        alternatives: the most frequent of the texts that it was chosen from, if they were asked
            for.
        texts: all texts that it was chosen from, if alternatives were asked for.
    """

    attempt: Attempt
    recognition: Recognition
    failed_checks: tuple[Check, ...]
    alternatives: tuple[Alternative, ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def route(self) -> str:
        """The branch that decoded."""
        return self.attempt.route

    @property
    def is_greedy(self) -> bool:
        """Whether the whole chunk was decoded greedily."""
        attempt = self.attempt
        return not (attempt.temperature or attempt.samples) and attempt.pieces == 1


@dataclass(frozen=True, slots=True)
class ChunkDecoding:
    """All attempts at one chunk, in the order in which they were made.

    Attributes:
        scored: the attempts, at least one.
        rejected: branch whose greedy text is not kept, because the other one's is probably better;
            None if nothing was chosen.
    """

    scored: tuple[ScoredAttempt, ...]
    rejected: Route | None = None

    @property
    def best(self) -> ScoredAttempt:
        """The attempt that is kept, see the module's description."""

        def rank(scored: ScoredAttempt) -> tuple[int, bool, bool, float]:
            attempt, logprob = scored.attempt, scored.recognition.mean_logprob
            cost = math.inf if logprob is None else -logprob
            return len(scored.failed_checks), not attempt.samples, not attempt.text, cost

        return min(self.candidates, key=rank)  # the first of equals

    @property
    def candidates(self) -> tuple[ScoredAttempt, ...]:
        """The attempts that may be kept."""
        return tuple(s for s in self.scored if not (s.is_greedy and s.route == self.rejected))

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The records of all attempts."""
        return tuple(scored.attempt for scored in self.scored)

    @property
    def unreliable(self) -> bool:
        """Whether every attempt so far that may be kept failed a check."""
        return all(scored.failed_checks for scored in self.candidates)

    @property
    def choice(self) -> ScoredAttempt | None:
        """The attempt that was chosen from samples and has alternatives; None if there is none."""
        return next((scored for scored in self.scored if scored.alternatives), None)

    @property
    def may_improve(self) -> bool:
        """Whether sampling may help: an attempt failed a check that does not concern speech
        detection."""
        return any(set(scored.attempt.failed) - _UNAFFECTED_BY_SAMPLING for scored in self.scored)

    def branch_disagreement(self) -> float | None:
        """Return the error rate between the greedy texts of the two branches; None if only one
        branch was used."""
        pair = self.greedy_pair()
        if pair is None:
            return None
        base, robust = pair
        language = base.recognition.language or robust.recognition.language
        return disagreement(base.attempt.text, robust.attempt.text, language)

    def greedy_pair(self) -> tuple[ScoredAttempt, ScoredAttempt] | None:
        """Return the greedy attempts of the base and of the robust branch; None without both."""
        greedy = {scored.route: scored for scored in reversed(self.scored) if scored.is_greedy}
        return (greedy["base"], greedy["robust"]) if len(greedy) == 2 else None


class FallbackDecoder:
    """Decodes chunks in batches, and again where a check fails.

    Args:
        model: speech model that decodes.
        thresholds: limits of the quality checks.
        retry: make further attempts; otherwise one per chunk (two if `route` is `both`).
        route: branch selection. The branch that the router did not select decodes too with `auto`
            if the text is unreliable, with `both` always, and with `base` and `robust` never.
        search: how the text of a chunk is searched.
        choose_branch: chooses between the greedy texts of the two branches; None to choose by
            checks and log-probability.
    """

    def __init__(
        self,
        model: SpeechModel,
        thresholds: CheckThresholds,
        *,
        retry: bool = True,
        route: RouteChoice = "auto",
        search: SearchOptions = GREEDY,
        choose_branch: ChooseBranch | None = None,
    ) -> None:
        self._model, self._thresholds, self._retry, self._route = model, thresholds, retry, route
        self._search, self._choose = search, choose_branch

    def using(self, model: SpeechModel) -> FallbackDecoder:
        """Return a decoder with the same settings for another model."""
        other = copy.copy(self)
        other._model = model
        return other

    def decode(self, tasks: Sequence[DecodeTask]) -> list[ChunkDecoding]:
        """Decode chunks, all first attempts in one batch.

        Args:
            tasks: the chunks to decode.

        Returns:
            One decoding per task, in the same order.

        Raises:
            ModelError: the model fails.
        """
        first = self._attempt(tasks, [task.route for task in tasks])
        decodings = [ChunkDecoding((scored,)) for scored in first]
        if self._model.has_robust_route:
            retried = [i for i, decoding in enumerate(decodings) if self._use_both(decoding)]
            routes = [_other_branch(tasks[i].route) for i in retried]
            self._extend(decodings, retried, self._attempt([tasks[i] for i in retried], routes))
            for i in retried:
                decodings[i] = self._choose_branch(tasks[i], decodings[i])
        sampled = [i for i, d in enumerate(decodings) if self._use_samples(tasks[i], d)]
        chosen = self._attempt_samples([tasks[i] for i in sampled], [decodings[i] for i in sampled])
        self._extend(decodings, sampled, chosen)
        for temperature in TEMPERATURES if self._retry else ():
            retried = [i for i, d in enumerate(decodings) if d.unreliable and d.may_improve]
            chunks = [tasks[i] for i in retried]
            routes = [task.route for task in chunks]
            self._extend(decodings, retried, self._attempt(chunks, routes, temperature))
        for i, (task, decoding) in enumerate(zip(tasks, decodings, strict=True)):
            # Where a prefix ends in the audio is not known.
            divisible = task.samples.size >= _MIN_SPLIT_S * SAMPLE_RATE and not task.prefix
            if self._retry and divisible and decoding.unreliable and decoding.may_improve:
                self._extend(decodings, [i], [self._attempt_halves(task)])
        return decodings

    @staticmethod
    def _extend(
        decodings: list[ChunkDecoding], indices: Sequence[int], scored: Sequence[ScoredAttempt]
    ) -> None:
        for i, attempt in zip(indices, scored, strict=True):
            decodings[i] = replace(decodings[i], scored=(*decodings[i].scored, attempt))

    def _choose_branch(self, task: DecodeTask, decoding: ChunkDecoding) -> ChunkDecoding:
        pair = decoding.greedy_pair()
        if self._choose is None or pair is None:
            return decoding
        base, robust = pair
        texts = BranchTexts(
            base.attempt,
            robust.attempt,
            duration_s=task.stats.duration_s,
            degraded_probability=task.degraded_probability,
            language=base.recognition.language or robust.recognition.language,
        )
        chosen = self._choose(texts)
        return replace(decoding, rejected=None if chosen is None else _other_branch(chosen))

    def _use_both(self, decoding: ChunkDecoding) -> bool:
        if self._route == "auto":
            return self._retry and decoding.unreliable
        return self._route == "both"

    def _use_samples(self, task: DecodeTask, decoding: ChunkDecoding) -> bool:
        if task.prefix:  # samples would not begin with it
            return False
        if self._search.method == "auto":
            return task.route == "robust" or decoding.unreliable
        return self._search.draws_samples

    def _attempt_samples(
        self, tasks: Sequence[DecodeTask], decodings: Sequence[ChunkDecoding]
    ) -> list[ScoredAttempt]:
        """Choose a text for each chunk from samples of its branch and its greedy texts."""
        if not tasks:
            return []
        search = self._search
        requests = [_request(task, task.samples, task.route, 0.0) for task in tasks]
        settings = SamplingSettings(search.samples, search.temperature)
        sampled = self._model.sample(requests, settings)
        attempts = []
        for task, decoding, samples in zip(tasks, decodings, sampled, strict=True):
            greedy = [scored.recognition for scored in decoding.scored]
            candidates = [*greedy, *samples]
            if search.method == "best":
                result = choose_most_probable(candidates)
            else:
                result = choose_consensus(candidates, search.utility)
            route = next(
                (s.attempt.route for s in decoding.scored if s.recognition is result), task.route
            )
            attempt = Attempt(route, search.temperature, 1, samples=search.samples)
            scored = self._score(task, result, attempt)
            if search.alternatives:
                listed = rank_alternatives(candidates, search.alternatives)
                texts = tuple(map(spoken_text, candidates))
                scored = replace(scored, alternatives=listed, texts=texts)
            attempts.append(scored)
        return attempts

    def _attempt(
        self, tasks: Sequence[DecodeTask], routes: Sequence[Route], temperature: float = 0.0
    ) -> list[ScoredAttempt]:
        if not tasks:
            return []
        requests = [
            _request(task, task.samples, route, temperature)
            for task, route in zip(tasks, routes, strict=True)
        ]
        results = self._model.recognize(requests)
        return [
            self._score(task, result, Attempt(route, temperature, 1))
            for task, route, result in zip(tasks, routes, results, strict=True)
        ]

    def _attempt_halves(self, task: DecodeTask) -> ScoredAttempt:
        pause = find_midpoint_pause(task.samples)
        halves = [task.samples[:pause], task.samples[pause:]]
        results = self._model.recognize([_request(task, half, task.route, 0.0) for half in halves])
        results = [results[0], _delayed(results[1], pause / SAMPLE_RATE)]
        return self._score(task, _joined(results), Attempt(task.route, 0.0, 2))

    def _score(self, task: DecodeTask, result: Recognition, attempt: Attempt) -> ScoredAttempt:
        text = spoken_text(result)
        failed = run_checks(result, task.stats, self._thresholds)
        logprob = None if result.mean_logprob is None else round(result.mean_logprob, 4)
        flags = tuple(check.flag for check in failed)
        record = replace(attempt, text=text, mean_logprob=logprob, failed=flags)
        return ScoredAttempt(record, result, failed)


def _request(task: DecodeTask, samples: Samples, route: Route, temperature: float) -> Request:
    return Request(
        samples,
        language=task.language,
        context=task.stats.context,
        route=route,
        temperature=temperature,
        seed=task.seed,
        prefix=task.prefix,
    )


def _other_branch(route: Route) -> Route:
    return "base" if route == "robust" else "robust"


def _delayed(result: Recognition, seconds: float) -> Recognition:
    """Return a result whose words are spoken later."""
    words = (
        word
        if word.start_s is None or word.end_s is None
        else replace(word, start_s=word.start_s + seconds, end_s=word.end_s + seconds)
        for word in result.words
    )
    return replace(result, words=tuple(words))


def _joined(results: Sequence[Recognition]) -> Recognition:
    """Return the results of consecutive chunks as one."""
    spoken = [result for result in results if result.language is not None and result.text.strip()]
    language = spoken[0].language if spoken else None
    scored = [result for result in results if result.mean_logprob is not None]
    weight = sum(result.tokens + 1 for result in scored)
    total = sum((result.mean_logprob or 0.0) * (result.tokens + 1) for result in scored)
    return Recognition(
        text=join_texts((result.text.strip(), language) for result in spoken),
        language=language,
        tokens=sum(result.tokens for result in results),
        budget_hit=any(result.budget_hit for result in results),
        raw="".join(result.raw for result in results),
        mean_logprob=total / weight if weight else None,
        words=tuple(word for result in spoken for word in result.words),
        timed_by=next((result.timed_by for result in spoken), None),
    )
