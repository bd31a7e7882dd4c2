"""The shipped recipe's plan never changes: base, tests and tables of all versions rest on it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict

from megaasr.config import load_recipe
from megaasr.synthesize.plan import CorpusRecipe, PlannedClip, plan_corpus

# Made by this file's `digest` on 2026-11-22, when the corpus of `tiny` was synthesised.
TEST_SPLIT = "cb1968834c984988ce0075f62b4ef6e01e0f7cd2b76633f56104110fce8ca2f9"
EVERYTHING = "0a02f0a3ab43a8336b9e80e2a56ff291ac4525c4174880ea08d826131810d074"


def digest(clips: list[PlannedClip]) -> str:
    lines = (json.dumps(asdict(clip), sort_keys=True) for clip in clips)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_the_plan_of_the_shipped_corpus() -> None:
    clips = plan_corpus(load_recipe(CorpusRecipe, "synthesize-tiny"))
    assert Counter(clip.split for clip in clips) == {"train": 38_000, "dev": 750, "test": 2_120}
    assert digest([clip for clip in clips if clip.split == "test"]) == TEST_SPLIT
    assert digest(clips) == EVERYTHING
