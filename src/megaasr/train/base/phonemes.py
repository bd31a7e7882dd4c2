"""Phonemes of the training texts: targets of the encoder's auxiliary CTC loss.

Why phonemes: an encoder that outputs 12.5 frames per second in chunks of one second can tell
phonemes apart, but spelling needs more context than it has. espeak-ng, which the synthesis needs
anyway, gives one canonical American pronunciation per sentence, whichever voice speaks it.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.errors import SynthesisError

_BATCH_TEXTS = 400
_TIMEOUT_S = 300.0
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
    plain = [re.sub(r"[^A-Za-z' ]+", " ", text).strip() + "." for text in texts]
    command = ["espeak-ng", "-q", "-v", "en-us", "-x", "--sep=_"]
    try:
        process = subprocess.run(
            [*command, "--stdin"] if len(plain) == 1 else [*command, "-f", "/dev/stdin"],
            input="\n".join(plain) + "\n",
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise SynthesisError(
            "espeak-ng is not installed; on Debian or Ubuntu: apt-get install espeak-ng"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SynthesisError(
            f"espeak-ng took more than {_TIMEOUT_S:g} s for {len(texts)} texts"
        ) from error
    if process.returncode != 0:
        raise SynthesisError(f"espeak-ng failed on {len(texts)} texts: {process.stderr.strip()}")
    lines = [line for line in process.stdout.splitlines() if line.strip()]
    if len(lines) == len(plain):
        return [_symbols(line) for line in lines]
    if len(plain) == 1:
        return [_symbols(" ".join(lines))]
    # espeak-ng split a sentence at a long clause: find it by halving the batch.
    middle = len(texts) // 2
    return [*_run(texts[:middle]), *_run(texts[middle:])]


def _symbols(line: str) -> list[str]:
    symbols = (re.sub(r"[',%=#]", "", symbol) for symbol in re.split(r"[_\s]+", line))
    return [symbol for symbol in symbols if re.search(r"[A-Za-z@0-9]", symbol)]
