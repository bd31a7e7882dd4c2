"""Reverberation: a synthetic tail, or a measured room."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from megaasr.errors import UsageError
from megaasr.simulate import kernels
from megaasr.simulate.primitives.primitive import Floats, Notes, Primitive, Stage


class Reverberation(Primitive):
    """Freeverb (Jezar at Dreampoint, public domain), mono, width 1, its delays at 16 kHz.

    Eight parallel combs, each with a one-pole low-pass (pole 0.4 damping) and the gain
    0.28 room_size + 0.7 in its loop, then four all-passes; input gain 0.015.
    y = 3 wet_level tail + 2 dry_level x, cut at the clip's end. The decay time (RT60) is about
    0.86 s at room size 0.4, 1.34 s at 0.6, 2.4 s at 0.8 and 5.6 s at 0.95.

    Attributes:
        room_size: 0..1, longer tails.
        damping: 0..1, duller tails.
        wet_level, dry_level: 0..1, of tail and clip.
    """

    primitive: Literal["reverb"] = "reverb"
    room_size: float = Field(ge=0, le=1)
    damping: float = Field(ge=0, le=1)
    wet_level: float = Field(ge=0, le=1)
    dry_level: float = Field(ge=0, le=1)

    def apply(self, x: Floats, stage: Stage) -> Notes:
        """See `Primitive.apply`."""
        feedback, damp = 0.28 * self.room_size + 0.7, 0.4 * self.damping
        kernels.loops.reverb(x, feedback, damp, 3.0 * self.wet_level, 2.0 * self.dry_level)
        return {}


class RoomResponse(Primitive):
    """y = x convolved with a measured room response, in place of the synthetic tail.

    The response is scaled to unit energy and begins with its direct sound, so that level and
    timing stay those of the clip; what rings on after the clip's end is cut.

    Attributes:
        response: its name in the folder given as `room_responses`.
    """

    primitive: Literal["room_response"] = "room_response"
    response: str

    def apply(self, x: Floats, stage: Stage) -> Notes:
        """See `Primitive.apply`.

        Raises:
            UsageError: the simulator was given no room responses.
        """
        from scipy.signal import oaconvolve  # slow to import, and few need it

        if stage.rooms is None:
            raise UsageError(
                f"the draw uses the room response {self.response}: give the folder that holds it "
                "(--room-responses)"
            )
        x[:] = oaconvolve(x, stage.rooms.response(self.response))[: len(x)].astype(np.float32)
        return {}
