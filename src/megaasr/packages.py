"""Files of package registries, fetched by name and never installed, and what is inside them.

The registries' ordinary clients fetch them: `apt-get download`, `pip download` (wheels only, so
that no code of a package runs) and `npm pack`.
"""

from __future__ import annotations

import fnmatch
import gzip
import importlib.util
import io
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from megaasr.errors import PackageError
from megaasr.hashing import file_sha256

Registry = Literal["debian", "pypi", "npm"]

_TIMEOUT_S = 1800.0
_PATTERNS: dict[Registry, tuple[str, ...]] = {
    "debian": ("*.deb",),
    "pypi": ("*.whl", "*.tar.gz", "*.zip"),
    "npm": ("*.tgz",),
}
_ABSENT_CLIENT: dict[Registry, str] = {
    "debian": "apt-get is not on the PATH; use Debian or Ubuntu, or a container of it",
    "pypi": f"{sys.executable} has no pip; run `{sys.executable} -m ensurepip`",
    "npm": "npm is not on the PATH; on Debian or Ubuntu: apt-get install npm",
}
# Where npm keeps its log is no reason for a failure.
_NO_REASON = re.compile(r"complete log of this run|log files were not written", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A package as it was fetched.

    Attributes:
        path: the .deb, wheel, source archive or .tgz.
        name: of the package.
        version: from the file's name.
        sha256: of the file.
    """

    path: Path
    name: str
    version: str
    sha256: str

    @property
    def label(self) -> str:
        """Name and version, as manifests and messages state them."""
        return f"{self.name} {self.version}"


def fetch_package(
    registry: Registry,
    name: str,
    version: str | None,
    cache: Path,
    *,
    sha256: str | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> PackageFile:
    """Return a package's file from the cache, or download it there.

    A download gets a folder of its own, `REGISTRY/NAME-VERSION` (`REGISTRY/NAME` without a
    version), which appears when it is complete. Files that lie in `cache` itself are taken, too.

    Args:
        registry: where it comes from.
        name: of the package.
        version: the one that is wanted; None takes what the cache has or the registry offers.
        cache: the folder in which packages are kept; it is made.
        sha256: of the file that is wanted, in hexadecimal; None accepts any.
        timeout_s: the longest that a download may take, in seconds.

    Raises:
        PackageError: the registry's client is missing or cannot fetch the package, the cache has
            several files of it, or the file is not the one that is wanted.
        OSError: the system does not let us write.
    """
    stem = name.removeprefix("@").replace("/", "-")
    folder = cache / registry / (f"{stem}-{version}" if version else stem)
    files = _files_in(folder, registry) or _loose_files(cache, registry, stem, version)
    if not files:
        _download(registry, name, version, folder, timeout_s)
        files = _files_in(folder, registry)
    if len(files) > 1:
        raise PackageError(
            f"{files[0].parent} holds {len(files)} files of {name} "
            f"({', '.join(file.name for file in files)}); delete all but the one to use"
        )
    package = PackageFile(files[0], name, _split_file_name(files[0])[1], file_sha256(files[0]))
    if sha256 not in (None, package.sha256):
        raise PackageError(
            f"{package.path} has SHA-256 {package.sha256}, but {sha256} is expected of "
            f"{package.label}; it is damaged or another file: delete it to have it fetched again, "
            "or correct the SHA-256 that is expected"
        )
    return package


def _files_in(folder: Path, registry: Registry) -> list[Path]:
    return sorted(file for pattern in _PATTERNS[registry] for file in folder.glob(pattern))


def _loose_files(cache: Path, registry: Registry, stem: str, version: str | None) -> list[Path]:
    """Return the package's files that were put into the cache by hand, told by their names."""
    files = []
    for file in _files_in(cache, registry):
        file_stem, file_version = _split_file_name(file)
        if _plain(file_stem) == _plain(stem) and version in (None, file_version):
            files.append(file)
    return files


def _plain(name: str) -> str:
    """Return a name in the spelling in which file names of wheels and names of packages agree."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _split_file_name(path: Path) -> tuple[str, str]:
    """Return the package's name and version, both as the file's name has them."""
    stem = re.sub(r"\.(?:deb|whl|zip|tgz|tar\.gz)$", "", path.name)
    if path.suffix == ".deb":
        parts = stem.split("_")
        return parts[0], unquote("".join(parts[1:2]))
    if path.suffix == ".whl":
        parts = stem.split("-")
        return parts[0], "".join(parts[1:2])
    # Versions may hold hyphens (1.0.0-rc.1), and names digits after one (model-2).
    match = re.fullmatch(r"(.+?)-(\d+\..*)", stem)
    if match:
        return match[1], match[2]
    file_stem, _, version = stem.rpartition("-")
    return file_stem, version


def _download(
    registry: Registry, name: str, version: str | None, folder: Path, timeout_s: float
) -> None:
    """Make a folder with the package's file; it appears when the file is complete."""
    cache = folder.parent.parent
    by_hand = f"or put the file into {cache}"
    command = _command(registry, name, version)
    if command is None:
        raise PackageError(f"{name} cannot be fetched: {_ABSENT_CLIENT[registry]}, {by_hand}")
    client = {"debian": "apt-get", "pypi": "pip", "npm": "npm"}[registry]
    part = cache / f".mega-asr-{secrets.token_hex(4)}.part"
    part.mkdir(parents=True)
    try:
        problem = _run(command, part, timeout_s)
        count = len(_files_in(part, registry))
        if problem is None and count != 1:
            problem = f"it left {count} packages instead of one"
        if problem is not None:
            mend = "run `apt-get update` (as root)" if registry == "debian" else "try again"
            wanted = f"{name} {version}" if version else name
            raise PackageError(f"{client} cannot fetch {wanted}: {problem}; {mend}, {by_hand}")
        _rename(part, folder, registry)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _command(registry: Registry, name: str, version: str | None) -> list[str] | None:
    """Return what downloads a package into the working folder; None if the client is missing."""
    if registry == "pypi":
        if importlib.util.find_spec("pip") is None:
            return None
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", "."]
        return [*command, f"{name}=={version}" if version else name]
    program = shutil.which("apt-get" if registry == "debian" else "npm")
    if program is None:
        return None
    if registry == "debian":
        return [program, "download", "--quiet", f"{name}={version}" if version else name]
    command = [program, "pack", "--loglevel", "error", "--ignore-scripts"]
    return [*command, "--pack-destination", ".", f"{name}@{version}" if version else name]


def _run(command: list[str], folder: Path, timeout_s: float) -> str | None:
    """Run a registry's client in a folder; return what went wrong, None if nothing did."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {timeout_s:g} s"
    if not done.returncode:
        return None
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    reasons = [line.strip() for line in lines if line.strip() and not _NO_REASON.search(line)]
    return reasons[-1] if reasons else f"exit status {done.returncode}"


def _rename(part: Path, folder: Path, registry: Registry) -> None:
    folder.parent.mkdir(exist_ok=True)
    try:
        part.replace(folder)
    except OSError as error:
        if not folder.is_dir():
            raise
        if not _files_in(folder, registry):  # else another process was faster
            raise PackageError(f"{folder} holds no package; delete it and try again") from error


def package_members(path: Path, patterns: Iterable[str]) -> dict[str, bytes]:
    """Return the files inside a package whose path matches one of the patterns, sorted by path.

    Links inside a package are no files of it.

    Args:
        path: a .deb, .whl, .zip, .tar.gz or .tgz file.
        patterns: as of `fnmatch` (`*` matches `/`, too), on paths without a leading `./`.

    Raises:
        PackageError: the package is damaged, a pattern matches nothing, or `dpkg-deb`, which opens
            a .deb, is missing.
        OSError: the file cannot be read.
    """
    wanted = tuple(patterns)
    try:
        members = dict(_members(path, wanted))
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
    ) as error:
        reason = str(error).partition("\n")[0].rstrip(":")  # tarfile lists all that it tried
        raise PackageError(f"{path}: cannot be unpacked ({reason}); delete it") from error
    for pattern in wanted:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in members):
            raise PackageError(
                f"{path}: has no file {pattern}; use another version, or correct the pattern"
            )
    return dict(sorted(members.items()))


def _members(path: Path, patterns: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    if path.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir() and _matches(info.filename, patterns):
                    yield info.filename, archive.read(info)
        return
    content = _debian_tar(path) if path.suffix == ".deb" else path.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if member.isfile() and _matches(name, patterns):
                file = tar.extractfile(member)
                if file is not None:
                    yield name, file.read()


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _debian_tar(path: Path) -> bytes:
    """Return the tar file inside a Debian package."""
    program = shutil.which("dpkg-deb")
    if program is None:
        raise PackageError(
            f"{path}: dpkg-deb, which opens it, is not on the PATH; use Debian or Ubuntu, or a "
            "container of it"
        )
    command = [program, "--fsys-tarfile", str(path.resolve())]
    try:
        return subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S).stdout
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode("utf-8", "replace").strip().splitlines() or [str(error)]
        raise PackageError(f"{path}: cannot be unpacked ({lines[-1]}); delete it") from error
    except subprocess.TimeoutExpired as error:
        raise PackageError(f"{path}: dpkg-deb took more than {_TIMEOUT_S:g} s") from error
