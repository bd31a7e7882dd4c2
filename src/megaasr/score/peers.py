"""Other people's recognisers as systems of a benchmark, for those who have them installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from megaasr.audio.waveform import Waveform
from megaasr.errors import UsageError
from megaasr.score.predictions import Prediction

Value = str | int | float | bool | None
Transcribe = Callable[[Waveform], tuple[str, str | None]]
"""One clip to text and language."""


@dataclass
class Peer:
    """A recogniser that takes one clip at a time; see `predictions.System`.

    Attributes:
        name: in the result.
        kind: one of `PEERS`.
        model: as the library names it: `large-v3`, a hub id, a folder.
        language: ISO code to force, or None.
        device: `cpu`, `cuda`; None for the library's choice.

    Raises:
        UsageError: the library is not installed.
    """

    name: str
    kind: str
    model: str
    language: str | None = None
    device: str | None = None
    _transcribe: Transcribe | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        module, package, _ = PEERS[self.kind]
        if find_spec(module) is None:
            raise UsageError(
                f"--system {self.kind}:{self.model} needs {package}, which is not installed: "
                f"pip install {package}"
            )

    @property
    def settings(self) -> dict[str, Value]:
        """What decides about its words."""
        return {"model": self.model, "language": self.language}

    def prepare(self) -> None:
        """Load the model."""
        if self._transcribe is None:
            module, _, make = PEERS[self.kind]
            library = import_module(module)
            self._transcribe = make(library, self.model, self.language, self.device)

    def close(self) -> None:
        """Let go of the model."""
        self._transcribe = None

    def predict(self, waveforms: list[Waveform]) -> list[Prediction]:
        """Transcribe one by one; a clip on which the library raises has an error."""
        return [self._one(waveform) for waveform in waveforms]

    def _one(self, waveform: Waveform) -> Prediction:
        if self._transcribe is None:
            self.prepare()
        try:
            assert self._transcribe is not None
            text, language = self._transcribe(waveform)
        except Exception as error:
            return Prediction("", error=f"{type(error).__name__}: {error}")
        return Prediction(text.strip(), language=language)


def _whisper(library: Any, model: str, language: str | None, device: str | None) -> Transcribe:
    loaded = library.load_model(model, device=device)

    def transcribe(waveform: Waveform) -> tuple[str, str | None]:
        found = loaded.transcribe(waveform.samples, language=language, fp16=device == "cuda")
        return found["text"], found.get("language")

    return transcribe


def _faster_whisper(
    library: Any, model: str, language: str | None, device: str | None
) -> Transcribe:
    loaded = library.WhisperModel(model, device=device or "auto")

    def transcribe(waveform: Waveform) -> tuple[str, str | None]:
        segments, found = loaded.transcribe(waveform.samples, language=language)
        return "".join(segment.text for segment in segments), found.language

    return transcribe


def _pipeline(library: Any, model: str, language: str | None, device: str | None) -> Transcribe:
    loaded = library.pipeline("automatic-speech-recognition", model=model, device=device)
    options = {"generate_kwargs": {"language": language}} if language else {}

    def transcribe(waveform: Waveform) -> tuple[str, str | None]:
        sound = {"raw": waveform.samples, "sampling_rate": waveform.sample_rate}
        return str(loaded(sound, **options)["text"]), language

    return transcribe


PEERS: dict[str, tuple[str, str, Callable[[Any, str, str | None, str | None], Transcribe]]] = {
    "whisper": ("whisper", "openai-whisper", _whisper),
    "faster-whisper": ("faster_whisper", "faster-whisper", _faster_whisper),
    "pipeline": ("transformers", "transformers", _pipeline),
}
"""By kind: the module, the package that has it, and what makes a function of a model."""
