"""From a corpus on disk to a manifest."""

from __future__ import annotations

import functools
import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr.atomic import write_atomically
from megaasr.audio import files
from megaasr.audio.waveform import Waveform
from megaasr.corpora.sound import Layout, Sound
from megaasr.errors import AudioError, UsageError
from megaasr.progress import OnAudioProgress
from megaasr.records import Utterance, write_manifest

_SLACK_S = 0.1
"""So much may a listed part go beyond its recording: times are rounded."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a manifest holds.

    Attributes:
        clips: in it.
        audio_s: their length, in seconds.
        problems: file that names what is not in it, and why; None if everything is.
        missing: how many that are.
    """

    clips: int
    audio_s: float
    problems: Path | None
    missing: int


def make_manifest(
    layout: Layout,
    root: Path,
    output: Path,
    *,
    split: str | None = None,
    on_progress: OnAudioProgress = lambda done, total, audio_s: None,
) -> Written:
    """List a corpus; what its listing names but cannot be read costs a line in a file beside.

    Recordings stay where they are. Parts of long recordings are cut out, into FLAC files in a
    folder beside the manifest; those that are there already are kept.

    Args:
        layout: of the corpus.
        root: its folder.
        output: the manifest (`.jsonl`).
        split: of the corpus; None for all.
        on_progress: called with sounds done, sounds in all, and seconds so far.

    Raises:
        UsageError: the folder is not this corpus, has no such split, or nothing can be read.
        RecordError: its listing is broken.
        OSError: the system does not let us write.
    """
    if output.suffix != ".jsonl":
        raise UsageError(f"{output}: a manifest ends in .jsonl")
    if not root.is_dir():
        raise UsageError(f"{root} is no folder")
    output.parent.mkdir(parents=True, exist_ok=True)
    problems: list[dict[str, str]] = []
    utterances: list[Utterance] = []
    audio_s = 0.0
    clips = output.parent / f"{output.stem}-clips"
    listed = list(layout.read(root, split))
    way = _way_from(output.parent)
    done = 0
    for path, group in itertools.groupby(listed, key=lambda one: one.path):
        for sound, found in _measured(path, list(group), clips):
            if isinstance(found, str):
                problems.append({"id": sound.id, "audio": str(path), "reason": found})
            else:
                place, seconds = found
                audio_s += seconds
                utterances.append(_utterance(sound, way(place), seconds))
            done += 1
            on_progress(done, len(listed), audio_s)
    if not utterances:
        if not problems:
            raise UsageError(
                f"{root} lists no recordings; splits of {layout.name}: {layout.splits}"
            )
        reason = problems[0]["reason"]
        raise UsageError(f"{root}: none of {len(problems)} recordings can be read: {reason}")
    write_manifest(output, utterances)
    log = output.with_suffix(".errors.jsonl")
    log.unlink(missing_ok=True)
    if problems:
        write_atomically(log, "".join(json.dumps(p, ensure_ascii=False) + "\n" for p in problems))
    return Written(len(utterances), audio_s, log if problems else None, len(problems))


def _measured(
    path: Path, sounds: list[Sound], clips: Path
) -> Iterator[tuple[Sound, tuple[Path, float] | str]]:
    """Yield each sound of a file with where it is and its seconds, or why it cannot be used."""
    whole: Waveform | None = None
    for sound in sounds:
        try:
            if sound.start_s is None or sound.end_s is None:
                yield sound, (path, files.duration_s(path) or files.read(path).duration_s)
                continue
            target = clips / f"{sound.id}.flac"
            if not target.is_file():
                whole = whole or files.read(path)
                if sound.end_s > whole.duration_s + _SLACK_S:
                    yield sound, _cut_off(sound.end_s, whole.duration_s)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                files.write(target, _part(whole, sound.start_s, sound.end_s))
            yield sound, (target, round(sound.end_s - sound.start_s, 4))
        except AudioError as error:
            yield sound, error.reason


def _cut_off(end_s: float, duration_s: float) -> str:
    return f"it ends at {end_s:.2f} s, the recording at {duration_s:.2f} s: is the file whole?"


def _part(whole: Waveform, start_s: float, end_s: float) -> Waveform:
    rate = whole.sample_rate
    samples = whole.samples[round(start_s * rate) : round(end_s * rate)]
    return Waveform(samples.copy(), rate)


def _way_from(folder: Path) -> Callable[[Path], str]:
    """Return what finds the way from a folder to a file, as readers will go it."""
    lexical, real = folder.absolute(), folder.resolve()
    resolved = functools.cache(Path.resolve)

    def way(place: Path) -> str:
        whole = place.absolute()
        if whole.is_relative_to(lexical):
            return whole.relative_to(lexical).as_posix()
        # Readers follow links before "..", so the way starts where the folder really is.
        return Path(os.path.relpath(resolved(whole.parent) / whole.name, real)).as_posix()

    return way


def _utterance(sound: Sound, audio: str, seconds: float) -> Utterance:
    extra: dict[str, Any] = {**sound.extra, "duration_s": round(seconds, 4)}
    return Utterance(sound.id, audio, sound.text, sound.language, extra)
