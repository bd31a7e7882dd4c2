"""Installed versions of Python packages, for provenance records."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

UNKNOWN = "unknown"


def package_version(name: str) -> str:
    """Return the installed version of a package, or `unknown` if its metadata is missing.

    The metadata is missing if the package is not installed, or if it is imported from a checkout
    that was never installed.
    """
    try:
        return version(name)
    except PackageNotFoundError:
        return UNKNOWN


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """Return name and version of those packages that are installed, in the order of `names`."""
    versions = {name: package_version(name) for name in names}
    return {name: number for name, number in versions.items() if number != UNKNOWN}
