"""Write the manifest of a corpus on disk."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.audio import files
from megaasr.audio.waveform import Waveform
from megaasr.corpora.entries import CorpusEntry, Layout
from megaasr.errors import AudioError, UsageError
from megaasr.progress import OnAudioProgress
from megaasr.records import Utterance, write_manifest
from megaasr.text.languages import canonical_language

_TOLERANCE_S = 0.1
"""Segments may exceed their recording by this many seconds, because listed times are rounded."""


@dataclass(frozen=True, slots=True)
class ManifestSummary:
    """Summary of a manifest.

    Attributes:
        clips: number of clips in the manifest.
        audio_s: total length of the clips in seconds.
        problems: file that lists the entries left out, with the reasons; None if there are none.
        missing: number of entries left out.
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
) -> ManifestSummary:
    """Write the manifest of a corpus; entries that cannot be read are listed in a separate file.

    The manifest refers to the recordings of the corpus. Segments of long recordings are cut into
    FLAC files in a folder beside the manifest; existing files are kept.

    Args:
        layout: layout of the corpus.
        root: folder of the corpus.
        output: path of the manifest (`.jsonl`).
        split: split of the corpus; None for all splits.
        on_progress: called with the number of processed entries, the total number, and the seconds
            of audio so far.

    Raises:
        UsageError: the folder is not this corpus, has no such split, or no entry can be read.
        RecordError: the listing of the corpus is damaged.
        OSError: a file cannot be written.
    """
    if output.suffix != ".jsonl":
        raise UsageError(f"{output}: a manifest ends in .jsonl")
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder")
    output.parent.mkdir(parents=True, exist_ok=True)
    problems: list[dict[str, str]] = []
    utterances: list[Utterance] = []
    audio_s = 0.0
    clips = output.parent / f"{output.stem}-clips"
    entries = list(layout.read(root, split))
    relative_path = _relative_to(output.parent)
    done = 0
    for path, group in itertools.groupby(entries, key=lambda entry: entry.path):
        for entry, result in _locate(path, list(group), clips):
            if isinstance(result, str):
                problems.append({"id": entry.id, "audio": str(path), "reason": result})
            else:
                audio, seconds = result
                audio_s += seconds
                utterances.append(_utterance(entry, relative_path(audio), seconds))
            done += 1
            on_progress(done, len(entries), audio_s)
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
        write_atomically(
            log, "".join(strict_json.dumps(p, ensure_ascii=False) + "\n" for p in problems)
        )
    return ManifestSummary(len(utterances), audio_s, log if problems else None, len(problems))


def _locate(
    path: Path, entries: list[CorpusEntry], clips: Path
) -> Iterator[tuple[CorpusEntry, tuple[Path, float] | str]]:
    """Yield each entry of a file with its audio file and length, or why it cannot be used.

    Segments are cut into files in the folder `clips`.
    """
    recording: Waveform | None = None
    for entry in entries:
        if entry.problem is not None:
            yield entry, entry.problem
            continue
        try:
            if entry.start_s is None or entry.end_s is None:
                yield entry, (path, files.duration_s(path) or files.read(path).duration_s)
                continue
            target = clips / f"{entry.id}.flac"
            if not target.is_file():
                recording = recording or files.read(path)
                if entry.end_s > recording.duration_s + _TOLERANCE_S:
                    yield entry, _truncated(entry.end_s, recording.duration_s)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                files.write(target, _segment(recording, entry.start_s, entry.end_s))
            yield entry, (target, round(entry.end_s - entry.start_s, 4))
        except AudioError as error:
            yield entry, error.reason


def _truncated(end_s: float, duration_s: float) -> str:
    return f"it ends at {end_s:.2f} s, the recording at {duration_s:.2f} s: is the file complete?"


def _segment(recording: Waveform, start_s: float, end_s: float) -> Waveform:
    rate = recording.sample_rate
    samples = recording.samples[round(start_s * rate) : round(end_s * rate)]
    return Waveform(samples.copy(), rate)


def _relative_to(folder: Path) -> Callable[[Path], str]:
    """Return a function that gives the path of a file relative to a folder."""
    lexical, real = folder.absolute(), folder.resolve()
    resolved = functools.cache(Path.resolve)

    def relative_path(path: Path) -> str:
        absolute = path.absolute()
        if absolute.is_relative_to(lexical):
            return absolute.relative_to(lexical).as_posix()
        # Readers follow links before "..", so the path starts at the real folder.
        return Path(os.path.relpath(resolved(absolute.parent) / absolute.name, real)).as_posix()

    return relative_path


def _utterance(entry: CorpusEntry, audio: str, seconds: float) -> Utterance:
    extra: dict[str, Any] = {**entry.extra, "duration_s": round(seconds, 4)}
    return Utterance(
        id=entry.id,
        audio=audio,
        text=entry.text,
        language=canonical_language(entry.language),
        extra=extra,
    )
