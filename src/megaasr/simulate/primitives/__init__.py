"""The eight primitives, with one module each.

A draw consists of `AnyPrimitive`; in JSON, the field `primitive` distinguishes them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from megaasr.simulate.primitives.distortion import NonlinearDistortion
from megaasr.simulate.primitives.echo import EchoDelay
from megaasr.simulate.primitives.loudness import Loudness, LoudnessAfterDistortion
from megaasr.simulate.primitives.noise import AdditiveNoise
from megaasr.simulate.primitives.primitive import NoiseSource, Primitive, Resources, RoomResponses
from megaasr.simulate.primitives.resampling import Resampling
from megaasr.simulate.primitives.reverb import Reverberation, RoomResponse
from megaasr.simulate.primitives.spectral_filter import SpectralFilter
from megaasr.simulate.primitives.stutter import FrameStutter

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
    | FrameStutter,
    Field(discriminator="primitive"),
]

__all__ = [
    "AdditiveNoise",
    "AnyPrimitive",
    "EchoDelay",
    "FrameStutter",
    "Loudness",
    "LoudnessAfterDistortion",
    "NoiseSource",
    "NonlinearDistortion",
    "Primitive",
    "Resampling",
    "Resources",
    "Reverberation",
    "RoomResponse",
    "RoomResponses",
    "SpectralFilter",
]
