"""Make a shard: what a worker process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from megaasr.errors import AudioError
from megaasr.simulate.corpus.clips import ClipMaker, Row
from megaasr.simulate.corpus.plan import PlannedClip, Shard
from megaasr.simulate.corpus.shards import BrokenSource, ShardHead, ShardInfo, write_shard

_REPORT_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Made:
    """Progress since the last report.

    Attributes:
        clips: made or left out.
        audio_s: their length, in seconds.
    """

    clips: int
    audio_s: float


@dataclass(frozen=True, slots=True)
class ShardMaker:
    """Makes whole shards; picklable.

    Attributes:
        clips: makes their rows.
        output: the data set's folder.
        corpus: the data set's identity.
    """

    clips: ClipMaker
    output: Path
    corpus: str

    def __call__(self, shard: Shard, report: Callable[[Made], None]) -> ShardInfo:
        """Make a shard and write it.

        Args:
            shard: what to make.
            report: told of the progress now and then.

        Raises:
            ShardNotWrittenError: the system does not let us write.
            UsageError: a noise or room response is not there.
        """
        rows: dict[int, Row] = {}
        broken: dict[int, BrokenSource] = {}
        progress = _Progress(report)
        # Source by source, so that each is decoded once and only one is held.
        for audio, places in _by_source(shard.clips).items():
            made = self._make(audio, [shard.clips[place] for place in places], progress)
            for place, one in zip(places, made, strict=True):
                if isinstance(one, BrokenSource):
                    broken[place] = one
                else:
                    rows[place] = one
        sources = {broken[place].id: broken[place] for place in sorted(broken)}
        info = write_shard(
            self.output / shard.name,
            [rows[place] for place in sorted(rows)],
            self.clips.columns,
            ShardHead(shard.number, self.corpus, tuple(sources.values())),
        )
        progress.flush()
        return info

    def _make(
        self, audio: str, clips: list[PlannedClip], progress: _Progress
    ) -> list[Row | BrokenSource]:
        """Make the clips of one source."""
        try:
            source = self.clips.read_source(audio)
        except AudioError as error:
            for _ in clips:
                progress.add(0.0)
            return [BrokenSource(clip.utterance.id, audio, error.reason) for clip in clips]
        made: list[Row | BrokenSource] = []
        for clip in clips:
            try:
                row = self.clips.make(clip, source)
            except Exception as error:
                error.add_note(f"while making the clip {clip.id} from {audio}")
                raise
            made.append(row)
            progress.add(row["duration_s"])
        return made


class _Progress:
    """Reports what was made, but not too often."""

    def __init__(self, report: Callable[[Made], None]) -> None:
        self._report = report
        self._last = time.monotonic()
        self._clips = 0
        self._audio_s = 0.0

    def add(self, audio_s: float) -> None:
        self._clips += 1
        self._audio_s += audio_s
        if time.monotonic() - self._last >= _REPORT_EVERY_S:
            self.flush()

    def flush(self) -> None:
        if self._clips:
            self._report(Made(self._clips, self._audio_s))
        self._clips, self._audio_s, self._last = 0, 0.0, time.monotonic()


def _by_source(clips: tuple[PlannedClip, ...]) -> dict[str, list[int]]:
    """Return the places of the clips that are made from each audio file."""
    places: dict[str, list[int]] = {}
    for place, clip in enumerate(clips):
        places.setdefault(clip.utterance.audio, []).append(place)
    return places
