"""hibari (Apache-2.0): a small, quick voice (Kokoro's af_heart, distilled), with pitch control.

The model gives spectra and a pitch curve, from which hibari's own code makes the sound. The curve
is scaled here, so that one voice becomes many: pitch moves, the formants stay.
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
_UNVOICED_HZ = 40.0  # hibari: a frame of a lower pitch has no voice


class Hibari:
    """The engine, loaded once; `speak` may be called by several threads at once."""

    def __init__(self, engines: Path) -> None:
        """Load hibari.

        Args:
            engines: the folder that `megaasr.synthesize.engines` filled.

        Raises:
            SynthesisError: onnxruntime is not installed, or a file is missing.
        """
        onnx_session(engines / HIBARI_MODEL)  # its errors name the mend
        module = _import(engines)
        self._synthesis: Any = importlib.import_module(f"{HIBARI}.dsp")
        self._engine: Any = module.Hibari(voice=VOICE, threads=1)
        self._lock = threading.Lock()

    def speak(
        self, text: str, *, speed: float, pitch: float, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Speak a sentence.

        Args:
            text: plain words and punctuation.
            speed: 1 is the voice's own, 2 twice as fast.
            pitch: factor on the fundamental frequency.
            rng: source of the breath noise.

        Returns:
            float32 [time] at 24 kHz.

        Raises:
            SynthesisError: there is nothing to speak.
        """
        # The text analysis fills caches as it goes, so one thread at a time.
        with self._lock:
            phrases = self._engine.phonemize(text)
        if not phrases:
            raise SynthesisError(f"hibari finds nothing to speak in {text!r}")
        return np.concatenate([self._sound(phrase, speed, pitch, rng) for phrase in phrases])

    def _sound(
        self, phrase: str, speed: float, pitch: float, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        feeds = {
            "ids": np.array([self._engine.ids(phrase)], dtype=np.int64),
            "speed": np.array([speed], dtype=np.float32),
        }
        *spectra, f0 = (output[0] for output in self._engine.sess.run(None, feeds))
        voiced = f0 > _UNVOICED_HZ
        f0 = np.where(voiced, np.maximum(f0 * np.float32(pitch), _UNVOICED_HZ + 1), f0)
        sound: NDArray[np.float32] = self._synthesis.synth(*spectra, f0.astype(np.float32), rng)
        return sound


def _import(engines: Path) -> Any:
    """Import hibari from the engines' folder."""
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
