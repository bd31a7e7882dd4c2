"""The Debian packages of the human test list, which are read without being installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from megaasr.errors import CorpusError
from megaasr.packages import PackageFile, fetch_package, package_members


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package with its contents.

    Attributes:
        file: the `.deb` file.
        members: contents of the files in the package by path, without a leading `/`.
    """

    file: PackageFile
    members: Mapping[str, bytes]

    @property
    def label(self) -> str:
        """Name and version of the package, for the column `source` of manifests."""
        return self.file.label

    def read(self, path: str) -> bytes:
        """Return the content of a file in the package.

        Raises:
            CorpusError: this version of the package does not have it.
        """
        content = self.members.get(path)
        if content is None:
            raise CorpusError(f"{self.label} has no {path}; this list was made for Debian 12's")
        return content

    @property
    def copyright(self) -> bytes:
        """Content of the package's copyright file, which states the licences."""
        return self.read(f"usr/share/doc/{self.file.name}/copyright")


def read_package(name: str, cache: Path) -> Package:
    """Return a package from the cache, or download it with `apt-get download`.

    Nothing is installed, and root privileges are not needed.

    Args:
        name: name of a binary package.
        cache: folder of `.deb` files; it is created if necessary.

    Raises:
        PackageError: apt or dpkg is missing or failed, or the cache holds several versions.
        OSError: the package cannot be written to the cache.
    """
    file = fetch_package("debian", name, None, cache)
    return Package(file, package_members(file.path, ["*"]))
