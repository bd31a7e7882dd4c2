from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from megaasr.audio.waveform import Waveform
from megaasr.errors import RecordError, UsageError
from megaasr.simulate.draw import Draw
from megaasr.simulate.positions import Compounds
from megaasr.simulate.primitives import FrameStutter
from megaasr.simulate.scenarios import SCENARIOS
from megaasr.simulate.severity import SeverityCurve
from megaasr.simulate.simulator import Simulator

RATE = 16_000


def bursts(seconds: float, seed: int = 0) -> Waveform:
    """Noise in syllables with pauses: enough like speech for levels."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE)) / RATE
    envelope = np.clip(np.sin(2 * np.pi * 3 * time_s), 0, None) ** 2
    return Waveform((0.2 * envelope * rng.standard_normal(len(time_s))).astype(np.float32), RATE)


def digest(name: str) -> str:
    """Draw and apply in this process."""
    simulator = Simulator()
    draw = simulator.draw(seed=3, scenario=name, severity=0.7, utterance="u1")
    return hashlib.sha256(simulator.apply(bursts(2.0), draw).waveform.samples.tobytes()).hexdigest()


def test_a_draw_is_a_function_of_its_key() -> None:
    simulator = Simulator()
    keys = [(1, "a", 0), (2, "a", 0), (1, "b", 0), (1, "a", 1)]
    draws = [
        simulator.draw(seed=seed, scenario="recording+dropout", utterance=name, copy_index=copy)
        for seed, name, copy in keys
    ]
    assert len({draw.severity for draw in draws}) == len(keys)
    again = simulator.draw(seed=1, scenario="recording+dropout", utterance="a")
    assert again == draws[0]
    runs = [step.key for draw in draws for step in draw.steps if isinstance(step, FrameStutter)]
    assert len(set(runs)) == len(keys)


def test_a_draw_survives_json_and_gives_the_same_bytes() -> None:
    simulator = Simulator()
    clip = bursts(1.3)
    for scenario in SCENARIOS:
        draw = simulator.draw(seed=5, scenario=scenario, utterance="x")
        read = Draw.from_json(json.dumps(json.loads(draw.to_json())))
        assert read == draw
        first, second = simulator.apply(clip, draw), Simulator().apply(clip, read)
        assert first.waveform.samples.tobytes() == second.waveform.samples.tobytes()
        assert len(first.measurements) == len(draw.steps)


def test_the_same_bytes_in_other_processes_and_any_order() -> None:
    names = ["noise", "dropout", "echo+recording+distortion+dropout+noise", "obstructed"]
    here = [digest(name) for name in names]
    for workers in (1, 2, 4):
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            assert list(pool.map(digest, reversed(names))) == here[::-1]


def test_a_simulator_is_light_to_pickle() -> None:
    simulator = Simulator()
    simulator.apply(bursts(0.5), simulator.draw(seed=1, scenario="noise"))
    assert len(pickle.dumps(simulator)) < 1000


def test_one_severity_for_the_whole_clip() -> None:
    simulator = Simulator(compounds=Compounds.LITERAL)
    draw = simulator.draw(seed=1, scenario="echo+distortion+noise", severity=0.5)
    values = {step.primitive: step for step in draw.steps}
    assert values["reverb"].room_size == pytest.approx(0.875)  # type: ignore[union-attr]
    assert values["echo"].delay_s == pytest.approx(0.2)  # type: ignore[union-attr]
    assert values["distortion"].drive_db == pytest.approx(40)  # type: ignore[union-attr]
    assert values["noise"].snr_db == pytest.approx(2.5)  # type: ignore[union-attr]


def test_the_curve_shifts_drawn_severities() -> None:
    simulator = Simulator()

    def mean(curve: SeverityCurve) -> float:
        draws = [
            simulator.draw(seed=1, scenario="dropout", utterance=str(n), severity_curve=curve)
            for n in range(2000)
        ]
        return float(np.mean([draw.severity for draw in draws]))

    # Means of x, sqrt(x) and x^2 over the unit interval; 2000 draws are within 0.03.
    assert mean(SeverityCurve.LINEAR) == pytest.approx(1 / 2, abs=0.03)
    assert mean(SeverityCurve.SQRT_FORWARD) == pytest.approx(2 / 3, abs=0.03)
    assert mean(SeverityCurve.SQRT_BACKWARD) == pytest.approx(1 / 3, abs=0.03)


def test_the_gate_of_resampling_opens_above_its_value() -> None:
    simulator = Simulator()

    def resampled(severity: float) -> bool:
        draw = simulator.draw(seed=1, scenario="recording", severity=severity)
        return any(step.primitive == "resample" for step in draw.steps)

    assert [resampled(m) for m in (0.0, 0.4, 0.41, 1.0)] == [False, False, True, True]


def test_the_input_is_left_alone_and_other_rates_are_resampled_once() -> None:
    simulator = Simulator()
    clip = bursts(1.0)
    before = clip.samples.copy()
    result = simulator.apply(clip, simulator.draw(seed=1, scenario="distortion"))
    assert np.array_equal(clip.samples, before)
    assert not np.shares_memory(result.waveform.samples, clip.samples)
    fast = Waveform(np.repeat(clip.samples, 3), 3 * RATE)
    result = simulator.apply(fast, simulator.draw(seed=1, scenario="clean"))
    assert (result.waveform.sample_rate, len(result.waveform.samples)) == (RATE, RATE)


def test_clean_changes_nothing_but_what_is_beyond_full_scale() -> None:
    simulator = Simulator()
    clip = Waveform(np.array([0.5, -2.0, 1.5], np.float32), RATE)
    result = simulator.apply(clip, simulator.draw(seed=1, scenario="clean"))
    assert result.waveform.samples.tolist() == [0.5, -1.0, 1.0]
    assert result.clipped_samples == 2


@pytest.mark.parametrize("samples", [1, 10, 160, 6399, 6400])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_short_and_silent_clips_have_a_defined_result(samples: int, value: float) -> None:
    simulator = Simulator()
    clip = Waveform(np.full(samples, value, np.float32), RATE)
    for scenario in SCENARIOS:
        result = simulator.apply(clip, simulator.draw(seed=1, scenario=scenario, severity=1.0))
        out = result.waveform.samples
        assert len(out) == samples
        assert np.isfinite(out).all()
        assert np.abs(out).max() <= 1.0
        if value == 0.0:
            assert not out.any()  # silence has no level that noise could be set by


def test_wrong_records_name_the_field() -> None:
    with pytest.raises(RecordError, match="severity"):
        Draw.from_json(
            '{"scenario": "noise", "severity": 2, "seed": 1, "utterance": "", "copy_index": 0, '
            '"steps": []}'
        )
    with pytest.raises(RecordError, match="not a draw"):
        Draw.from_json("[]")


def test_wrong_scenarios() -> None:
    for name, hint in (
        ("nois", "did you mean noise"),
        ("echo+far_field", "exclude each other"),
        ("noise+noise", "twice"),
    ):
        with pytest.raises(UsageError, match=hint):
            Simulator().draw(seed=1, scenario=name)


def test_simulating_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from megaasr.simulate.simulator import Simulator\n"
        "Simulator().draw(seed=1, scenario='noise')\n"
        "print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_an_array_with_its_rate_is_degraded_like_a_waveform() -> None:
    samples = np.sin(np.arange(8_000) / 20).astype(np.float32) * 0.1
    draw = Simulator().draw(seed=1, scenario="noise", severity=0.5)
    expected = Simulator().apply(Waveform(samples, 8_000), draw).waveform.samples
    np.testing.assert_array_equal(
        Simulator().apply((samples, 8_000), draw).waveform.samples, expected
    )
    with pytest.raises(UsageError, match=r"pair \(array, rate\), not ndarray"):
        Simulator().apply(samples, draw)  # type: ignore[arg-type]


def test_an_unknown_scenario_is_named() -> None:
    with pytest.raises(UsageError, match=r"unknown scenario 'nois.echo': no condition is called"):
        Simulator().draw(seed=1, scenario="nois+echo")


@pytest.mark.parametrize("scenario", ["noise", "distortion", "echo+dropout+noise"])
def test_a_constant_offset_of_the_clean_clip_sets_no_level(scenario: str) -> None:
    simulator = Simulator()
    draw = simulator.draw(seed=1, scenario=scenario, severity=0.5)
    samples = bursts(2.0).samples
    samples -= samples.mean()
    clips = [Waveform(samples + np.float32(offset), RATE) for offset in (0, 0.3)]
    before, after = (simulator.apply(clip, draw) for clip in clips)
    assert before.removed_offset == 0
    assert after.removed_offset == pytest.approx(0.3, abs=1e-6)
    difference = after.waveform.samples - before.waveform.samples
    assert np.abs(difference).max() < 0.01 * np.abs(before.waveform.samples).max()


def test_a_small_offset_and_the_scenario_clean_keep_their_bytes() -> None:
    simulator = Simulator()
    samples = bursts(1.0).samples
    slight = Waveform(samples + np.float32(0.2) * np.sqrt(np.mean(samples**2)), RATE)
    draw = simulator.draw(seed=1, scenario="dropout", severity=0.5)
    assert simulator.apply(slight, draw).removed_offset == 0
    offset = Waveform(np.full(16_000, 0.5, np.float32), 16_000)
    clean = simulator.apply(offset, simulator.draw(seed=1, scenario="clean", severity=0.5))
    assert (clean.waveform.samples == 0.5).all()
    silent = simulator.apply(offset, draw)
    assert not silent.waveform.samples.any()
    assert "silence" in silent.measurements[-1]["skipped"]
