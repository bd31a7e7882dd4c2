"""A grid whose scenarios have the same speakers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from megaasr.errors import UsageError
from megaasr.records import Utterance, write_manifest
from megaasr.simulate.corpus.plan import CorpusPlan, plan_corpus
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe
from megaasr.simulate.mix import Mix

SPEAKERS = {"anna": 40, "ben": 7, "carl": 13, "dora": 1, "emil": 25}
SCENARIOS = ("clean", "noise", "echo", "echo+noise", "echo+dropout+recording")
MIX = {
    "kind": "grid",
    "scenarios": SCENARIOS,
    "severities": (0.1, 0.3, 0.5, 0.7, 0.9),
    "size_cells": {"1": 4, "2": 3, "3": 2},
    "clean_cells": 10,
}
CELLS = 10 + 5 * (4 + 4 + 3 + 2)


def planned(tmp_path: Path, clips: int = CELLS, seed: int = 1, by: str = "speaker") -> CorpusPlan:
    manifest = tmp_path / "clean.jsonl"
    utterances = [
        Utterance(id=f"{speaker}-{i}", audio="a.wav", text="a", extra={"speaker": speaker})
        for speaker, count in SPEAKERS.items()
        for i in range(count)
    ]
    write_manifest(manifest, utterances)
    mix = Mix.model_validate({**MIX, "balanced_by": by})
    return plan_corpus(SimulatedCorpusRecipe(seed=seed, num_clips=clips, mix=mix), manifest)


def test_the_cells_of_each_size(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    counts = Counter(plan.clip(n).scenario for n in range(CELLS))
    assert counts == {
        "clean": 10, "noise": 20, "echo": 20, "echo+noise": 15, "echo+recording+dropout": 10,
    }  # fmt: skip


def test_every_scenario_has_each_speaker_equally_often(tmp_path: Path) -> None:
    plan = planned(tmp_path, clips=2 * CELLS)
    by_scenario: dict[str, Counter[str]] = {}
    for n in range(2 * CELLS):
        clip = plan.clip(n)
        speaker = str(clip.utterance.extra["speaker"])
        by_scenario.setdefault(clip.scenario, Counter())[speaker] += 1
    for counts in by_scenario.values():
        assert set(counts) == set(SPEAKERS)
        assert max(counts.values()) - min(counts.values()) <= 2


def test_speakers_and_severities_are_not_coupled(tmp_path: Path) -> None:
    # Five speakers and five severities in step would give each severity its own speaker.
    plan = planned(tmp_path, clips=10 * CELLS)
    pairs = Counter(
        (plan.clip(n).severity, plan.clip(n).utterance.extra["speaker"])
        for n in range(10 * CELLS)
        if plan.clip(n).scenario == "noise"
    )
    assert len(pairs) == 25


def test_an_utterance_is_used_again_only_after_all_of_its_speaker(tmp_path: Path) -> None:
    plan = planned(tmp_path, clips=2 * CELLS)
    clips = [plan.clip(n) for n in range(2 * CELLS)]
    assert len({clip.id for clip in clips}) == len(clips)
    for speaker, size in SPEAKERS.items():
        uses = Counter(c.utterance.id for c in clips if c.utterance.extra["speaker"] == speaker)
        assert len(uses) == min(size, sum(uses.values()))
        assert max(uses.values()) - min(uses.values()) <= 1


def test_the_order_is_the_seeds(tmp_path: Path) -> None:
    first, again, other = (
        [planned(tmp_path, seed=seed).clip(n).id for n in range(CELLS)] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_a_column_that_nothing_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no utterance has the column spaeker"):
        planned(tmp_path, by="spaeker")
    with pytest.raises(ValueError, match="for a grid"):
        Mix(balanced_by="speaker")
