"""Other people's recognisers as systems of a benchmark, for those who have them installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.waveform import Waveform
from megaasr.errors import UsageError
from megaasr.hashing import file_sha256
from megaasr.score.predictions import Prediction

FASTER = "faster-whisper"
SHORT = "faster-whisper-short"

Value = str | int | float | bool | None
SHORT_WINDOW_S = 10
"""`faster-whisper-short` gives the encoder the sound and a second more, but at least this much."""

_FRAMES_PER_S = 100
_SAMPLING_SEED = 1
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
        settings: dict[str, Value] = {"model": self.model, "language": self.language}
        if self.kind == SHORT:
            settings["window"] = f"sound + 1 s, {SHORT_WINDOW_S} to 30 s"
        weights = Path(self.model) / "model.bin"
        if self.kind in {FASTER, SHORT} and weights.is_file():
            settings["model_sha256"] = file_sha256(weights)
        return settings

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
    return _faster_whisper_model(library.WhisperModel, model, language, device)


def _faster_whisper_short(
    library: Any, model: str, language: str | None, device: str | None
) -> Transcribe:
    class ShortWindow(library.WhisperModel):  # type: ignore[misc]
        """Encodes a clip without most of the padding that makes every one of them 30 s long."""

        def encode(self, features: NDArray[np.float32]) -> Any:
            return super().encode(without_padding(features))

    return _faster_whisper_model(ShortWindow, model, language, device)


def without_padding(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut padded features to the sound and a second more, at least `SHORT_WINDOW_S`.

    Args:
        features: [mel, frame] or [1, mel, frame], 100 frames a second; padding is exactly 0.0 in
            every band, which no frame of sound is.

    Returns:
        A view with as many frames or fewer, an even number.
    """
    sounding = np.flatnonzero(features.any(axis=tuple(range(features.ndim - 1))))
    end = int(sounding[-1]) + 1 if sounding.size else 0
    end += end % 2
    return features[..., : max(end + _FRAMES_PER_S, SHORT_WINDOW_S * _FRAMES_PER_S)]


def _faster_whisper_model(
    model_class: Any, model: str, language: str | None, device: str | None
) -> Transcribe:
    # Where the likeliest tokens look wrong, the library samples; without a seed every run differs.
    import_module("ctranslate2").set_random_seed(_SAMPLING_SEED)
    loaded = model_class(model, device=device or "auto")

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
    FASTER: ("faster_whisper", "faster-whisper", _faster_whisper),
    SHORT: ("faster_whisper", "faster-whisper", _faster_whisper_short),
    "pipeline": ("transformers", "transformers", _pipeline),
}
"""By kind: the module, the package that has it, and what makes a function of a model."""
