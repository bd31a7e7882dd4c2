"""Files inside Debian's and PyPI's packages, fetched by name and never installed."""

from __future__ import annotations

import fnmatch
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from megaasr.errors import CorpusError
from megaasr.hashing import file_sha256

Registry = Literal["debian", "pypi"]
_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A package as it was fetched.

    Attributes:
        path: the .deb, wheel or source archive.
        name: of the package.
        version: from the file's name.
        sha256: of the file.
    """

    path: Path
    name: str
    version: str
    sha256: str


def fetch_package(registry: Registry, name: str, version: str | None, cache: Path) -> PackageFile:
    """Return a package's file from the cache, or download it there.

    Args:
        registry: where it comes from.
        name: of the package.
        version: the one that is wanted; None takes what the registry offers.
        cache: the folder in which packages are kept, one folder each.

    Raises:
        CorpusError: `apt-get` or `pip` is missing or cannot fetch it.
    """
    folder = cache / registry / (f"{name}-{version}" if version else name)
    files = _package_files(folder)
    if not files:
        _download(registry, name, version, folder)
        files = _package_files(folder)
    if len(files) != 1:
        raise CorpusError(f"{folder}: holds {len(files)} package files instead of one; delete it")
    return PackageFile(files[0], name, _version_of(files[0]), file_sha256(files[0]))


def _package_files(folder: Path) -> list[Path]:
    names = ("*.deb", "*.whl", "*.tar.gz", "*.zip")
    return sorted(file for name in names for file in folder.glob(name))


def _version_of(path: Path) -> str:
    if path.suffix == ".deb":
        return unquote(path.name.split("_")[1])
    parts = path.name.removesuffix(".tar.gz").removesuffix(".zip").split("-")
    return parts[1] if path.suffix == ".whl" else parts[-1]


def _download(registry: Registry, name: str, version: str | None, folder: Path) -> None:
    if registry == "debian":
        pinned = f"{name}={version}" if version else name
        command = ["apt-get", "download", "--quiet", pinned]
    else:
        pinned = f"{name}=={version}" if version else name
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", pinned]
    if shutil.which(command[0]) is None:
        raise CorpusError(
            f"{name}: {command[0]} is not on the PATH; it fetches {registry} packages"
        )
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        subprocess.run(command, cwd=part, check=True, capture_output=True, timeout=_TIMEOUT_S)
    except subprocess.SubprocessError as error:
        reason = getattr(error, "stderr", None) or b""
        last = reason.decode("utf-8", "replace").strip().splitlines()[-1:] or [str(error)]
        hint = "; run apt-get update first" if registry == "debian" else ""
        raise CorpusError(f"{name}: cannot be fetched ({last[0]}){hint}") from error
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)


def package_members(path: Path, patterns: Iterable[str]) -> dict[str, bytes]:
    """Return the files inside a package whose path matches one of the patterns, sorted by path.

    Args:
        path: a .deb, wheel, zip or .tar.gz file.
        patterns: as of `fnmatch`, on paths without a leading `./`.

    Raises:
        CorpusError: the package is damaged, or a pattern matches nothing.
    """
    wanted = tuple(patterns)
    try:
        members = {
            name: content for name, content in _members(path, wanted) if _matches(name, wanted)
        }
    except (tarfile.TarError, zipfile.BadZipFile, subprocess.SubprocessError) as error:
        raise CorpusError(f"{path}: cannot be unpacked ({error}); delete it") from error
    for pattern in wanted:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in members):
            raise CorpusError(f"{path}: has no file {pattern}; correct the recipe's `files`")
    return dict(sorted(members.items()))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _members(path: Path, patterns: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    if path.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if _matches(name, patterns):
                    yield name, archive.read(name)
        return
    if path.suffix == ".deb":
        command = ["dpkg-deb", "--fsys-tarfile", str(path)]
        content = subprocess.run(
            command, check=True, capture_output=True, timeout=_TIMEOUT_S
        ).stdout
    else:
        content = path.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if member.isfile() and _matches(name, patterns):
                file = tar.extractfile(member)
                if file is not None:
                    yield name, file.read()
