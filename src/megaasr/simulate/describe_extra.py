"""Plain words for the primitives and conditions beside the paper's."""

from __future__ import annotations

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.simulate.codec_ladder import CODECS
from megaasr.simulate.primitives import (
    BandLimit,
    CompetingTalker,
    ExtraPrimitive,
    GainControl,
    NoiseGate,
    PacketLoss,
    PlaybackSpeed,
    ShoeboxRoom,
    SpeechCodec,
    WowFlutter,
)
from megaasr.simulate.primitives.primitive import Measurements

EXTRA_SENTENCES = {
    "competing_talker": "Another person speaks at the same time.",
    "music": "Music is playing.",
    "impulses": "Things are knocked, dropped or slammed.",
    "siren": "A siren passes.",
    "room": "The speaker is in a room, at some distance from the microphone.",
    "agc": "The recorder sets its gain itself, and raises the noise in pauses.",
    "gate": "A noise gate cuts quiet syllables.",
    "bandlimit": "Only the band of a telephone, or less, is transmitted.",
    "wow": "The tape or record does not run steadily.",
    "speed": "The tape or record runs too fast or too slow.",
    "codec": "The speech was coded for a telephone call, for the web or for radio.",
    "packet_loss": "Packets are lost in bursts, and the receiver conceals it.",
}
"""Sentence for each extra condition, by name."""

EXTRA_KINDS = {
    "band_limit": "narrow band",
    "codec": "codec",
    "competing_talker": "another talker",
    "gain_control": "automatic gain",
    "noise_gate": "noise gate",
    "packet_loss": "lost packets",
    "playback_speed": "other speed and pitch",
    "room": "room",
    "wow_flutter": "wow and flutter",
}
"""Words for each kind of step that only extra conditions have."""

_FAMILIES = {
    "g711": "G.711",
    "g726": "G.726",
    "gsm": "GSM full rate",
    "mp3": "MP3",
    "opus": "Opus",
    "speex": "Speex",
    "codec2": "codec2",
}
_LAWS = {"mu": "mu-law", "a": "A-law"}


def describe_extra(primitive: ExtraPrimitive) -> str:
    """Return what a primitive does with its parameters, as a phrase without a full stop."""
    match primitive:
        case SpeechCodec():
            phrase = _codec(primitive)
        case PacketLoss():
            phrase = _packet_loss(primitive)
        case CompetingTalker():
            start_s = primitive.offset_samples / SAMPLE_RATE
            side = "above" if primitive.sir_db >= 0 else "below"
            source = primitive.source.replace("builtin:", "built-in ")
            phrase = (
                f"another talker ({source}, from {start_s:.1f} s on), the speech "
                f"{abs(primitive.sir_db):.1f} dB {side} theirs"
            )
        case ShoeboxRoom():
            length, width, height = primitive.room_m
            phrase = (
                f"room of {length:.1f} by {width:.1f} by {height:.1f} m, RT60 "
                f"{primitive.rt60_s:.2f} s, {primitive.distance_m:.1f} m from the microphone, "
                f"direct sound {primitive.drr_db:+.1f} dB to the reverberation"
            )
        case GainControl():
            phrase = (
                f"automatic gain: up to {primitive.max_gain_db:.1f} dB towards "
                f"{primitive.target_dbfs:.0f} dBFS, falling within {primitive.attack_ms:.0f} ms "
                f"and rising within {primitive.release_ms:.0f} ms"
            )
        case NoiseGate():
            side = "below" if primitive.threshold_db <= 0 else "above"
            phrase = (
                "noise gate: silent where the level is more than "
                f"{abs(primitive.threshold_db):.0f} dB {side} the speech for "
                f"{primitive.hold_ms:.0f} ms"
            )
        case BandLimit():
            low = f"{frequency(primitive.low_hz)} to " if primitive.low_hz else "nothing above "
            phrase = f"band limited: {low}{frequency(primitive.high_hz)}"
        case PlaybackSpeed():
            phrase = f"{primitive.speed:.2f} times as fast and as high"
        case WowFlutter():
            phrase = (
                f"wow of {100 * primitive.wow_depth:.2f} % at {primitive.wow_hz:.1f} Hz and "
                f"flutter of {100 * primitive.flutter_depth:.2f} % at {primitive.flutter_hz:.0f} Hz"
            )
    return phrase


def describe_extra_measurements(remaining: Measurements) -> list[str]:
    """Take the measurements of extra primitives out of `remaining`, and return them as phrases."""
    phrases = []
    if "losses" in remaining:
        losses = int(remaining.pop("losses"))
        lost = f"{remaining.pop('lost_packets')} of {remaining.pop('packets')} packets"
        share = 100 * float(remaining.pop("lost_share"))
        phrases.append(f"{losses} {'loss' if losses == 1 else 'losses'}, {lost}, {share:.0f} %")
    if "closed_share" in remaining:
        phrases.append(f"closed for {100 * float(remaining.pop('closed_share')):.0f} % of the time")
    if "gain_range_db" in remaining:
        phrases.append(f"the gain moved by {float(remaining.pop('gain_range_db')):.1f} dB")
    if not remaining.get("limited_samples", 1):
        del remaining["limited_samples"]
    if "max_shift_ms" in remaining:
        phrases.append(f"times moved by {float(remaining.pop('max_shift_ms')):.1f} ms at most")
    if "ffmpeg" in remaining:
        phrases.append(f"ffmpeg {remaining.pop('ffmpeg')}")
    return phrases


def frequency(hertz: float) -> str:
    """Return a frequency as it is usually written: 460 Hz, 3.9 kHz, 8 kHz."""
    if round(hertz) < 1000:
        return f"{hertz:.0f} Hz"
    return f"{hertz / 1000:.2f}".rstrip("0").rstrip(".") + " kHz"


def _codec(primitive: SpeechCodec) -> str:
    family, _, variant = primitive.codec.partition("-")
    codec = CODECS.get(primitive.codec)
    name = _FAMILIES.get(family, family)
    rate = "" if codec is None else f", {frequency(codec.sample_rate)} sample rate"
    if codec is not None and codec.law:
        return f"coded and decoded: {name} {_LAWS[codec.law]}{rate}"
    if family == "gsm":
        return f"coded and decoded: {name}{rate}"
    unit = "bit/s" if family == "codec2" else "kbit/s"
    return f"coded and decoded: {name} at {variant.upper()} {unit}{rate}"


def _packet_loss(primitive: PacketLoss) -> str:
    instead = (
        "the last pitch periods are repeated and fade out"
        if primitive.concealment == "repetition"
        else "silence instead"
    )
    return (
        f"lost packets: about {100 * primitive.loss_share:.1f} % of those of "
        f"{primitive.packet_ms:g} ms, in bursts; {instead}"
    )
