"""The errors of both branches on labelled clips, kept in a file, so that a killed run resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import Waveform
from megaasr.errors import AudioError, UsageError
from megaasr.progress import OnRemarkedProgress
from megaasr.score.branches import compare_branches
from megaasr.score.calibration import RoutedClip
from megaasr.score.predictions import read_log
from megaasr.score.running import SAVE_EVERY
from megaasr.score.test_set import TestClip, TestSetFile

if TYPE_CHECKING:
    from megaasr.transcribe.recognizer import MegaASR


class BranchErrors:
    """The errors of both branches on the clips of a test set.

    Args:
        test_set: clips with references.
        path: the JSONL file that keeps the errors; an existing one is continued.
        settings: all that determines the errors, as JSON values.

    Attributes:
        failed: reasons why clips could not be transcribed, by audio path; a later run tries them
            again.

    Raises:
        UsageError: the file was made with other settings.
    """

    def __init__(self, test_set: TestSetFile, path: Path, settings: dict[str, Any]) -> None:
        self._test_set, self._path = test_set, path
        self._rows: dict[str, dict[str, Any]] = {}  # by clip id
        self.failed: dict[str, str] = {}
        header = strict_json.dumps({"settings": settings}) + "\n"
        if not path.is_file():
            write_atomically(path, header)
            return
        with path.open("rb") as lines:  # before `read_log` truncates what may be another's file
            ours = lines.readline() == header.encode()
        if not ours:
            raise UsageError(
                f"{path.parent} holds a calibration of other clips or another model; choose "
                "another folder"
            )
        self._rows = {str(row["id"]): row for row in read_log(path) if "id" in row}

    def clips(self, blocks: Sequence[str | None]) -> list[RoutedClip]:
        """Return the measured clips in the order of the test set.

        Args:
            blocks: the block of each clip of the test set; None for a clip that stands alone.
        """
        return [
            RoutedClip(
                id=clip.id,
                probabilities=tuple(row["probabilities"]),
                errors=tuple(row["errors"]),
                words=row["words"],
                block=block,
            )
            for clip, block in zip(self._test_set.clips, blocks, strict=True)
            if (row := self._rows.get(clip.id)) is not None
        ]

    @property
    def missing(self) -> list[TestClip]:
        """The clips that are not measured yet."""
        return [clip for clip in self._test_set.clips if clip.id not in self._rows]

    def measure(
        self,
        load: Callable[[], MegaASR],
        *,
        language: str | None = None,
        on_progress: OnRemarkedProgress = lambda done, total, remark: None,
    ) -> None:
        """Transcribe the missing clips with both branches.

        Args:
            load: returns a recogniser with the route `both`; called only if a clip is missing.
            language: ISO code to force; None to let the model detect it.
            on_progress: called after every `SAVE_EVERY` clips.
        """
        missing = self.missing
        if not missing:
            return
        asr = load()
        with self._path.open("a", encoding="utf-8") as lines:
            for start in range(0, len(missing), SAVE_EVERY):
                for row in self._measure(asr, missing[start : start + SAVE_EVERY], language):
                    self._rows[row["id"]] = row
                    lines.write(strict_json.dumps(row, ensure_ascii=False) + "\n")
                lines.flush()
                on_progress(
                    len(self._rows) + len(self.failed),
                    len(self._test_set.clips),
                    f"{len(self.failed)} failed" if self.failed else "",
                )

    def _measure(
        self, asr: MegaASR, clips: Sequence[TestClip], language: str | None
    ) -> Iterator[dict[str, Any]]:
        readable: list[tuple[TestClip, Waveform]] = []
        for clip in clips:
            try:
                readable.append((clip, read_clip(self._test_set.audio_root, clip.audio)))
            except AudioError as error:
                self.failed[clip.audio] = error.reason
        outcomes = asr.transcribe_many([waveform for _, waveform in readable], language=language)
        for (clip, _), outcome in zip(readable, outcomes, strict=True):
            if outcome.error is not None:
                self.failed[clip.audio] = outcome.error.reason
                continue
            recording = compare_branches(outcome.unwrap(), clip.audio, clip)
            row = asdict(RoutedClip.from_comparison(clip.id, recording))
            del row["block"]  # the next run may ask for other blocks
            yield row
