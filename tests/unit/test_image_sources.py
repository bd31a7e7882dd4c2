"""Simulated rooms: their reverberation time, their direct sound, and their reflections."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.simulate.extra_draws import StepDraw, draw_extra_step
from megaasr.simulate.image_sources import SPEED_OF_SOUND, reverberation_time_s, shoebox_response
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.primitives import Resources, ShoeboxRoom
from megaasr.simulate.streams import stream_key
from megaasr.simulate.talkers import TalkerPool

DIRECT = 40  # 2.5 ms


def room(rt60_s: float, drr_db: float, number: int) -> ShoeboxRoom:
    key = stream_key(1, f"u{number}", 0, "step 0")
    step = draw_extra_step(
        "room", StepDraw("room", {"rt60_s": rt60_s, "drr_db": drr_db}, key, "u", TalkerPool())
    )
    assert isinstance(step, ShoeboxRoom)
    return step


def drr(response: Samples) -> float:
    energy = np.square(response, dtype=np.float64)
    return float(10 * np.log10(energy[:DIRECT].sum() / energy[DIRECT:].sum()))


@pytest.mark.parametrize("rt60_s", [0.2, 0.4, 0.7, 1.0])
@pytest.mark.parametrize("drr_db", [12.0, 3.0, -6.0])
def test_a_drawn_room_has_the_time_and_the_ratio_that_were_asked_for(
    rt60_s: float, drr_db: float
) -> None:
    for number in range(3):
        response = room(rt60_s, drr_db, number).response()
        assert reverberation_time_s(response) == pytest.approx(rt60_s, rel=0.05)
        assert decay_by_noise(response) == pytest.approx(rt60_s, rel=0.15)
        assert drr(response) == pytest.approx(drr_db, abs=0.1)
        assert np.square(response, dtype=np.float64).sum() == pytest.approx(1.0, rel=1e-5)
        assert len(response) == round(rt60_s * SAMPLE_RATE)


def decay_by_noise(response: Samples) -> float:
    """Return the RT60 from the decay of interrupted noise, independently of Schroeder's method."""
    rng = np.random.default_rng(0)
    power = np.zeros(len(response))
    for _ in range(40):
        noise = rng.standard_normal(2 * len(response))
        size = 2 ** math.ceil(math.log2(4 * len(response)))
        decay = np.fft.irfft(np.fft.rfft(noise, size) * np.fft.rfft(response, size), size)
        power += np.square(decay[len(noise) : len(noise) + len(response)])
    levels = 10 * np.log10(power / power[:10].mean())
    time_s = np.arange(len(levels)) / SAMPLE_RATE
    reverberant = levels[DIRECT]
    used = (levels < reverberant - 5) & (levels > reverberant - 25)
    return float(-60 / np.polyfit(time_s[used], levels[used], 1)[0])


def test_the_direct_sound_is_the_first_sample_and_the_strongest() -> None:
    for number in range(5):
        response = room(0.5, 3.0, number).response()
        assert int(np.abs(response).argmax()) == 0
        assert response[0] > 0


def test_the_first_reflections_are_those_of_the_geometry() -> None:
    sides, source, microphone = (6.0, 5.0, 3.0), (2.0, 2.5, 1.5), (3.0, 2.5, 1.2)
    response = shoebox_response(sides, source, microphone, 0.4, 5.0)
    direct_m = math.dist(source, microphone)
    for image in ((2.0, 2.5, -1.5), (2.0, 2.5, 4.5), (-2.0, 2.5, 1.5), (2.0, -2.5, 1.5)):
        delay = (math.dist(image, microphone) - direct_m) / SPEED_OF_SOUND * SAMPLE_RATE
        assert response[round(delay)] < 0  # one reflection changes the sign
    earlier = min(math.dist(image, microphone) for image in ((2.0, 2.5, -1.5), (2.0, 2.5, 4.5)))
    first = round((earlier - direct_m) / SPEED_OF_SOUND * SAMPLE_RATE)
    assert not response[1:first].any()


def test_a_click_stays_at_its_sample_and_the_clip_at_its_length() -> None:
    x = np.zeros(8000, np.float32)
    x[3000] = 1.0
    room(0.5, 6.0, 0).apply(x, Resources(NoisePool()))
    assert x.shape == (8000,)
    assert int(np.abs(x).argmax()) == 3000
    assert np.abs(x[:3000]).max() < 1e-6


def test_noise_keeps_its_level_on_average() -> None:
    x = np.random.default_rng(0).standard_normal(10 * SAMPLE_RATE).astype(np.float32)
    y = x.copy()
    room(0.6, 0.0, 1).apply(y, Resources(NoisePool()))
    assert 10 * np.log10(np.square(y).mean() / np.square(x).mean()) == pytest.approx(0, abs=0.5)


def test_no_constant_pressure_builds_up() -> None:
    response = room(0.8, -3.0, 2).response()
    spectrum = np.square(np.abs(np.fft.rfft(response)))
    frequency = np.fft.rfftfreq(len(response), 1 / SAMPLE_RATE)
    assert spectrum[frequency < 20].mean() < 10 * spectrum[frequency > 200].mean()


def test_a_distance_suits_the_ratio() -> None:
    far = np.mean([room(0.5, -6.0, number).distance_m for number in range(20)])
    near = np.mean([room(0.5, 9.0, number).distance_m for number in range(20)])
    assert far > 3 * near


def test_positions_must_be_in_the_room() -> None:
    values: dict[str, Any] = {
        "condition": "room",
        "rt60_s": 0.5,
        "drr_db": 0.0,
        "room_m": (4.0, 3.0, 2.5),
    }
    with pytest.raises(ValidationError, match=r"source_m .* must be inside the room"):
        ShoeboxRoom(**values, source_m=(5.0, 1.0, 1.0), microphone_m=(1.0, 1.0, 1.0))
    with pytest.raises(ValidationError, match="5 cm apart"):
        ShoeboxRoom(**values, source_m=(1.0, 1.0, 1.0), microphone_m=(1.0, 1.0, 1.01))
    with pytest.raises(ValidationError, match="rt60_s"):
        ShoeboxRoom(
            **(values | {"rt60_s": 9.0}), source_m=(1.0, 1.0, 1.0), microphone_m=(2.0, 1.0, 1.0)
        )


def test_an_undecayed_response_has_no_reverberation_time() -> None:
    assert reverberation_time_s(np.ones(1000, np.float32)) != pytest.approx(0.5, rel=0.5)
    assert reverberation_time_s(np.zeros(1000, np.float32)) is None
