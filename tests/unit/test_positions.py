from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megaasr.simulate.conditions import CONDITIONS
from megaasr.simulate.draw import Draw
from megaasr.simulate.positions import Compounds, fitted_positions, interpolate, position
from megaasr.simulate.scenarios import SCENARIOS, Scenario, find_scenario
from megaasr.simulate.severity import DiscreteSweep, Sweep
from megaasr.simulate.simulator import Simulator

UNIT = st.floats(0, 1)
SCENARIO = st.sampled_from(SCENARIOS)


@given(SCENARIO, UNIT, UNIT)
def test_positions_rise_with_severity_and_stay_in_the_ranges(
    scenario: Scenario, x: float, y: float
) -> None:
    low, high = sorted([x, y])
    assert -1 <= position(scenario, low) <= position(scenario, high) <= 1


@given(SCENARIO, st.floats(0.2, 1))
def test_compounds_are_milder_than_their_conditions(scenario: Scenario, m: float) -> None:
    assert position(scenario, m, Compounds.LITERAL) == m
    if len(scenario.conditions) == 1:
        assert position(scenario, m) == m
    else:
        assert position(scenario, m) <= m


def test_a_compound_outside_the_54_takes_the_mean_of_its_size() -> None:
    unlisted = find_scenario("far_field+distortion+noise")
    assert unlisted not in SCENARIOS
    at_half = fitted_positions()["severities"].index(0.5)
    expected = fitted_positions()["sizes"]["3"][at_half]
    assert position(unlisted, 0.5) == pytest.approx(expected, abs=1e-9)


def test_interpolation_meets_its_knots_and_continues_the_last_slopes() -> None:
    knots = ([0.2, 0.5, 0.8], [-0.8, -0.5, 0.1])
    values = [interpolate(m, *knots) for m in (0.0, 0.2, 0.35, 0.5, 0.8, 1.0)]
    assert values == pytest.approx([-1.0, -0.8, -0.65, -0.5, 0.1, 0.5])


@given(st.floats(-100, 100), st.floats(-100, 100), st.floats(-100, 100))
def test_a_sweep_reaches_its_mild_value_at_minus_one(mild: float, easy: float, hard: float) -> None:
    sweep = Sweep(easy, hard, mild=mild)
    assert (sweep.value_at(-1), sweep.value_at(0), sweep.value_at(1)) == (mild, easy, hard)
    assert Sweep(easy, hard).value_at(-0.5) == pytest.approx(easy)


def test_a_choice_has_mild_options() -> None:
    sweep = DiscreteSweep((2, 3), mild=(0, 1))
    assert [sweep.value_at(p) for p in (-1, -0.51, -0.49, -0.01, 0, 1)] == [0, 0, 1, 1, 2, 3]
    assert DiscreteSweep((2, 3)).value_at(-1) == 2


def test_mild_values_continue_the_range_on_the_easy_side() -> None:
    sweeps = [
        value
        for condition in CONDITIONS
        for step in condition.chain
        for value in step.parameters.values()
        if isinstance(value, Sweep) and value.mild is not None
    ]
    assert len(sweeps) > 10
    for sweep in sweeps:
        assert sweep.mild is not None
        assert (sweep.mild < sweep.easy) == (sweep.easy < sweep.hard)


@pytest.mark.parametrize("scenario", [s.name for s in SCENARIOS])
@pytest.mark.parametrize("fixed", [-1.0, -0.4, 0.0, 1.0])
def test_every_position_gives_valid_parameters(scenario: str, fixed: float) -> None:
    draw = replace(Simulator(), position=fixed).draw(seed=1, scenario=scenario, severity=0.5)
    assert (draw.position, draw.severity) == (fixed, 0.5)
    assert Draw.from_json(draw.to_json()) == draw


def test_literal_draws_of_version_1_replay_to_the_same_steps() -> None:
    literal = Simulator(compounds=Compounds.LITERAL)
    draw = literal.draw(seed=3, scenario="far_field+recording+dropout", severity=0.4)
    record = draw.model_dump(mode="json")
    for name in ("compounds", "position"):
        del record[name]
    old = Draw.model_validate({**record, "draw_schema": 1})
    assert old.steps == draw.steps
    assert (old.compounds, old.position) == (None, None)


def test_far_field_loses_level_against_the_noise_floor() -> None:
    def snr_db(m: float) -> float:
        steps = Simulator().draw(seed=1, scenario="far_field", severity=m).steps
        return next(step.snr_db for step in steps if step.primitive == "noise")

    assert snr_db(0.0) > snr_db(0.5) > snr_db(1.0)
