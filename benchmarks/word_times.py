"""How far the estimated times of sentences are from where they were spoken.

`python -m benchmarks.word_times CORPUS [--pause 3]`, with the corpus of `tiny`. Its sentences are
joined to chunks with known pauses, and the words of the references are given estimated times. It
measures no time and is therefore not among the benchmarks.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.records import Utterance, read_manifest
from megaasr.transcribe.chunking import VAD_FRAME, Chunk, loud_frames
from megaasr.transcribe.speech_activity import detect_speech
from megaasr.transcribe.word_times import estimate_times

_MAX_CHUNK_S = 29.0


def main() -> None:
    """Print the errors of the first word's start and the last word's end of every sentence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--pause", type=float, help="seconds of every pause [default: 0.3 to 2.5]")
    parser.add_argument("--chunks", type=int, default=100)
    parser.add_argument("--no-vad", action="store_true")
    arguments = parser.parse_args()
    utterances = [
        utterance
        for utterance in read_manifest(arguments.corpus / "test.jsonl")
        if utterance.text and "parts" not in utterance.extra
    ]
    rng = np.random.default_rng(1)
    errors: list[tuple[float, float]] = []
    for _ in range(arguments.chunks):
        sentences = _draw_sentences(arguments.corpus, utterances, rng, arguments.pause)
        errors += _sentence_errors(sentences, rng, vad=not arguments.no_vad)
    for name, values in zip(("start", "end"), np.array(errors).T, strict=True):
        late = np.abs(values)
        print(
            f"{name}: {len(values)} sentences, median error {np.median(late):.2f} s, 95 % below "
            f"{np.percentile(late, 95):.2f} s, more than 1 s off {100 * (late > 1).mean():.1f} %"
        )


def _draw_sentences(
    root: Path, utterances: Sequence[Utterance], rng: np.random.Generator, pause_s: float | None
) -> list[tuple[str, Samples, float]]:
    """Return text, samples and following pause of the sentences of one chunk."""
    chosen: list[tuple[str, Samples, float]] = []
    length_s = 0.0
    for index in rng.permutation(len(utterances)):
        utterance = utterances[int(index)]
        samples = read_clip(root, utterance.audio).samples
        gap_s = float(rng.uniform(0.3, 2.5)) if pause_s is None else pause_s
        length_s += len(samples) / SAMPLE_RATE + gap_s
        if length_s > _MAX_CHUNK_S:
            break
        chosen.append((utterance.text, samples, gap_s))
    return chosen


def _sentence_errors(
    sentences: Sequence[tuple[str, Samples, float]], rng: np.random.Generator, *, vad: bool
) -> list[tuple[float, float]]:
    """Return the errors of start and end of the sentences of one chunk, in seconds."""
    parts: list[Samples] = []
    bounds: list[tuple[float, float]] = []
    for _, samples, gap_s in sentences:
        loud = (np.flatnonzero(loud_frames(samples)) * VAD_FRAME + sum(map(len, parts))).tolist()
        bounds.append((loud[0] / SAMPLE_RATE, (loud[-1] + VAD_FRAME) / SAMPLE_RATE))
        parts += [samples, np.zeros(round(gap_s * SAMPLE_RATE), np.float32)]
    silent = np.concatenate(parts)
    audio = (silent + rng.normal(0.0, 1e-4, len(silent))).astype(np.float32)
    words = [text.split() for text, _, _ in sentences]
    times = estimate_times(
        [word for sentence in words for word in sentence],
        Chunk(0, audio, detect_speech(audio) if vad else None),
    )
    errors, first = [], 0
    for (start, end), count in zip(bounds, map(len, words), strict=True):
        errors.append((times[first][0] - start, times[first + count - 1][1] - end))
        first += count
    return errors


if __name__ == "__main__":
    main()
