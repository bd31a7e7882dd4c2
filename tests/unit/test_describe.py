"""Plain words: every primitive and condition has its phrase, with its own numbers."""

from __future__ import annotations

from typing import get_args

import pytest

from megaasr.simulate.conditions import CONDITIONS
from megaasr.simulate.describe import (
    describe,
    describe_condition,
    describe_measurements,
    describe_steps,
)
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.primitives import (
    AdditiveNoise,
    AnyPrimitive,
    EchoDelay,
    ExtraPrimitive,
    FrameStutter,
    Loudness,
    LoudnessAfterDistortion,
    NonlinearDistortion,
    Resampling,
    Reverberation,
    RoomResponse,
    SpectralFilter,
)
from megaasr.simulate.primitives.primitive import Measurements, Primitive
from megaasr.simulate.scenarios import SCENARIOS
from megaasr.simulate.simulator import Simulator

C = {"condition": "echo"}
PHRASES: list[tuple[AnyPrimitive, str]] = [
    (
        AdditiveNoise(**C, source="builtin:white", offset_samples=24_000, snr_db=4.04),
        "noise (built-in white, from 1.5 s on), the speech 4.0 dB above it",
    ),
    (
        AdditiveNoise(**C, source="musan/rain.wav", offset_samples=0, snr_db=-3, wet=0.5),
        "noise (musan/rain.wav, from 0.0 s on), the speech 3.0 dB below it, the noise then "
        "scaled by 0.50",
    ),
    (
        EchoDelay(**C, delay_s=0.2, feedback=0.4, mix=0.25),
        "echo: a copy every 0.20 s, the first at 25 % and each following one at 40 % of the one "
        "before",
    ),
    (
        Reverberation(**C, room_size=0.52, damping=0.7, wet_level=0.45, dry_level=0.5),
        "reverberation: room size 0.52, damping 0.70, tail 0.45 and direct sound 0.50",
    ),
    (RoomResponse(**C, response="hall/a.wav"), "measured room response hall/a.wav"),
    (NonlinearDistortion(**C, drive_db=40), "overdrive: 40.0 dB of gain into a soft limit"),
    (
        Resampling(**C, target_rate_hz=8000),
        "down to a rate of 8 kHz and back, so nothing above 4 kHz is left",
    ),
    (
        Resampling(**C, target_rate_hz=11025, wet=0.75),
        "down to a rate of 11.03 kHz and back, so nothing above 5.51 kHz is left, mixed with "
        "25 % of the unprocessed signal",
    ),
    (
        SpectralFilter(**C, filter_type="lowpass", cutoff_hz=3912, repeat=3),
        "low-pass at 3.91 kHz, three times (18 dB per octave)",
    ),
    (
        SpectralFilter(**C, filter_type="highpass", cutoff_hz=460, repeat=1, wet=0.9),
        "high-pass at 460 Hz, once (6 dB per octave), mixed with 10 % of the unprocessed signal",
    ),
    (
        SpectralFilter(**C, filter_type="highpass", cutoff_hz=999.9, repeat=16),
        "high-pass at 1 kHz, 16 times (96 dB per octave)",
    ),
    (Loudness(**C, target_lufs=-23), "loudness set to -23.0 LUFS"),
    (
        LoudnessAfterDistortion(**C, target_lufs=-30.5),
        "loudness set to -30.5 LUFS, no peak above full scale",
    ),
    (
        FrameStutter(
            **C, frame_ms=20, stutter_prob=0.175, repeat_prob=0.7, max_repeats=3, key="0f"
        ),
        "lost packets: 17.5 % of the 20 ms frames start a loss of 1 to 3 frames; 70 % of the "
        "losses repeat the frame before, the others are silent",
    ),
    (
        FrameStutter(**C, frame_ms=10, stutter_prob=0, repeat_prob=1, max_repeats=1, key="0f"),
        "lost packets: 0.0 % of the 10 ms frames start a loss of 1 frame; 100 % of the losses "
        "repeat the frame before, the others are silent",
    ),
]


@pytest.mark.parametrize(("primitive", "phrase"), PHRASES)
def test_a_primitive_has_a_phrase_with_its_numbers(primitive: AnyPrimitive, phrase: str) -> None:
    assert describe(primitive) == phrase


def test_no_primitive_is_left_out() -> None:
    extra = set(get_args(ExtraPrimitive))  # see test_extra_conditions
    expected = set(Primitive.__subclasses__()) - extra
    assert {type(primitive) for primitive, _ in PHRASES} == expected


def test_every_condition_has_a_sentence_of_its_own() -> None:
    sentences = {describe_condition(condition.name) for condition in CONDITIONS}
    assert len(sentences) == 7
    assert all(sentence.endswith(".") for sentence in sentences)
    with pytest.raises(KeyError):
        describe_condition("barrier")


@pytest.mark.parametrize("severity", [0.0, 0.5, 1.0])
def test_every_scenario_can_be_told(severity: float) -> None:
    simulator = Simulator(NoisePool())
    for scenario in SCENARIOS:
        draw = simulator.draw(seed=1, scenario=scenario, severity=severity)
        phrases = describe_steps(draw, [{} for _ in draw.steps])
        assert len(phrases) == len(draw.steps)
        assert all(phrase.strip() == phrase and len(phrase) > 10 for phrase in phrases)


@pytest.mark.parametrize(
    ("measurements", "phrase"),
    [
        ({}, ""),
        ({"skipped": "silence"}, "skipped: silence"),
        ({"speech_dbfs": -26.04}, "speech measured at -26.0 dBFS"),
        ({"measured_lufs": -27.9, "gain_db": 4.9}, "-27.9 LUFS before, gain +4.9 dB"),
        (
            {"measured_lufs": -8.0, "limited": 1, "gain_db": -2.0},
            "-8.0 LUFS before, gain -2.0 dB, limited by full scale, short of the target",
        ),
        ({"runs": 12, "lost_frames": 31, "frames": 250}, "12 losses, 31 of 250 frames"),
        ({"runs": 1, "lost_frames": 1, "frames": 9}, "1 loss, 1 of 9 frames"),
        ({"decay_time_s": 0.5}, "decay time s 0.5"),
    ],
)
def test_what_was_measured_is_told(measurements: Measurements, phrase: str) -> None:
    before = dict(measurements)
    assert describe_measurements(measurements) == phrase
    assert measurements == before


def test_remarks_stand_in_brackets_behind_their_step() -> None:
    draw = Simulator(NoisePool()).draw(seed=0, scenario="dropout", severity=0)
    stutter, loudness = describe_steps(draw, [{"skipped": "too short"}, {}])
    assert stutter.endswith("are silent (skipped: too short)")
    assert loudness == "loudness set to -23.0 LUFS"


def test_another_speed_comes_first() -> None:
    draw = Simulator(NoisePool()).draw(seed=0, scenario="noise", severity=0)
    faster = draw.model_copy(update={"speed": 1.25})
    assert describe_steps(faster, [{}, {}]) == [
        "1.25 times as fast, at the same pitch",
        *describe_steps(draw, [{}, {}]),
    ]
