"""Debian packages, fetched by name and unpacked without being installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from megaasr.errors import CorpusError
from megaasr.hashing import file_sha256

_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Package:
    """A package in the cache.

    Attributes:
        name, version: Debian's.
        sha256: of the `.deb` file.
        root: folder that its files were unpacked into.
    """

    name: str
    version: str
    sha256: str
    root: Path

    @property
    def label(self) -> str:
        """Name and version, for the manifest's `source`."""
        return f"{self.name} {self.version}"

    def file(self, path: str) -> Path:
        """Return a file of the package.

        Raises:
            CorpusError: this version of the package does not have it.
        """
        target = self.root / path
        if not target.is_file():
            raise CorpusError(f"{self.label} has no {path}; this list was made for Debian 12's")
        return target

    @property
    def copyright_file(self) -> Path:
        """The package's statement of licences."""
        return self.file(f"usr/share/doc/{self.name}/copyright")


def fetch_package(name: str, cache: Path, unpacked: Path) -> Package:
    """Return a package, downloaded with `apt-get download` unless the cache has it.

    Nothing is installed, and no rights of root are needed.

    Args:
        name: of a binary package.
        cache: folder of `.deb` files; made if it is not there.
        unpacked: folder that gets a folder with the package's files.

    Raises:
        CorpusError: apt or dpkg is missing or failed, or the cache holds several versions.
        OSError: the system does not let us write.
    """
    cache.mkdir(parents=True, exist_ok=True)
    files = sorted(cache.glob(f"{name}_*.deb"))
    if len(files) > 1:
        raise CorpusError(
            f"{cache} holds {len(files)} versions of {name}; delete all but the one to use"
        )
    file = files[0] if files else _download(name, cache)
    root = unpacked / name
    _run(["dpkg-deb", "-x", str(file.resolve()), str(root.resolve())], cache)
    version = _run(["dpkg-deb", "-f", str(file.resolve()), "Version"], cache).strip()
    return Package(name, version, file_sha256(file), root)


def _download(name: str, cache: Path) -> Path:
    # apt writes under the final name from the first byte on, so it works in a folder of its own.
    with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as folder:
        _run(["apt-get", "download", name], Path(folder))
        files = list(Path(folder).glob(f"{name}_*.deb"))
        if len(files) != 1:
            raise CorpusError(f"apt-get download {name} left {len(files)} packages, not one")
        return files[0].replace(cache / files[0].name)


def _run(command: list[str], folder: Path) -> str:
    """Run a command in a folder; return what it wrote to standard output."""
    program = command[0]
    if shutil.which(program) is None:
        raise CorpusError(
            f"{program} is not on the PATH: the human test list is built from Debian packages. Use "
            "Debian or Ubuntu, or a container of it; where only apt-get is missing, put the .deb "
            f"files into {folder}"
        )
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CorpusError(f"{' '.join(command)} took more than {_TIMEOUT_S:g} s") from error
    if done.returncode:
        problem = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        mend = "; has `apt-get update` (as root) been run?" if program == "apt-get" else ""
        raise CorpusError(f"{' '.join(command)} failed: {problem[-1]}{mend}")
    return done.stdout
