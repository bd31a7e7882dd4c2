"""The interface of a speech model: all that later steps need, independent of how it works."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from megaasr.audio.waveform import Samples

Route = Literal["base", "robust"]
WordTimer = Literal["attention", "aligner"]
"""What timed the words of a recognition: the model's alignment heads, or a forced aligner."""
Dtype = Literal["auto", "float32", "bfloat16", "float16", "int8"]
"""Data types that a model can be loaded in; `auto` selects the fastest one of the device."""
MAX_CHUNK_S = 30.0
"""Length of the longest chunk that a model accepts, in seconds."""


@dataclass(eq=False, slots=True)
class ModelState:
    """What a model keeps between requests whose chunks each continue the one before.

    Its owner makes it, gives it to every request for the growing chunk, and drops it with the
    chunk. A model may leave it empty; its content is for the model alone.

    Attributes:
        content: whatever the model keeps; None at first.
    """

    content: Any = None


@dataclass(frozen=True, slots=True)
class Request:
    """A chunk to transcribe.

    Attributes:
        samples: audio, float32 of shape [time], 16 kHz mono, nominally within -1..1, at most 30 s.
        language: ISO code to force, or None to let the model identify the language.
        context: free text for the system turn (names, domain terms, preceding text).
        route: branch that decodes: `robust` with the adapter, `base` without.
        temperature: 0 for greedy decoding, above it the sampling temperature.
        seed: seed of the sampling; equal requests give equal text.
        prefix: text that the transcript begins with, as far as it is known; needs a language. The
            recognition has all of the text.
        state: what the model keeps between requests for a growing chunk, so that a later one costs
            less; words have no times then. None decodes the chunk by itself.
    """

    samples: Samples
    language: str | None = None
    context: str = ""
    route: Route = "base"
    temperature: float = 0.0
    seed: int = 0
    prefix: str = ""
    state: ModelState | None = None


@dataclass(frozen=True, slots=True)
class RecognizedWord:
    """A word of a recognition.

    Attributes:
        text: the word with adjacent punctuation.
        probability: the model's joint probability of all its tokens, 0..1, not calibrated.
        start_s, end_s: when it is spoken, in seconds from the start of the chunk; None if unknown.
    """

    text: str
    probability: float
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class Recognition:
    """The model's result for one `Request`.

    Attributes:
        text: the transcript without the markers of the output format.
        language: ISO code that the model stated, or None for *no speech*.
        tokens: number of generated tokens.
        budget_hit: whether the token budget ended the text, so that words may be missing.
        raw: the decoded output exactly as generated, loops included.
        mean_logprob: mean log-probability of the generated tokens; None if unknown.
        words: the words with their probabilities; empty if unknown.
        timed_by: what timed the words; None if they have no times.
        token_ids: ids of the generated tokens, in the model's vocabulary; empty if unknown.
    """

    text: str
    language: str | None
    tokens: int
    budget_hit: bool
    raw: str
    mean_logprob: float | None = None
    words: tuple[RecognizedWord, ...] = ()
    timed_by: WordTimer | None = None
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How several transcripts of a chunk are sampled.

    Attributes:
        samples: number of transcripts of each clip.
        temperature: divisor of the logits, above 0.
        top_k: number of the most probable tokens that may be drawn.
        top_p: the most probable tokens whose probabilities add up to this, 0..1, may be drawn.
        repetition_penalty: penalty on tokens that were drawn before; 1 for none.
    """

    samples: int
    temperature: float
    top_k: int = 50
    top_p: float = 0.95
    repetition_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class AlignedTime:
    """When a word is spoken.

    Attributes:
        start_s, end_s: times in seconds from the start of the audio.
    """

    start_s: float
    end_s: float


class WordAligner(Protocol):
    """A model that tells when the words of a known text are spoken."""

    @property
    def languages(self) -> Collection[str]:
        """ISO codes of the languages that it knows."""
        ...

    def align(self, samples: Samples, words: Sequence[str]) -> list[AlignedTime | None]:
        """Return when each word is spoken; None for one that cannot be aligned.

        Args:
            samples: audio, float32 of shape [time], 16 kHz mono, at most 30 s.
            words: words in order, with or without punctuation.
        """
        ...


class SpeechModel(Protocol):
    """A model that turns audio into text."""

    @property
    def name(self) -> str:
        """The name that the caller loaded the model by."""
        ...

    @property
    def has_robust_route(self) -> bool:
        """Whether requests may have the route `robust`."""
        ...

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        """Transcribe chunks; the results are in the order of the requests."""
        ...

    def sample(
        self, requests: Sequence[Request], settings: SamplingSettings
    ) -> list[list[Recognition]]:
        """Return several sampled transcripts of each chunk, in the order of the requests.

        Encoder and prompt are run once for all samples of a chunk. The request's seed determines
        its samples; its temperature is not used.
        """
        ...
