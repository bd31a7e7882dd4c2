"""What is heard of a recording: its audio track and its channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

ChannelChoice: TypeAlias = Literal["mix", "left", "right"] | int
"""What to use of several channels: their mix, the first, the second, or one by its number from 1
on."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is heard of a recording.

    Attributes:
        track: number of the audio track, from 1 on; None selects the one that players choose, and
            another if that one is silent.
        channels: `mix`, `left`, `right`, or the number of a channel from 1 on.
    """

    track: int | None = None
    channels: ChannelChoice = "mix"


EVERYTHING = Selection()
"""The track that players choose, and the mix of all its channels."""
