"""Check the inputs of a training before its run folder is made, and name everything missing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from megaasr.errors import TrainingError
from megaasr.train.clips import find_manifest


class InputCheck:
    """Collects the inputs that a training needs and that are missing.

    A training that fails because of them afterwards would leave a run folder behind, which refuses
    the corrected recipe.
    """

    def __init__(self) -> None:
        self._missing: dict[str, list[str]] = {}  # command -> problems

    def require(self, exists: bool, problem: str, command: str) -> None:
        """Require an input of any kind.

        Args:
            exists: whether the input is there.
            problem: what to say if it is not.
            command: command that makes the input.
        """
        if not exists:
            self._missing.setdefault(command, []).append(problem)

    def require_file(self, folder: Path, name: str, command: str) -> None:
        """Require a file in a folder, made by a command."""
        self.require((folder / name).is_file(), f"{folder} holds no {name}", command)

    def require_data_sets(self, field: str, paths: Iterable[Path], command: str) -> None:
        """Require manifests or folders of data sets.

        Args:
            field: name of the recipe field that lists them.
            paths: manifests or folders.
            command: command that makes such a data set.
        """
        for path in paths:
            try:
                find_manifest(path)
            except TrainingError as error:
                problem = str(error) if path.exists() else f"{path} does not exist"
                self.require(False, f"{problem} ({field})", command)

    def finish(self) -> None:
        """Name everything that is missing and the commands that make it.

        Raises:
            TrainingError: an input is missing.
        """
        if self._missing:
            raise TrainingError(
                "; ".join(
                    f"{', '.join(problems)}; make {'it' if len(problems) == 1 else 'them'} with: "
                    f"{command}"
                    for command, problems in self._missing.items()
                )
            )
