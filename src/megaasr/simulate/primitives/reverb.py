"""Reverberation: synthetic, or by a measured room response."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from megaasr.audio.waveform import Samples
from megaasr.errors import UsageError
from megaasr.simulate import kernels
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources


class Reverberation(Primitive):
    """Freeverb (Jezar at Dreampoint, public domain) in mono, with width 1 and delays for 16 kHz.

    The input, scaled by 0.015, passes eight parallel combs, each with a one-pole low-pass (pole 0.4
    damping) and a gain of 0.28 room_size + 0.7 in its loop, and then four all-passes.
    y = 3 wet_level tail + 2 dry_level x, cut at the end of the clip. The reverberation time (RT60)
    is about 0.86 s at room size 0.4, 1.34 s at 0.6, 2.4 s at 0.8 and 5.6 s at 0.95.

    Attributes:
        room_size: size of the room, 0 to 1; larger rooms have longer tails.
        damping: damping of high frequencies, 0 to 1; more damping gives duller tails.
        wet_level, dry_level: levels of the tail and of the clip, 0 to 1.
    """

    primitive: Literal["reverb"] = "reverb"
    room_size: float = Field(ge=0, le=1)
    damping: float = Field(ge=0, le=1)
    wet_level: float = Field(ge=0, le=1)
    dry_level: float = Field(ge=0, le=1)

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`."""
        feedback, damp = 0.28 * self.room_size + 0.7, 0.4 * self.damping
        kernels.loops.reverb(x, feedback, damp, 3.0 * self.wet_level, 2.0 * self.dry_level)
        return {}


class RoomResponse(Primitive):
    """y = x convolved with a measured room response; replaces the synthetic reverberation.

    The response has unit energy and starts with its direct sound, so that the clip keeps its level
    and timing. The tail beyond the end of the clip is cut.

    Attributes:
        response: name of the response, see `MeasuredRooms`.
    """

    primitive: Literal["room_response"] = "room_response"
    response: str

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`.

        Raises:
            UsageError: the simulator has no room responses.
        """
        from scipy.signal import oaconvolve  # slow to import, and rarely used

        if resources.rooms is None:
            raise UsageError(
                f"the draw uses the room response {self.response}: give the folder that holds it "
                "(--room-responses)"
            )
        x[:] = oaconvolve(x, resources.rooms.response(self.response))[: len(x)].astype(np.float32)
        return {}
