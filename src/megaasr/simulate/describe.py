"""What the simulator does, in plain words: a phrase per primitive, one sentence per condition."""

from __future__ import annotations

from collections.abc import Sequence

from megaasr.audio.waveform import SAMPLE_RATE
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
from megaasr.simulate.primitives.primitive import Notes

_TIMES = {1: "once", 2: "twice", 3: "three times", 4: "four times", 5: "five times", 6: "six times"}
_BUILTIN = "builtin:"
_DB_PER_OCTAVE = 6  # of one first-order filter
_CONDITIONS = {
    "obstructed": "The speaker is behind a wall or a door.",
    "far_field": "The speaker is far from the microphone, in a room.",
    "echo": "A large, bare hall gives the speech back.",
    "recording": "A poor microphone or an old line: hiss, and only the middle of the spectrum.",
    "distortion": "The input is overdriven.",
    "dropout": "Packets are lost on the way.",
    "noise": "Something is heard beside the speech.",
}


def describe_condition(name: str) -> str:
    """Return one sentence on what a condition stands for.

    Raises:
        KeyError: no condition has this name.
    """
    return _CONDITIONS[name]


def describe(primitive: AnyPrimitive) -> str:
    """Return what a primitive does with its drawn parameters: a phrase without a full stop."""
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
            phrase = f"the room as measured in {primitive.response}"
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
    return phrase


def describe_notes(notes: Notes) -> str:
    """Return what a step measured, or why it was skipped, as a phrase; empty for nothing."""
    told = dict(notes)
    phrases = []
    if "skipped" in told:
        phrases.append(f"skipped: {told.pop('skipped')}")
    if "speech_dbfs" in told:
        phrases.append(f"speech measured at {float(told.pop('speech_dbfs')):.1f} dBFS")
    if "measured_lufs" in told:
        phrases.append(f"{float(told.pop('measured_lufs')):.1f} LUFS before")
    if "gain_db" in told:
        phrases.append(f"gain {float(told.pop('gain_db')):+.1f} dB")
    if told.pop("limited", 0):
        phrases.append("held back at full scale, short of the target")
    if "runs" in told:
        runs = int(told.pop("runs"))
        lost = f"{told.pop('lost_frames')} of {told.pop('frames')} frames"
        phrases.append(f"{runs} {'loss' if runs == 1 else 'losses'}, {lost}")
    phrases += [f"{name.replace('_', ' ')} {value}" for name, value in told.items()]
    return ", ".join(phrases)


def describe_steps(draw: Draw, notes: Sequence[Notes]) -> list[str]:
    """Return a phrase per step: what it does, and in brackets what it measured.

    A change of speed, which comes before all steps, has a phrase of its own.

    Args:
        draw: what was done.
        notes: what each of its steps measured, in order.
    """
    phrases = [] if draw.speed == 1 else [f"{draw.speed:.2f} times as fast, the pitch kept"]
    for step, measured in zip(draw.steps, notes, strict=True):
        remark = describe_notes(measured)
        phrases.append(describe(step) + (f" ({remark})" if remark else ""))
    return phrases


def _noise(noise: AdditiveNoise) -> str:
    begin_s = noise.offset_samples / SAMPLE_RATE
    side = "above" if noise.snr_db >= 0 else "below"
    share = "" if noise.wet == 1 else f", its amplitude then times {noise.wet:.2f}"
    return (
        f"noise ({noise.source.replace(_BUILTIN, 'built-in ')}, from {begin_s:.1f} s on), the "
        f"speech {abs(noise.snr_db):.1f} dB {side} it{share}"
    )


def _echo(echo: EchoDelay) -> str:
    return (
        f"echo: a copy every {echo.delay_s:.2f} s, the first at {100 * echo.mix:.0f} % and each "
        f"next at {100 * echo.feedback:.0f} % of the one before"
    )


def _filter(one: SpectralFilter) -> str:
    kind = "low-pass" if one.filter_type == "lowpass" else "high-pass"
    times = _TIMES.get(one.repeat, f"{one.repeat} times")
    slope = f"{_DB_PER_OCTAVE * one.repeat} dB per octave"
    return f"{kind} at {_frequency(one.cutoff_hz)}, {times} ({slope}){_share(one.wet)}"


def _resampling(trip: Resampling) -> str:
    rate, rest = _frequency(trip.target_rate_hz), _frequency(trip.target_rate_hz / 2)
    share = _share(trip.wet)
    return f"down to a rate of {rate} and back, so nothing above {rest} is left{share}"


def _stutter(stutter: FrameStutter) -> str:
    longest = stutter.max_repeats
    length = "1 frame" if longest == 1 else f"1 to {longest} frames"
    return (
        f"lost packets: {100 * stutter.stutter_prob:.1f} % of the frames of "
        f"{stutter.frame_ms:g} ms begin a loss of {length}, {100 * stutter.repeat_prob:.0f} % of "
        "the losses repeat the frame before, the others are silent"
    )


def _share(wet: float) -> str:
    return "" if wet == 1 else f", with {100 * (1 - wet):.0f} % of the sound before it kept"


def _frequency(hertz: float) -> str:
    """Return a frequency as one says it: 460 Hz, 3.9 kHz, 8 kHz."""
    if round(hertz) < 1000:
        return f"{hertz:.0f} Hz"
    return f"{hertz / 1000:.2f}".rstrip("0").rstrip(".") + " kHz"
