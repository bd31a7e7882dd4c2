"""How often the checks `few_words_in_speech` and `context_echo` flag texts that are right.

`python -m benchmarks.text_checks MANIFEST… [--model tiny]`, with manifests of clean clips. Checked
are the references, in which nothing is wrong, and with `--model` its texts. Contexts are drawn as
for training, from each clip's own words and those of another. It measures no time and is therefore
not among the benchmarks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from megaasr.audio.clips import read_clip
from megaasr.model.interface import Request
from megaasr.model.loading import load_model
from megaasr.records import Utterance, read_manifest
from megaasr.text.normalize import tokens
from megaasr.train.prompt_context import draw_context
from megaasr.transcribe.checks import DEFAULT_THRESHOLDS, few_words
from megaasr.transcribe.chunking import Chunk
from megaasr.transcribe.context_echo import context_echo
from megaasr.transcribe.speech_activity import detect_speech

_CONTEXTS_PER_CLIP = 5
_LONG_SPEECH_S = 5.0


def main() -> None:
    """Print counts of flagged texts, and the lowest rates, for every manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--model")
    arguments = parser.parse_args()
    model = load_model(arguments.model) if arguments.model else None
    for manifest in arguments.manifests:
        utterances = [utterance for utterance in read_manifest(manifest) if utterance.text]
        speech_s: list[float] = []
        texts: list[str] = []
        for utterance in utterances:
            samples = read_clip(manifest.parent, utterance.audio).samples
            chunk = Chunk(0, samples, detect_speech(samples))
            speech_s.append(chunk.speech_s or 0.0)
            if model is not None:
                texts.append(model.recognize([Request(chunk.trimmed())])[0].text)
        print(manifest)
        _print_rates("references", [utterance.text for utterance in utterances], speech_s)
        if model is not None:
            _print_rates(f"texts of {model.name}", texts, speech_s)
        _print_rates("“Thank you.”", ["Thank you." for s in speech_s], speech_s, _LONG_SPEECH_S)
        _print_echoes(utterances, speech_s)


def _print_rates(
    name: str, texts: list[str], speech_s: list[float], min_speech_s: float = 0.0
) -> None:
    pairs = [
        (text, seconds)
        for text, seconds in zip(texts, speech_s, strict=True)
        if text and seconds >= min_speech_s
    ]
    flagged = sum(few_words(*pair) < DEFAULT_THRESHOLDS.few_words_in_speech for pair in pairs)
    # Two seconds more, which are allowed: the letters per second of all speech.
    rates = [few_words(text, max(seconds, 0.1) + 2.0) for text, seconds in pairs]
    lowest, low, median = np.percentile(rates, [0, 1, 50])
    print(
        f"  {name}: few_words_in_speech flags {flagged} of {len(pairs)} with {min_speech_s:g} s of "
        f"speech or more; letters per second: least {lowest:.1f}, 1 % below {low:.1f}, median "
        f"{median:.1f}"
    )


def _print_echoes(utterances: list[Utterance], speech_s: list[float]) -> None:
    rng = np.random.default_rng(1)
    limit = DEFAULT_THRESHOLDS.context_echo
    counts = dict.fromkeys(("spoken", "listed in another order", "listed twice"), 0)
    total = 0
    for utterance, seconds in zip(utterances, speech_s, strict=True):
        for _ in range(_CONTEXTS_PER_CLIP):
            context = draw_context(
                utterance.text,
                rng,
                share=1.0,
                text_count=len(utterances),
                text_at=lambda index: utterances[index].text,
            )
            listed = list(tokens(context, "en"))
            spoken = tokens(utterance.text, "en")
            if len(set(listed)) < 2 or set(listed) == set(spoken):
                continue
            total += 1
            for name, words in zip(counts, (spoken, listed[::-1], listed * 2), strict=True):
                counts[name] += context_echo(words, context, "en", seconds) >= limit
    for name, count in counts.items():
        print(f"  context {name}: context_echo flags {count} of {total}")


if __name__ == "__main__":
    main()
