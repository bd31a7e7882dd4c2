"""Describe degradations in plain words: a phrase per primitive, a sentence per condition."""

from __future__ import annotations

from collections.abc import Sequence

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.simulate.describe_extra import (
    EXTRA_KINDS,
    EXTRA_SENTENCES,
    describe_extra,
    describe_extra_measurements,
    frequency,
)
from megaasr.simulate.draw import Draw
from megaasr.simulate.primitives import (
    AdditiveNoise,
    AnyPrimitive,
    EchoDelay,
    FrameStutter,
    Loudness,
    LoudnessAfterDistortion,
    NonlinearDistortion,
    Resampling,
    Reverberation,
    RoomResponse,
    SpectralFilter,
)
from megaasr.simulate.primitives.primitive import Measurements

_TIMES = {1: "once", 2: "twice", 3: "three times", 4: "four times", 5: "five times", 6: "six times"}
_BUILTIN = "builtin:"
_DB_PER_OCTAVE = 6  # of one first-order filter
_CONDITIONS = {
    "obstructed": "The speaker is behind a wall or a door.",
    "far_field": "The speaker is far from the microphone, in a room.",
    "echo": "The speaker is in a large, bare hall that echoes.",
    "recording": "The speech was played back and recorded again: hiss and a narrow band.",
    "distortion": "The input is overdriven.",
    "dropout": "Packets are lost in transmission.",
    "noise": "Other sounds are audible besides the speech.",
} | EXTRA_SENTENCES


_KINDS = {
    "distortion": "overdrive",
    "echo": "delayed echo",
    "filter": "filter",
    "loudness": "level",
    "loudness_after_distortion": "level",
    "noise": "noise",
    "resample": "lower sample rate",
    "reverb": "reverberation",
    "stutter": "lost frames",
} | EXTRA_KINDS


def describe_chain(kinds: Sequence[str]) -> str:
    """Return the kinds of a chain of primitives in plain words, without immediate repetition.

    Raises:
        KeyError: a kind is unknown.
    """
    words = [_KINDS[kind] for kind in kinds]
    return ", ".join(word for i, word in enumerate(words) if i == 0 or words[i - 1] != word)


def describe_condition(name: str) -> str:
    """Return a sentence that says what a condition stands for.

    Raises:
        KeyError: no condition has this name.
    """
    return _CONDITIONS[name]


def describe(primitive: AnyPrimitive) -> str:
    """Return what a primitive does with its parameters, as a phrase without a full stop."""
    match primitive:
        case AdditiveNoise():
            phrase = _noise(primitive)
        case EchoDelay():
            phrase = _echo(primitive)
        case Reverberation():
            phrase = (
                f"reverberation: room size {primitive.room_size:.2f}, damping "
                f"{primitive.damping:.2f}, tail {primitive.wet_level:.2f} and direct sound "
                f"{primitive.dry_level:.2f}"
            )
        case RoomResponse():
            phrase = f"measured room response {primitive.response}"
        case NonlinearDistortion():
            gain = f"overdrive: {primitive.drive_db:.1f} dB of gain into a soft limit"
            phrase = gain + _share(primitive.wet)
        case Resampling():
            phrase = _resampling(primitive)
        case SpectralFilter():
            phrase = _filter(primitive)
        case Loudness():
            phrase = f"loudness set to {primitive.target_lufs:.1f} LUFS"
        case LoudnessAfterDistortion():
            phrase = f"loudness set to {primitive.target_lufs:.1f} LUFS, no peak above full scale"
        case FrameStutter():
            phrase = _stutter(primitive)
        case _:
            phrase = describe_extra(primitive)
    return phrase


def describe_measurements(measurements: Measurements) -> str:
    """Return the measurements of a step, or why it was skipped, as a phrase; empty without any."""
    remaining = dict(measurements)
    phrases = []
    if "skipped" in remaining:
        phrases.append(f"skipped: {remaining.pop('skipped')}")
    if "speech_dbfs" in remaining:
        phrases.append(f"speech measured at {float(remaining.pop('speech_dbfs')):.1f} dBFS")
    if "measured_lufs" in remaining:
        phrases.append(f"{float(remaining.pop('measured_lufs')):.1f} LUFS before")
    if "gain_db" in remaining:
        phrases.append(f"gain {float(remaining.pop('gain_db')):+.1f} dB")
    if remaining.pop("limited", 0):
        phrases.append("limited by full scale, short of the target")
    if "runs" in remaining:
        runs = int(remaining.pop("runs"))
        lost = f"{remaining.pop('lost_frames')} of {remaining.pop('frames')} frames"
        phrases.append(f"{runs} {'loss' if runs == 1 else 'losses'}, {lost}")
    phrases += describe_extra_measurements(remaining)
    phrases += [f"{name.replace('_', ' ')} {value}" for name, value in remaining.items()]
    return ", ".join(phrases)


def describe_steps(draw: Draw, measurements: Sequence[Measurements]) -> list[str]:
    """Return a phrase per step: what it does, with its measurements in brackets.

    A change of speed, which precedes all steps, has a phrase of its own.

    Args:
        draw: the applied degradation.
        measurements: measurements of each step of the draw, in order.
    """
    phrases = [] if draw.speed == 1 else [f"{draw.speed:.2f} times as fast, at the same pitch"]
    for step, measured in zip(draw.steps, measurements, strict=True):
        details = describe_measurements(measured)
        phrases.append(describe(step) + (f" ({details})" if details else ""))
    return phrases


def _noise(noise: AdditiveNoise) -> str:
    start_s = noise.offset_samples / SAMPLE_RATE
    side = "above" if noise.snr_db >= 0 else "below"
    share = "" if noise.wet == 1 else f", the noise then scaled by {noise.wet:.2f}"
    return (
        f"noise ({noise.source.replace(_BUILTIN, 'built-in ')}, from {start_s:.1f} s on), the "
        f"speech {abs(noise.snr_db):.1f} dB {side} it{share}"
    )


def _echo(echo: EchoDelay) -> str:
    return (
        f"echo: a copy every {echo.delay_s:.2f} s, the first at {100 * echo.mix:.0f} % and each "
        f"following one at {100 * echo.feedback:.0f} % of the one before"
    )


def _filter(primitive: SpectralFilter) -> str:
    kind = "low-pass" if primitive.filter_type == "lowpass" else "high-pass"
    times = _TIMES.get(primitive.repeat, f"{primitive.repeat} times")
    slope = f"{_DB_PER_OCTAVE * primitive.repeat} dB per octave"
    cutoff = frequency(primitive.cutoff_hz)
    return f"{kind} at {cutoff}, {times} ({slope}){_share(primitive.wet)}"


def _resampling(primitive: Resampling) -> str:
    rate = frequency(primitive.target_rate_hz)
    limit = frequency(primitive.target_rate_hz / 2)
    share = _share(primitive.wet)
    return f"down to a rate of {rate} and back, so nothing above {limit} is left{share}"


def _stutter(stutter: FrameStutter) -> str:
    max_frames = stutter.max_repeats
    length = "1 frame" if max_frames == 1 else f"1 to {max_frames} frames"
    return (
        f"lost packets: {100 * stutter.stutter_prob:.1f} % of the {stutter.frame_ms:g} ms frames "
        f"start a loss of {length}; {100 * stutter.repeat_prob:.0f} % of the losses repeat the "
        "frame before, the others are silent"
    )


def _share(wet: float) -> str:
    return "" if wet == 1 else f", mixed with {100 * (1 - wet):.0f} % of the unprocessed signal"
