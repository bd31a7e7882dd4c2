"""Decode every clip of a data set with the base model, shard by shard."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from megaasr.audio.clips import clip_bytes
from megaasr.audio.files import read
from megaasr.audio.segments import parse_segment
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.corpora.clip_check import NOTHING_LEFT_OUT, LeftOut, find_problem
from megaasr.errors import AudioError, UsageError
from megaasr.grade.bands import NORMALIZER, grade
from megaasr.grade.shards import GradeFolder, ShardAssignment, relative_audio, require_unique
from megaasr.hashing import file_sha256
from megaasr.model.interface import Request, Route, SpeechModel
from megaasr.progress import OnRemarkedProgress
from megaasr.records import Utterance
from megaasr.records.tables import read_utterances

Container = Literal["parquet", "jsonl"]
"""File format of the shards: `parquet` includes the audio, `jsonl` refers to it."""

MAX_S = 30.0
"""Maximum length of a clip in seconds."""

_LOCATION = ("shard", "row")  # columns of a simulated data set, which do not apply to the grades
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
    """Result of a grading run of one process.

    Attributes:
        done: whether the shards of all processes are finished and the listing is written.
        clips: number of clips that were graded or failed in this run.
        failed: number of clips that could not be used in this run.
        audio_s: seconds of audio that were decoded.
        seconds: time that the run took.
        left_out: the clips without a grade, of all runs and processes together, once all are done.
    """

    done: bool
    clips: int
    failed: int
    audio_s: float
    seconds: float
    left_out: LeftOut = NOTHING_LEFT_OUT


class Grading:
    """Grades a data set.

    Args:
        manifest: JSONL manifest or another table of clips (`records.tables`), or the folder of a
            simulated data set.
        folder: output folder.
        model: name of the model, for the records.
        fingerprint: fingerprint of the model's weights.
        shard_size: clips per shard.
        container: `parquet` to include the audio, `jsonl` to refer to it.
        limit: maximum number of clips; None for all.
        route: branch of the model to grade, `base` or `robust`.

    Raises:
        UsageError: the data set does not exist, or the folder holds other grades.
        RecordError: a line of the manifest is not a record.
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
        self._utterances = list(islice(read_utterances(path), limit))
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
            "normalizer": NORMALIZER,
        }
        self._folder = GradeFolder(folder, identity, -(-len(self._utterances) // shard_size))
        self._columns = self._find_columns() if container == "parquet" else {}

    def run(
        self,
        load: Callable[[], SpeechModel],
        assignment: ShardAssignment,
        on_progress: OnRemarkedProgress,
    ) -> Graded:
        """Grade the unfinished shards of this process.

        Args:
            load: loads the model; called only if there are unfinished shards.
            assignment: shards of this process.
            on_progress: called after each shard with the number of finished clips, the total
                number, and the speed.
        """
        unfinished = self._folder.unfinished(assignment)
        total = sum(len(self._shard(number)) for number in unfinished)
        model = load() if unfinished else None
        clips = failed = 0
        audio_s = seconds = 0.0
        for number in unfinished:
            assert model is not None
            start = time.monotonic()
            rows, shard_audio_s = self._grade_shard(number, model)
            seconds += time.monotonic() - start
            audio_s += shard_audio_s
            clips += len(rows)
            failed += sum("error" in row for row in rows)
            on_progress(clips, total, f"{audio_s / seconds:.1f} times real time")
        done = self._folder.finish()
        return Graded(
            done=done,
            clips=clips,
            failed=failed,
            audio_s=audio_s,
            seconds=seconds,
            left_out=self._left_out() if done else NOTHING_LEFT_OUT,
        )

    def _left_out(self) -> LeftOut:
        """Return the clips without a grade, of all runs and processes together."""
        rows = list(self._folder.rows())
        problems = tuple((row["id"], "cannot be graded") for row in rows if "error" in row)
        return LeftOut(len(rows), problems)

    def _shard(self, number: int) -> list[Utterance]:
        return self._utterances[number * self._size : (number + 1) * self._size]

    def _grade_shard(self, number: int, model: SpeechModel) -> tuple[list[dict[str, Any]], float]:
        """Decode and write a shard; return the rows of its clips and the seconds of audio."""
        failed: list[dict[str, Any]] = []
        clips: list[Utterance] = []
        encoded_clips: list[bytes] = []
        requests: list[Request] = []
        for clip in self._shard(number):
            try:
                encoded = clip_bytes(self._manifest.parent, clip.audio)
                samples = read(encoded).samples
            except (AudioError, OSError) as error:
                failed.append({"id": clip.id, "audio": clip.audio, "error": str(error)})
                continue
            if problem := self._find_problem(clip, samples.size):
                failed.append({"id": clip.id, "audio": clip.audio, "error": problem})
                continue
            clips.append(clip)
            encoded_clips.append(encoded)
            requests.append(Request(samples, route=self._route))
        rows = [
            {**self._row(clip), **grade(clip.text, result, clip.language).columns(self._model)}
            for clip, result in zip(clips, model.recognize(requests), strict=True)
        ]
        if self._container == "parquet":
            self._write_parquet(number, rows, encoded_clips)
        self._folder.finish_shard(number, [*rows, *failed])
        audio_s = sum(request.samples.size for request in requests) / SAMPLE_RATE
        return [*rows, *failed], audio_s

    def _find_problem(self, clip: Utterance, samples: int) -> str | None:
        stated_s = clip.extra.get("duration_s")
        stated_s = float(stated_s) if isinstance(stated_s, int | float) else None
        problem = find_problem(samples, clip.text, stated_s, max_s=MAX_S)
        return None if problem is None else f"{clip.audio}: {problem}"

    def _row(self, clip: Utterance) -> dict[str, Any]:
        audio = relative_audio(clip, self._manifest, self._folder.folder)
        extra = {name: value for name, value in clip.extra.items() if name not in _LOCATION}
        return {
            "id": clip.id,
            "audio": audio,
            "text": clip.text,
            "language": clip.language,
            **extra,
        }

    def _write_parquet(
        self, number: int, rows: Sequence[dict[str, Any]], encoded_clips: Sequence[bytes]
    ) -> None:
        """Write the rows with their audio, and let the rows refer to the written file."""
        from megaasr.simulate.corpus.columns import convert
        from megaasr.simulate.corpus.shards import write_rows

        name = self._folder.shard_name(number)
        table = []
        for index, (row, encoded) in enumerate(zip(rows, encoded_clips, strict=True)):
            suffix = Path(row["audio"].partition("#")[0]).suffix
            if parse_segment(row["audio"]) is not None:
                suffix = ".flac"
            path = row["id"].replace("/", "_") + (".flac" if suffix == ".parquet" else suffix)
            values = {key: convert(row.get(key), type_) for key, type_ in self._columns.items()}
            table.append({**values, "audio": {"bytes": encoded, "path": path}})
            row["audio"] = f"{name}#{index}"
        write_rows(self._folder.folder / name, table, self._columns, {})

    def _find_columns(self) -> dict[str, Any]:
        try:
            from megaasr.simulate.corpus.columns import column_types
            from megaasr.simulate.corpus.shards import write_rows  # noqa: F401 (needs pyarrow)
        except ImportError as error:
            raise UsageError(
                "Parquet needs pyarrow: pip install 'megaasr[simulate]', or --container jsonl"
            ) from error
        types = column_types(self._utterances)
        extra = {name: type_ for name, type_ in types.items() if name not in _LOCATION}
        return {
            "id": "string",
            "text": "string",
            "language": "string",
            **extra,
            **_GRADE_COLUMNS,
        }
