"""hibari (Apache-2.0): a small, fast voice (distilled from Kokoro's af_heart) with pitch control.

The model predicts spectra and a pitch curve, from which hibari's own code synthesises the audio.
Scaling the curve turns one voice into many: the pitch changes, the formants do not.
"""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megaasr.errors import SynthesisError
from megaasr.synthesize.engines import HIBARI, HIBARI_MODEL
from megaasr.synthesize.kokoro import onnx_session

SAMPLE_RATE = 24_000
VOICE = "heart"
_UNVOICED_HZ = 40.0  # hibari treats frames of a lower pitch as unvoiced


class Hibari:
    """The engine; several threads may call `speak` at the same time."""

    def __init__(self, engines: Path) -> None:
        """Load the engine.

        Args:
            engines: folder of the engines, see `megaasr.synthesize.engines`.

        Raises:
            SynthesisError: onnxruntime is not installed, or a file is missing.
        """
        onnx_session(engines / HIBARI_MODEL)  # its errors name the remedy
        module = _import(engines)
        self._dsp: Any = importlib.import_module(f"{HIBARI}.dsp")
        self._engine: Any = module.Hibari(voice=VOICE, threads=1)
        self._lock = threading.Lock()

    def speak(
        self, text: str, *, speed: float, pitch: float, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Synthesise a sentence.

        Args:
            text: plain words and punctuation.
            speed: speed relative to the voice's own; 2 is twice as fast.
            pitch: factor on the fundamental frequency.
            rng: random generator of the breath noise.

        Returns:
            float32 array [time] at 24 kHz.

        Raises:
            SynthesisError: the text contains nothing to speak.
        """
        # The text analysis fills caches, so it is limited to one thread at a time.
        with self._lock:
            phrases = self._engine.phonemize(text)
        if not phrases:
            raise SynthesisError(f"hibari finds nothing to speak in {text!r}")
        return np.concatenate([self._synthesize(phrase, speed, pitch, rng) for phrase in phrases])

    def _synthesize(
        self, phrase: str, speed: float, pitch: float, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        feeds = {
            "ids": np.array([self._engine.ids(phrase)], dtype=np.int64),
            "speed": np.array([speed], dtype=np.float32),
        }
        *spectra, f0 = (output[0] for output in self._engine.sess.run(None, feeds))
        voiced = f0 > _UNVOICED_HZ
        f0 = np.where(voiced, np.maximum(f0 * np.float32(pitch), _UNVOICED_HZ + 1), f0)
        samples: NDArray[np.float32] = self._dsp.synth(*spectra, f0.astype(np.float32), rng)
        return samples


def _import(engines: Path) -> Any:
    """Import hibari's module from the folder of the engines."""
    sys.path.insert(0, str(engines.resolve()))
    try:
        return importlib.import_module(HIBARI)
    except ImportError as error:
        raise SynthesisError(
            f"hibari in {engines / HIBARI} cannot be imported: {error}; delete the folder and run "
            "`make voices`"
        ) from error
    finally:
        sys.path.pop(0)
