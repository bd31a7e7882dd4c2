"""Measures of a recording's quality, on sounds whose quality is known."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import butter, fftconvolve, sosfilt

from megaasr.audio.band_levels import bandwidth_hz
from megaasr.audio.channel_balance import clearest_mono, measure_balance
from megaasr.audio.diagnosis import SpeechOutlook, diagnose
from megaasr.audio.dropouts import find_dropouts
from megaasr.audio.files import from_array
from megaasr.audio.hum import find_hum, without_hum
from megaasr.audio.quality import (
    Quality,
    ceiling_share,
    clipped_share,
    measure_quality,
    scaled_mono,
)
from megaasr.cli.inspection import inspect_recording
from megaasr.errors import UsageError
from megaasr.simulate.simulator import Simulator

RATE, FRAME = 16_000, 512
RNG = np.random.default_rng(5)
_STATE = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def same_noise() -> None:
    """Every test draws the same noise, whichever tests ran before it in the process."""
    RNG.bit_generator.state = _STATE


DEMO = Path(__file__).parents[2] / "src/megaasr/cli/demo_clips"
# What a measure can see of each condition.
VISIBLE = {
    "noise": {"noise", "hum"},
    "far_field": {"reverberation", "muffled"},
    "obstructed": {"reverberation", "muffled", "narrow_band"},
    "echo": {"reverberation"},
    "recording": {"noise", "thin"},
    "distortion": {"clipping"},
    "dropout": {"dropouts"},
}


def bursts(seconds: float = 8.0, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Noise that is on for 1 s and off for 1 s, and whether it is on in each frame."""
    count = round(seconds * RATE) // FRAME * FRAME
    on = (np.arange(count) // RATE) % 2 == 0
    sound = np.where(on, 0.1 * RNG.standard_normal(count), 0.0)
    sound += noise * RNG.standard_normal(count)
    return sound.astype(np.float32), on.reshape(-1, FRAME).mean(axis=1) > 0.5


def measured(sound: np.ndarray, is_speech: np.ndarray) -> Quality:
    return measure_quality(sound, RATE, scaled_mono(sound, RATE), is_speech)


def names(quality: Quality) -> set[str]:
    return {problem.name for problem in diagnose(quality)}


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One text by three voices of flite and three of espeak-ng, as the programs write it."""
    folder = tmp_path_factory.mktemp("voices")
    text = "The quick brown fox packed six dozen big bottles. Stop that cat! What a cold night."
    paths = [folder / f"{name}.wav" for name in ("slt", "awb", "kal16", "en-us", "en-gb+f3", "m3")]
    for path in paths[:3]:
        subprocess.run(["flite", "-voice", path.stem, "-t", text, "-o", path], check=True)
    for path in paths[3:]:
        voice = "en-gb-x-rp+m3" if path.stem == "m3" else path.stem
        subprocess.run(["espeak-ng", "-v", voice, "-w", path, text], check=True)
    return paths


def inspected(path: Path) -> set[str]:
    return {problem.name for problem in inspect_recording(str(path)).problems}


def test_nothing_is_wrong_with_clean_voices(voices: list[Path]) -> None:
    assert {path.stem: inspected(path) for path in voices} == {p.stem: set() for p in voices}


@pytest.mark.parametrize("condition", VISIBLE)
@pytest.mark.parametrize("severity", [0.5, 0.8])
def test_conditions_are_named(
    voices: list[Path], tmp_path: Path, condition: str, severity: float
) -> None:
    simulator = Simulator()
    for path in voices[::2]:
        waveform = from_array(*soundfile.read(path, dtype="float32"))
        draw = simulator.draw(seed=3, scenario=condition, severity=severity, utterance=path.stem)
        degraded = simulator.apply(waveform, draw).waveform
        soundfile.write(tmp_path / "clip.wav", degraded.samples, degraded.sample_rate)
        assert inspected(tmp_path / "clip.wav") & VISIBLE[condition], path.stem


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_the_snr_is_the_one_that_was_mixed(snr_db: float) -> None:
    sound, speech = bursts(noise=0.1 * 10 ** (-snr_db / 20))
    quality = measured(sound, speech)
    assert quality.snr_db == pytest.approx(snr_db, abs=1.5)
    assert quality.speech_ratio == pytest.approx(0.5, abs=0.05)
    assert ("noise" in names(quality)) == (snr_db < 12)


def test_clipping_is_recognised_and_loudness_is_not_clipping() -> None:
    time_s = np.arange(RATE) / RATE
    sine = np.sin(2 * np.pi * 200 * time_s).astype(np.float32)
    assert clipped_share(np.clip(2 * sine, -1, 1)) > 0.3
    assert clipped_share(0.4 * np.clip(2 * sine, -1, 1)) > 0.3  # made quieter afterwards
    assert clipped_share((0.99 * RNG.uniform(-1, 1, RATE)).astype(np.float32)) < 1e-3
    assert clipped_share(np.zeros(RATE, np.float32)) == 0.0


def test_overdriven_sound_is_clipped_even_if_filters_rounded_its_tops(voices: list[Path]) -> None:
    voice, rate = soundfile.read(voices[0])
    filters = butter(1, [20, 3000], "bandpass", fs=rate, output="sos")
    overdriven = sosfilt(filters, np.tanh(60 * voice))
    assert clipped_share(overdriven) < 1e-4
    assert ceiling_share(overdriven, rate) > 0.08
    assert ceiling_share(voice, rate) < 0.05
    assert 0.35 < ceiling_share(np.sin(np.arange(RATE) * 0.3), RATE) < 0.45


def test_the_bandwidth_of_telephone_speech() -> None:
    spectrum = np.fft.rfft(RNG.standard_normal(RATE * 2))
    hertz = np.fft.rfftfreq(RATE * 2, 1 / RATE)
    narrow = np.fft.irfft(np.where(hertz < 3400, spectrum, 0)).astype(np.float32)
    assert bandwidth_hz(narrow) == pytest.approx(3400, abs=120)
    assert bandwidth_hz(RNG.standard_normal(RATE).astype(np.float32)) > 7900


@pytest.mark.parametrize("rt60_s", [0.3, 1.0, 2.5])  # at 0.4, by chance, it is named or not
def test_the_reverberation_time_of_a_decay(rt60_s: float) -> None:
    sound, speech = bursts(16.0)
    tail = np.exp(-6.91 * np.arange(round(3 * RATE)) / RATE / rt60_s)
    room = tail * RNG.standard_normal(tail.size)
    wet = fftconvolve(sound, room)[: sound.size].astype(np.float32)
    quality = measured(wet / np.abs(wet).max(), speech)
    assert quality.reverberation_s == pytest.approx(rt60_s, rel=0.5)
    assert ("reverberation" in names(quality)) == (rt60_s >= 1)
    assert "noise" not in names(quality)


def test_silent_and_repeated_packets_are_dropouts(voices: list[Path]) -> None:
    voice, rate = soundfile.read(voices[0])
    power = float(np.square(voice[np.abs(voice) > 0.02]).mean())
    assert len(find_dropouts(voice, rate, power)) == 0
    loud = np.convolve(np.square(voice), np.ones(1600) / 1600, "same")
    starts = [i for i in range(rate // 2, len(voice) - rate, 5000) if loud[i] > power / 2][:4]
    assert len(starts) >= 3
    frame = rate // 50
    repeated = voice.copy()
    for start in starts:
        for copy in (1, 2):
            repeated[start + copy * frame :][:frame] = voice[start:][:frame]
    repeats = find_dropouts(repeated, rate, power)
    assert len(repeats) == len(starts)
    assert np.abs(repeats - np.array(starts)).max() <= 2 * frame
    cut, speech = bursts(noise=0.001)
    for start in (3000, 9000, 35_000):
        cut[start : start + 800] = 0.0
    assert measured(cut, speech).dropouts == 3


def test_gated_pauses_and_closed_stops_are_no_dropouts(voices: list[Path]) -> None:
    for path in voices:
        voice, rate = soundfile.read(path)
        frame = rate // 50
        level = np.sqrt(np.convolve(np.square(voice), np.ones(frame) / frame, "same"))
        speech_level = np.sqrt(np.square(voice[level > 0.1 * level.max()]).mean())
        gated = np.where(level > 0.15 * speech_level, voice, 0.0)
        gaps = np.flatnonzero(np.diff((gated == 0).astype(int)) == 1)
        assert len(gaps) > 3
        quality = measure_quality(gated, rate, scaled_mono(gated, rate), np.ones(len(gated), bool))
        assert quality.dropouts == 0
        assert "dropouts" not in names(quality)


@pytest.mark.parametrize("mains", [50, 60])
def test_hum_is_named_and_hides_nothing(voices: list[Path], tmp_path: Path, mains: int) -> None:
    voice, rate = soundfile.read(voices[3])
    time_s = np.arange(len(voice)) / rate
    hum = 0.4 * np.sin(2 * np.pi * mains * time_s) + 0.1 * np.sin(4 * np.pi * mains * time_s)
    soundfile.write(tmp_path / "hum.wav", 0.5 * voice + hum, rate)
    inspection = inspect_recording(str(tmp_path / "hum.wav"))
    assert [problem.name for problem in inspection.problems] == ["hum"]
    assert f"bandreject=f={mains}" in inspection.problems[0].advice
    quality = inspection.quality
    assert quality.hum is not None
    assert quality.hum.mains_hz == mains
    assert quality.hum.dbfs == pytest.approx(10 * np.log10((0.4**2 + 0.1**2) / 2), abs=1)
    assert quality.speech_ratio > 0.5


def test_a_voice_on_a_multiple_of_the_mains_is_no_hum() -> None:
    time_s = np.arange(4 * RATE) / RATE
    pitch = 100 + 15 * np.sin(2 * np.pi * 0.7 * time_s)
    voice = sum(np.sin(k * 2 * np.pi * np.cumsum(pitch) / RATE) / k for k in range(1, 9))
    assert find_hum((0.1 * voice).astype(np.float32)) is None
    assert find_hum(np.zeros(4 * RATE, np.float32)) is None
    hum = (0.1 * np.sin(2 * np.pi * 50 * time_s)).astype(np.float32)
    line = find_hum(hum)
    assert line is not None
    assert np.abs(without_hum(hum, RATE, line)[RATE:-RATE]).max() < 1e-3


def test_offset_and_scale_are_named_and_change_nothing_else(
    voices: list[Path], tmp_path: Path
) -> None:
    voice, rate = soundfile.read(voices[0])
    soundfile.write(tmp_path / "offset.wav", 0.5 * voice + 0.4, rate)
    assert inspected(tmp_path / "offset.wav") == {"offset"}
    soundfile.write(tmp_path / "scale.wav", 32767 * voice, rate, "FLOAT")
    inspection = inspect_recording(str(tmp_path / "scale.wav"))
    assert [problem.name for problem in inspection.problems] == ["over_full_scale"]
    assert "divided by 32768. transcribe does so" in inspection.problems[0].advice
    soundfile.write(tmp_path / "quiet.wav", 0.003 * voice, rate, "FLOAT")
    assert inspected(tmp_path / "quiet.wav") == {"quiet"}


def test_channels_that_cancel_are_silent_or_have_nothing_in_common(
    voices: list[Path], tmp_path: Path
) -> None:
    voice, rate = soundfile.read(voices[0])
    other = np.zeros_like(voice)
    other_voice, _ = soundfile.read(voices[1])
    other[-len(other_voice[: len(voice) // 2]) :] = other_voice[: len(voice) // 2]
    first = np.where(np.arange(len(voice)) < len(voice) // 2, voice, 0.0)

    def stereo(left: np.ndarray, right: np.ndarray) -> list[str]:
        soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), rate)
        problems = inspect_recording(str(tmp_path / "stereo.wav")).problems
        return [f"{problem.name}: {problem.advice}" for problem in problems]

    assert stereo(voice, voice) == []
    (cancelling,) = stereo(voice, -0.97 * voice)
    assert "cancelling_channels" in cancelling
    assert "--channels left" in cancelling
    (dead,) = stereo(np.zeros_like(voice), voice)
    assert "dead_channel" in dead
    assert "--channels right" in dead
    (separate,) = stereo(first, other)
    assert "separate_channels" in separate
    assert "--channels each" in separate


def test_the_mix_loss_of_known_mixtures() -> None:
    a, b = RNG.standard_normal((2, 4 * RATE))
    assert measure_balance(np.stack([a, a]), RATE).mix_loss_db == pytest.approx(0, abs=0.1)
    assert measure_balance(np.stack([a, b]), RATE).mix_loss_db == pytest.approx(3, abs=0.2)
    inverted = measure_balance(np.stack([a, -a]), RATE)
    assert inverted.mix_loss_db == pytest.approx(120)
    assert inverted.cancels
    np.testing.assert_array_equal(clearest_mono(np.stack([0.9 * a, -a]), inverted), 0.9 * a)
    assert measure_balance(np.zeros((2, 100)), RATE).silent == ()


def test_speech_is_what_transcribe_takes_for_speech() -> None:
    sound, speech = bursts(noise=0.001)
    quality = measured(sound, speech)
    assert diagnose(quality) == []
    (skipped,) = diagnose(quality, SpeechOutlook(skipped=True, doubtful=True))
    assert skipped.name == "no_speech"
    assert "--no-vad" in skipped.advice
    (doubtful,) = diagnose(quality, SpeechOutlook(doubtful=True))
    assert doubtful.name == "doubtful_speech"
    assert "--drop-unreliable" in doubtful.advice


def test_too_little_audio_is_an_error() -> None:
    with pytest.raises(UsageError, match="too few"):
        measure_quality(np.zeros(100), RATE, np.zeros(100, np.float32), np.zeros(1, bool))
    with pytest.raises(UsageError, match=r"\[channels, time\]"):
        measure_balance(np.zeros((2, 0)), RATE)


def test_what_decoding_tells_is_named(tmp_path: Path) -> None:
    damaged = Path(__file__).parents[1] / "data" / "damaged"
    (missing,) = inspect_recording(str(damaged / "y_zero1000.mp3")).problems
    assert missing.name == "missing_sound"
    assert "from 7.42 s on" in missing.advice
    noise = 0.1 * np.random.default_rng(1).standard_normal(3 * RATE)
    soundfile.write(tmp_path / "stale.wav", noise, RATE)
    stale = bytearray((tmp_path / "stale.wav").read_bytes())
    offset = stale.index(b"data") + 4
    stale[offset : offset + 4] = (32_000).to_bytes(4, "little")
    (tmp_path / "stale.wav").write_bytes(stale)
    inspection = inspect_recording(str(tmp_path / "stale.wav"))
    assert inspection.problems[0].name == "repaired_file"
    assert inspection.quality.duration_s == pytest.approx(3.0)
