"""Options of a live session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from megaasr.audio.waveform import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, SAMPLE_RATE
from megaasr.errors import UsageError
from megaasr.text.languages import canonical_language
from megaasr.transcribe.chunking import SPEECH_THRESHOLD

Encoding = Literal["windowed", "global"]
"""What a step of an utterance encodes, see `StreamOptions`."""
CommitPolicy = Literal["agreement", "rollback", "final"]
"""When text becomes stable, see `StreamOptions`."""

_RANGES = {
    "end_silence_s": (0.1, 5.0),
    "step_s": (0.1, 30.0),
    "threshold": (0.05, 0.95),
}


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a live session listens and decodes.

    Attributes:
        sample_rate: samples per second of what the session is fed with, 4,000 to 192,000.
        language: language to force, by any name; None or `auto` lets the model identify it.
        context: free text that biases the model: names, domain terms.
        end_silence_s: an utterance ends after so many seconds without speech, 0.1 to 5. From half
            of the longest utterance on, 0.3 s are enough.
        step_s: a partial text is due after so many seconds of speech, 0.1 to 30.
        partials: whether there are partial texts.
        encoding: `windowed` encodes a complete attention window of an utterance once, `global` the
            whole utterance in each step. Models whose attention has no window that ends within an
            utterance encode all of it in either way.
        commit: when text becomes stable. `agreement`: when two hypotheses in a row have it;
            `rollback`: the last words of a hypothesis are not stable yet; `final`: with the final
            segment.
        carry_context: whether the last text is context of the next utterance. It can drift, and
            the final text then depends on the text before.
        threshold: probability of speech from which a frame counts as speech, 0.05 to 0.95.

    Raises:
        UsageError: a value is out of range.
    """

    sample_rate: int = SAMPLE_RATE
    language: str | None = None
    context: str = ""
    end_silence_s: float = 0.6
    step_s: float = 1.0
    partials: bool = True
    encoding: Encoding = "windowed"
    commit: CommitPolicy = "agreement"
    carry_context: bool = False
    threshold: float = SPEECH_THRESHOLD

    def __post_init__(self) -> None:
        if not MIN_SAMPLE_RATE <= self.sample_rate <= MAX_SAMPLE_RATE:
            raise UsageError(
                f"sample_rate is {self.sample_rate}; it must be {MIN_SAMPLE_RATE} to "
                f"{MAX_SAMPLE_RATE} Hz"
            )
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise UsageError(
                    f"{name} is {getattr(self, name):g}; it must be {least:g} to {most:g}"
                )
        for name, choices in (("encoding", Encoding), ("commit", CommitPolicy)):
            if getattr(self, name) not in get_args(choices):
                allowed = " or ".join(get_args(choices))
                raise UsageError(f"{name} is {getattr(self, name)!r}; it must be {allowed}")
        object.__setattr__(self, "language", canonical_language(self.language))
