"""The input of the benchmark gpu: noise of drawn lengths, on either route; needs numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

RATE = 16_000
TOKENS_PER_S = 3.3
"""Tokens of English speech for each second of audio."""
MIN_S = 2.0


@dataclass(frozen=True, slots=True)
class GpuClip:
    """A clip and what is asked for it.

    Attributes:
        samples: audio, float32 of shape [time], 16 kHz mono.
        route: branch that decodes it.
    """

    samples: Any
    route: Literal["base", "robust"]

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / RATE

    @property
    def tokens(self) -> int:
        """Number of tokens to generate."""
        return round(TOKENS_PER_S * self.duration_s)


def draw_clips(count: int, max_s: float, seed: int = 0) -> list[GpuClip]:
    """Return clips of 2 s to `max_s` in random order, every second of which takes the robust route.

    Args:
        count: number of clips.
        max_s: length of the longest possible clip in seconds.
        seed: seed of lengths and sounds; equal arguments give equal clips.
    """
    import numpy as np

    lengths = np.random.default_rng(seed).uniform(MIN_S, max_s, count)
    return [
        GpuClip(
            (
                0.1 * np.random.default_rng([seed, number]).standard_normal(int(RATE * length_s))
            ).astype(np.float32),
            "robust" if number % 2 else "base",
        )
        for number, length_s in enumerate(lengths)
    ]


def every(clips: Sequence[GpuClip], step: int) -> list[GpuClip]:
    """Return a part of the clips of each branch that has the same lengths, nearly.

    Args:
        clips: clips of both branches.
        step: how many clips of a branch, in the order of their lengths, stand for a single clip.
    """
    chosen = []
    for branch in ("base", "robust"):
        ordered = sorted((c for c in clips if c.route == branch), key=lambda c: c.duration_s)
        chosen += ordered[step // 2 :: step]
    return chosen


def audio_s(clips: Sequence[GpuClip]) -> float:
    """Return the length of all clips together, in seconds."""
    return sum(clip.duration_s for clip in clips)
