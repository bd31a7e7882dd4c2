"""The Debian packages of the human test list, read without being installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from megaasr.errors import CorpusError
from megaasr.packages import PackageFile, fetch_package, package_members


@dataclass(frozen=True, slots=True)
class Package:
    """A package and what is in it.

    Attributes:
        file: the `.deb` file.
        members: contents of its files by path, without a leading `/`.
    """

    file: PackageFile
    members: Mapping[str, bytes]

    @property
    def label(self) -> str:
        """Name and version, for the manifest's `source`."""
        return self.file.label

    def read(self, path: str) -> bytes:
        """Return the content of a file of the package.

        Raises:
            CorpusError: this version of the package does not have it.
        """
        content = self.members.get(path)
        if content is None:
            raise CorpusError(f"{self.label} has no {path}; this list was made for Debian 12's")
        return content

    @property
    def copyright(self) -> bytes:
        """The package's statement of licences."""
        return self.read(f"usr/share/doc/{self.file.name}/copyright")


def read_package(name: str, cache: Path) -> Package:
    """Return a package, downloaded with `apt-get download` unless the cache has it.

    Nothing is installed, and no rights of root are needed.

    Args:
        name: of a binary package.
        cache: folder of `.deb` files; made if it is not there.

    Raises:
        PackageError: apt or dpkg is missing or failed, or the cache holds several versions.
        OSError: the system does not let us write.
    """
    file = fetch_package("debian", name, None, cache)
    return Package(file, package_members(file.path, ["*"]))
