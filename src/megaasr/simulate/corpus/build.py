"""Build a data set of degraded speech: parallel, resumable, and always the same bytes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from megaasr.atomic import remove_leftovers
from megaasr.errors import CorpusError
from megaasr.folder_claim import locked_folder
from megaasr.progress import OnAudioProgress
from megaasr.simulate.corpus.card import write_card
from megaasr.simulate.corpus.clips import ClipMaker
from megaasr.simulate.corpus.columns import find_columns
from megaasr.simulate.corpus.folder import claim
from megaasr.simulate.corpus.listing import LISTING_FILE, ErrorLog, write_listing
from megaasr.simulate.corpus.plan import CorpusPlan, plan_corpus
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe
from megaasr.simulate.corpus.shard_worker import Progress, ShardWorker
from megaasr.simulate.corpus.shards import ShardInfo, ShardNotWrittenError, inspect_shard
from megaasr.simulate.corpus.sources import open_sources
from megaasr.simulate.corpus.summary import Tally, write_summary
from megaasr.simulate.corpus.worker_processes import run_tasks

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class BuildReport:
    """Summary of a finished data set.

    Attributes:
        clips: number of clips in the shards.
        audio_s: total length of the clips in seconds.
        shards: number of shards.
        sources_broken: number of sources that cannot be used; `errors.jsonl` lists them.
        clips_without_effect: number of clips that were left out because their noise would have been
            silent; `errors.jsonl` lists them, too.
        remarks: further remarks for the user, one sentence each.
    """

    clips: int
    audio_s: float
    shards: int
    sources_broken: int
    clips_without_effect: int
    remarks: tuple[str, ...]


def build_corpus(
    manifest: Path,
    output: Path,
    recipe: SimulatedCorpusRecipe,
    *,
    workers: int | None = None,
    on_progress: OnAudioProgress = lambda done, total, audio_s: None,
) -> BuildReport:
    """Make every missing shard, and then the files that describe the data set.

    A build that was killed at any moment resumes when it is called again. The shards,
    `simulated.jsonl`, `errors.jsonl` and `summary.json` have the same bytes for any number of
    workers.

    Args:
        manifest: JSONL manifest of clean utterances; their audio is relative to its folder.
        output: folder of the data set; refused if it holds another data set.
        recipe: recipe of the data set.
        workers: number of processes; None for the cores that are available, 1 to work in this
            process. With more than one, the calling program must be importable
            (`if __name__ == "__main__":`).
        on_progress: called with the number of finished clips, the total number, and the seconds of
            audio so far.

    Raises:
        UsageError: the folder holds another data set, or the manifest, noises or rooms are missing.
        RecordError: a line of the manifest is not an utterance.
        CorpusError: the disk is full, another build is at work there, or a worker died.
        OSError: a file cannot be written for another reason.
    """
    plan = plan_corpus(recipe, manifest)
    sources = open_sources(recipe)
    output.mkdir(parents=True, exist_ok=True)
    with locked_folder(output, CorpusError):
        remove_leftovers(output)
        build = _Build(plan, output)
        try:
            with build.explaining_a_full_disk():
                corpus = claim(output, plan, sources.content)
                columns = find_columns(plan.utterances)
                folder = manifest.resolve().parent
                clips = ClipMaker(recipe, folder, columns, sources.simulator)
                build.make_shards(ShardWorker(clips, output, corpus), workers, on_progress)
                return build.finish(sources.unusable)
        finally:
            remove_leftovers(output)


class _Build:
    """The state of one run of the build."""

    def __init__(self, plan: CorpusPlan, output: Path) -> None:
        self._plan = plan
        self._output = output
        self._done: dict[int, ShardInfo] = {}
        self._errors = ErrorLog(output)

    def make_shards(
        self, worker: ShardWorker, workers: int | None, on_progress: OnAudioProgress
    ) -> None:
        """Make the missing shards, several at a time."""
        plan = self._plan
        for number in range(plan.num_shards):
            info = inspect_shard(self._output / plan.shard_name(number))
            if info is not None and (info.head.corpus, info.head.number) == (worker.corpus, number):
                self._done[number] = info
        missing = [number for number in range(plan.num_shards) if number not in self._done]
        if missing:  # only a complete data set has a manifest
            (self._output / LISTING_FILE).unlink(missing_ok=True)
        self._rewrite_errors()
        clips = sum(plan.clips_in(number) for number in self._done)
        audio_s = sum(info.audio_s for info in self._done.values())
        on_progress(clips, plan.num_clips, audio_s)

        def advance(progress: Progress) -> None:
            nonlocal clips, audio_s
            clips, audio_s = clips + progress.clips, audio_s + progress.audio_s
            on_progress(clips, plan.num_clips, audio_s)

        def record(info: ShardInfo) -> None:
            self._done[info.head.number] = info
            self._errors.add(info.head.broken)

        run_tasks(
            worker,
            map(plan.shard, missing),
            workers=max(1, min(workers or available_cores(), len(missing))),
            on_message=advance,
            on_result=record,
        )

    def finish(self, remarks: tuple[str, ...]) -> BuildReport:
        """Write the files that describe the finished shards."""
        plan, output = self._plan, self._output
        self._rewrite_errors()
        tally = Tally(plan.recipe.mix)
        write_listing(output, map(plan.shard_name, range(plan.num_shards)), tally.add)
        summary = tally.summary(
            planned=plan.num_clips,
            errors=len(self._errors) - self._errors.clips_without_effect,
            without_effect=self._errors.clips_without_effect,
            too_long=plan.listed - len(plan.utterances),
        )
        picture_problem = write_summary(output, summary)
        write_card(output, plan.recipe)
        return BuildReport(
            clips=tally.clips,
            audio_s=tally.audio_s,
            shards=plan.num_shards,
            sources_broken=len(self._errors) - self._errors.clips_without_effect,
            clips_without_effect=self._errors.clips_without_effect,
            remarks=(*remarks, picture_problem) if picture_problem else remarks,
        )

    @contextmanager
    def explaining_a_full_disk(self) -> Iterator[None]:
        """Replace the system's error by one that says how much is still to be written."""
        try:
            yield
        except OSError as error:
            if error.errno not in _DISK_FULL:
                raise
            raise CorpusError(self._full_disk(error)) from error

    def _rewrite_errors(self) -> None:
        in_order = (self._done[number] for number in sorted(self._done))
        self._errors.rewrite(source for info in in_order for source in info.head.broken)

    def _full_disk(self, error: OSError) -> str:
        plan = self._plan
        rows = sum(info.rows for info in self._done.values())
        written = sum(info.size_bytes for info in self._done.values())
        clip_bytes = error.clip_bytes if isinstance(error, ShardNotWrittenError) else 0.0
        clip_bytes = written / rows if rows else clip_bytes
        missing = plan.num_clips - sum(plan.clips_in(number) for number in self._done)
        remainder = f"about {_size(clip_bytes * missing)} are" if missing else "only the summary is"
        return (
            f"{self._output}: the disk is full ({error.strerror}); {len(self._done)} of "
            f"{plan.num_shards} shards are done ({_size(written)}), {remainder} still to be "
            "written: free space there, or move the folder to a larger disk, and run the same "
            "command again, it continues"
        )


def available_cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
