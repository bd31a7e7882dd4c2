"""The noises and room responses of a data set, opened once before any worker starts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.progress import OnProgress
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe
from megaasr.simulate.noise_generators import BUILTIN
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.positions import Compounds, positions_sha256
from megaasr.simulate.room_responses import MeasuredRooms
from megaasr.simulate.sample_cache import SampleCache
from megaasr.simulate.simulator import Simulator
from megaasr.simulate.talkers import TalkerPool


@dataclass(frozen=True, slots=True)
class Sources:
    """A simulator with the noises and rooms of a recipe.

    Attributes:
        simulator: the simulator; it is small to pickle, because workers map the cached samples
            themselves.
        content: identity of the recordings for `recipe.json`; it changes with the recordings, but
            not if their folders are moved.
        unusable: recordings that were left out, with the reason, one sentence each.
    """

    simulator: Simulator
    content: dict[str, Any]
    unusable: tuple[str, ...]


def open_sources(
    recipe: SimulatedCorpusRecipe, on_progress: OnProgress = lambda done, total: None
) -> Sources:
    """Open the noises, room responses and talkers of a recipe; they are cached if not yet.

    Args:
        recipe: recipe that names their folders.
        on_progress: called with the number of decoded recordings and the total number, if any have
            to be decoded.

    Raises:
        UsageError: a folder does not exist or has no usable recordings.
        AudioError: the cache cannot be written.
    """
    noise, rooms = _noise(recipe, on_progress), None
    if recipe.room_responses is not None:
        rooms = MeasuredRooms.from_folders([recipe.room_responses], on_progress=on_progress)
    caches = {"noise": noise.recorded, "room_responses": rooms.recorded if rooms else None}
    talkers = TalkerPool()
    if recipe.talkers:
        paths = [Path(name) for name in recipe.talkers]
        talkers = TalkerPool.from_folders(paths, on_progress=on_progress)
        caches["talkers"] = talkers.recorded.recorded if talkers.recorded else None
    content: dict[str, Any] = {name: cache and _content(cache) for name, cache in caches.items()}
    if noise.recorded is None:
        content["noise"] = noise.builtin_identity
    unusable = chain.from_iterable(_unusable(cache) for cache in caches.values() if cache)
    if recipe.compounds is Compounds.CALIBRATED:
        content["positions_sha256"] = positions_sha256()
    simulator = Simulator(noise, rooms, recipe.compounds, talkers=talkers)
    return Sources(simulator, content, tuple(unusable))


def _noise(recipe: SimulatedCorpusRecipe, on_progress: OnProgress) -> NoisePool:
    names, kind = recipe.noise, recipe.builtin_noises
    if names and not names[0].startswith(BUILTIN):
        folders = [Path(name) for name in names]
        return NoisePool.from_folders(
            folders, builtin=kind, split=recipe.split, on_progress=on_progress
        )
    pool = NoisePool(builtin=kind, split=recipe.split)
    return pool.narrowed(names[0]) if names else pool


def _content(cache: SampleCache) -> dict[str, Any]:
    recordings = [(r.name, r.length, r.level_dbfs) for r in cache.index.recordings]
    digest = hashlib.sha256(strict_json.dumps(recordings).encode()).hexdigest()
    return {"recordings": len(recordings), "sha256": digest}


def _unusable(cache: SampleCache) -> list[str]:
    kind = cache.index.kind
    return [f"not among the {kind}: {file.name}: {file.reason}" for file in cache.index.failures]
