"""Make a shard, the task of a worker process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from megaasr.errors import AudioError
from megaasr.simulate.corpus.clips import ClipMaker, NoEffectError, Row
from megaasr.simulate.corpus.plan import PlannedClip, Shard
from megaasr.simulate.corpus.shards import (
    NO_EFFECT,
    BrokenSource,
    ShardHead,
    ShardInfo,
    write_shard,
)

_REPORT_INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress since the last report.

    Attributes:
        clips: number of clips that were made or left out.
        audio_s: total length of these clips in seconds.
    """

    clips: int
    audio_s: float


@dataclass(frozen=True, slots=True)
class ShardWorker:
    """Makes and writes shards; picklable.

    Attributes:
        clips: makes the rows of the shards.
        output: folder of the data set.
        corpus: identity of the data set, see `folder.claim`.
    """

    clips: ClipMaker
    output: Path
    corpus: str

    def __call__(self, shard: Shard, report: Callable[[Progress], None]) -> ShardInfo:
        """Make a shard and write it.

        Args:
            shard: the shard to make.
            report: called with the progress about twice a second.

        Raises:
            ShardNotWrittenError: the file cannot be written.
            UsageError: a noise or room response is missing.
        """
        rows: dict[int, Row] = {}
        broken: dict[int, BrokenSource] = {}
        reporter = _ProgressReporter(report)
        # Source by source, so that each is decoded once and only one is in memory.
        for audio, indices in _group_by_source(shard.clips).items():
            results = self._make(audio, [shard.clips[index] for index in indices], reporter)
            for index, result in zip(indices, results, strict=True):
                if isinstance(result, BrokenSource):
                    broken[index] = result
                else:
                    rows[index] = result
        sources = {broken[index].id: broken[index] for index in sorted(broken)}
        info = write_shard(
            self.output / shard.name,
            [rows[index] for index in sorted(rows)],
            self.clips.columns,
            ShardHead(shard.number, self.corpus, tuple(sources.values())),
        )
        reporter.flush()
        return info

    def _make(
        self, audio: str, clips: list[PlannedClip], reporter: _ProgressReporter
    ) -> list[Row | BrokenSource]:
        """Make the clips of one source; a clip that cannot be made is a `BrokenSource`."""
        try:
            source = self.clips.read_source(audio)
        except AudioError as error:
            for _ in clips:
                reporter.add(0.0)
            return [BrokenSource(clip.utterance.id, audio, error.reason) for clip in clips]
        rows: list[Row | BrokenSource] = []
        for clip in clips:
            try:
                row = self.clips.make(clip, source)
            except NoEffectError as error:
                reporter.add(0.0)
                rows.append(BrokenSource(clip.id, audio, f"{NO_EFFECT}{error}"))
                continue
            except Exception as error:
                error.add_note(f"while making the clip {clip.id} from {audio}")
                raise
            rows.append(row)
            reporter.add(row["duration_s"])
        return rows


class _ProgressReporter:
    """Accumulates progress and reports it at intervals."""

    def __init__(self, report: Callable[[Progress], None]) -> None:
        self._report = report
        self._last = time.monotonic()
        self._clips = 0
        self._audio_s = 0.0

    def add(self, audio_s: float) -> None:
        self._clips += 1
        self._audio_s += audio_s
        if time.monotonic() - self._last >= _REPORT_INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        if self._clips:
            self._report(Progress(self._clips, self._audio_s))
        self._clips, self._audio_s, self._last = 0, 0.0, time.monotonic()


def _group_by_source(clips: tuple[PlannedClip, ...]) -> dict[str, list[int]]:
    """Return the indices of the clips that are made from each audio file."""
    indices: dict[str, list[int]] = {}
    for index, clip in enumerate(clips):
        indices.setdefault(clip.utterance.audio, []).append(index)
    return indices
