"""Write reference_effects.npz: what pedalboard, pyloudnorm and librosa make of one sound.

In an environment of its own (pedalboard is GPL and never a dependency of the package):

    pip install pedalboard pyloudnorm librosa pydantic soundfile
    PYTHONPATH=src python tests/golden/make_reference_effects.py

To stay small, the file has every 31st sample of each result, in float32.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megaasr.audio import active_speech_level_dbfs
from megaasr.audio.waveform import Samples
from megaasr.simulate.positions import Compounds
from megaasr.simulate.primitives import (
    AdditiveNoise,
    EchoDelay,
    FrameStutter,
    Loudness,
    LoudnessAfterDistortion,
    NonlinearDistortion,
    Resampling,
    Reverberation,
    SpectralFilter,
)
from megaasr.simulate.simulator import Simulator
from megaasr.simulate.streams import stream

FILE = Path(__file__).with_name("reference_effects.npz")
RATE, EVERY = 16_000, 31
PACKAGES = ("pedalboard", "pyloudnorm", "librosa", "soxr", "numpy", "scipy")


class Tape:
    """The noise of all examples: 2.5 s of white noise that is the same everywhere."""

    def samples(self, name: str) -> NDArray[np.int16]:
        assert name == "tape"
        return np.frombuffer(hashlib.shake_256(b"noise").digest(80_000), "<i2")


def _filter(kind: str, cutoff_hz: float, repeat: int, wet: float = 1.0) -> SpectralFilter:
    return SpectralFilter(
        condition="echo", filter_type=kind, cutoff_hz=cutoff_hz, repeat=repeat, wet=wet
    )


def _reverb(room: float, damping: float, wet: float, dry: float) -> Reverberation:
    return Reverberation(
        condition="echo", room_size=room, damping=damping, wet_level=wet, dry_level=dry
    )


def _echo(delay_s: float, feedback: float, mix: float) -> EchoDelay:
    return EchoDelay(condition="echo", delay_s=delay_s, feedback=feedback, mix=mix)


def _drive(drive_db: float) -> NonlinearDistortion:
    return NonlinearDistortion(condition="distortion", drive_db=drive_db)


PRIMITIVES: dict[str, Any] = {
    "low-pass 1500 Hz, 4 times, wet 0.9": _filter("lowpass", 1500, 4, 0.9),
    "low-pass 3500 Hz, 6 times": _filter("lowpass", 3500, 6),
    "low-pass 6000 Hz": _filter("lowpass", 6000, 1),
    "high-pass 100 Hz": _filter("highpass", 100, 1),
    "high-pass 600 Hz, 6 times": _filter("highpass", 600, 6),
    "reverb, room 0.4": _reverb(0.4, 0.9, 0.5, 0.4),
    "reverb, room 0.6": _reverb(0.6, 0.8, 0.5, 0.5),
    "reverb, room 0.95": _reverb(0.95, 0.5, 0.8, 0.4),
    "echo, 0.1 s": _echo(0.1, 0.3, 0.2),
    "echo, 0.2345 s": _echo(0.2345, 0.5, 0.3),
    "drive 20 dB": _drive(20),
    "drive 60 dB": _drive(60),
    "to 8 kHz and back": Resampling(condition="recording", target_rate_hz=8000),
    "loudness -23 LUFS": Loudness(condition="noise", target_lufs=-23),
}
_SINGLE = ("obstructed", "far_field", "echo", "recording", "distortion", "dropout", "noise")
_COMPOUND = (
    ("far_field+noise", 0.5),
    ("dropout+noise", 0.5),
    ("echo+recording", 0.8017),
    ("far_field+recording+dropout", 0.3),
    ("recording+distortion+dropout+noise", 0.2),
    ("obstructed+recording+distortion+dropout+noise", 0.8),
    ("far_field+recording+distortion+dropout+noise", 0.4),
    ("echo+recording+distortion+dropout+noise", 0.1003),
)
# At rounder severities the echo's delay is a whole number of samples, which pedalboard, having it
# in float32, may take for one less.
CHAINS = (*((name, severity) for name in _SINGLE for severity in (0.3011, 0.8017)), *_COMPOUND)


def chain(scenario: str, severity: float) -> list[Any]:
    """Return the steps of a scenario as drawn, with the noise and the runs of the examples."""
    changes = {
        "noise": {"source": "tape", "offset_samples": 12_345},
        "stutter": {"key": "5" * 32},
    }
    steps = (
        Simulator(compounds=Compounds.LITERAL)
        .draw(seed=0, scenario=scenario, severity=severity)
        .steps
    )
    return [step.model_copy(update=changes.get(step.primitive)) for step in steps]


def examples() -> dict[str, list[Any]]:
    """Return the steps of every example by its name in the file."""
    named = {name: [step] for name, step in PRIMITIVES.items()}
    return named | {f"{name} at {severity}": chain(name, severity) for name, severity in CHAINS}


def signal() -> NDArray[np.int16]:
    """Return 2.5 s that resemble speech: tones and hiss in syllables, with pauses."""
    rng = np.random.default_rng(2026)
    time = np.arange(int(2.5 * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 0.7 * time)) / RATE
    voice = np.sum([np.sin(k * phase) / k for k in range(1, 30)], axis=0)
    hiss = rng.standard_normal(len(time))
    syllables = np.clip(np.sin(2 * np.pi * 2.9 * time), 0, 1) ** 0.5
    sibilants = np.clip(np.sin(2 * np.pi * 2.9 * time + 2.5), 0, 1) ** 4
    sound = syllables * voice + 0.4 * sibilants * hiss + 0.002 * hiss
    return np.rint(10_000 * sound / np.abs(sound).max()).astype(np.int16)


def reference(steps: Sequence[Any], x: Samples) -> Samples:
    """Return the sound as the effects in use make it: float32 [time], clipped to ±1."""
    for step in steps:
        effect = _OTHERS.get(step.primitive, _by_pedalboard)
        x = np.asarray(effect(step, x), dtype=np.float32)
    return np.clip(x, -1.0, 1.0)


def loudness_lufs(x: Samples) -> float:
    import pyloudnorm

    return float(pyloudnorm.Meter(RATE).integrated_loudness(x))


def _by_pedalboard(step: Any, x: Samples) -> NDArray[Any]:
    import pedalboard as pb

    if isinstance(step, SpectralFilter):
        kind = pb.LowpassFilter if step.filter_type == "lowpass" else pb.HighpassFilter
        filtered = pb.Pedalboard([kind(step.cutoff_hz) for _ in range(step.repeat)])(x, RATE)
        return step.wet * filtered + (1 - step.wet) * x
    if isinstance(step, Reverberation):
        levels = {"wet_level": step.wet_level, "dry_level": step.dry_level}
        return pb.Reverb(room_size=step.room_size, damping=step.damping, **levels)(x, RATE)
    if isinstance(step, EchoDelay):
        return pb.Delay(step.delay_s, step.feedback, step.mix)(x, RATE)
    return pb.Distortion(step.drive_db)(x, RATE)


def _to_loudness(step: Any, x: Samples) -> NDArray[Any]:
    import pyloudnorm

    y = pyloudnorm.normalize.loudness(x, loudness_lufs(x), step.target_lufs)
    limited = isinstance(step, LoudnessAfterDistortion) and np.abs(y).max() > 1
    return y / np.abs(y).max() if limited else y


def _resampled(step: Resampling, x: Samples) -> NDArray[Any]:
    import librosa

    low = librosa.resample(x, orig_sr=RATE, target_sr=step.target_rate_hz)
    return librosa.resample(low, orig_sr=step.target_rate_hz, target_sr=RATE)


def _with_noise(step: AdditiveNoise, x: Samples) -> NDArray[Any]:
    """Add the examples' noise with the drawn ratio; no library measures where there is speech."""
    tape = Tape().samples(step.source).astype(np.float64)
    noise = np.resize(np.roll(tape, -step.offset_samples), len(x))
    level_db = 10 * math.log10(np.square(noise).mean()) + step.snr_db
    return x + 10 ** ((active_speech_level_dbfs(x, RATE) - level_db) / 20) * noise


def _stuttered(step: FrameStutter, x: Samples) -> NDArray[Any]:
    """Replace the runs of frames that the stream names; there is no such effect to compare."""
    frame = round(step.frame_ms * RATE / 1000)
    frames = len(x) // frame
    begins, lengths, repeats = stream(step.key).random((3, frames))
    y, position = x.copy(), 1
    while position < frames:
        if begins[position] >= step.stutter_prob:
            position += 1
            continue
        end = min(frames, position + 1 + int(lengths[position] * step.max_repeats))
        last = y[(position - 1) * frame : position * frame] * (repeats[position] < step.repeat_prob)
        y[position * frame : end * frame] = np.tile(last, end - position)
        position = end
    return y


_OTHERS: dict[str, Any] = {
    "loudness": _to_loudness,
    "loudness_after_distortion": _to_loudness,
    "resample": _resampled,
    "noise": _with_noise,
    "stutter": _stuttered,
}


def main() -> None:
    sound = signal()
    x = sound.astype(np.float32) / 32768
    samples = {name: reference(steps, x)[::EVERY] for name, steps in examples().items()}
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    np.savez_compressed(
        FILE,
        input=sound,
        input_lufs=np.float64(loudness_lufs(x)),
        versions=np.array(versions),
        **samples,
    )


if __name__ == "__main__":
    main()
