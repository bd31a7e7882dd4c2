"""Third-party recognisers as systems of a benchmark; their libraries must be installed."""

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
from megaasr.score.result import SettingValue

FASTER_WHISPER = "faster-whisper"
FASTER_WHISPER_SHORT = "faster-whisper-short"
FASTER_WHISPER_GREEDY = "faster-whisper-greedy"
_FASTER_WHISPERS = {FASTER_WHISPER, FASTER_WHISPER_SHORT, FASTER_WHISPER_GREEDY}

SHORT_WINDOW_S = 10
"""Least audio in seconds that `faster-whisper-short` and `-greedy` encode; longer clips get 1 s of
padding."""

_FRAMES_PER_S = 100
_SAMPLING_SEED = 1
Transcribe = Callable[[Waveform], tuple[str, str | None]]
"""Returns the text and the language (ISO code or None) of a clip."""


@dataclass
class Peer:
    """A third-party recogniser, which transcribes clip by clip; see `predictions.System`.

    Attributes:
        name: name of the system in the result.
        kind: one of `PEERS`.
        model: the model as the library names it: `large-v3`, a hub id, a folder.
        language: ISO code to force; None to let the model detect it.
        device: `cpu` or `cuda`; None for the library's default.

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
    def settings(self) -> dict[str, SettingValue]:
        """All that determines the output."""
        settings: dict[str, SettingValue] = {"model": self.model, "language": self.language}
        if self.kind in {FASTER_WHISPER_SHORT, FASTER_WHISPER_GREEDY}:
            settings["window"] = f"sound + 1 s, {SHORT_WINDOW_S} to 30 s"
        if self.kind == FASTER_WHISPER_GREEDY:
            settings["decoding"] = "one beam, no fallback, int8"
        weights = Path(self.model) / "model.bin"
        if self.kind in _FASTER_WHISPERS and weights.is_file():
            settings["model_sha256"] = file_sha256(weights)
        return settings

    def prepare(self) -> None:
        """Load the model.

        Raises:
            UsageError: the library cannot load it: there is no such folder, for example.
        """
        if self._transcribe is None:
            module, package, make = PEERS[self.kind]
            library = import_module(module)
            try:
                self._transcribe = make(library, self.model, self.language, self.device)
            except (OSError, RuntimeError, ValueError) as error:
                raise UsageError(
                    f"--system {self.kind}:{self.model}: {package} cannot load the model: {error}; "
                    "give its folder, or a name that the library knows and may download"
                ) from error

    def close(self) -> None:
        """Release the model."""
        self._transcribe = None

    def predict(self, waveforms: list[Waveform]) -> list[Prediction]:
        """Transcribe clips one by one; an exception of the library becomes the clip's `error`."""
        return [self._predict_clip(waveform) for waveform in waveforms]

    def _predict_clip(self, waveform: Waveform) -> Prediction:
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
        output = loaded.transcribe(waveform.samples, language=language, fp16=device == "cuda")
        return output["text"], output.get("language")

    return transcribe


def _faster_whisper(
    library: Any, model: str, language: str | None, device: str | None
) -> Transcribe:
    return _faster_whisper_model(library.WhisperModel, model, language, device)


def _faster_whisper_short(
    library: Any, model: str, language: str | None, device: str | None
) -> Transcribe:
    return _faster_whisper_model(_short_window(library), model, language, device)


def _faster_whisper_greedy(
    library: Any, model: str, language: str | None, device: str | None
) -> Transcribe:
    """Decode once: a tenth of the time on bad clips, for which the default samples five times."""
    loaded = _short_window(library)(
        model, device=device or "auto", compute_type="int8", cpu_threads=1
    )

    def transcribe(waveform: Waveform) -> tuple[str, str | None]:
        segments, info = loaded.transcribe(
            waveform.samples,
            language=language,
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
        )
        return "".join(segment.text for segment in segments), info.language

    return transcribe


def _short_window(library: Any) -> Any:
    class ShortWindow(library.WhisperModel):  # type: ignore[misc]
        """Encodes a clip without most of the padding that fills it up to 30 s."""

        def encode(self, features: NDArray[np.float32]) -> Any:
            return super().encode(without_padding(features))

    return ShortWindow


def without_padding(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Trim padded features to the audio and one more second, but not below `SHORT_WINDOW_S`.

    Args:
        features: float32 array of shape [mel, frame] or [1, mel, frame], 100 frames per second.
            Padding is exactly 0.0 in every band, which no frame of audio is.

    Returns:
        A view with at most as many frames, an even number.
    """
    audio_frames = np.flatnonzero(features.any(axis=tuple(range(features.ndim - 1))))
    end = int(audio_frames[-1]) + 1 if audio_frames.size else 0
    end += end % 2
    return features[..., : max(end + _FRAMES_PER_S, SHORT_WINDOW_S * _FRAMES_PER_S)]


def _faster_whisper_model(
    model_class: Any, model: str, language: str | None, device: str | None
) -> Transcribe:
    # The library falls back to sampling if greedy output looks wrong; unseeded, every run differs.
    import_module("ctranslate2").set_random_seed(_SAMPLING_SEED)
    loaded = model_class(model, device=device or "auto")

    def transcribe(waveform: Waveform) -> tuple[str, str | None]:
        segments, info = loaded.transcribe(waveform.samples, language=language)
        return "".join(segment.text for segment in segments), info.language

    return transcribe


def _pipeline(library: Any, model: str, language: str | None, device: str | None) -> Transcribe:
    loaded = library.pipeline("automatic-speech-recognition", model=model, device=device)
    options = {"generate_kwargs": {"language": language}} if language else {}

    def transcribe(waveform: Waveform) -> tuple[str, str | None]:
        audio = {"raw": waveform.samples, "sampling_rate": waveform.sample_rate}
        return str(loaded(audio, **options)["text"]), language

    return transcribe


PEERS: dict[str, tuple[str, str, Callable[[Any, str, str | None, str | None], Transcribe]]] = {
    "whisper": ("whisper", "openai-whisper", _whisper),
    FASTER_WHISPER: ("faster_whisper", "faster-whisper", _faster_whisper),
    FASTER_WHISPER_SHORT: ("faster_whisper", "faster-whisper", _faster_whisper_short),
    FASTER_WHISPER_GREEDY: ("faster_whisper", "faster-whisper", _faster_whisper_greedy),
    "pipeline": ("transformers", "transformers", _pipeline),
}
"""By kind: the module, the package that provides it, and the function that loads a model."""
