"""Kokoro-82M (Apache-2.0) as int8 ONNX: 28 English voices, and new speakers as mixtures of them.

The input of Kokoro is phonemes. Its alphabet is IPA with single symbols for diphthongs and
affricates, and without length marks in American English; espeak-ng's plain IPA is converted to it.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megaasr.errors import SynthesisError
from megaasr.synthesize.engines import KOKORO_MODEL, KOKORO_VOICES, VOCABULARY
from megaasr.synthesize.ipa import pronounce

SAMPLE_RATE = 24_000
# af, am: American women and men; bf, bm: British women and men.
VOICES = (
    *("af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_kore", "af_nicole"),
    *("af_nova", "af_river", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam"),
    *("am_onyx", "am_santa", "bf_alice", "bf_isabella", "bf_lily", "bm_daniel", "bm_fable"),
    *("bm_george", "bm_lewis"),
)
HELD_OUT_VOICES = ("af_sarah", "am_michael", "am_puck", "bf_emma")
MAX_TOKENS = 509
_STYLE_SIZE = 256
_PUNCTUATION = re.compile(r"\s*([;:,.!?…—]+)\s*")
_NOT_SPOKEN = re.compile(r"[\"“”()\[\]]")
_FOREIGN = re.compile(r"\([a-z-]+\)")  # espeak-ng's marks of words in another language

# Replacements from espeak-ng's IPA (with ^ for ties) to Kokoro's alphabet, in this order.
_COMMON = (
    *(("a^ɪ", "I"), ("e^ɪ", "A"), ("a^ʊ", "W"), ("ɔ^ɪ", "Y"), ("d^ʒ", "ʤ"), ("t^ʃ", "ʧ")),
    *(("ə^l", "ᵊl"), ("ɐ", "ə"), ("ʔn̩", "tᵊn"), ("n̩", "ᵊn"), ("l̩", "ᵊl"), ("r", "ɹ")),
    *(("x", "k"), ("ɬ", "l"), ("ç", "k"), ("ʲ", "j")),
)
_AMERICAN = (
    *(("o^ʊ", "O"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɚɹ", "əɹ"), ("ɚ", "əɹ"), ("ɾ", "T")),
    *(("oː^ɹ", "ɔɹ"), ("oːɹ", "ɔɹ"), ("ʔ", "t"), ("ː", "")),
)
_BRITISH = (("ə^ʊ", "Q"), ("e^ə", "ɛː"), ("i^ə", "ɪə"), ("ʔ", "t"))
# Kokoro was trained on other forms of these words; it often omits an unstressed initial "I".
_FUNCTION_WORDS = {"I": "ˌI", "Iəm": "ˌI ɐm", "ə": "ɐ", "ən": "ɐn", "əm": "ɐm"}


def mixture(weights: dict[str, float]) -> str:
    """Return the name of a mixture of voices, such as `af_heart*0.60+bm_fable*0.40`.

    Args:
        weights: positive weights by voice, which sum to 1.
    """
    return "+".join(f"{voice}*{weight:.2f}" for voice, weight in weights.items())


def parse_mixture(name: str) -> dict[str, float]:
    """Return the weights by voice of a voice or mixture; they sum to 1.

    Args:
        name: a voice (`af_heart`), or a mixture as `mixture` names it.

    Raises:
        SynthesisError: a voice is unknown, or the weights are not positive with a sum of 1.
    """
    weights: dict[str, float] = {}
    for part in name.split("+"):
        voice, star, weight = part.partition("*")
        try:
            weights[voice] = float(weight) if star else 1.0
        except ValueError as error:
            raise SynthesisError(f"Kokoro voice {name!r}: {weight!r} is not a weight") from error
        if voice not in VOICES + HELD_OUT_VOICES:
            raise SynthesisError(f"Kokoro voice {name!r}: there is no voice {voice!r}")
    if min(weights.values()) <= 0 or abs(sum(weights.values()) - 1) > 1e-6:
        raise SynthesisError(f"Kokoro voice {name!r}: weights must be positive and sum to 1")
    return weights


def is_british(name: str) -> bool:
    """Return whether the voice with the largest weight is British, which decides the accent."""
    weights = parse_mixture(name)
    return max(weights, key=lambda voice: weights[voice]).startswith("b")


def phonemize(text: str, *, british: bool) -> str:
    """Return the phonemes of a text in Kokoro's alphabet, with its punctuation.

    Args:
        text: plain words and punctuation.
        british: whether the accent is British rather than American.

    Raises:
        SynthesisError: espeak-ng is missing or failed, or the text contains nothing to speak.
    """
    # Entries with odd indices are the punctuation between the clauses.
    parts = _PUNCTUATION.split(_NOT_SPOKEN.sub(" ", text))
    clauses = [(index, part) for index, part in enumerate(parts) if index % 2 == 0]
    spoken = [(index, part) for index, part in clauses if re.search(r"\w", part)]
    if not spoken:
        raise SynthesisError(f"nothing to speak in {text!r}")
    lines = pronounce([part for _, part in spoken], "en-gb" if british else "en-us")
    if not all(lines):
        raise SynthesisError(f"espeak-ng gave no phonemes for {text!r}")
    by_index = {
        index: rewrite(line, british=british)
        for (index, _), line in zip(spoken, lines, strict=True)
    }
    phonemes = ""
    for index, part in enumerate(parts):
        phonemes += by_index.get(index, "") if index % 2 == 0 else part + " "
    return phonemes.strip()


def rewrite(ipa: str, *, british: bool) -> str:
    """Convert espeak-ng's IPA (with ^ for ties) to Kokoro's alphabet."""
    phonemes = _FOREIGN.sub("", ipa)
    for before, after in (_BRITISH if british else _AMERICAN) + _COMMON:
        phonemes = phonemes.replace(before, after)
    words = phonemes.replace("^", "").split()
    return " ".join(_FUNCTION_WORDS.get(word, word) for word in words)


class Kokoro:
    """The model; several threads may call `speak` at the same time."""

    def __init__(self, engines: Path) -> None:
        """Load the model.

        Args:
            engines: folder of the engines, see `megaasr.synthesize.engines`.

        Raises:
            SynthesisError: onnxruntime is not installed, or a file is missing.
        """
        self._folder = engines
        self._session = onnx_session(engines / KOKORO_MODEL)
        self._vocabulary: dict[str, int] = json.loads(
            (engines / VOCABULARY).read_text(encoding="utf-8")
        )
        self._styles = cache(self._read_styles)

    def speak(self, text: str, name: str, *, speed: float) -> NDArray[np.float32]:
        """Synthesise a sentence; every call gives the same samples.

        Args:
            text: plain words and punctuation.
            name: a voice or a mixture, see `mixture`.
            speed: speed relative to the voice's own; 2 is twice as fast.

        Returns:
            float32 array [time] at 24 kHz.

        Raises:
            SynthesisError: the text has no phonemes, more than 509 of them, or one that Kokoro does
                not know.
        """
        phonemes = phonemize(text, british=is_british(name))
        tokens = self.tokens(phonemes, text)
        feeds = {
            "tokens": np.array([[0, *tokens, 0]], dtype=np.int64),
            "style": self._style(name, len(tokens)),
            "speed": np.array([speed], dtype=np.float32),
        }
        samples: NDArray[np.float32] = self._session.run(None, feeds)[0].reshape(-1)
        return samples

    def tokens(self, phonemes: str, text: str) -> list[int]:
        """Return the ids of phonemes.

        Args:
            phonemes: phonemes in Kokoro's alphabet.
            text: the text that they belong to, for messages.

        Raises:
            SynthesisError: Kokoro does not know a phoneme, or there are more than 509.
        """
        unknown = sorted({symbol for symbol in phonemes if symbol not in self._vocabulary})
        if unknown:
            raise SynthesisError(f"Kokoro has no symbol {unknown[0]!r} (in {text!r})")
        if len(phonemes) > MAX_TOKENS:
            raise SynthesisError(
                f"{len(phonemes)} phonemes are more than Kokoro's {MAX_TOKENS}: {text!r}"
            )
        return [self._vocabulary[symbol] for symbol in phonemes]

    def _style(self, name: str, length: int) -> NDArray[np.float32]:
        """Return the style vector for a text of `length` phonemes, float32 array [1, 256]."""
        weights = parse_mixture(name)
        style = sum(
            w * self._styles(voice)[length].astype(np.float64) for voice, w in weights.items()
        )
        return np.asarray(style, dtype=np.float32)[np.newaxis]

    def _read_styles(self, voice: str) -> NDArray[np.float32]:
        path = self._folder / KOKORO_VOICES / f"{voice}.bin"
        if not path.is_file():
            raise SynthesisError(f"there is no {path}; delete the folder and run `make voices`")
        return np.fromfile(path, dtype="<f4").reshape(-1, _STYLE_SIZE)


def onnx_session(model: Path) -> Any:
    """Load an ONNX model for one thread.

    Raises:
        SynthesisError: onnxruntime is not installed, or the file is missing.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise SynthesisError(
            "onnxruntime is not installed, which Kokoro and hibari need: pip install onnxruntime "
            "(`make voices` does it)"
        ) from error
    if not model.is_file():
        raise SynthesisError(f"there is no {model}; fetch the engines with `make voices`")
    options = onnxruntime.SessionOptions()
    # One thread per call: clips are made in parallel, and sums always have the same order.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
