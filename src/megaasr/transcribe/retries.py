"""Hear pieces of audio, and those again whose text is suspicious; keep the best attempt.

The attempts, in this order, until one has no failed check:

1. the branch that was chosen, likeliest tokens,
2. the other branch (if there is one, and nobody asked for the first alone),
3. the chosen branch with sampling, at each of `TEMPERATURES`,
4. the chosen branch on the two halves of the piece, cut at a quiet place (from 4 s on).

Kept is the attempt with the fewest failed checks; of equals the one with the highest mean
log-probability; of equals the earliest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.model.interface import Recognition, Request, Route, Samples, SpeechModel
from megaasr.records import Attempt, Check
from megaasr.route.decision import RouteChoice
from megaasr.text.error_rate import disagreement
from megaasr.text.languages import join_texts
from megaasr.transcribe.guard import GuardThresholds, Heard, examine
from megaasr.transcribe.segment import middle_pause

TEMPERATURES = (0.3, 0.7)
"""Of the attempts with sampling."""
_SHORTEST_TO_HALVE_S = 4.0


@dataclass(frozen=True, slots=True)
class _Try:
    """An attempt and what became of it."""

    attempt: Attempt
    said: Recognition
    checks: tuple[Check, ...]


@dataclass(slots=True)
class Hearing:
    """A piece of audio that is to be heard, and what was heard so far.

    Attributes:
        samples: float32 [time], 16 kHz.
        route: the branch that was chosen.
        about: what is known about the audio.
        language: ISO code to force, or None.
        seed: of the attempts with sampling.
        disagreement_limit: error rate between the branches from which on they disagree.
    """

    samples: Samples
    route: Route
    about: Heard
    language: str | None = None
    seed: int = 0
    disagreement_limit: float = math.inf
    tries: list[_Try] = field(default_factory=list)

    @property
    def best(self) -> _Try:
        """The attempt that is kept."""

        def rank(one: _Try) -> tuple[int, float]:
            logprob = one.said.mean_logprob
            return len(one.checks), math.inf if logprob is None else -logprob

        return min(self.tries, key=rank)  # of equals the first

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts, in order."""
        return tuple(one.attempt for one in self.tries)

    @property
    def failing(self) -> bool:
        """Whether no attempt passed all checks."""
        return all(one.checks for one in self.tries)

    def disagreement(self) -> float | None:
        """Return how far the branches' texts differ; None if only one was heard."""
        texts = {one.attempt.route: one for one in reversed(self.tries) if not _drawn(one.attempt)}
        if len(texts) < 2:
            return None
        one, other = texts["base"], texts["robust"]
        return disagreement(
            one.attempt.text, other.attempt.text, one.said.language or other.said.language
        )


def _drawn(attempt: Attempt) -> bool:
    return attempt.temperature > 0 or attempt.pieces > 1


class Listener:
    """A model, and the patience to hear suspicious pieces again.

    Args:
        model: hears.
        limits: what is suspicious.
        retry: whether there are second attempts at all.
        route: `auto` asks the branch that was not chosen where a text is suspicious, `both` always,
            `base` and `robust` never.
    """

    def __init__(
        self,
        model: SpeechModel,
        limits: GuardThresholds,
        *,
        retry: bool = True,
        route: RouteChoice = "auto",
    ) -> None:
        self._model, self._limits, self._retry, self._route = model, limits, retry, route

    def hear(self, hearings: Sequence[Hearing]) -> None:
        """Hear pieces in one batch, and those again that need it; results are in the hearings.

        Raises:
            ModelError: the model fails.
        """
        self._try(hearings, [one.route for one in hearings])
        # Asked only now: the command's model is loaded when it is first asked something.
        if getattr(self._model, "has_robust_route", False):
            again = [one for one in hearings if self._wants_other(one)]
            self._try(again, [_other(one.route) for one in again])
        for temperature in TEMPERATURES if self._retry else ():
            again = [one for one in hearings if one.failing and _may_help(one)]
            self._try(again, [one.route for one in again], temperature)
        for one in hearings:
            if self._retry and one.failing and _may_help(one):
                self._try_halves(one)

    def _wants_other(self, one: Hearing) -> bool:
        if self._route == "auto":
            return self._retry and one.failing
        return self._route == "both"

    def _try(
        self, hearings: Sequence[Hearing], routes: Sequence[Route], temperature: float = 0.0
    ) -> None:
        if not hearings:
            return
        requests = [
            _request(one, one.samples, route, temperature)
            for one, route in zip(hearings, routes, strict=True)
        ]
        for one, route, said in zip(hearings, routes, self._model.recognize(requests), strict=True):
            self._file(one, said, Attempt(route, temperature, 1))

    def _try_halves(self, one: Hearing) -> None:
        if one.samples.size < _SHORTEST_TO_HALVE_S * SAMPLE_RATE:
            return
        middle = middle_pause(one.samples)
        halves = [one.samples[:middle], one.samples[middle:]]
        said = self._model.recognize([_request(one, half, one.route, 0.0) for half in halves])
        self._file(one, _joined(said), Attempt(one.route, 0.0, 2))

    def _file(self, one: Hearing, said: Recognition, attempt: Attempt) -> None:
        # No language is the model's verdict "no speech": words beside it are not to be believed.
        text = "" if said.language is None else said.text.strip()
        checks = examine(said, one.about, self._limits)
        full = replace(
            attempt,
            text=text,
            mean_logprob=None if said.mean_logprob is None else round(said.mean_logprob, 4),
            failed=tuple(check.flag for check in checks),
        )
        one.tries.append(_Try(full, said, checks))


def _request(one: Hearing, samples: Samples, route: Route, temperature: float) -> Request:
    return Request(samples, one.language, one.about.context, route, temperature, one.seed)


def _other(route: Route) -> Route:
    return "base" if route == "robust" else "robust"


def _may_help(one: Hearing) -> bool:
    """Tell whether other words may be found: not if all that is wrong is that there is speech or
    none, which no sampling changes."""
    settled = {"speech_not_detected", "no_words_in_speech"}
    return any(set(t.attempt.failed) - settled for t in one.tries)


def _joined(parts: Sequence[Recognition]) -> Recognition:
    """Return the answers about consecutive stretches as one."""
    said = [one for one in parts if one.language is not None and one.text.strip()]
    language = said[0].language if said else None
    tokens = sum(one.tokens for one in parts)
    known = [one for one in parts if one.mean_logprob is not None]
    weight = sum(one.tokens + 1 for one in known)
    mean = sum((one.mean_logprob or 0.0) * (one.tokens + 1) for one in known)
    return Recognition(
        join_texts((one.text.strip(), language) for one in said),
        language,
        tokens,
        any(one.budget_hit for one in parts),
        "".join(one.raw for one in parts),
        mean / weight if weight else None,
        tuple(word for one in said for word in one.words),
    )
