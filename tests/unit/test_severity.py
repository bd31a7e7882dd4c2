from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megaasr.errors import UsageError
from megaasr.simulate.conditions import CONDITIONS
from megaasr.simulate.severity import DiscreteSweep, SeverityCurve, Sweep, check_severity

UNIT = st.floats(0, 1)


def test_the_four_curves() -> None:
    assert SeverityCurve.LINEAR(0.25) == 0.25
    assert SeverityCurve.SQRT_FORWARD(0.25) == 0.5
    assert SeverityCurve.SQRT_BACKWARD(0.25) == 0.0625
    assert SeverityCurve.GAUSSIAN_MID(0.5) == pytest.approx(0.5)
    # The quartiles of a normal distribution are 0.6745 deviations from its mean.
    sigma = 1 / (2 * 1.6448536)
    assert SeverityCurve.GAUSSIAN_MID(0.2 / 0.9) == pytest.approx(0.5 - 0.67449 * sigma, abs=1e-4)


@given(UNIT, UNIT, st.sampled_from(SeverityCurve))
def test_curves_rise_from_0_to_1(x: float, y: float, curve: SeverityCurve) -> None:
    assert 0 <= curve(x) <= 1
    if x < y:
        assert curve(x) <= curve(y)
    assert curve(0) == pytest.approx(0, abs=1e-6)
    assert curve(1) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("m", [-0.01, 1.01, math.nan, math.inf])
def test_what_is_no_severity(m: float) -> None:
    with pytest.raises(UsageError, match="from 0"):
        check_severity(m)


@given(st.floats(-100, 100), st.floats(-100, 100), UNIT)
def test_a_sweep_ends_exactly_and_stays_between(easy: float, hard: float, m: float) -> None:
    sweep = Sweep(easy, hard)
    assert (sweep.value_at(0), sweep.value_at(1)) == (easy, hard)
    assert min(easy, hard) - 1e-12 <= sweep.value_at(m) <= max(easy, hard) + 1e-12


def test_a_choice_takes_the_option_at_the_fraction() -> None:
    sweep = DiscreteSweep((2, 3, 4))
    assert [sweep.value_at(m) for m in (0, 0.33, 0.34, 0.66, 0.67, 1)] == [2, 2, 3, 3, 4, 4]


def test_every_core_parameter_is_swept() -> None:
    # The table of the paper marks these; each must change with severity.
    core = {
        (condition.name, name)
        for condition in CONDITIONS
        for step in condition.literal_chain or condition.chain
        for name, value in step.parameters.items()
        if isinstance(value, Sweep | DiscreteSweep) and value.core
    }
    assert core == {
        ("obstructed", "cutoff_hz"),
        ("obstructed", "target_lufs"),
        ("far_field", "room_size"),
        ("far_field", "cutoff_hz"),
        ("far_field", "target_lufs"),
        ("echo", "room_size"),
        ("echo", "delay_s"),
        ("echo", "target_lufs"),
        ("recording", "snr_db"),
        ("recording", "cutoff_hz"),
        ("distortion", "drive_db"),
        ("distortion", "target_lufs"),
        ("dropout", "stutter_prob"),
        ("noise", "snr_db"),
    }
