"""Reverberation of a simulated room."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from megaasr.audio.waveform import Samples
from megaasr.errors import UsageError
from megaasr.simulate.image_sources import Point, shoebox_response
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources

_MIN_DISTANCE_M = 0.05


class ShoeboxRoom(Primitive):
    """y = x convolved with the response of a shoebox room, computed by the image-source method.

    The response has unit energy and starts with its direct sound, so that the clip keeps its level
    and timing. The tail beyond the end of the clip is cut.

    Attributes:
        rt60_s: time in which the reverberation decays by 60 dB, 0.05 to 3 s.
        drr_db: direct-to-reverberant ratio in dB: the energy of the first 2.5 ms over the rest.
        room_m: length, width and height of the room in metres, 1.5 to 50 each.
        source_m: position of the speaker in the room in metres.
        microphone_m: position of the microphone, at least 5 cm from the speaker.
    """

    primitive: Literal["shoebox_room"] = "shoebox_room"
    rt60_s: float = Field(ge=0.05, le=3)
    drr_db: float = Field(ge=-30, le=40)
    room_m: Point
    source_m: Point
    microphone_m: Point

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if not all(1.5 <= side <= 50 for side in self.room_m):
            raise UsageError(f"room of {self.room_m} m: every side must have 1.5 to 50 m")
        for name, point in (("source_m", self.source_m), ("microphone_m", self.microphone_m)):
            if not all(0 < value < side for value, side in zip(point, self.room_m, strict=True)):
                raise UsageError(f"{name} {point}: it must be inside the room of {self.room_m} m")
        if self.distance_m < _MIN_DISTANCE_M:
            raise UsageError("speaker and microphone must be 5 cm apart at least")
        return self

    @property
    def distance_m(self) -> float:
        """Distance between speaker and microphone in metres."""
        return math.dist(self.source_m, self.microphone_m)

    def response(self) -> Samples:
        """Return the response of the room, float32 array [time] at 16 kHz of energy 1."""
        return _response(self)

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`."""
        from scipy.signal import oaconvolve  # slow to import, and rarely used

        x[:] = oaconvolve(x, self.response())[: len(x)].astype(np.float32)
        return {}


@lru_cache(maxsize=4)  # for several clips in the same room
def _response(room: ShoeboxRoom) -> Samples:
    response = shoebox_response(
        room.room_m, room.source_m, room.microphone_m, room.rt60_s, room.drr_db
    )
    response.setflags(write=False)
    return response
