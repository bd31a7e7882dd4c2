"""Download packages from registries by name, and read the files inside them.

Packages are never installed. The ordinary clients of the registries download them: `apt-get
download`, `pip download` (wheels only, so that no code of a package runs) and `npm pack`.
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
_MISSING_CLIENT: dict[Registry, str] = {
    "debian": "apt-get is not on the PATH; use Debian or Ubuntu, or a container of it",
    "pypi": f"{sys.executable} has no pip; run `{sys.executable} -m ensurepip`",
    "npm": "npm is not on the PATH; on Debian or Ubuntu: apt-get install npm",
}
# Where npm keeps its log does not explain a failure.
_UNHELPFUL_LINE = re.compile(r"complete log of this run|log files were not written", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A downloaded package.

    Attributes:
        path: path of the .deb file, wheel, source archive or .tgz file.
        name: name of the package.
        version: version, as in the name of the file.
        sha256: hash of the file.
    """

    path: Path
    name: str
    version: str
    sha256: str

    @property
    def label(self) -> str:
        """Name and version, for manifests and messages."""
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
    """Return a package from the cache, or download it to the cache.

    A download has its own folder, `REGISTRY/NAME-VERSION` or `REGISTRY/NAME`, which appears when
    the download is complete. Files that were placed directly in `cache` are used, too.

    Args:
        registry: `debian`, `pypi` or `npm`.
        name: name of the package.
        version: exact version; None for the one in the cache, or else the registry's choice.
        cache: folder of downloaded packages; it is created if necessary.
        sha256: expected hash of the file, in hexadecimal; None to accept any file.
        timeout_s: maximum duration of a download in seconds.

    Raises:
        PackageError: the registry's client is missing or cannot download the package, the cache has
            several files of the package, or the file has another hash.
        OSError: the package cannot be written to the cache.
    """
    stem = name.removeprefix("@").replace("/", "-")
    folder = cache / registry / (f"{stem}-{version}" if version else stem)
    files = _files_in(folder, registry) or _loose_files(cache, registry, stem, version)
    if not files:
        _download(registry, name, version, folder, timeout_s=timeout_s)
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
            "or correct the expected SHA-256"
        )
    return package


def _files_in(folder: Path, registry: Registry) -> list[Path]:
    return sorted(file for pattern in _PATTERNS[registry] for file in folder.glob(pattern))


def _loose_files(cache: Path, registry: Registry, stem: str, version: str | None) -> list[Path]:
    """Return files of the package that were placed in the cache by hand, found by their names."""
    files = []
    for file in _files_in(cache, registry):
        file_stem, file_version = _split_file_name(file)
        if _plain(file_stem) == _plain(stem) and version in (None, file_version):
            files.append(file)
    return files


def _plain(name: str) -> str:
    """Return a normalised name, in which file names of wheels and names of packages agree."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _split_file_name(path: Path) -> tuple[str, str]:
    """Return the name and version of a package, spelt as in the name of its file."""
    stem = re.sub(r"\.(?:deb|whl|zip|tgz|tar\.gz)$", "", path.name)
    if path.suffix == ".deb":
        parts = stem.split("_")
        return parts[0], unquote("".join(parts[1:2]))
    if path.suffix == ".whl":
        parts = stem.split("-")
        return parts[0], "".join(parts[1:2])
    # Versions may contain hyphens (1.0.0-rc.1), and names digits after a hyphen (model-2).
    match = re.fullmatch(r"(.+?)-(\d+\..*)", stem)
    if match:
        return match[1], match[2]
    file_stem, _, version = stem.rpartition("-")
    return file_stem, version


def _download(
    registry: Registry, name: str, version: str | None, folder: Path, *, timeout_s: float
) -> None:
    """Download a package to a folder, which appears when the download is complete."""
    cache = folder.parent.parent
    alternative = f"or put the file into {cache}"
    command = _command(registry, name, version)
    if command is None:
        raise PackageError(f"{name} cannot be fetched: {_MISSING_CLIENT[registry]}, {alternative}")
    client = {"debian": "apt-get", "pypi": "pip", "npm": "npm"}[registry]
    part = cache / f".mega-asr-{secrets.token_hex(4)}.part"
    part.mkdir(parents=True)
    try:
        problem = _run(command, part, timeout_s)
        count = len(_files_in(part, registry))
        if problem is None and count != 1:
            problem = f"it left {count} packages instead of one"
        if problem is not None:
            remedy = "run `apt-get update` (as root)" if registry == "debian" else "try again"
            label = f"{name} {version}" if version else name
            raise PackageError(f"{client} cannot fetch {label}: {problem}; {remedy}, {alternative}")
        _rename(part, folder, registry)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _command(registry: Registry, name: str, version: str | None) -> list[str] | None:
    """Return the command that downloads a package to the working folder.

    None if the client of the registry is missing.
    """
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
    """Run the client of a registry in a folder; return the reason of a failure, else None."""
    try:
        process = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {timeout_s:g} s"
    if not process.returncode:
        return None
    lines = process.stderr.decode("utf-8", "replace").splitlines()
    reasons = [line.strip() for line in lines if line.strip() and not _UNHELPFUL_LINE.search(line)]
    return reasons[-1] if reasons else f"exit status {process.returncode}"


def _rename(part: Path, folder: Path, registry: Registry) -> None:
    folder.parent.mkdir(exist_ok=True)
    try:
        part.replace(folder)
    except OSError as error:
        if not folder.is_dir():
            raise
        if not _files_in(folder, registry):  # otherwise another process was faster
            raise PackageError(f"{folder} holds no package; delete it and try again") from error


def package_members(path: Path, patterns: Iterable[str]) -> dict[str, bytes]:
    """Return the contents of files inside a package, by path and sorted by path.

    Links inside the package are ignored.

    Args:
        path: path of a .deb, .whl, .zip, .tar.gz or .tgz file.
        patterns: patterns of `fnmatch` (in which `*` also matches `/`) for paths without a leading
            `./`; files that match any of them are returned.

    Raises:
        PackageError: the package is damaged, a pattern matches no file, or `dpkg-deb`, which opens
            .deb files, is missing.
        OSError: the file cannot be read.
    """
    all_patterns = tuple(patterns)
    try:
        members = dict(_members(path, all_patterns))
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
    ) as error:
        reason = (
            str(error).partition("\n")[0].rstrip(":")
        )  # tarfile lists all the formats that it tried
        raise PackageError(f"{path}: cannot be unpacked ({reason}); delete it") from error
    for pattern in all_patterns:
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
    """Return the uncompressed tar file inside a Debian package."""
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
