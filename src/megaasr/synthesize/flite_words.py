"""When flite speaks each word: read from the utterance structure of flite's library.

The program `flite` prints only the times of phones. Its library (`libflite`, which Debian's package
of the program needs) also tells which phones belong to which word. Since C code with raw pointers
is called, it runs in a process of its own: `python -m megaasr.synthesize.flite_words VOICE` reads
texts as JSON lines and writes the times of their words as JSON lines.

The library speaks in the voice's own tempo. A stretched clip has the same times multiplied by the
ratio of the lengths, to within 4 ms.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from megaasr import strict_json

_LIBRARIES = {"slt": "us_slt", "rms": "us_rms", "kal16": "us_kal16", "awb": "us_awb"}
"""Name of the library's file by the name of the voice."""
_FIRST_PHONE = b"R:Token.daughter1.R:SylStructure.daughter1.daughter1.R:Segment.p.end"
_LAST_PHONE = b"R:Token.daughtern.R:SylStructure.daughtern.daughtern.R:Segment.end"
_POINTER = ctypes.c_void_p
_TIMEOUT_S = 600.0

Bounds = tuple[float, float]
"""Start and end of a word, in parts of the length of the clip, 0..1."""


class _Wave(ctypes.Structure):
    """The first fields of flite's `cst_wave`."""

    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
    )


def word_bounds(voice: str, texts: Sequence[str]) -> list[list[Bounds | None] | None]:
    """Return when a voice of flite speaks the words of texts.

    Args:
        voice: name of the voice, such as `slt`.
        texts: the texts.

    Returns:
        For each text the bounds of its words, which are separated by spaces: None for a word
        without sound (a dash), and None for a text that flite divides in another way. All are None
        if the library is not installed.
    """
    lines = "".join(strict_json.dumps(text) + "\n" for text in texts)
    try:
        process = subprocess.run(
            [sys.executable, "-m", __name__, voice],
            input=lines,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [None] * len(texts)
    rows = [json.loads(line) for line in process.stdout.splitlines()]
    if process.returncode or len(rows) != len(texts):
        return [None] * len(texts)
    return [
        _checked([None if pair is None else (pair[0], pair[1]) for pair in row], text)
        for row, text in zip(rows, texts, strict=True)
    ]


def _checked(bounds: list[Bounds | None], text: str) -> list[Bounds | None] | None:
    """Return bounds that belong to the words of a text, in order; else None."""
    ends = [end for pair in bounds if pair is not None for end in pair]
    if len(bounds) != len(text.split()) or ends != sorted(ends):
        return None
    return bounds


def _load(voice: str) -> tuple[Any, Any]:
    """Return flite's library and a voice.

    Raises:
        OSError: a library is not installed.
    """
    flite = ctypes.CDLL("libflite.so.1", ctypes.RTLD_GLOBAL)
    for name in ("libflite_cmulex.so.1", "libflite_usenglish.so.1"):
        ctypes.CDLL(name, ctypes.RTLD_GLOBAL)
    for name, result, arguments in (
        ("flite_synth_text", _POINTER, (ctypes.c_char_p, _POINTER)),
        ("utt_wave", _POINTER, (_POINTER,)),
        ("utt_relation", _POINTER, (_POINTER, ctypes.c_char_p)),
        ("relation_head", _POINTER, (_POINTER,)),
        ("item_next", _POINTER, (_POINTER,)),
        ("ffeature_float", ctypes.c_float, (_POINTER, ctypes.c_char_p)),
        ("delete_utterance", None, (_POINTER,)),
    ):
        function = getattr(flite, name)
        function.restype, function.argtypes = result, arguments
    flite.flite_init()
    file = _LIBRARIES[voice]
    register = getattr(ctypes.CDLL(f"libflite_cmu_{file}.so.1"), f"register_cmu_{file}")
    register.restype, register.argtypes = _POINTER, (ctypes.c_char_p,)
    return flite, register(None)


def _speak(flite: Any, voice: Any, text: str) -> list[Bounds | None]:
    """Return the bounds of the words of a text."""
    utterance = flite.flite_synth_text(text.encode(), voice)
    wave = ctypes.cast(flite.utt_wave(utterance), ctypes.POINTER(_Wave)).contents
    length_s = wave.num_samples / wave.sample_rate
    bounds: list[Bounds | None] = []
    token = flite.relation_head(flite.utt_relation(utterance, b"Token"))
    while token:
        start = flite.ffeature_float(token, _FIRST_PHONE) / length_s
        end = flite.ffeature_float(token, _LAST_PHONE) / length_s
        bounds.append((round(start, 5), round(min(end, 1.0), 5)) if end > start else None)
        token = flite.item_next(token)
    flite.delete_utterance(utterance)
    return bounds


def _main() -> None:
    flite, voice = _load(sys.argv[1])
    for line in sys.stdin:
        print(strict_json.dumps(_speak(flite, voice, json.loads(line))), flush=True)


if __name__ == "__main__":
    _main()
