"""What the clips of a data set are degraded with: opened once, before any worker starts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from megaasr.progress import OnProgress
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe
from megaasr.simulate.noise_generators import BUILTIN
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.room_responses import MeasuredRooms
from megaasr.simulate.sample_store import SampleStore
from megaasr.simulate.simulator import Simulator


@dataclass(frozen=True, slots=True)
class Sources:
    """A simulator with the recipe's noises and rooms.

    Attributes:
        simulator: small to pickle; workers map the stored samples themselves.
        content: what was found, for `recipe.json`; it changes when the recordings do, but not
            when their folders move.
        unusable: recordings that were left out, and why, a sentence each.
    """

    simulator: Simulator
    content: dict[str, Any]
    unusable: tuple[str, ...]


def open_sources(
    recipe: SimulatedCorpusRecipe, on_progress: OnProgress = lambda done, total: None
) -> Sources:
    """Store the recipe's noises and room responses in the user's cache, or find them there.

    Args:
        recipe: names their folders.
        on_progress: called with recordings done and recordings in all, if some are to be stored.

    Raises:
        UsageError: a folder does not exist or holds nothing that can be used.
        AudioError: the store cannot be written.
    """
    noise, rooms = _noise(recipe.noise, on_progress), None
    if recipe.room_responses is not None:
        rooms = MeasuredRooms.from_folders([recipe.room_responses], on_progress=on_progress)
    stores = {"noise": noise.recorded, "room_responses": rooms.recorded if rooms else None}
    content: dict[str, Any] = {name: store and _content(store) for name, store in stores.items()}
    if noise.recorded is None:
        content["noise"] = {"builtin": noise.selection}
    unusable = chain.from_iterable(_unusable(store) for store in stores.values() if store)
    return Sources(Simulator(noise, rooms), content, tuple(unusable))


def _noise(given: tuple[str, ...], on_progress: OnProgress) -> NoisePool:
    if not given:
        return NoisePool()
    if given[0].startswith(BUILTIN):
        return NoisePool().narrowed(given[0])
    return NoisePool.from_folders([Path(one) for one in given], on_progress=on_progress)


def _content(store: SampleStore) -> dict[str, Any]:
    listed = [(one.name, one.length, one.level_dbfs) for one in store.index.recordings]
    digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    return {"recordings": len(listed), "sha256": digest}


def _unusable(store: SampleStore) -> list[str]:
    kind = store.index.kind
    return [f"not among the {kind}: {one.name}: {one.reason}" for one in store.index.failures]
