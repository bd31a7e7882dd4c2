"""Gain control, gate, band limit, playback speed, wow and flutter, competing talker: physics."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from megaasr.audio.files import write
from megaasr.audio.measure import active_speech_level_dbfs
from megaasr.audio.waveform import SAMPLE_RATE, Samples, Waveform
from megaasr.errors import UsageError
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.primitives import (
    BandLimit,
    CompetingTalker,
    GainControl,
    NoiseGate,
    PlaybackSpeed,
    Resources,
    WowFlutter,
)
from megaasr.simulate.streams import stream
from megaasr.simulate.talkers import BUILTIN_TALKER, TalkerPool, builtin_talker

RESOURCES = Resources(NoisePool(), talkers=TalkerPool())


def tone(hertz: float, seconds: float, level_db: float = -20.0) -> Samples:
    """A sine with this RMS in dBFS."""
    time_s = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    amplitude = math.sqrt(2) * 10 ** (level_db / 20)
    return (amplitude * np.sin(2 * np.pi * hertz * time_s)).astype(np.float32)


def level_db(x: Samples) -> float:
    return float(10 * np.log10(np.square(x, dtype=np.float64).mean() + 1e-20))


# --- automatic gain control


def gain_control(**changes: Any) -> GainControl:
    values: dict[str, Any] = {
        "target_dbfs": -20,
        "max_gain_db": 30,
        "attack_ms": 10,
        "release_ms": 300,
    }
    return GainControl(condition="agc", **(values | changes))


@pytest.mark.parametrize("level", [-45.0, -30.0, -10.0])
def test_a_steady_sound_settles_at_the_target(level: float) -> None:
    x = tone(1000, 3.0, level)
    gain_control().apply(x, RESOURCES)
    assert level_db(x[-SAMPLE_RATE:]) == pytest.approx(-20, abs=0.2)


def test_the_gain_has_a_limit() -> None:
    x = tone(1000, 3.0, -70.0)
    gain_control().apply(x, RESOURCES)
    assert level_db(x[-SAMPLE_RATE:]) == pytest.approx(-40, abs=0.2)


def test_the_release_has_its_time_constant() -> None:
    loud, soft = tone(1000, 2.0, -20.0), tone(1000, 3.0, -40.0)
    x = np.concatenate([loud, soft])
    before = x.copy()
    gain_control(release_ms=400).apply(x, RESOURCES)
    start = 2 * SAMPLE_RATE
    gain = [
        level_db(x[start + t : start + t + 320]) - level_db(before[start + t : start + t + 320])
        for t in range(0, 2 * SAMPLE_RATE, 320)
    ]
    risen_s = next(number for number, db in enumerate(gain) if db >= 20 * (1 - math.exp(-1))) / 50
    assert risen_s == pytest.approx(0.4, abs=0.03)


def test_a_sudden_sound_is_too_loud_for_the_time_of_the_attack() -> None:
    x = np.concatenate([tone(1000, 3.0, -45.0), tone(1000, 1.0, -15.0)])
    measured = gain_control(attack_ms=50).apply(x, RESOURCES)
    start = 3 * SAMPLE_RATE
    onset, later = x[start : start + 160], x[start + 8000 :]
    assert level_db(onset) > level_db(later) + 10
    assert np.abs(x).max() <= 1.0
    assert float(measured["limited_samples"]) > 0


def test_noise_is_pumped_up_in_pauses() -> None:
    noise = np.random.default_rng(0).standard_normal(4 * SAMPLE_RATE).astype(np.float32)
    x = 10 ** (-50 / 20) * noise
    x[:SAMPLE_RATE] += tone(300, 1.0, -20.0)
    gain_control(release_ms=200).apply(x, RESOURCES)
    just_after, later = x[SAMPLE_RATE + 800 : SAMPLE_RATE + 1600], x[-SAMPLE_RATE:]
    assert level_db(later) > level_db(just_after) + 15


# --- noise gate


def gate(**changes: Any) -> NoiseGate:
    values: dict[str, Any] = {"threshold_db": -20, "attack_ms": 0, "hold_ms": 0, "release_ms": 0}
    return NoiseGate(condition="gate", **(values | changes))


def syllables() -> tuple[Samples, slice, slice]:
    """Loud and quiet syllables of 0.2 s, 14 dB apart, with pauses of -80 dBFS."""
    x = tone(500, 2.0, -80.0)
    loud, quiet = slice(8000, 11_200), slice(19_200, 22_400)
    x[loud], x[quiet] = tone(500, 0.2, -20.0), tone(500, 0.2, -34.0)
    return x, loud, quiet


def test_the_threshold_decides_which_syllables_remain() -> None:
    x, loud, quiet = syllables()
    for threshold, cut in ((-20.0, False), (-8.0, True)):
        y = x.copy()
        measured = gate(threshold_db=threshold).apply(y, RESOURCES)
        assert level_db(y[loud]) == pytest.approx(-20, abs=0.5)
        assert (level_db(y[quiet]) < -60) == cut
        assert level_db(y[:7000]) < -120  # the pause
        assert measured["closed_share"] == pytest.approx(0.9 if cut else 0.8, abs=0.02)


def test_the_threshold_is_relative_to_the_speech() -> None:
    x, _, quiet = syllables()
    soft = 0.01 * x
    gate(threshold_db=-20).apply(soft, RESOURCES)
    assert level_db(soft[quiet]) == pytest.approx(-74, abs=0.5)


def test_attack_hold_and_release_take_their_times() -> None:
    x, loud, _ = syllables()
    gate_ = gate(threshold_db=-8, attack_ms=40, hold_ms=100, release_ms=200)
    y = x.copy()
    gate_.apply(y, RESOURCES)
    gain = np.sqrt(
        np.square(y[: 320 * 90]).reshape(-1, 160).sum(axis=1)
        / np.square(x[: 320 * 90]).reshape(-1, 160).sum(axis=1)
    )  # every 10 ms
    start, end = loud.start // 160, loud.stop // 160
    assert gain[start - 1] == 0.0
    assert 0.2 < gain[start + 1] < 0.6  # 10 to 20 ms into the attack
    assert gain[start + 6 : end + 9] == pytest.approx(1.0)
    assert 0.3 < gain[end + 20] < 0.7  # half of the release is over
    assert gain[end + 32] == pytest.approx(0.0, abs=1e-6)


# --- band limit


@pytest.mark.parametrize(("low", "high"), [(300.0, 3400.0), (500.0, 1500.0), (0.0, 4000.0)])
def test_the_band_passes_and_nothing_else(low: float, high: float) -> None:
    limit = BandLimit(condition="bandlimit", low_hz=low, high_hz=high)
    for hertz in (60, 150, 240, 360, 560, 1000, 1400, 1600, 2500, 3300, 3500, 3900, 4100, 6000):
        x = tone(hertz, 1.0, -20.0)
        limit.apply(x, RESOURCES)
        gain = level_db(x[4000:-4000]) + 20
        if low + 50 <= hertz <= high - 50 or (low == 0 and hertz < high - 50):
            assert gain == pytest.approx(0, abs=0.1), hertz
        elif hertz <= low - 50 or hertz >= high + 50:
            assert gain < -60, hertz


def test_the_band_limit_does_not_shift_times() -> None:
    x = np.zeros(4000, np.float32)
    x[1500] = 1.0
    BandLimit(condition="bandlimit", low_hz=300, high_hz=3400).apply(x, RESOURCES)
    assert int(x.argmax()) == 1500
    np.testing.assert_allclose(x[1500 - 300 : 1500], x[1800:1500:-1], atol=1e-6)  # symmetric


def test_a_band_must_have_a_width() -> None:
    with pytest.raises(ValidationError, match="at least 200 Hz wide"):
        BandLimit(condition="bandlimit", low_hz=1000, high_hz=1100)


# --- playback speed, wow and flutter


@pytest.mark.parametrize("speed", [0.8, 1.25, 1.5])
def test_pitch_and_length_follow_the_speed(speed: float) -> None:
    x = tone(440, 2.0)
    y, _ = PlaybackSpeed(condition="speed", speed=speed).transform(x, RESOURCES)
    assert len(y) == pytest.approx(len(x) / speed, abs=2)
    assert pitch(y) == pytest.approx(440 * speed, rel=0.002)
    with pytest.raises(UsageError, match="changes the length"):
        PlaybackSpeed(condition="speed", speed=speed).apply(x, RESOURCES)


def pitch(x: Samples) -> float:
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x)), 2**18))
    return float(spectrum.argmax()) * SAMPLE_RATE / 2**18


def wow(**changes: float) -> WowFlutter:
    values: dict[str, Any] = {"wow_hz": 1.0, "wow_depth": 0.0, "wow_phase": 0.25}
    values |= {"flutter_hz": 10.0, "flutter_depth": 0.0, "flutter_phase": 0.0}
    return WowFlutter(condition="wow", **(values | changes))


def test_the_pitch_swings_by_the_depth() -> None:
    x = tone(1000, 4.0)
    wow(wow_depth=0.03, wow_phase=0.0).apply(x, RESOURCES)
    # d = A sin(2 pi t): the speed is 1 + depth at whole seconds, 1 - depth half a second later.
    fast, slow = x[16_000 - 800 : 16_000 + 800], x[24_000 - 800 : 24_000 + 800]
    assert pitch(fast) == pytest.approx(1030, abs=4)
    assert pitch(slow) == pytest.approx(970, abs=4)


def test_flutter_is_frequency_modulation() -> None:
    x = tone(2000, 4.0)
    wow(flutter_depth=0.005, flutter_hz=10.0).apply(x, RESOURCES)
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x))))
    carrier, sideband = (spectrum[round(4 * f)] for f in (2000, 2010))
    # Modulation index beta = 2000 Hz * 0.005 / 10 Hz = 1: J1(1) / J0(1) = 0.575.
    assert sideband / carrier == pytest.approx(0.575, rel=0.03)


def test_a_click_moves_by_a_few_milliseconds_at_most() -> None:
    x = np.zeros(48_000, np.float32)
    clicks = np.arange(2000, 47_000, 3000)
    x[clicks] = 1.0
    step = wow(wow_depth=0.02, wow_hz=0.5, flutter_depth=0.01)
    measured = step.apply(x, RESOURCES)
    assert x.shape == (48_000,)
    limit_ms = 1000 * (0.02 / (2 * np.pi * 0.5) + 0.01 / (2 * np.pi * 10))
    assert 0 < float(measured["max_shift_ms"]) <= limit_ms + 0.01
    for click in clicks.tolist():
        near = slice(click - 200, click + 200)
        shift = int(np.abs(x[near]).argmax()) - 200
        assert abs(shift) / 16 <= limit_ms + 0.1


def test_without_depth_nothing_changes() -> None:
    x = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    smooth = BandLimit(condition="b", low_hz=0, high_hz=6000)
    smooth.apply(x, RESOURCES)
    y = x.copy()
    wow().apply(y, RESOURCES)
    error = np.square(y - x)[200:-200].mean() / np.square(x).mean()
    assert 10 * np.log10(error) < -60


def test_interpolation_is_clean_up_to_6_khz() -> None:
    for hertz in (500.0, 3000.0, 6000.0):
        x = tone(hertz, 1.0)
        wow(wow_depth=1e-4, wow_hz=0.1, wow_phase=0.25).apply(x, RESOURCES)
        # A practically constant shift: still a sine of the same level.
        spectrum = np.square(np.abs(np.fft.rfft(x * np.blackman(len(x)))))
        peak = int(spectrum.argmax())
        assert peak == pytest.approx(hertz, abs=1)
        rest = spectrum.sum() - spectrum[peak - 5 : peak + 6].sum()
        assert 10 * np.log10(rest / spectrum.sum()) < -55


# --- competing talker


@pytest.mark.parametrize("sir_db", [20.0, 5.0, 0.0, -5.0])
def test_the_other_speech_has_its_ratio(sir_db: float) -> None:
    clip = np.asarray(builtin_talker(f"{BUILTIN_TALKER}1")[:80_000] / 2**16, np.float32)
    step = CompetingTalker(
        condition="competing_talker",
        source=f"{BUILTIN_TALKER}4",
        offset_samples=400_000,  # it repeats within the clip
        sir_db=sir_db,
    )
    mixed = clip.copy()
    step.apply(mixed, RESOURCES)
    other = mixed - clip
    ratio = active_speech_level_dbfs(clip, SAMPLE_RATE)
    ratio -= active_speech_level_dbfs(other, SAMPLE_RATE)
    assert ratio == pytest.approx(sir_db, abs=0.1)


def test_silence_has_no_competition() -> None:
    x = np.zeros(16_000, np.float32)
    step = CompetingTalker(condition="c", source=f"{BUILTIN_TALKER}1", offset_samples=0, sir_db=0)
    assert "skipped" in step.apply(x, RESOURCES)
    assert not x.any()
    with pytest.raises(UsageError, match="there are no talkers"):
        step.apply(x, Resources(NoisePool()))


def test_built_in_talkers_have_voices_of_their_own() -> None:
    voices = [builtin_talker(f"{BUILTIN_TALKER}{number}") for number in range(1, 6)]
    pitches = [voice_pitch(voice) for voice in voices]
    assert pitches == sorted(pitches)
    assert pitches[0] < 120
    assert pitches[-1] > 200
    for voice in voices:
        assert not voice.flags.writeable
        # Syllables: most of the modulation of the envelope is at 2 to 8 Hz, as in speech.
        envelope = np.square(voice.astype(float)).reshape(-1, 320).mean(axis=1)
        modulation = np.square(np.abs(np.fft.rfft(envelope - envelope.mean())))
        hertz = np.fft.rfftfreq(envelope.size, 0.02)
        assert modulation[(hertz > 1.5) & (hertz < 9)].sum() > 0.5 * modulation.sum()
    with pytest.raises(UsageError, match="unknown built-in talker"):
        builtin_talker(f"{BUILTIN_TALKER}6")


def voice_pitch(voice: NDArray[np.int16]) -> float:
    """Return the median pitch of the loudest tenth of a second of each second."""
    pitches = []
    for second in voice[: 20 * SAMPLE_RATE].astype(float).reshape(20, SAMPLE_RATE):
        frames = second.reshape(10, -1)
        frame = frames[np.square(frames).mean(axis=1).argmax()]
        correlation = np.correlate(frame, frame, "full")[len(frame) - 1 :]
        pitches.append(SAMPLE_RATE / (53 + int(correlation[53:230].argmax())))
    return float(np.median(pitches))


def test_a_clip_is_never_its_own_competition(tmp_path: Path) -> None:
    folder = tmp_path / "speech"
    for number in range(3):
        levels = builtin_talker(f"{BUILTIN_TALKER}{number + 1}")[:16_000]
        voice = np.asarray(levels / 2**15, np.float32)
        (folder / f"person{number}").mkdir(parents=True)
        write(folder / f"person{number}" / f"u{number}.wav", Waveform(voice, SAMPLE_RATE))
    pool = TalkerPool.from_folders([folder], tmp_path / "cache")
    names = {pool.choose(stream(f"{number:032x}"), "u1") for number in range(60)}
    assert names == {"speech/person0/u0.wav", "speech/person2/u2.wav"}
    assert pool.samples("speech/person0/u0.wav").size > 15_000
    alone = TalkerPool.from_folders([folder / "person1"], tmp_path / "cache1")
    with pytest.raises(UsageError, match="must be another recording"):
        alone.choose(stream("1"), "u1")
