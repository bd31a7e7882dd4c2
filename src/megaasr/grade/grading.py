"""Decode every clip of a data set with the base model, shard by shard."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from megaasr.audio.clips import clip_bytes
from megaasr.audio.files import read
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import AudioError, UsageError
from megaasr.grade.bands import grade
from megaasr.grade.work import GradeFolder, Share, relative_audio, require_unique
from megaasr.hashing import file_sha256
from megaasr.model.interface import Request, Route, SpeechModel
from megaasr.progress import OnRemarkedProgress
from megaasr.records import Utterance, read_manifest

Container = Literal["parquet", "jsonl"]
LONGEST_S = 30.0
_PLACE = ("shard", "row")  # of the clip in the data set that it came from
_GRADE_COLUMNS = {
    "base_model": "string",
    "base_text": "string",
    "base_language": "string",
    "base_error_rate": "float64",
    "base_hits": "int64",
    "base_substitutions": "int64",
    "base_deletions": "int64",
    "base_insertions": "int64",
    "base_flags": "string",
    "base_band": "string",
}


@dataclass(frozen=True, slots=True)
class Graded:
    """What came of grading.

    Attributes:
        done: whether every shard is done, and the listing written.
        clips, failed: of this process, in this sitting.
        audio_s, seconds: audio that was decoded, and the time it took.
    """

    done: bool
    clips: int
    failed: int
    audio_s: float
    seconds: float


class Grading:
    """Grades one data set in one folder.

    Args:
        manifest: JSONL, or the folder of a simulated data set.
        folder: where the grades go.
        model: its name, for the records.
        fingerprint: what tells its weights from others'.
        shard_size: clips in a shard.
        container: `parquet` holds the sound too; `jsonl` points to where it is.
        limit: only the first clips.
        route: the branch of the model that is graded.

    Raises:
        UsageError: there is no such data set, or the folder holds other grades.
        RecordError: a line of the manifest is no record.
    """

    def __init__(
        self,
        manifest: Path,
        folder: Path,
        *,
        model: str,
        fingerprint: str,
        shard_size: int = 500,
        container: Container = "parquet",
        limit: int | None = None,
        route: Route = "base",
    ) -> None:
        path = manifest / "simulated.jsonl" if manifest.is_dir() else manifest
        if not path.is_file():
            raise UsageError(f"there is no manifest {path}")
        self._manifest, self._model, self._container = path, model, container
        self._utterances = list(read_manifest(path))[:limit]
        if not self._utterances:
            raise UsageError(f"{path} lists no clips")
        require_unique(self._utterances, path)
        self._size, self._route = shard_size, route
        identity = {
            "schema": 1,
            "manifest_sha256": file_sha256(path),
            "clips": len(self._utterances),
            "shard_size": shard_size,
            "container": container,
            "model": model,
            "fingerprint": fingerprint,
        }
        self.work = GradeFolder(folder, identity, -(-len(self._utterances) // shard_size))
        self._columns = self._find_columns() if container == "parquet" else {}

    def run(
        self, load: Callable[[], SpeechModel], share: Share, on_progress: OnRemarkedProgress
    ) -> Graded:
        """Grade this process's shards that are not done yet.

        Args:
            load: the model; called only if there is work.
            share: which shards are this process's.
            on_progress: told (clips done, of how many, a remark) after each shard.
        """
        waiting = self.work.waiting(share)
        total = sum(len(self._shard(number)) for number in waiting)
        model = load() if waiting else None
        clips = failed = 0
        audio_s = seconds = 0.0
        for number in waiting:
            assert model is not None
            began = time.monotonic()
            rows, heard_s = self._grade_shard(number, model)
            seconds += time.monotonic() - began
            audio_s += heard_s
            clips += len(rows)
            failed += sum("error" in row for row in rows)
            on_progress(clips, total, f"{audio_s / seconds:.1f} times real time")
        return Graded(self.work.finish(), clips, failed, audio_s, seconds)

    def _shard(self, number: int) -> list[Utterance]:
        return self._utterances[number * self._size : (number + 1) * self._size]

    def _grade_shard(self, number: int, model: SpeechModel) -> tuple[list[dict[str, Any]], float]:
        """Decode a shard's clips, write them down, and return their rows and seconds of audio."""
        failed: list[dict[str, Any]] = []
        clips: list[tuple[Utterance, bytes, Request]] = []
        for one in self._shard(number):
            try:
                encoded = clip_bytes(self._manifest.parent, one.audio)
                samples = read(encoded).samples
                if samples.size > LONGEST_S * SAMPLE_RATE:
                    raise AudioError(one.audio, f"longer than {LONGEST_S:.0f} s; cut it first")
            except (AudioError, OSError) as error:
                failed.append({"id": one.id, "audio": one.audio, "error": str(error)})
                continue
            clips.append((one, encoded, Request(samples, route=self._route)))
        answers = model.recognize([request for _, _, request in clips])
        rows = [
            {**self._row(one), **grade(one.text, said, one.language).columns(self._model)}
            for (one, _, _), said in zip(clips, answers, strict=True)
        ]
        if self._container == "parquet":
            self._write_parquet(number, rows, [encoded for _, encoded, _ in clips])
        self.work.finish_shard(number, [*rows, *failed])
        return [*rows, *failed], sum(r.samples.size for _, _, r in clips) / SAMPLE_RATE

    def _row(self, one: Utterance) -> dict[str, Any]:
        audio = relative_audio(one, self._manifest, self.work.folder)
        extra = {name: value for name, value in one.extra.items() if name not in _PLACE}
        return {"id": one.id, "audio": audio, "text": one.text, "language": one.language, **extra}

    def _write_parquet(
        self, number: int, rows: Sequence[dict[str, Any]], sounds: Sequence[bytes]
    ) -> None:
        from megaasr.simulate.corpus.columns import fit
        from megaasr.simulate.corpus.shards import write_rows

        name = self.work.shard_name(number)
        table = []
        for at, (row, sound) in enumerate(zip(rows, sounds, strict=True)):
            suffix = Path(row["audio"].partition("#")[0]).suffix
            path = row["id"].replace("/", "_") + (".flac" if suffix == ".parquet" else suffix)
            values = {key: fit(row.get(key), kind) for key, kind in self._columns.items()}
            table.append({**values, "audio": {"bytes": sound, "path": path}})
            row["audio"] = f"{name}#{at}"
        write_rows(self.work.folder / name, table, self._columns, {})

    def _find_columns(self) -> dict[str, Any]:
        try:
            from megaasr.simulate.corpus.columns import column_types
            from megaasr.simulate.corpus.shards import write_rows  # noqa: F401 (is pyarrow there?)
        except ImportError as error:
            raise UsageError(
                "Parquet needs pyarrow: pip install 'megaasr[simulate]', or --container jsonl"
            ) from error
        found = column_types(self._utterances)
        flat = {name: kind for name, kind in found.items() if name not in _PLACE}
        return {
            "id": "string",
            "text": "string",
            "language": "string",
            **flat,
            **_GRADE_COLUMNS,
        }
