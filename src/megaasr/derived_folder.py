"""A checkpoint that is made from another, in a folder of its own.

A marker in the folder says from what it is made and whether it is complete, so that a run that was
killed is completed by the same command, and nothing else is overwritten.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.atomic import remove_leftovers, write_atomically
from megaasr.errors import UsageError
from megaasr.folder_claim import FolderClaim, locked_folder
from megaasr.hashing import file_sha256

INT8_MARKER, MERGE_MARKER = "mega_asr_int8.json", "mega_asr_merge.json"
MARKERS = (INT8_MARKER, MERGE_MARKER)
"""Markers of all kinds of derived checkpoints."""


@dataclass(frozen=True)
class DerivedFolder:
    """The folder of a derived checkpoint.

    Attributes:
        source: folder of the checkpoint that it is made from.
        source_name: what the source is, for messages.
        folder: a new folder, or that of an earlier run with the same inputs.
        marker: one of `MARKERS`, the JSON file in the folder that describes the inputs.
        inputs: what the result depends on beside the files that are copied, as JSON values.
        mismatch: predicate of the refusal when the folder has other inputs, see `FolderClaim`.
        not_copied: names of files of the source that are not copied, beside weights and markers.
    """

    source: Path
    source_name: str
    folder: Path
    marker: str
    inputs: Mapping[str, Any]
    mismatch: str
    not_copied: tuple[str, ...] = ()

    @contextmanager
    def opened(self) -> Iterator[bool]:
        """Keep the folder for this process; yield whether it holds the result completely.

        Raises:
            UsageError: the folder is the source, holds anything else, or another process is at
                work in it.
        """
        if self.source.resolve() == self.folder.resolve():
            raise UsageError(
                f"{self.folder} is the {self.source_name} itself; choose another folder"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked_folder(self.folder, UsageError):
            yield self._is_complete()

    def begin(self) -> None:
        """Claim the folder, and copy all files of the source but the weights."""
        self._mark(complete=False)
        for file in self._copied():
            shutil.copyfile(file, self.folder / file.name)

    def finish(self) -> None:
        """Mark the folder as complete."""
        self._mark(complete=True)

    def _is_complete(self) -> bool:
        claim = FolderClaim(self.folder, self.marker, self.mismatch, outputs="*")
        recorded = claim.read()
        remove_leftovers(self.folder)
        if recorded is None:
            return False
        inputs = self._all_inputs
        claim.require_same({name: recorded.get(name) for name in inputs}, inputs)
        return bool(recorded.get("complete"))

    def _copied(self) -> list[Path]:
        left_out = (*self.not_copied, *MARKERS)
        return [
            path
            for path in sorted(self.source.iterdir())
            if path.is_file() and path.suffix != ".safetensors" and path.name not in left_out
        ]

    @cached_property
    def _all_inputs(self) -> dict[str, Any]:
        return {**self.inputs, "files": {file.name: file_sha256(file) for file in self._copied()}}

    def _mark(self, *, complete: bool) -> None:
        content = {**self._all_inputs, "complete": complete}
        write_atomically(self.folder / self.marker, strict_json.dumps(content, indent=1))
