"""A data set's folder: it belongs to one recipe and manifest, and to one build at a time."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from megaasr.atomic import write_atomically
from megaasr.config import flat
from megaasr.errors import CorpusError, UsageError
from megaasr.locking import exclusive
from megaasr.simulate import kernels
from megaasr.simulate.corpus.plan import CorpusPlan

RECIPE_FILE = "recipe.json"
# Folders may move: what is in them decides.
_FOLDERS = ("noise", "room_responses")
_LIBRARIES = ("megaasr", "numpy", "pyarrow", "scipy", "soundfile", "soxr")


def claim(output: Path, plan: CorpusPlan, content: Mapping[str, Any]) -> str:
    """Write `recipe.json` into a new folder, or check that the folder is this data set's.

    Args:
        output: the folder, which exists.
        plan: of the data set.
        content: of the noises and room responses, see `sources.Sources`.

    Returns:
        The data set's identity: a hash of all that decides about its clips.

    Raises:
        UsageError: it holds another data set; says in what they differ.
    """
    marker = output / RECIPE_FILE
    wanted, versions = _wanted(plan, content), [_versions()]
    if marker.is_file():
        there = _read(marker)
        _require_same({name: there.get(name) for name in wanted}, wanted, marker)
        # Other versions may go on, and are noted: their shards can differ in a bit.
        known = there.get("versions", [])
        versions = known if versions[0] in known else [*known, *versions]
    elif any(output.glob("*.parquet")):
        raise UsageError(
            f"{output} holds Parquet files, but no {RECIPE_FILE} that says what they are; choose "
            "another folder"
        )
    folders = plan.recipe.model_dump(mode="json", include=set(_FOLDERS))
    document = {**wanted, "folders": folders, "versions": versions}
    write_atomically(marker, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder for this process; the system lets go of it when the process ends.

    Raises:
        CorpusError: another process is at work in it.
    """
    busy = CorpusError(f"another process is at work in {folder}; wait until it ends, or end it")
    with exclusive(folder, busy):
        yield


def _wanted(plan: CorpusPlan, content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "recipe": plan.recipe.model_dump(mode="json", exclude=set(_FOLDERS)),
        "manifest": {
            "name": plan.manifest.name,
            "sha256": plan.manifest_sha256,
            "utterances": plan.listed,
            "used": len(plan.utterances),
        },
        **content,
    }


def _versions() -> dict[str, str]:
    import soundfile

    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in _LIBRARIES},
        "libsndfile": soundfile.__libsndfile_version__,
        "loops": kernels.name(),
        "machine": platform.machine(),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


def _read(marker: Path) -> dict[str, Any]:
    try:
        document = json.loads(marker.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{marker} is damaged ({error}); choose another folder") from error
    if not isinstance(document, dict):
        raise UsageError(f"{marker} is no recipe of a data set; choose another folder")
    return document


def _require_same(there: Mapping[str, Any], wanted: Mapping[str, Any], marker: Path) -> None:
    if there == wanted:
        return
    old, new = flat(there), flat(wanted)
    differing = [
        f"{key.removeprefix('recipe.')} is {old.get(key)} there and {new.get(key)} now"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
    raise UsageError(
        f"{marker.parent} holds a data set of another recipe or manifest: {'; '.join(differing)} "
        f"(see {marker}); choose another folder, or delete this one"
    )
