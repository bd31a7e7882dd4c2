"""The text of one utterance while it is spoken."""

from __future__ import annotations

from dataclasses import replace

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.model.interface import ModelState, Recognition, Request, Route
from megaasr.stream.commitment import Commitment
from megaasr.stream.options import StreamOptions
from megaasr.transcribe.checks import ChunkStats, run_checks
from megaasr.transcribe.consensus import spoken_text
from megaasr.transcribe.recognizer import MegaASR

_FIRST_DECISION_S = 2.0  # the router needs as much; the first steps take its guess on less
_NEXT_DECISION = 2.0  # it decides again when the utterance is so many times as long


class UtteranceText:
    """Decodes an utterance again and again as it grows.

    Args:
        asr: the recognizer.
        options: language, encoding, and when text becomes stable.
        context: free text that biases the model.

    Attributes:
        commitment: stable and volatile text.
        language: ISO code of the language of the text; None without text.
        route: branch that decoded it.
    """

    def __init__(self, asr: MegaASR, options: StreamOptions, context: str) -> None:
        self.commitment = Commitment(options.commit)
        self.language = options.language
        self.route: Route = "base"
        self.context = context
        self._asr, self._options = asr, options
        self._state = ModelState() if options.encoding == "windowed" else None
        self._decide_at = 0.0

    def step(self, samples: Samples, *, may_commit: bool) -> bool:
        """Decode the utterance so far; return whether its text or its being shown changed.

        Args:
            samples: the utterance so far, float32 of shape [time], 16 kHz mono.
            may_commit: whether text may become stable.

        Raises:
            ModelError: the model fails.
        """
        commitment = self.commitment
        before = (commitment.is_shown, commitment.stable, commitment.volatile)
        self._decide_route(samples)
        (recognition,) = self._asr.model.recognize([self._request(samples)])
        if text := self._reliable_text(recognition, samples):
            if not commitment.stable and self._options.language is None:
                self.language = recognition.language
            commitment.add(text, may_commit=may_commit)
        return commitment.is_shown and before != (True, commitment.stable, commitment.volatile)

    def _request(self, samples: Samples) -> Request:
        request = Request(
            samples,
            language=self._options.language,
            context=self.context,
            route=self.route,
            state=self._state,
        )
        if not self.commitment.stable:
            return request
        return replace(request, language=self.language, prefix=self.commitment.stable)

    def _decide_route(self, samples: Samples) -> None:
        seconds = len(samples) / SAMPLE_RATE
        if seconds < self._decide_at:
            return
        self._decide_at = max(_FIRST_DECISION_S, _NEXT_DECISION * seconds)
        route = self._asr.decide(samples).route
        if route != self.route:
            self.route = route
            self.commitment.forget()

    def _reliable_text(self, recognition: Recognition, samples: Samples) -> str:
        """Return the text of a recognition; empty if it fails a check, or nobody speaks."""
        stats = ChunkStats(len(samples) / SAMPLE_RATE, self.context)
        if run_checks(recognition, stats, self._asr.reliability.thresholds):
            return ""
        return spoken_text(recognition)
