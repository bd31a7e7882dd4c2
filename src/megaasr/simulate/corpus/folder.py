"""Claim the folder of a data set for its recipe and manifest."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.folder_claim import FolderClaim
from megaasr.simulate import kernels
from megaasr.simulate.codecs import ffmpeg_version
from megaasr.simulate.corpus.plan import CorpusPlan
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe
from megaasr.versions import package_version

RECIPE_FILE = "recipe.json"
# Folders may be moved; only their contents identify the data set.
_FOLDERS = ("noise", "room_responses", "talkers")
_LIBRARIES = ("megaasr", "numpy", "pyarrow", "scipy", "soundfile", "soxr")


def claim(output: Path, plan: CorpusPlan, content: Mapping[str, Any]) -> str:
    """Write `recipe.json` into a new folder, or check that the folder belongs to this data set.

    Args:
        output: folder of the data set.
        plan: plan of the data set.
        content: contents of the noises and room responses, see `sources.Sources`.

    Returns:
        The identity of the data set: a hash of everything that its clips depend on.

    Raises:
        UsageError: the folder holds another data set; the message says how they differ.
    """
    claimed = FolderClaim(
        output,
        RECIPE_FILE,
        "holds a data set of another recipe or manifest",
        outputs="*.parquet",
    )
    inputs, versions = _inputs(plan, content), [_versions(plan.recipe)]
    recorded = claimed.read()
    if recorded is not None:
        claimed.require_same({name: recorded.get(name) for name in inputs}, inputs)
        # Other versions of the libraries may resume the build. They are recorded, because their
        # shards can differ in single bits.
        earlier = recorded.get("versions", [])
        versions = earlier if versions[0] in earlier else [*earlier, *versions]
    folders = plan.recipe.model_dump(mode="json", include=set(_FOLDERS))
    document = {**inputs, "folders": folders, "versions": versions}
    write_atomically(claimed.path, strict_json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return hashlib.sha256(strict_json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _inputs(plan: CorpusPlan, content: Mapping[str, Any]) -> dict[str, Any]:
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


def _versions(recipe: SimulatedCorpusRecipe) -> dict[str, str]:
    import soundfile

    coded = any(condition.name == "codec" for condition in recipe.mix.conditions)
    programs = {"ffmpeg": ffmpeg_version() or "none"} if coded else {}
    return {
        "python": platform.python_version(),
        **{name: package_version(name) for name in _LIBRARIES},
        "libsndfile": soundfile.__libsndfile_version__,
        **programs,
        "loops": kernels.name(),
        "machine": platform.machine(),
    }
