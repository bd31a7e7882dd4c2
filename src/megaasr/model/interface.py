"""What every later step needs from a speech model, and nothing of how it works inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Route = Literal["base", "robust"]
MAX_PIECE_S = 30.0
"""Seconds of the longest piece of audio that a model is given."""


@dataclass(frozen=True, slots=True)
class Request:
    """One piece of audio to transcribe.

    Attributes:
        samples: float32 [time], mono, 16 kHz, nominally within -1..1, at most 30 s.
        language: ISO code to force, or None to let the model decide.
        context: free text for the system turn (hot words, what was said before).
        route: `robust` to hear it with the adapter, `base` without.
        temperature: 0 for the likeliest tokens, above it they are drawn.
        seed: of the drawing; the same request gives the same words.
    """

    samples: Samples
    language: str | None = None
    context: str = ""
    route: Route = "base"
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word of an answer.

    Attributes:
        text: with the punctuation that touches it.
        probability: 0..1, of all its tokens together, as the model has it (not calibrated).
    """

    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class Recognition:
    """What the model said about one `Request`.

    Attributes:
        text: the words, without the output format around them.
        language: ISO code as the model named it, or None for *no speech*.
        tokens: how many tokens were generated.
        budget_hit: the token budget ended the text, not the model; words may be missing.
        raw: the decoded output exactly as generated (loops not collapsed).
        mean_logprob: mean log-probability of the generated tokens; None if it is not known.
        words: with their probabilities; empty if they are not known.
    """

    text: str
    language: str | None
    tokens: int
    budget_hit: bool
    raw: str
    mean_logprob: float | None = None
    words: tuple[SpokenWord, ...] = ()


class SpeechModel(Protocol):
    """Waveforms in, words out."""

    @property
    def name(self) -> str:
        """The name that the model was asked for by."""
        ...

    @property
    def has_robust_route(self) -> bool:
        """Whether requests may ask for the route `robust`."""
        ...

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        """Transcribe pieces of audio; the answers come in the order of the requests."""
        ...
