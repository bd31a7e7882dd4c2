"""The fit of compounds' positions, with a recogniser whose errors are known exactly."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megaasr.audio.files import write
from megaasr.audio.waveform import SAMPLE_RATE, Waveform
from megaasr.errors import ModelError, UsageError
from megaasr.score.compound_calibration import (
    SCAN,
    SEVERITIES,
    Calibration,
    summarise,
    with_conditions,
)
from megaasr.score.difficulty import Cell, CellErrors, CellLog, CellWorker
from megaasr.score.difficulty_fit import fit_positions, isotonic, position_of_rate
from megaasr.score.predictions import Prediction
from megaasr.score.systems import InferenceOptions, SystemSpec
from megaasr.score.test_set import TestClip
from megaasr.simulate.positions import Compounds, fitted_positions, position, position_in
from megaasr.simulate.scenarios import SCENARIOS, find_scenario

RATES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(RATES)
def test_isotonic_rises_and_keeps_the_mean(values: list[float]) -> None:
    rising = isotonic(values)
    assert all(a <= b + 1e-12 for a, b in pairwise(rising))
    assert sum(rising) == pytest.approx(sum(values))
    if sorted(values) == values:
        assert rising == values


@given(RATES, st.floats(0, 1))
def test_no_rising_sequence_is_closer(values: list[float], shift: float) -> None:
    # The least squared difference: no other rising sequence does better, such as these.
    def loss(fit: list[float]) -> float:
        return sum((a - b) ** 2 for a, b in zip(values, fit, strict=True))

    best = loss(isotonic(values))
    assert best <= loss(sorted(values)) + 1e-9
    assert best <= loss([shift] * len(values)) + 1e-9


def test_the_position_of_a_rate_is_interpolated() -> None:
    positions, rates = [-1.0, 0.0, 1.0], [0.1, 0.3, 0.9]
    targets = [0.05, 0.1, 0.2, 0.6, 0.95]
    reached = [position_of_rate(positions, rates, target) for target in targets]
    assert reached == pytest.approx([-1, -1, -0.5, 0.5, 1])
    # Where the measured rates fall, they are pooled before.
    assert position_of_rate([0, 1, 2], [0.4, 0.2, 0.6], 0.3) == 0


@given(RATES.filter(lambda r: len(r) > 1), st.tuples(*[st.floats(0, 1)] * 3))
def test_fitted_positions_rise(rates: list[float], targets: tuple[float, ...]) -> None:
    positions = list(np.linspace(-1, 1, len(rates)))
    fitted = fit_positions(positions, rates, targets)
    assert all(b - a >= 0.0199 for a, b in pairwise(fitted))
    assert fitted[0] >= -1


class Formula:
    """Stands for a recogniser: the errors of 1,000 words are a known function of the cell."""

    seed = 1

    def __init__(self) -> None:
        self.cells: list[Cell] = []

    def __call__(self, cell: Cell, send: Callable[[None], None]) -> tuple[Cell, CellErrors]:
        self.cells.append(cell)
        size = cell.scenario.count("+") + 1
        if cell.scenario == "clean":
            rate = 0.02
        elif size == 1:
            rate = 0.1 + 0.4 * cell.position
        else:
            rate = 0.1 * size + 0.1 * size * cell.position  # at -1: 0
        count = 25 * cell.copies
        return cell, CellErrors((round(40 * rate),) * count, (40,) * count)


@pytest.fixture
def fitted(tmp_path: Path) -> tuple[Formula, dict[str, Any], Calibration]:
    formula = Formula()
    counted: list[Cell] = []
    worker: Any = formula
    calibration = Calibration(worker, CellLog(tmp_path / "cells.jsonl"), 1, counted.append)
    table = calibration.fit()
    assert len(counted) == len(formula.cells)
    return formula, table, calibration


def test_the_fit_reaches_the_mean_of_the_conditions(
    fitted: tuple[Formula, dict[str, Any], Calibration],
) -> None:
    formula, table, _ = fitted
    assert len(table["scenarios"]) == 47
    for scenario in SCENARIOS:
        if len(scenario.conditions) < 2:
            continue
        for m in SEVERITIES:
            position = position_in(table, scenario, m)
            _, counts = formula(Cell(scenario.name, position), lambda message: None)
            target = 0.1 + 0.4 * m
            reachable = min(target, 0.1 * len(scenario.conditions) * (1 + SCAN[-1]))
            assert counts.rate == pytest.approx(reachable, abs=0.035), (scenario.name, m)


def test_hard_compounds_are_not_measured_further_than_needed(
    fitted: tuple[Formula, dict[str, Any], Calibration],
) -> None:
    formula, _, _ = fitted
    # Five conditions reach 0.42 x 1.15, which is enough, between 0.0 and -0.2.
    hard = [c.position for c in formula.cells if c.scenario.count("+") == 4]
    assert max(hard) == 0.0


def test_a_killed_fit_resumes_without_measuring_again(
    fitted: tuple[Formula, dict[str, Any], Calibration], tmp_path: Path
) -> None:
    first, table, _ = fitted
    log = tmp_path / "cells.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:100]) + lines[100][:20])
    again = Formula()
    worker: Any = again
    repeated = Calibration(worker, CellLog(log), 1, lambda cell: None).fit()
    assert repeated == table
    assert len(again.cells) == len(first.cells) - 100


def test_the_check_and_its_summary(
    fitted: tuple[Formula, dict[str, Any], Calibration], tmp_path: Path
) -> None:
    _, table, calibration = fitted
    rows = calibration.check(table)
    assert len(rows) == 1 + 54 * 3
    assert all(row["interval"][0] <= row["rate"] <= row["interval"][1] for row in rows)
    summary = summarise(rows)
    assert summary["singles"] == pytest.approx(0.1 + 0.4 * 0.5, abs=0.02)
    assert summary["ratio"] == pytest.approx(1, abs=0.1)
    assert summary["not_rising"] == []
    literal = calibration.check(table, Compounds.LITERAL)
    assert summarise(literal)["ratio"] > 1.5
    rows[1]["rate"], rows[2]["rate"] = 0.7, 0.1
    changed = summarise(rows)
    assert changed["not_rising"] == changed["above_60_percent_at_lowest"] == [rows[1]["scenario"]]
    assert json.loads(json.dumps(rows)) == rows
    assert find_scenario(rows[-1]["scenario"]).name == rows[-1]["scenario"]


def test_a_fit_of_one_compound_keeps_the_positions_of_all_others(tmp_path: Path) -> None:
    worker: Any = Formula()
    scenarios = with_conditions([find_scenario("distortion+noise")])
    log = CellLog(tmp_path / "cells.jsonl")
    table = Calibration(worker, log, 1, lambda cell: None, scenarios).fit()
    assert "distortion+noise" in table["scenarios"]
    for name in ("far_field+dropout+noise", "far_field+recording+distortion", "echo+codec"):
        for m in (0.0, 0.5, 1.0):
            scenario = find_scenario(name)
            if len(scenario.conditions) > 2:
                assert position_in(table, scenario, m) == position(scenario, m)
            assert -1 <= position_in(table, scenario, m) <= 1
    assert set(table["sizes"]) == set(fitted_positions()["sizes"])


@pytest.mark.parametrize("name", ["noise", "clean", "far_field+codec", "echo+distortion+noise"])
def test_only_compounds_of_the_54_are_fitted(name: str) -> None:
    with pytest.raises(UsageError, match=r"is not one of the 47 compounds"):
        with_conditions([find_scenario("distortion+noise"), find_scenario(name)])


def test_a_judge_without_errors_has_no_ratio(tmp_path: Path) -> None:
    class Perfect(Formula):
        def __call__(self, cell: Cell, send: Callable[[None], None]) -> tuple[Cell, CellErrors]:
            return cell, CellErrors((0,) * 25, (40,) * 25)

    worker: Any = Perfect()
    scenarios = with_conditions([find_scenario("distortion+noise")])
    log = CellLog(tmp_path / "cells.jsonl")
    calibration = Calibration(worker, log, 1, lambda cell: None, scenarios)
    summary = summarise(calibration.check(fitted_positions()))
    assert summary["ratio"] is None
    assert summary["pairs"] == {"distortion+noise": None}


@pytest.fixture
def worker(tmp_path: Path) -> CellWorker:
    """A worker whose system is our own tiny model, on a clip of a tone."""
    time_s = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tone = (0.3 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)
    write(tmp_path / "tone.wav", Waveform(tone, SAMPLE_RATE))
    clip = TestClip(id="tone", audio="tone.wav", text="one two", language="en")
    spec = SystemSpec("tiny@base", "megaasr", "tiny", "base")
    options = InferenceOptions(None, "en", offline=True)
    return CellWorker(spec, options, tmp_path, {"fit": (clip,)}, 1)


def test_a_worker_that_has_measured_is_pickled_without_its_system(worker: CellWorker) -> None:
    # With a single missing cell, the worker measures in the calling process; with several, it is
    # then sent to others.
    before = pickle.dumps(worker)
    first = worker(Cell("noise", 0.0), lambda message: None)
    assert pickle.dumps(worker) == before
    assert pickle.loads(before)(Cell("noise", 0.0), lambda message: None) == first


class Failing:
    """A system that fails, as one does that is out of memory."""

    def predict(self, waveforms: list[Waveform]) -> list[Prediction]:
        return [Prediction("", error="RuntimeError: out of memory") for _ in waveforms]


def test_a_failure_of_the_judge_is_no_difficulty(worker: CellWorker) -> None:
    vars(worker)["_system"] = Failing()
    with pytest.raises(ModelError, match=r"tiny@base could not .* noise at .*: RuntimeError: out"):
        worker(Cell("noise", 0.0), lambda message: None)
