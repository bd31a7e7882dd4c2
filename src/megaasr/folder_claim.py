"""Claim an output folder for certain inputs, so that results of different inputs never mix.

A JSON file in the folder, the marker, describes the inputs: a recipe, hashes of data and models.
The first run writes it. A later run compares its own inputs with it and resumes, or is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr.atomic import is_temporary, write_atomically
from megaasr.config import flatten
from megaasr.errors import MegaASRError, UsageError
from megaasr.locking import exclusive


@dataclass(frozen=True, slots=True)
class FolderClaim:
    """The claim on one folder; every method that refuses the folder raises `error`.

    Attributes:
        folder: the output folder. It is created with the marker.
        marker: name of the JSON file inside the folder that describes the inputs.
        mismatch: predicate of the refusal when the inputs differ, such as `holds a run of another
            recipe`; the message starts with the path of the folder.
        outputs: glob pattern of the results; a folder that has such files but no marker is refused.
            None to accept any folder without a marker.
        error: class of the exception.
    """

    folder: Path
    marker: str
    mismatch: str
    outputs: str | None = None
    error: type[MegaASRError] = UsageError

    @property
    def path(self) -> Path:
        """Path of the marker."""
        return self.folder / self.marker

    def claim(self, description: str) -> None:
        """Write the marker into a new folder, or check that the folder belongs to these inputs.

        Args:
            description: a JSON object that describes the inputs; written as it stands.
        """
        recorded = self.read()
        if recorded is not None:
            self.require_same(recorded, json.loads(description))
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, description)

    def read(self) -> dict[str, Any] | None:
        """Return the inputs that the marker describes; None if the folder is not claimed yet."""
        if not self.path.is_file():
            self._refuse_foreign_outputs()
            return None
        try:
            recorded = json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise self.error(f"{self.path} is damaged ({error}); choose another folder") from error
        if not isinstance(recorded, dict):
            raise self.error(f"{self.path} is not a JSON object; choose another folder")
        return recorded

    def require_same(self, recorded: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
        """Refuse the folder if the recorded inputs are not the requested ones, naming each field.

        Args:
            recorded: inputs that the marker describes, or those of them that have to agree.
            requested: inputs of this run, with the same fields.
        """
        before, now = flatten(recorded), flatten(requested)
        differences = [
            f"{key} is {before.get(key, 'unset')} there and {now.get(key, 'unset')} now"
            for key in sorted({*before, *now})
            if before.get(key) != now.get(key)
        ]
        if differences:
            raise self.error(
                f"{self.folder} {self.mismatch}: {'; '.join(differences)} (see {self.path}); "
                "choose another folder, or delete this one"
            )

    def _refuse_foreign_outputs(self) -> None:
        if self.outputs is None:
            return
        # A process that was killed while it wrote the marker leaves a temporary file.
        outputs = (path for path in self.folder.glob(self.outputs) if not is_temporary(path))
        if foreign := sorted(path.name for path in outputs):
            raise self.error(
                f"{self.folder} holds {foreign[0]}, but no {self.marker} that says what it was "
                "made from; choose another folder"
            )


@contextmanager
def locked_folder(folder: Path, error: type[MegaASRError]) -> Iterator[None]:
    """Keep an existing folder for this process; the system releases it when the process ends.

    Args:
        folder: the folder to lock.
        error: class of the exception.

    Raises:
        error: another process is at work in the folder.
    """
    busy = error(f"another process is at work in {folder}; wait until it ends, or end it")
    with exclusive(folder, busy):
        yield
