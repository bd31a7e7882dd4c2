"""Frame stutter: lost packets, which are repeated or silent."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources
from megaasr.simulate.streams import stream


class FrameStutter(Primitive):
    """Replaces runs of frames by the frame before them or by silence, at the same length.

    At every frame outside a run, a new run starts with probability `stutter_prob`; its length is
    uniform in 1..`max_repeats` frames. With probability `repeat_prob` the run repeats the frame
    before it (as receivers conceal losses), otherwise it is silent. The first frame and a remainder
    shorter than a frame are never replaced.

    Attributes:
        frame_ms: length of a frame in milliseconds; 20 ms is a usual packet.
        stutter_prob: probability that a run starts at a frame, 0 to 1; the paper sweeps 0.05 to
            0.3.
        repeat_prob: share of runs that repeat the previous frame, 0 to 1.
        max_repeats: maximum number of frames in a run.
        key: key of the random stream that the runs are drawn from.
    """

    primitive: Literal["stutter"] = "stutter"
    frame_ms: float = Field(ge=1, le=1000)
    stutter_prob: float = Field(ge=0, le=1)
    repeat_prob: float = Field(ge=0, le=1)
    max_repeats: int = Field(ge=1, le=100)
    key: str

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`."""
        frame = max(1, round(self.frame_ms * SAMPLE_RATE / 1000))
        frames = len(x) // frame
        if frames < 2:
            return {"skipped": "shorter than two frames"}
        start_draws, length_draws, repeat_draws = stream(self.key).random((3, frames))
        starts = (start_draws < self.stutter_prob).nonzero()[0]
        lengths = 1 + (length_draws[starts] * self.max_repeats).astype(int)
        ends = np.minimum(frames, starts + lengths)
        repeats = repeat_draws[starts] < self.repeat_prob
        framed = x[: frames * frame].reshape(frames, frame)
        next_start, lost, runs = 1, 0, 0
        drawn_runs = zip(starts.tolist(), ends.tolist(), repeats.tolist(), strict=True)
        for start, end, repeat in drawn_runs:
            if start < next_start:
                continue  # inside the previous run, or the first frame
            framed[start:end] = framed[start - 1] if repeat else 0.0
            next_start = end
            lost += end - start
            runs += 1
        return {"runs": runs, "lost_frames": lost, "frames": frames}
