"""Build a data set of degraded speech: parallel, resumable, always the same bytes."""

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
from megaasr.simulate.corpus.making import Made, ShardMaker
from megaasr.simulate.corpus.plan import CorpusPlan, plan_corpus
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe
from megaasr.simulate.corpus.shards import ShardInfo, ShardNotWrittenError, inspect_shard
from megaasr.simulate.corpus.sources import open_sources
from megaasr.simulate.corpus.summary import Tally, write_summary
from megaasr.simulate.corpus.worker_processes import work

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a finished data set holds.

    Attributes:
        clips: in the shards.
        audio_s: their length, in seconds.
        shards: files.
        sources_broken: lines of `errors.jsonl`.
        remarks: what else is worth knowing, a sentence each.
    """

    clips: int
    audio_s: float
    shards: int
    sources_broken: int
    remarks: tuple[str, ...]


def build_corpus(
    manifest: Path,
    output: Path,
    recipe: SimulatedCorpusRecipe,
    *,
    workers: int | None = None,
    on_progress: OnAudioProgress = lambda done, total, audio_s: None,
) -> BuildReport:
    """Make every shard that is not there yet, then the files that tell of them.

    Killed at any moment and called again, it goes on; the shards, `simulated.jsonl`,
    `errors.jsonl` and `summary.json` become the same bytes, with any number of workers.

    Args:
        manifest: utterances (JSONL); their audio is relative to its folder.
        output: the data set's folder; refused if it holds another one.
        recipe: what to make.
        workers: processes (default: the cores that we may use); 1 works in this one. With more,
            a program that calls this must be importable (`if __name__ == "__main__":`).
        on_progress: called with clips done, clips in all and seconds of audio so far.

    Raises:
        UsageError: the folder holds another data set, or manifest, noises or rooms are missing.
        RecordError: a line of the manifest is no utterance.
        CorpusError: the disk is full, another build is at work, or a worker died.
        OSError: the system does not let us write for another reason.
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
                build.make_shards(ShardMaker(clips, output, corpus), workers, on_progress)
                return build.finish(sources.unusable)
        finally:
            remove_leftovers(output)


class _Build:
    """The state of one sitting."""

    def __init__(self, plan: CorpusPlan, output: Path) -> None:
        self._plan = plan
        self._output = output
        self._done: dict[int, ShardInfo] = {}
        self._errors = ErrorLog(output)

    def make_shards(
        self, maker: ShardMaker, workers: int | None, on_progress: OnAudioProgress
    ) -> None:
        """Make what is missing, several shards at a time."""
        plan = self._plan
        for number in range(plan.num_shards):
            info = inspect_shard(self._output / plan.shard_name(number))
            if info is not None and (info.head.corpus, info.head.number) == (maker.corpus, number):
                self._done[number] = info
        missing = [number for number in range(plan.num_shards) if number not in self._done]
        if missing:  # a manifest tells of a whole data set only
            (self._output / LISTING_FILE).unlink(missing_ok=True)
        self._note_errors()
        clips = sum(plan.clips_in(number) for number in self._done)
        audio_s = sum(info.audio_s for info in self._done.values())
        on_progress(clips, plan.num_clips, audio_s)

        def advance(made: Made) -> None:
            nonlocal clips, audio_s
            clips, audio_s = clips + made.clips, audio_s + made.audio_s
            on_progress(clips, plan.num_clips, audio_s)

        def keep(info: ShardInfo) -> None:
            self._done[info.head.number] = info
            self._errors.add(info.head.broken)

        work(
            maker,
            map(plan.shard, missing),
            workers=max(1, min(workers or usable_cores(), len(missing))),
            on_note=advance,
            on_result=keep,
        )

    def finish(self, remarks: tuple[str, ...]) -> BuildReport:
        """Write everything that tells of the finished shards."""
        plan, output = self._plan, self._output
        self._note_errors()
        tally = Tally(plan.recipe.mix)
        write_listing(output, map(plan.shard_name, range(plan.num_shards)), tally.add)
        summary = tally.summary(
            planned=plan.num_clips,
            errors=len(self._errors),
            too_long=plan.listed - len(plan.utterances),
        )
        no_picture = write_summary(output, summary)
        write_card(output, plan.recipe)
        return BuildReport(
            clips=tally.clips,
            audio_s=tally.audio_s,
            shards=plan.num_shards,
            sources_broken=len(self._errors),
            remarks=(*remarks, no_picture) if no_picture else remarks,
        )

    @contextmanager
    def explaining_a_full_disk(self) -> Iterator[None]:
        """Turn the system's error into one that says how much is still to be written."""
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise CorpusError(self._full_disk(error)) from error

    def _note_errors(self) -> None:
        in_order = (self._done[number] for number in sorted(self._done))
        self._errors.start(one for info in in_order for one in info.head.broken)

    def _full_disk(self, error: OSError) -> str:
        plan = self._plan
        rows = sum(info.rows for info in self._done.values())
        written = sum(info.size_bytes for info in self._done.values())
        clip_bytes = error.clip_bytes if isinstance(error, ShardNotWrittenError) else 0.0
        clip_bytes = written / rows if rows else clip_bytes
        missing = plan.num_clips - sum(plan.clips_in(number) for number in self._done)
        rest = f"about {_size(clip_bytes * missing)} are" if missing else "only the summary is"
        return (
            f"{self._output}: the disk is full ({error.strerror}); {len(self._done)} of "
            f"{plan.num_shards} shards are done ({_size(written)}), {rest} still to be written: "
            "free space there, or move the folder to a larger disk, and run the same command "
            "again, it continues"
        )


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
