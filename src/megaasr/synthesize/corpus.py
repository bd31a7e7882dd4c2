"""Make the corpus of `tiny`: parallel, resumable, the same bytes for any number of workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from megaasr.audio import files
from megaasr.audio.waveform import SAMPLE_RATE, Samples, Waveform
from megaasr.errors import AudioError, MegaASRError
from megaasr.folder_claim import FolderClaim
from megaasr.progress import OnAudioProgress
from megaasr.records import Utterance, write_manifest
from megaasr.records.timed_words import WORDS_FIELD
from megaasr.synthesize.nonspeech import draw_nonspeech
from megaasr.synthesize.plan import (
    SPLITS,
    CorpusRecipe,
    PlannedClip,
    plan_corpus,
    random_stream,
)
from megaasr.synthesize.spoken_words import TimedWords, time_spoken_words
from megaasr.synthesize.voices import speak

RECIPE_FILE = "recipe.json"


@dataclass(frozen=True, slots=True)
class ClipFailure:
    """A clip that could not be made.

    Attributes:
        clip_id: id of the clip.
        reason: why it could not be made.
    """

    clip_id: str
    reason: str


def synthesize_corpus(
    recipe: CorpusRecipe,
    output: Path,
    *,
    workers: int | None = None,
    on_progress: OnAudioProgress = lambda done, total, audio_s: None,
) -> list[ClipFailure]:
    """Make every missing clip, and then write `train.jsonl`, `dev.jsonl` and `test.jsonl`.

    The records of dev and test list their words with their times, where the engine knows them.

    Args:
        recipe: recipe of the corpus.
        output: folder of the corpus; refused if it holds a corpus of another recipe.
        workers: number of clips made in parallel; None for the number of processor cores.
        on_progress: called with the number of finished clips, the total number, and the seconds of
            audio so far.

    Returns:
        The clips that failed; all others are finished and in the manifests.

    Raises:
        UsageError: the folder holds a corpus of another recipe.
    """
    claim = FolderClaim(output, RECIPE_FILE, "holds a corpus of another recipe")
    claim.claim(recipe.resolved_json())
    clips = plan_corpus(recipe)
    durations: dict[str, float] = {}
    failures: list[ClipFailure] = []

    def make(clip: PlannedClip) -> tuple[PlannedClip, float | MegaASRError]:
        try:
            return clip, _make_clip(clip, recipe.seed, output)
        except MegaASRError as error:
            return clip, error

    total_s = 0.0
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        # Joined clips consist of other clips, so they are made last.
        for batch in ([c for c in clips if not c.parts], [c for c in clips if c.parts]):
            for clip, result in bounded_map(pool, make, batch):
                if isinstance(result, MegaASRError):
                    failures.append(ClipFailure(clip.id, str(result)))
                else:
                    durations[clip.id] = result
                    total_s += result
                on_progress(len(durations) + len(failures), len(clips), total_s)
    for split in SPLITS:
        finished = [clip for clip in clips if clip.split == split and clip.id in durations]
        words = {} if split == "train" else time_spoken_words(finished, durations)
        write_manifest(
            output / f"{split}.jsonl",
            (manifest_record(c, durations[c.id], words.get(c.id)) for c in finished),
        )
    return failures


def clip_path(clip_id: str) -> str:
    """Return the path of a clip in its corpus; no folder has more than a thousand files."""
    return f"audio/{clip_id.split('-', maxsplit=1)[0]}/{clip_id[:-3]}/{clip_id}.flac"


def bounded_map(
    pool: ThreadPoolExecutor,
    make: Callable[[PlannedClip], tuple[PlannedClip, float | MegaASRError]],
    clips: Iterable[PlannedClip],
) -> Iterator[tuple[PlannedClip, float | MegaASRError]]:
    """Map a function over clips in slices, so that an interruption leaves few calls queued.

    Args:
        pool: threads that call the function.
        make: returns a clip with its length in seconds, or the error that occurred.
        clips: the clips to make.
    """
    pending = iter(clips)
    while batch := list(islice(pending, 256)):
        yield from pool.map(make, batch)


def _make_clip(clip: PlannedClip, seed: int, output: Path) -> float:
    """Make a clip unless its file is complete already; return its length in seconds."""
    path = output / clip_path(clip.id)
    if cached_s := cached_duration_s(path):
        return cached_s
    path.parent.mkdir(parents=True, exist_ok=True)
    if clip.parts:
        samples = join_clips(clip, seed, output)
    elif clip.voice is None:
        samples = draw_nonspeech(random_stream(seed, clip.id))
    else:
        speech, rate = speak(clip.text, clip.voice, path.with_name(f".{clip.id}.wav"))
        samples = np.clip(files.resample(speech, rate, SAMPLE_RATE), -1.0, 1.0)
    files.write(path, Waveform(samples.astype(np.float32), SAMPLE_RATE))
    return len(samples) / SAMPLE_RATE


def cached_duration_s(path: Path) -> float | None:
    """Return the length of an existing clip in seconds; None if it is missing or incomplete."""
    try:
        return files.duration_s(path) if path.is_file() else None
    except AudioError:
        return None


def join_clips(clip: PlannedClip, seed: int, output: Path) -> Samples:
    """Return the parts of a clip, each followed by its pause, over a faint noise floor.

    Args:
        clip: a joined clip.
        seed: seed of the corpus.
        output: folder of the corpus, in which the parts are finished.

    Returns:
        float32 array [time] at 16 kHz.
    """
    segments: list[Samples] = []
    for part, pause_s in zip(clip.parts, clip.pauses_s, strict=True):
        segments.append(files.read(output / clip_path(part)).samples)
        segments.append(np.zeros(round(pause_s * SAMPLE_RATE), dtype=np.float32))
    joined = np.concatenate(segments)
    floor = random_stream(seed, clip.id).normal(0.0, 1e-4, joined.size)
    return np.clip(joined + floor, -1.0, 1.0).astype(np.float32)


def manifest_record(
    clip: PlannedClip, duration_s: float, words: TimedWords | None = None
) -> Utterance:
    """Return the record of a clip in a manifest.

    Args:
        clip: the clip.
        duration_s: its length in seconds.
        words: its words with their times; None if they are unknown.
    """
    extra: dict[str, object] = {"duration_s": round(duration_s, 3), "source": clip.source}
    if clip.voice is not None:
        extra |= {"speaker": clip.voice.speaker, "voice": clip.voice.to_dict()}
    if clip.parts:
        extra["parts"] = list(clip.parts)
        extra["speaker"] = "several"
    if clip.text:
        extra["held_out_voice"] = clip.held_out
    if words is not None:
        extra[WORDS_FIELD] = words
    language = "en" if clip.text else None
    return Utterance(
        id=clip.id, audio=clip_path(clip.id), text=clip.text, language=language, extra=dict(extra)
    )
