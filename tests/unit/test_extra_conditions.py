"""Extra conditions: scenarios with them, their order and severity, and replay."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from megaasr.audio.files import write
from megaasr.audio.waveform import SAMPLE_RATE, Waveform
from megaasr.config import load_recipe
from megaasr.errors import UsageError
from megaasr.records import Utterance, read_manifest, write_manifest
from megaasr.simulate.codec_ladder import LADDER
from megaasr.simulate.codecs import available_codecs
from megaasr.simulate.conditions import CONDITIONS
from megaasr.simulate.corpus.build import build_corpus
from megaasr.simulate.corpus.plan import plan_corpus
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe
from megaasr.simulate.describe import describe, describe_chain, describe_condition, describe_steps
from megaasr.simulate.draw import Draw
from megaasr.simulate.extra_conditions import ALL_CONDITIONS, EXTRA_CONDITIONS
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.primitives import (
    AnyPrimitive,
    BandLimit,
    CompetingTalker,
    ExtraPrimitive,
    GainControl,
    Loudness,
    NoiseGate,
    PacketLoss,
    PlaybackSpeed,
    ShoeboxRoom,
    SpeechCodec,
    WowFlutter,
)
from megaasr.simulate.primitives.primitive import Resources
from megaasr.simulate.scenarios import EXTRA_SCENARIOS, SCENARIOS, find_scenario
from megaasr.simulate.severity import DiscreteSweep, Sweep
from megaasr.simulate.simulator import Simulator
from megaasr.simulate.talkers import TalkerPool, builtin_talker

NAMES = [condition.name for condition in EXTRA_CONDITIONS]
C: dict[str, Any] = {"condition": "c"}


@pytest.fixture(scope="module")
def clip() -> Waveform:
    levels = builtin_talker("builtin:talker-2")[: 3 * SAMPLE_RATE]
    return Waveform(np.asarray(levels / 2**16, np.float32), SAMPLE_RATE)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    """With a folder of music, and the codecs that this machine has."""
    folder = tmp_path_factory.mktemp("noises")
    time_s = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for category, hertz in (("music", 440.0), ("knocks", 90.0), ("siren", 700.0), ("hum", 50.0)):
        (folder / category).mkdir()
        tone = (0.3 * np.sin(2 * np.pi * hertz * time_s)).astype(np.float32)
        write(folder / category / "tone.wav", Waveform(tone, SAMPLE_RATE))
    pool = NoisePool.from_folders([folder], tmp_path_factory.mktemp("cache"))
    return Simulator(pool, codecs=available_codecs())


def test_the_names_and_the_order_of_the_seven_are_untouched() -> None:
    seven = [condition.name for condition in CONDITIONS]
    assert [c.name for c in ALL_CONDITIONS if c.name in seven] == seven
    assert sorted(c.name for c in ALL_CONDITIONS) == sorted([*seven, *NAMES])
    assert len(SCENARIOS) == 54
    assert not any(set(NAMES) & set(s.name.split("+")) for s in SCENARIOS)
    assert [scenario.name for scenario in EXTRA_SCENARIOS] == NAMES


@pytest.mark.parametrize(
    ("name", "canonical", "kinds"),
    [
        ("codec", "codec", "codec loudness"),
        ("codec+far_field", "far_field+codec", "reverb noise filter loudness codec"),
        (
            "noise+competing_talker",
            "competing_talker+noise",
            "competing_talker noise loudness",
        ),
        ("competing_talker", "competing_talker", "competing_talker loudness"),
        (
            "distortion+competing_talker",
            "competing_talker+distortion",
            "competing_talker distortion filter loudness_after_distortion",
        ),
        ("music+competing_talker", "competing_talker+music", "competing_talker noise loudness"),
        (
            "packet_loss+codec+room+music",
            "music+room+codec+packet_loss",
            "noise room loudness codec packet_loss",
        ),
        ("strong_echo+bandlimit", "echo+bandlimit", "reverb filter echo loudness band_limit"),
        (
            "speed+wow+gate+agc",
            "agc+gate+wow+speed",
            "noise gain_control loudness noise_gate wow_flutter playback_speed",
        ),
    ],
)
def test_scenarios_are_formed_by_the_same_rules(name: str, canonical: str, kinds: str) -> None:
    scenario = find_scenario(name)
    assert scenario.name == canonical
    assert [step.kind for _, step in scenario.chain] == kinds.split()


def test_a_room_excludes_the_other_anchors() -> None:
    with pytest.raises(UsageError, match="far_field and room exclude each other"):
        find_scenario("far_field+room")
    with pytest.raises(UsageError, match="did you mean packet_loss"):
        find_scenario("paket_loss")


def test_mild_values_continue_the_range_on_the_easy_side() -> None:
    sweeps = [
        (value, step.kind)
        for condition in EXTRA_CONDITIONS
        for step in condition.chain
        for value in step.parameters.values()
        if isinstance(value, Sweep) and value.mild is not None
    ]
    assert len(sweeps) > 10
    for sweep, kind in sweeps:
        assert sweep.mild is not None
        assert (sweep.mild < sweep.easy) == (sweep.easy < sweep.hard), kind
    core = [
        any(
            value.core
            for step in condition.chain
            for value in step.parameters.values()
            if isinstance(value, Sweep | DiscreteSweep)
        )
        for condition in EXTRA_CONDITIONS
    ]
    assert all(core)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("position", [-1.0, -0.4, 0.0, 0.5, 1.0])
def test_every_position_gives_valid_parameters(
    name: str, position: float, simulator: Simulator
) -> None:
    draw = replace(simulator, position=position).draw(seed=1, scenario=name, severity=0.5)
    assert Draw.from_json(json.dumps(json.loads(draw.to_json()))) == draw
    assert draw.steps


@pytest.mark.parametrize("name", [*NAMES, "far_field+codec", "competing_talker+noise+packet_loss"])
def test_a_replay_has_the_same_bytes(name: str, clip: Waveform, simulator: Simulator) -> None:
    for severity in (0.1, 0.9):
        draw = simulator.draw(seed=5, scenario=name, severity=severity, utterance="u")
        first = simulator.apply(clip, draw)
        again = simulator.apply(clip, Draw.from_json(draw.to_json()))
        assert first.waveform.samples.tobytes() == again.waveform.samples.tobytes()
        assert first.measurements == again.measurements
        assert len(first.measurements) == len(draw.steps)
        samples = first.waveform.samples
        assert samples.dtype == np.float32
        assert np.isfinite(samples).all()
        assert np.abs(samples).max() <= 1.0
        speed = [step.speed for step in draw.steps if isinstance(step, PlaybackSpeed)]
        length = len(clip.samples) / (speed[0] if speed else 1)
        assert len(samples) == pytest.approx(length, abs=2 if speed else 0)
        assert len(describe_steps(draw, first.measurements)) == len(draw.steps)
        other = simulator.draw(seed=6, scenario=name, severity=severity, utterance="u")
        if name not in {"gate", "bandlimit"}:  # nothing is random there
            assert other.steps != draw.steps or name == "codec"


def test_the_input_is_left_alone(clip: Waveform, simulator: Simulator) -> None:
    before = clip.samples.copy()
    for name in NAMES:
        simulator.apply(clip, simulator.draw(seed=1, scenario=name, severity=0.7))
    np.testing.assert_array_equal(clip.samples, before)


def test_harder_is_further_from_the_clip(clip: Waveform, simulator: Simulator) -> None:
    for name in ("competing_talker", "music", "room", "bandlimit", "packet_loss", "gate"):
        errors = []
        for severity in (0.0, 1.0):
            total = 0.0
            for seed in range(4):
                draw = simulator.draw(seed=seed, scenario=name, severity=severity)
                draw = draw.model_copy(
                    update={"steps": tuple(s for s in draw.steps if not isinstance(s, Loudness))}
                )
                y = simulator.apply(clip, draw).waveform.samples
                total += float(np.square(y - clip.samples).mean())
            errors.append(total)
        assert errors[1] > 1.5 * errors[0], name


def test_codecs_of_a_rung_are_drawn_alike_everywhere() -> None:
    plain = Simulator()
    names = set()
    for number in range(80):
        draw = plain.draw(seed=1, scenario="codec", severity=0.2, utterance=f"u{number}")
        names |= {step.codec for step in draw.steps if isinstance(step, SpeechCodec)}
    assert names == set(LADDER[1])
    assert draw == plain.draw(seed=1, scenario="codec", severity=0.2, utterance="u79")


def test_measured_rooms_do_not_replace_simulated_ones(simulator: Simulator) -> None:
    steps = simulator.draw(seed=1, scenario="room", severity=0.3).steps
    assert isinstance(steps[0], ShoeboxRoom)


PHRASES: list[tuple[AnyPrimitive, str]] = [
    (
        SpeechCodec(**C, codec="g711-a-law"),
        "coded and decoded: G.711 A-law, 8 kHz sample rate",
    ),
    (
        SpeechCodec(**C, codec="opus-16"),
        "coded and decoded: Opus at 16 kbit/s, 16 kHz sample rate",
    ),
    (
        SpeechCodec(**C, codec="codec2-700c"),
        "coded and decoded: codec2 at 700C bit/s, 8 kHz sample rate",
    ),
    (SpeechCodec(**C, codec="gsm-fr"), "coded and decoded: GSM full rate, 8 kHz sample rate"),
    (
        PacketLoss(
            **C, packet_ms=20, loss_share=0.1, mean_bad=2, concealment="repetition", key="0"
        ),
        "lost packets: about 10.0 % of those of 20 ms, in bursts; the last pitch periods are "
        "repeated and fade out",
    ),
    (
        CompetingTalker(**C, source="builtin:talker-3", offset_samples=16_000, sir_db=5),
        "another talker (built-in talker-3, from 1.0 s on), the speech 5.0 dB above theirs",
    ),
    (
        ShoeboxRoom(
            **C,
            rt60_s=0.5,
            drr_db=-2.0,
            room_m=(6.0, 4.0, 2.5),
            source_m=(1.0, 1.0, 1.5),
            microphone_m=(3.0, 1.0, 1.5),
        ),
        "room of 6.0 by 4.0 by 2.5 m, RT60 0.50 s, 2.0 m from the microphone, direct sound "
        "-2.0 dB to the reverberation",
    ),
    (
        GainControl(**C, target_dbfs=-20, max_gain_db=30, attack_ms=10, release_ms=300),
        "automatic gain: up to 30.0 dB towards -20 dBFS, falling within 10 ms and rising within "
        "300 ms",
    ),
    (
        NoiseGate(**C, threshold_db=-25, attack_ms=5, hold_ms=50, release_ms=50),
        "noise gate: silent where the level is more than 25 dB below the speech for 50 ms",
    ),
    (BandLimit(**C, low_hz=300, high_hz=3400), "band limited: 300 Hz to 3.4 kHz"),
    (PlaybackSpeed(**C, speed=1.25), "1.25 times as fast and as high"),
    (
        WowFlutter(
            **C,
            wow_hz=0.7,
            wow_depth=0.01,
            wow_phase=0,
            flutter_hz=12,
            flutter_depth=0.002,
            flutter_phase=0,
        ),
        "wow of 1.00 % at 0.7 Hz and flutter of 0.20 % at 12 Hz",
    ),
]


@pytest.mark.parametrize(("primitive", "phrase"), PHRASES)
def test_phrases(primitive: AnyPrimitive, phrase: str) -> None:
    assert describe(primitive) == phrase


def test_no_extra_primitive_is_left_out() -> None:
    assert {type(primitive) for primitive, _ in PHRASES} == set(get_args(ExtraPrimitive))


def test_every_extra_condition_has_a_sentence_and_words_for_its_chain() -> None:
    for scenario in EXTRA_SCENARIOS:
        assert describe_condition(scenario.name).endswith(".")
        assert describe_chain([step.kind for _, step in scenario.chain])


@pytest.mark.parametrize(
    ("condition", "category"), [("music", "music"), ("impulses", "knocks"), ("siren", "siren")]
)
def test_conditions_of_one_noise_draw_from_its_category(
    simulator: Simulator, condition: str, category: str
) -> None:
    for seed in range(5):
        steps = simulator.draw(seed=seed, scenario=condition, severity=0.3).steps
        assert getattr(steps[0], "source", "").endswith(f"{category}/tone.wav")


def test_recorded_talkers_are_replayed_with_their_folder(tmp_path: Path, clip: Waveform) -> None:
    folder = tmp_path / "people"
    folder.mkdir()
    for name in ("u", "v"):
        write(folder / f"{name}.wav", clip)
    simulator = Simulator(talkers=TalkerPool.from_folders([folder], tmp_path / "cache"))
    for seed in range(10):
        draw = simulator.draw(seed=seed, scenario="competing_talker", utterance="u")
        assert getattr(draw.steps[0], "source", "") == "people/v.wav"
    with pytest.raises(UsageError, match="name the folder that holds it"):
        Simulator().apply(clip, draw)


def test_the_stress_set_is_balanced(tmp_path: Path) -> None:
    utterances = [
        Utterance(
            id=f"test-s{number:06d}",
            audio=f"{number}.flac",
            text="a",
            extra={"source": "generator", "held_out_voice": number >= 800},
        )
        for number in range(1400)
    ]
    write_manifest(tmp_path / "test.jsonl", utterances)
    recipe = load_recipe(SimulatedCorpusRecipe, "simulate-stress-test")
    plan = plan_corpus(recipe, tmp_path / "test.jsonl")
    clips = [plan.clip(number) for number in range(plan.num_clips)]
    assert len({clip.id for clip in clips}) == len(clips)
    families = dict.fromkeys(NAMES, 0) | {"clean": 0}
    by_level: Counter[tuple[str, float | None]] = Counter()
    for clip in clips:
        families[clip.scenario] += bool(clip.utterance.extra["held_out_voice"])
        by_level[clip.scenario, clip.severity] += 1
    assert set(by_level.values()) == {200}
    assert len(by_level) == 3 * len(NAMES) + 1
    assert all(families[name] == 300 for name in NAMES)
    assert families["clean"] == 100


def test_a_data_set_with_extra_conditions(tmp_path: Path) -> None:
    clips = resources.files("megaasr.cli") / "demo_clips"
    people = tmp_path / "people"
    people.mkdir()
    for number in (1, 2):
        shutil.copyfile(str(clips / f"{number}-clean.flac"), tmp_path / f"c{number}.flac")
        shutil.copyfile(str(clips / f"{number}-clean.flac"), people / f"c{number}.flac")
    write_manifest(
        tmp_path / "clean.jsonl",
        [Utterance(id=f"c{n}", audio=f"c{n}.flac", text="a") for n in (1, 2)],
    )
    settings = ["seed=1", "num_clips=12", "severity=0.5", "mix.kind='listed'"]
    settings += ["mix.scenarios=['competing_talker','packet_loss','speed','far_field+agc']"]
    settings += [f"talkers=['{people}']"]
    recipe = load_recipe(SimulatedCorpusRecipe, "simulate-default", settings)
    report = build_corpus(tmp_path / "clean.jsonl", tmp_path / "out", recipe, workers=1)
    assert (report.clips, report.sources_broken) == (12, 0)
    for row in read_manifest(tmp_path / "out" / "simulated.jsonl"):
        draw = Draw.from_json(str(row.extra["draw"]))
        for step in draw.steps:
            if isinstance(step, CompetingTalker):
                assert step.source == f"people/c{2 if row.id.startswith('c1') else 1}.flac"


def test_sources_leave_room_for_the_slowest_playback() -> None:
    mix = {"kind": "listed", "scenarios": ["far_field+speed", "noise"]}
    recipe = SimulatedCorpusRecipe.model_validate({"seed": 1, "max_duration_s": 1.4, "mix": mix})
    limit_s = recipe.max_source_s
    assert limit_s is not None
    assert limit_s == pytest.approx(1.0)
    clip = Waveform(np.full(round(limit_s * SAMPLE_RATE), 0.1, np.float32), SAMPLE_RATE)
    simulator, lengths_s = Simulator(), set()
    for seed in range(8):
        draw = simulator.draw(seed=seed, scenario="speed", severity=1.0)
        lengths_s.add(round(simulator.apply(clip, draw).waveform.duration_s, 2))
    assert lengths_s == {0.71, 1.4}
    slower = recipe.model_copy(update={"speed_range": (0.8, 1.0)})
    assert slower.max_source_s == pytest.approx(0.8)
    usual = SimulatedCorpusRecipe(seed=1, max_duration_s=1.4)
    assert usual.max_source_s == 1.4


@pytest.mark.parametrize("codec", ["codec2-700c", "opus-24", "g711-mu-law"])
def test_silence_stays_silent_behind_every_codec(codec: str) -> None:
    step = SpeechCodec(codec=codec, **C)
    for samples in (1, SAMPLE_RATE):
        silence = np.zeros(samples, np.float32)
        measured = step.apply(silence, Resources(NoisePool()))
        assert not silence.any()
        assert str(measured["skipped"]).startswith("silence")


@pytest.mark.parametrize("name", ["clean", "codec", "far_field+codec", "far_field+noise"])
def test_a_scenario_is_found_as_the_same_object(name: str) -> None:
    # A gallery lists it once, and its chain is merged once.
    other_order = "+".join(reversed(name.split("+")))
    assert find_scenario(name) is find_scenario(other_order)
    assert find_scenario("codec") in EXTRA_SCENARIOS


def test_music_is_no_fixed_noise() -> None:
    fixed = Simulator(NoisePool(builtin="fixed"))
    with pytest.raises(UsageError, match=r"music is a family, and .* eight fixed noises; allow"):
        fixed.draw(seed=1, scenario="music", severity=0.5)


@pytest.mark.parametrize("position", [-1.01, 2.0, float("nan")])
def test_a_position_outside_the_ranges_is_refused(position: float) -> None:
    with pytest.raises(UsageError, match=r"must be from -1 \(mild\) to 1 \(hard\)"):
        Simulator(position=position)


def test_an_unknown_codec_is_refused_before_it_is_drawn() -> None:
    with pytest.raises(UsageError, match=r"no codec is called gsm; there are g711-mu-law"):
        Simulator(codecs=("gsm",))
