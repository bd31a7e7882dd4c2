"""Measured rooms: how a response is cut and scaled, and what it then does to a clip."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from megaasr.audio.waveform import Waveform
from megaasr.errors import RecordError, UsageError
from megaasr.simulate.primitives import Reverberation, RoomResponse
from megaasr.simulate.room_responses import MeasuredRooms, trim_response
from megaasr.simulate.simulator import Simulator
from megaasr.simulate.streams import stream, stream_key

RATE = 16_000


def room(
    decay_s: float,
    *,
    seconds: float = 2.0,
    delay_s: float = 0.05,
    floor_db: float | None = None,
    rate: int = RATE,
    seed: int = 1,
) -> Any:
    """A direct sound after a delay, a tail that falls by 60 dB in `decay_s`, and noise."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate)) / rate
    tail = 0.1 * rng.standard_normal(time_s.size) * 10 ** (-3 * (time_s - delay_s) / decay_s)
    response = np.where(time_s > delay_s + 0.003, tail, 0.0)
    response[round(delay_s * rate)] = 1.0
    if floor_db is not None:
        response += 10 ** (floor_db / 20) * rng.standard_normal(time_s.size)
    return response


def single(response: Any) -> Any:
    return response.astype(np.float32)


def decay_time_s(response: Any) -> float:
    """RT60 from Schroeder's backward integral, fitted from -5 to -25 dB."""
    left = np.cumsum(np.square(response[::-1].astype(float)))[::-1]
    levels = 10 * np.log10(left / left[0] + 1e-30)
    fit = (levels < -5) & (levels > -25)
    slope = np.polyfit(np.arange(levels.size)[fit] / RATE, levels[fit], 1)[0]
    return float(-60 / slope)


def rng(number: int = 0) -> np.random.Generator:
    return stream(stream_key(1, str(number), 0, "test"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data" / "rooms"
    (root / "hall").mkdir(parents=True)
    soundfile.write(root / "hall" / "1.wav", 0.5 * room(1.2), RATE, subtype="FLOAT")
    soundfile.write(
        root / "hall" / "2.flac", 0.3 * room(0.8, rate=48_000, floor_db=-75), 48_000, "PCM_24"
    )
    soundfile.write(root / "office.wav", 5.0 * room(0.3, seconds=0.6), RATE, subtype="FLOAT")
    soundfile.write(root / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(root / "song.wav", 0.1 * np.ones(31 * RATE), RATE)
    (root / "broken.wav").write_bytes(b"no sound at all")
    return root


@pytest.fixture
def rooms(folder: Path, tmp_path: Path) -> MeasuredRooms:
    return MeasuredRooms.from_folders([folder], tmp_path / "store")


def test_responses_have_relative_names_and_failures_cost_a_line(
    rooms: MeasuredRooms, tmp_path: Path
) -> None:
    assert rooms.names == ["rooms/hall/1.wav", "rooms/hall/2.flac", "rooms/office.wav"]
    reasons = {failure.name: failure.reason for failure in rooms.failures}
    assert list(reasons) == ["rooms/broken.wav", "rooms/silent.wav", "rooms/song.wav"]
    assert "silent" in reasons["rooms/silent.wav"]
    assert "longer than 30 s" in reasons["rooms/song.wav"]
    assert str(tmp_path) not in (tmp_path / "store" / "index.json").read_text()


def test_responses_are_ready_for_convolution(rooms: MeasuredRooms) -> None:
    for name in rooms.names:
        response = rooms.response(name)
        assert response.dtype == np.float32
        assert not response.flags.writeable
        assert float(np.sum(response.astype(float) ** 2)) == pytest.approx(1.0, abs=1e-5)
        # The direct sound within the first millisecond, though 50 ms in the file.
        assert int(np.argmax(np.abs(response))) < 16
    decays = [decay_time_s(rooms.response(name)) for name in rooms.names]
    assert decays == pytest.approx([1.2, 0.8, 0.3], rel=0.15)


@pytest.mark.parametrize("decay_s", [0.3, 0.8, 1.5])
@pytest.mark.parametrize("delay_s", [0.0, 0.012, 0.4])
def test_the_cut_begins_at_the_direct_sound_and_keeps_the_decay(
    decay_s: float, delay_s: float
) -> None:
    complete = single(room(decay_s, seconds=4.0, delay_s=delay_s))
    response = trim_response(complete)
    assert int(np.argmax(np.abs(response))) <= 8
    assert decay_time_s(response) == pytest.approx(decay_s, rel=0.12)
    # The tail begins 20 dB below the direct sound, whose frame of 10 ms has a mean 22 dB below
    # its peak; so -60 dB of the loudest frame comes a little before the decay's -60 dB.
    assert 0.75 * decay_s < response.size / RATE < 1.1 * decay_s + 0.05
    kept = np.sum(response.astype(float) ** 2) / np.sum(complete.astype(float) ** 2)
    assert kept > 0.9999


def test_the_noise_of_the_measurement_is_cut_off() -> None:
    clean = trim_response(single(room(0.5, seconds=3.0)))
    for floor_db in (-70.0, -60.0, -50.0):
        noisy = trim_response(single(room(0.5, seconds=3.0, floor_db=floor_db)))
        assert noisy.size <= clean.size + 160
        # It ends where the tail (from -20 dB on, 120 dB per second) meets the noise.
        meets_s = (-20.0 - floor_db) / 120.0
        assert noisy.size / RATE == pytest.approx(meets_s, abs=0.08)
        assert abs(noisy[-1]) < 1e-6  # faded out


@pytest.mark.parametrize("decay_s", [0.7, 2.0, 5.0])
def test_a_response_cut_off_early_is_kept_whole(decay_s: float) -> None:
    complete = single(room(decay_s, seconds=0.5, delay_s=0.0))
    assert np.array_equal(trim_response(complete), complete)


def test_no_response_is_longer_than_four_seconds() -> None:
    response = trim_response(single(room(9.0, seconds=8.0)))
    assert response.size == 4 * RATE
    assert response[-1] == 0.0


@pytest.mark.parametrize("samples", [1, 2, 7, 159, 160, 3199, 3200])
def test_short_responses(samples: int) -> None:
    response = trim_response(np.ones(samples, np.float32))
    assert 1 <= response.size <= samples
    assert np.isfinite(response).all()
    assert response.any()


def test_every_response_is_drawn_alike_and_from_its_stream(rooms: MeasuredRooms) -> None:
    counts = Counter(rooms.choose(rng(number)) for number in range(900))
    assert set(counts) == set(rooms.names)
    assert min(counts.values()) > 240  # of 300 each; four standard deviations are 57
    assert rooms.choose(rng(5)) == pickle.loads(pickle.dumps(rooms)).choose(rng(5))


def test_a_measured_room_takes_the_place_of_the_synthetic_tail(rooms: MeasuredRooms) -> None:
    simulator = Simulator(rooms=rooms)
    without = Simulator().draw(seed=1, scenario="far_field+noise", severity=0.5)
    draw = simulator.draw(seed=1, scenario="far_field+noise", severity=0.5)
    assert [step.primitive for step in draw.steps] == [
        "room_response" if step.primitive == "reverb" else step.primitive for step in without.steps
    ]
    # Nothing else of the draw changes.
    assert draw.steps[1:] == without.steps[1:]
    assert isinstance(without.steps[0], Reverberation)
    first = draw.steps[0]
    assert isinstance(first, RoomResponse)
    assert (first.condition, first.response in rooms.names) == ("far_field", True)
    responses = {
        simulator.draw(seed=1, scenario="echo", utterance=str(number)).steps[0]
        for number in range(40)
    }
    assert len(responses) == 3


def test_a_click_comes_back_as_the_response_without_delay(rooms: MeasuredRooms) -> None:
    simulator = Simulator(rooms=pickle.loads(pickle.dumps(rooms)))
    click = np.zeros(RATE, np.float32)
    click[4000] = 0.5
    draw = simulator.draw(seed=1, scenario="far_field", severity=0.5)
    alone = draw.model_copy(update={"steps": draw.steps[:1]})
    result = simulator.apply(Waveform(click, RATE), alone).waveform.samples
    response = rooms.response(draw.steps[0].response)  # type: ignore[union-attr]
    expected = np.zeros(RATE)
    length = min(response.size, RATE - 4000)
    expected[4000 : 4000 + length] = 0.5 * response[:length]
    assert np.abs(result - expected).max() < 1e-6


def test_the_level_of_noise_like_speech_stays(rooms: MeasuredRooms) -> None:
    simulator = Simulator(rooms=rooms)
    clip = (0.1 * np.random.default_rng(3).standard_normal(4 * RATE)).astype(np.float32)
    for name in rooms.names:
        step = RoomResponse(condition="echo", response=name)
        draw = simulator.draw(seed=1, scenario="clean").model_copy(update={"steps": (step,)})
        result = simulator.apply(Waveform(clip, RATE), draw).waveform.samples
        assert result.size == clip.size
        change_db = 20 * np.log10(result[RATE:].std() / clip[RATE:].std())
        assert change_db == pytest.approx(0.0, abs=1.0)


def test_a_room_that_is_missing_is_named(rooms: MeasuredRooms, folder: Path) -> None:
    with pytest.raises(UsageError, match=r"rooms/cellar\.wav .*room responses"):
        rooms.response("rooms/cellar.wav")
    draw = Simulator(rooms=rooms).draw(seed=1, scenario="echo")
    with pytest.raises(UsageError, match="--room-responses"):
        Simulator().apply(Waveform(np.ones(100, np.float32), RATE), draw)
    with pytest.raises(UsageError, match="none of 1 recordings can be used as room responses"):
        MeasuredRooms.from_folders([folder / "silent.wav"], folder.parent / "other")


def test_damaged_responses_are_refused(rooms: MeasuredRooms, tmp_path: Path) -> None:
    samples = next((tmp_path / "store").glob("samples-*.float32"))
    samples.write_bytes(samples.read_bytes()[:-4])
    with pytest.raises(RecordError, match="build it again"):
        rooms.response(rooms.names[0])


def test_what_has_no_reverberation_is_left_out(tmp_path: Path) -> None:
    root = tmp_path / "rooms"
    root.mkdir()
    impulse = np.zeros(RATE)
    impulse[100] = 0.9
    not_numbers = room(0.5)
    not_numbers[7] = np.nan
    for name, response in (
        ("hall", room(0.5)),
        ("impulse", impulse),
        ("offset", np.full(RATE, 0.4)),
        ("nan", not_numbers),
    ):
        soundfile.write(root / f"{name}.wav", response, RATE, subtype="FLOAT")
    rooms = MeasuredRooms.from_folders([root], tmp_path / "cache")
    reasons = {failure.name: failure.reason for failure in rooms.failures}
    assert "rooms/hall.wav" in rooms.names
    assert "nothing follows the direct sound" in reasons["rooms/impulse.wav"]
    assert "constant offset" in reasons["rooms/offset.wav"]
    if "rooms/nan.wav" in rooms.names:  # where decoding replaces what is no number
        assert np.isfinite(rooms.response("rooms/nan.wav")).all()
    else:
        assert "rooms/nan.wav" in reasons
