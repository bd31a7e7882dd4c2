"""Phonemes of the training texts: targets of the encoder's auxiliary CTC loss.

Why phonemes: an encoder that outputs 12.5 frames per second in chunks of one second can tell
phonemes apart, but spelling needs more context than it has. espeak-ng, which the synthesis needs
anyway, gives one canonical American pronunciation per sentence, whichever voice speaks it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.synthesize.ipa import run_espeak

_BATCH_TEXTS = 400
_LETTER = re.compile(r"[A-Za-z]")


def phonemize(texts: Sequence[str], cache: Path) -> list[list[str]]:
    """Return the phonemes of each text (espeak-ng mnemonics without stress marks).

    Args:
        texts: transcripts; a text without letters has no phonemes.
        cache: JSON file with the phonemes of earlier texts. It is read, extended and replaced
            atomically; it need not exist.

    Raises:
        SynthesisError: espeak-ng is missing or failed.
    """
    phonemes: dict[str, list[str]] = json.loads(cache.read_text()) if cache.is_file() else {}
    # Without a letter, espeak-ng would print no line, and the lines could not be told apart.
    missing = sorted({text for text in texts if _LETTER.search(text) and text not in phonemes})
    for start in range(0, len(missing), _BATCH_TEXTS):
        batch = missing[start : start + _BATCH_TEXTS]
        phonemes.update(zip(batch, _run(batch), strict=True))
    if missing:
        write_atomically(cache, strict_json.dumps(phonemes))
    return [phonemes.get(text, []) for text in texts]


def _run(texts: Sequence[str]) -> list[list[str]]:
    # Punctuation inside a sentence would start a new output line.
    plain = [re.sub(r"[^A-Za-z' ]+", " ", text) for text in texts]
    return [_symbols(line) for line in run_espeak(plain, ["-v", "en-us", "-x", "--sep=_"])]


def _symbols(line: str) -> list[str]:
    symbols = (re.sub(r"[',%=#]", "", symbol) for symbol in re.split(r"[_\s]+", line))
    return [symbol for symbol in symbols if re.search(r"[A-Za-z@0-9]", symbol)]
