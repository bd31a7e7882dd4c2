"""Playback at another speed, with the pitch that goes with it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from megaasr.audio.files import resample
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.errors import UsageError
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources


class PlaybackSpeed(Primitive):
    """y(t) = x(speed t): as fast and as high as a tape or record at the wrong speed.

    The length becomes 1 / speed of that of x, and times in a transcript change with it. (The
    `speed` of a draw keeps the pitch.)

    Attributes:
        speed: speed relative to the clip, 0.5 to 2, rounded to a rate in whole Hz.
    """

    primitive: Literal["playback_speed"] = "playback_speed"
    speed: float = Field(ge=0.5, le=2)

    def transform(self, x: Samples, resources: Resources) -> tuple[Samples, Measurements]:
        """See `Primitive.transform`; the result is a new array of another length."""
        rate = round(SAMPLE_RATE * self.speed)
        return (x if rate == SAMPLE_RATE else resample(x, rate, SAMPLE_RATE)), {}

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """Raise an error: this primitive changes the length.

        Raises:
            UsageError: always; use `transform`.
        """
        raise UsageError("playback at another speed changes the length of a clip: use transform")
