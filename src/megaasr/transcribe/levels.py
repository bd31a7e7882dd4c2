"""The level of a recording over time, measured while it is read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from megaasr.audio.waveform import SAMPLE_RATE, Samples

LEVEL_FRAME_S = 0.1
"""Length of the frames whose levels are measured, in seconds."""

_FRAME = round(LEVEL_FRAME_S * SAMPLE_RATE)


class LevelMeter:
    """Measures the level of consecutive parts of a recording.

    Attributes:
        powers: mean square of each frame of 0.1 s.
    """

    def __init__(self) -> None:
        self.powers: list[float] = []
        self._rest = np.zeros(0, np.float32)

    def measured(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        """Yield the blocks (float32 [time], 16 kHz) unchanged."""
        for block in blocks:
            samples = np.concatenate([self._rest, block])
            count = len(samples) // _FRAME
            frames = samples[: count * _FRAME].reshape(count, _FRAME).astype(np.float64)
            self.powers += np.mean(frames**2, axis=1).tolist()
            self._rest = samples[count * _FRAME :]
            yield block
