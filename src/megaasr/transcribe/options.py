"""Options of transcription."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from megaasr.audio.selection import EVERYTHING, Selection
from megaasr.errors import UsageError
from megaasr.text.languages import canonical_language
from megaasr.transcribe.bundle import ModelOptions
from megaasr.transcribe.checks import DEFAULT_THRESHOLDS, CheckThresholds
from megaasr.transcribe.search import GREEDY, SearchOptions


@dataclass(frozen=True, slots=True)
class ReliabilityOptions:
    """Controls voice-activity detection, quality checks and retries.

    Attributes:
        vad: detect speech first; chunks without speech are not decoded.
        thresholds: limits of the quality checks.
        retry: decode a chunk again when its text fails a check, see `megaasr.transcribe.fallback`.
        drop_unreliable: remove text that still fails a check after all attempts.
        unintelligible_below: spans of words whose confidence is below this, 0..1, are listed as
            unintelligible; 0 lists none.

    Raises:
        UsageError: `unintelligible_below` is out of range.
    """

    vad: bool = True
    thresholds: CheckThresholds = DEFAULT_THRESHOLDS
    retry: bool = True
    drop_unreliable: bool = False
    unintelligible_below: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.unintelligible_below <= 1:
            raise UsageError(
                f"unintelligible_below is {self.unintelligible_below:g}; it must be 0 to 1"
            )


DEFAULT_RELIABILITY = ReliabilityOptions()


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """What the model is told about the speech.

    Attributes:
        language: language to force, by any name (`text.languages.canonical_language`), which is
            replaced by its code; None or `auto` lets the model identify the language of each chunk.
        context: free text that biases the model: names, domain terms, preceding text.
    """

    language: str | None = None
    context: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "language", canonical_language(self.language))


@dataclass(frozen=True, slots=True)
class TranscribeOptions:
    """Everything but the recording that determines a transcript.

    Attributes:
        model: the model to load, and how to load it.
        decode: what the model is told about the speech.
        reliability: voice-activity detection, quality checks and retries.
        selection: audio track and channels.
        each_channel: transcribe each channel for itself, whatever `selection` says of channels.
        search: how the text of a chunk is searched.
    """

    model: ModelOptions = field(default_factory=ModelOptions)
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    reliability: ReliabilityOptions = DEFAULT_RELIABILITY
    selection: Selection = EVERYTHING
    each_channel: bool = False
    search: SearchOptions = GREEDY

    def settings(self) -> Mapping[str, object]:
        """Return the options as JSON values; equal settings give equal transcripts."""
        reliability = asdict(self.reliability)
        if self.reliability.unintelligible_below == DEFAULT_RELIABILITY.unintelligible_below:
            del reliability["unintelligible_below"]
        # JSON has no infinity, and inf and -inf are different thresholds.
        thresholds = {
            name: limit if math.isfinite(limit) else str(limit)
            for name, limit in reliability["thresholds"].items()
        }
        return {
            "model": self.model.identity(),
            **asdict(self.decode),
            "reliability": {**reliability, "thresholds": thresholds},
            "selection": asdict(self.selection),
            "each_channel": self.each_channel,
            # Left out if it is the default: transcripts of earlier versions stay valid.
            **({"search": self.search.to_dict()} if self.search.draws_samples else {}),
        }
