"""Frame stutter: lost packets, repeated or left silent."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.simulate.primitives.primitive import Floats, Notes, Primitive, Stage
from megaasr.simulate.streams import stream


class FrameStutter(Primitive):
    """Runs of frames are replaced by the frame before them, or by silence; the length stays.

    At every frame outside a run, a run begins with probability `stutter_prob`; its length is
    uniform in 1..`max_repeats` frames. With probability `repeat_prob` the whole run repeats the
    frame before it (as a receiver conceals a loss), else it is silent. The first frame and a
    rest shorter than a frame stay.

    Attributes:
        frame_ms: length of a frame; 20 ms, a usual packet.
        stutter_prob: 0..1, probability of a run per frame; the paper sweeps 0.05 to 0.3.
        repeat_prob: 0..1, share of runs that repeat.
        max_repeats: most frames in a run.
        key: of the random stream that the runs come from.
    """

    primitive: Literal["stutter"] = "stutter"
    frame_ms: float = Field(ge=1, le=1000)
    stutter_prob: float = Field(ge=0, le=1)
    repeat_prob: float = Field(ge=0, le=1)
    max_repeats: int = Field(ge=1, le=100)
    key: str

    def apply(self, x: Floats, stage: Stage) -> Notes:
        """See `Primitive.apply`."""
        frame = max(1, round(self.frame_ms * SAMPLE_RATE / 1000))
        frames = len(x) // frame
        if frames < 2:
            return {"skipped": "shorter than two frames"}
        begins, lengths, repeats = stream(self.key).random((3, frames))
        first = (begins < self.stutter_prob).nonzero()[0]
        last = np.minimum(frames, first + 1 + (lengths[first] * self.max_repeats).astype(int))
        again = repeats[first] < self.repeat_prob
        whole = x[: frames * frame].reshape(frames, frame)
        at, lost, runs = 1, 0, 0
        for begin, end, repeat in zip(first.tolist(), last.tolist(), again.tolist(), strict=True):
            if begin < at:
                continue  # inside the run before, or the first frame
            whole[begin:end] = whole[begin - 1] if repeat else 0.0
            at = end
            lost += end - begin
            runs += 1
        return {"runs": runs, "lost_frames": lost, "frames": frames}
