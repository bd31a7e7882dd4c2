"""Whether names in the context help: the share of spoken names that are recognised.

`python -m benchmarks.context_names --model small`, with flite. Sentences with generated names,
which no model knows, are transcribed without context, with a list of names that has the spoken
ones, and with a list of others. It measures no time and is therefore not among the benchmarks.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from megaasr import MegaASR
from megaasr.audio import files
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.synthesize.voices import FLITE_VOICES, HELD_OUT_FLITE_VOICES, Voice, speak
from megaasr.text.normalize import tokens

_ONSETS = ("b", "d", "f", "g", "h", "k", "l", "m", "n", "r", "s", "t", "v", "br", "dr", "st", "tr")
_VOWELS = ("a", "e", "i", "o", "u")
_ENDS = ("n", "l", "r", "s", "na", "lo", "ra", "mi", "ta", "ven", "dor", "lin")
_FRAMES = (
    "My name is {0} and I live near the station.",
    "Please tell {0} that the train is late.",
    "{0} called this morning about the letter.",
    "We met {0} and {1} at the market.",
    "Is {0} coming to the party with {1}?",
    "The report was written by {0}.",
)
_LISTED = 10  # names in a list


@dataclass(frozen=True, slots=True)
class _Spoken:
    """A sentence with names: its audio, the names, and lists with and without them."""

    samples: Samples
    names: tuple[str, ...]
    right: tuple[str, ...]
    wrong: tuple[str, ...]


def main() -> None:
    """Print the share of names that are right, and of clips in which a name was invented."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="small")
    parser.add_argument("--sentences", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    asr = MegaASR.from_pretrained(arguments.model)
    spoken = list(_draw_sentences(arguments.sentences, np.random.default_rng(arguments.seed)))
    total = sum(len(sentence.names) for sentence in spoken)
    print(f"{len(spoken)} sentences with {total} names, {arguments.model}")
    for kind in ("no context", "right names", "wrong names"):
        right = invented = words = 0
        for sentence in spoken:
            listed = {"right names": sentence.right, "wrong names": sentence.wrong}.get(kind, ())
            text = asr.transcribe(
                sentence.samples, sample_rate=SAMPLE_RATE, context=", ".join(listed)
            ).text
            written = tokens(text, language="en")
            words += len(written)
            names = {name.lower() for name in sentence.names}
            right += sum(name in written for name in names)
            invented += any(n.lower() in written for n in listed if n.lower() not in names)
        print(
            f"{kind:12} {100 * right / total:5.1f} % of the names right, a name that nobody said "
            f"in {100 * invented / len(spoken):.1f} % of the sentences, {words} words"
        )


def _draw_sentences(count: int, rng: np.random.Generator) -> Iterable[_Spoken]:
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            frame = _FRAMES[number % len(_FRAMES)]
            listed = _draw_names(2 * _LISTED, rng)
            names = tuple(listed[: 2 if "{1}" in frame else 1])
            voices = (*FLITE_VOICES, *HELD_OUT_FLITE_VOICES)
            voice = Voice("flite", voices[number % len(voices)], 1.0, 1.0, 1.0, -6.0)
            speech, rate = speak(frame.format(*names), voice, Path(folder) / "clip.wav")
            samples = files.resample(speech, rate, SAMPLE_RATE).astype(np.float32)
            order = rng.permutation(_LISTED)
            right = tuple(listed[int(index)] for index in order)
            yield _Spoken(samples, names, right, tuple(listed[_LISTED:]))


def _draw_names(count: int, rng: np.random.Generator) -> Sequence[str]:
    """Return different names of two or three syllables."""
    names: dict[str, None] = {}
    while len(names) < count:
        syllables = [
            _ONSETS[int(rng.integers(len(_ONSETS)))] + _VOWELS[int(rng.integers(len(_VOWELS)))]
            for _ in range(int(rng.integers(1, 3)))
        ]
        names["".join([*syllables, _ENDS[int(rng.integers(len(_ENDS)))]]).capitalize()] = None
    return list(names)


if __name__ == "__main__":
    main()
