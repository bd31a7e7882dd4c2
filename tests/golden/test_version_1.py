"""Version 1 of the degraded test set: its draws never change; its published numbers rest on them.

The digest was computed with the code before version 2 (commit b158bd2).
"""

from __future__ import annotations

import hashlib
import json

from megaasr.config import load_recipe
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe
from megaasr.simulate.corpus.sources import open_sources

DIGEST = "28747b183ea066fd8390667ecc81ee307b571d9b232210589ed4bea1d4dd1a0a"


def test_the_draws_of_version_1() -> None:
    recipe = load_recipe(SimulatedCorpusRecipe, "simulate-degraded-test")
    simulator = open_sources(recipe).simulator
    digest = hashlib.sha256()
    for number, cell in enumerate(recipe.mix.cells):
        draw = simulator.draw(
            seed=recipe.seed,
            scenario=cell.scenario,
            severity=cell.severity,
            utterance=f"u{number}",
            copy_index=number % 3,
        )
        steps = [step.model_dump(mode="json") for step in draw.steps]
        digest.update(json.dumps([draw.scenario, draw.severity, steps], sort_keys=True).encode())
    assert digest.hexdigest() == DIGEST
