"""What every primitive is: frozen parameters, and one change of the samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Floats = NDArray[np.float32]
Notes = dict[str, float | int | str]


class NoiseSource(Protocol):
    """Where the samples of a noise come from."""

    def samples(self, name: str) -> NDArray[np.int16]:
        """Return a noise by name: int16 [time], 16 kHz, at least one sample."""


class RoomResponses(Protocol):
    """Where measured room responses come from."""

    def response(self, name: str) -> Floats:
        """Return a response by name: float32 [time], 16 kHz, from its direct sound on."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a primitive may use besides the samples."""

    noise: NoiseSource
    rooms: RoomResponses | None = None


class Primitive(BaseModel):
    """A drawn primitive: every parameter has its value, so applying it is a function.

    Attributes:
        condition: the condition that brought it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    condition: str

    def apply(self, x: Floats, stage: Stage) -> Notes:
        """Change 16 kHz mono samples in place.

        Args:
            x: float32 [time], contiguous, at least one sample.
            stage: noises and rooms.

        Returns:
            What was measured on the way; `skipped` gives the reason if `x` is unchanged.
        """
        raise NotImplementedError


def mix_in(x: Floats, dry: Floats, wet: float) -> None:
    """Make x = wet x + (1 - wet) dry."""
    x *= np.float32(wet)
    x += np.float32(1.0 - wet) * dry
