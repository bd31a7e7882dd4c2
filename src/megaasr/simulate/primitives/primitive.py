"""The base of all primitives: frozen parameters, and one operation on samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from megaasr.audio.waveform import Samples

Measurements = dict[str, float | int | str]
"""Values that a step measured, by name; `skipped` is the reason why it changed nothing."""


class NoiseSource(Protocol):
    """Provides noises by name."""

    def samples(self, name: str) -> NDArray[np.int16]:
        """Return a noise, an int16 array [time] at 16 kHz of at least one sample."""


class RoomResponses(Protocol):
    """Provides measured room responses by name."""

    def response(self, name: str) -> Samples:
        """Return a response, a float32 array [time] at 16 kHz that starts with the direct sound."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Recordings that primitives use.

    Attributes:
        noise: source of noises.
        rooms: source of measured room responses; None if there are none.
        talkers: source of other people's speech; None if there is none.
    """

    noise: NoiseSource
    rooms: RoomResponses | None = None
    talkers: NoiseSource | None = None


class Primitive(BaseModel):
    """A primitive with all its parameters, so that applying it involves no random choice.

    Attributes:
        condition: name of the condition that the primitive belongs to.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    condition: str

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """Apply the primitive to samples in place.

        Args:
            x: contiguous float32 array [time], 16 kHz mono, at least one sample.
            resources: noises and room responses.

        Returns:
            Values that were measured; `skipped` gives the reason if `x` is unchanged.
        """
        raise NotImplementedError

    def transform(self, x: Samples, resources: Resources) -> tuple[Samples, Measurements]:
        """Return the result of the primitive, and the values that were measured.

        Args:
            x: as for `apply`; may be changed in place.
            resources: noises, room responses and talkers.

        Returns:
            `x` itself, unless the primitive changes the length of the clip.
        """
        return x, self.apply(x, resources)


def mix_in(x: Samples, dry: Samples, wet: float) -> None:
    """Compute x = wet x + (1 - wet) dry in place."""
    x *= np.float32(wet)
    x += np.float32(1.0 - wet) * dry
