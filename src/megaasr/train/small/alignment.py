"""Where the phonemes of aligned speech lie in its encoder frames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.errors import TrainingError
from megaasr.progress import OnProgress
from megaasr.train.small.frames import FrameStore
from megaasr.train.small.lexicon import PHONEMES, Lexicon, spoken_words
from megaasr.train.small.phoneme_ctc import PhonemeCTC

_MARGIN_FRAMES = 4
"""Frames of a word before its first peak and after its last, at most."""
_IMPOSSIBLE = -1e30
Log = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AlignedWord:
    """A word of an example.

    Attributes:
        text: the word in lower case.
        phonemes: its phonemes, one character each.
        bounds: first frame of each phoneme and the frame after the last, counted from the start of
            the shard.
        peaks: the frame of each phoneme in which CTC emits it, counted likewise.
    """

    text: str
    phonemes: str
    bounds: tuple[int, ...]
    peaks: tuple[int, ...]


def peak_frames(log_probs: Log, targets: Sequence[int]) -> list[int] | None:
    """Return the frame in which CTC emits each target on the most probable path.

    Args:
        log_probs: log-probabilities, float of shape [frames, classes]; class 0 is the blank.
        targets: classes in the order in which they are spoken.

    Returns:
        One frame for each target, in ascending order; None if there are too few frames.
    """
    states = np.zeros(2 * len(targets) + 1, dtype=np.int64)
    states[1::2] = targets
    emissions = log_probs[:, states]
    can_skip = np.zeros(len(states), dtype=bool)
    can_skip[3::2] = states[3::2] != states[1:-2:2]
    scores = np.full(len(states), _IMPOSSIBLE, dtype=np.float64)
    scores[:2] = emissions[0, :2]
    moves = np.zeros(emissions.shape, dtype=np.int8)
    for frame in range(1, len(emissions)):
        previous = np.concatenate([[_IMPOSSIBLE], scores[:-1]])
        skipping = np.where(can_skip, np.concatenate([[_IMPOSSIBLE] * 2, scores[:-2]]), _IMPOSSIBLE)
        candidates = np.stack([scores, previous, skipping])
        moves[frame] = candidates.argmax(0)
        scores = candidates.max(0) + emissions[frame]
    state = len(states) - 1
    if len(states) > 1 and scores[-2] > scores[-1]:
        state -= 1
    if scores[state] < _IMPOSSIBLE / 2:
        return None
    peaks: dict[int, int] = {}
    for frame in range(len(emissions) - 1, -1, -1):
        target = state // 2
        is_better = target not in peaks or emissions[frame, state] > emissions[peaks[target], state]
        if state % 2 and is_better:
            peaks[target] = frame
        state -= int(moves[frame, state])
    return [peaks[target] for target in range(len(targets))]


def align_words(words: Sequence[tuple[str, str]], log_probs: Log, start: int) -> list[AlignedWord]:
    """Return the words of an example with the frames of their phonemes; empty if it is too short.

    A phoneme lasts from the middle between its peak and the previous one to the middle between its
    peak and the next one.

    Args:
        words: each word and its phonemes.
        log_probs: log-probabilities of `PhonemeCTC`, float of shape [frames, classes].
        start: index of the example's first frame in its shard.
    """
    targets = [1 + PHONEMES.index(p) for _, phonemes in words for p in phonemes]
    peaks = peak_frames(log_probs, targets)
    if peaks is None:
        return []
    edges = [0, *((a + b + 1) // 2 for a, b in pairwise(peaks)), len(log_probs)]
    aligned: list[AlignedWord] = []
    first = 0
    for text, phonemes in words:
        last = first + len(phonemes)
        own = peaks[first:last]
        bounds = edges[first : last + 1]
        bounds[0] = max(bounds[0], own[0] - _MARGIN_FRAMES)
        bounds[-1] = min(bounds[-1], own[-1] + _MARGIN_FRAMES + 1)
        aligned.append(
            AlignedWord(
                text, phonemes, tuple(start + b for b in bounds), tuple(start + p for p in own)
            )
        )
        first = last
    return aligned


def align_corpus(
    frames: Path,
    lexicon: Lexicon,
    ctc: PhonemeCTC,
    output: Path,
    on_progress: OnProgress = lambda done, total: None,
) -> None:
    """Write the alignment of each shard that has none, as `NAME.json` with a list per example.

    Args:
        frames: folder of encoder frames.
        lexicon: pronunciations; examples with other words have no alignment.
        ctc: trained projector with its phoneme classes.
        output: folder of the alignments.
        on_progress: called with the number of aligned examples and of all.

    Raises:
        TrainingError: there are no frames.
    """
    output.mkdir(parents=True, exist_ok=True)
    names = [path.stem for path in sorted(frames.glob("*.npy"))]
    if not names:
        raise TrainingError(f"{frames} holds no frames; make them with: mega-asr train encode")
    pending = [name for name in names if not alignment_file(output, name).is_file()]
    stores = {name: FrameStore(frames, [name]) for name in pending}
    total, done = sum(len(store.examples) for store in stores.values()), 0
    for name, store in stores.items():
        rows: list[list[Any]] = []
        for example in store.examples:
            done += 1
            pronounced = lexicon.pronounce(example.text)
            if not pronounced:
                continue
            words = list(zip(spoken_words(example.text), pronounced, strict=True))
            log_probs = ctc.frame_log_probs(store.frames(example))
            aligned = align_words(words, log_probs, example.start)
            rows.append([[w.text, w.phonemes, w.bounds, w.peaks] for w in aligned])
            on_progress(done, total)
        write_atomically(alignment_file(output, name), strict_json.dumps(rows))


def alignment_file(folder: Path, manifest: str) -> Path:
    """Return the file with the alignment of a manifest."""
    return folder / f"{Path(manifest).stem}.json"


def read_alignment(folder: Path, manifest: str) -> list[list[AlignedWord]]:
    """Return the aligned words of each example of a manifest that has an alignment.

    Raises:
        TrainingError: the alignment does not exist.
    """
    path = alignment_file(folder, manifest)
    if not path.is_file():
        raise TrainingError(
            f"{folder} holds no alignment of {manifest}; make it with: mega-asr train align"
        )
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [[AlignedWord(t, p, tuple(b), tuple(k)) for t, p, b, k in row] for row in rows]
