"""A checkpoint that is made from another, in a folder of its own.

A marker in the folder says from what it is made and whether it is complete, so that a run that was
killed is completed by the same command, and nothing else is overwritten.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.atomic import remove_leftovers, write_atomically
from megaasr.errors import UsageError
from megaasr.folder_claim import FolderClaim


@dataclass(frozen=True, slots=True)
class DerivedFolder:
    """The folder of a derived checkpoint.

    Attributes:
        source: folder of the checkpoint that it is made from.
        source_name: what the source is, for messages.
        folder: a new folder, or that of an earlier run with the same inputs.
        marker: name of the JSON file in the folder that describes the inputs.
        inputs: what the result depends on, as JSON values.
        mismatch: predicate of the refusal when the folder has other inputs, see `FolderClaim`.
    """

    source: Path
    source_name: str
    folder: Path
    marker: str
    inputs: Mapping[str, Any]
    mismatch: str

    def is_complete(self) -> bool:
        """Tell whether the folder holds the result completely.

        Raises:
            UsageError: the folder is the source, or holds anything else.
        """
        if self.folder.exists() and self.source.resolve() == self.folder.resolve():
            raise UsageError(
                f"{self.folder} is the {self.source_name} itself; choose another folder"
            )
        claim = FolderClaim(self.folder, self.marker, self.mismatch, outputs="*")
        recorded = claim.read()
        if recorded is None:
            return False
        claim.require_same({name: recorded.get(name) for name in self.inputs}, self.inputs)
        remove_leftovers(self.folder)
        return bool(recorded.get("complete"))

    def begin(self, not_copied: Collection[str]) -> None:
        """Claim the folder, and copy all files of the source but the weights.

        Args:
            not_copied: names of files that are not copied.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._mark(complete=False)
        for file in sorted(path for path in self.source.iterdir() if path.is_file()):
            if file.suffix != ".safetensors" and file.name not in not_copied:
                shutil.copyfile(file, self.folder / file.name)

    def finish(self) -> None:
        """Mark the folder as complete."""
        self._mark(complete=True)

    def _mark(self, *, complete: bool) -> None:
        content = {**self.inputs, "complete": complete}
        write_atomically(self.folder / self.marker, strict_json.dumps(content, indent=1))
