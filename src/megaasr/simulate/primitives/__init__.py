"""The primitives, with one module each: the eight of the paper, and those of extra conditions.

A draw consists of `AnyPrimitive`; in JSON, the field `primitive` distinguishes them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from megaasr.simulate.primitives.band_limit import BandLimit
from megaasr.simulate.primitives.codec import SpeechCodec
from megaasr.simulate.primitives.competing_talker import CompetingTalker
from megaasr.simulate.primitives.distortion import NonlinearDistortion
from megaasr.simulate.primitives.echo import EchoDelay
from megaasr.simulate.primitives.gain_control import GainControl
from megaasr.simulate.primitives.loudness import Loudness, LoudnessAfterDistortion
from megaasr.simulate.primitives.noise import AdditiveNoise
from megaasr.simulate.primitives.noise_gate import NoiseGate
from megaasr.simulate.primitives.packet_loss import PacketLoss
from megaasr.simulate.primitives.playback_speed import PlaybackSpeed
from megaasr.simulate.primitives.primitive import NoiseSource, Primitive, Resources, RoomResponses
from megaasr.simulate.primitives.resampling import Resampling
from megaasr.simulate.primitives.reverb import Reverberation, RoomResponse
from megaasr.simulate.primitives.shoebox_room import ShoeboxRoom
from megaasr.simulate.primitives.spectral_filter import SpectralFilter
from megaasr.simulate.primitives.stutter import FrameStutter
from megaasr.simulate.primitives.wow_flutter import WowFlutter

ExtraPrimitive = (
    BandLimit
    | SpeechCodec
    | CompetingTalker
    | GainControl
    | NoiseGate
    | PacketLoss
    | PlaybackSpeed
    | ShoeboxRoom
    | WowFlutter
)
"""Primitives of the extra conditions only."""

AnyPrimitive = Annotated[
    AdditiveNoise
    | EchoDelay
    | Reverberation
    | RoomResponse
    | NonlinearDistortion
    | Resampling
    | SpectralFilter
    | Loudness
    | LoudnessAfterDistortion
    | FrameStutter
    | ExtraPrimitive,
    Field(discriminator="primitive"),
]

__all__ = [
    "AdditiveNoise",
    "AnyPrimitive",
    "BandLimit",
    "CompetingTalker",
    "EchoDelay",
    "ExtraPrimitive",
    "FrameStutter",
    "GainControl",
    "Loudness",
    "LoudnessAfterDistortion",
    "NoiseGate",
    "NoiseSource",
    "NonlinearDistortion",
    "PacketLoss",
    "PlaybackSpeed",
    "Primitive",
    "Resampling",
    "Resources",
    "Reverberation",
    "RoomResponse",
    "RoomResponses",
    "ShoeboxRoom",
    "SpectralFilter",
    "SpeechCodec",
    "WowFlutter",
]
