"""Names of segments of recordings: `talk.wav#t=3.3,6.785`, from 3.3 to 6.785 seconds.

The notation is that of the Media Fragments URI of the W3C. A segment without a start, `#t=,5.2`,
begins with the recording, and its end is a stated length, which is often rounded: a recording that
is at most `ROUNDING_S` longer is read whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ROUNDING_S = 0.5
"""Stated ends may differ from the recording's by this many seconds, because they are rounded."""

_SEGMENT = re.compile(
    r"^(?P<recording>.+)#t=(?P<start>[0-9]+(\.[0-9]+)?)?(,(?P<end>[0-9]+(\.[0-9]+)?))?$", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class RecordingSegment:
    """A segment of a recording.

    Attributes:
        recording: path of the recording.
        start_s: start in seconds; None for the start of the recording.
        end_s: end in seconds; None for the end of the recording.
    """

    recording: str
    start_s: float | None
    end_s: float | None


def segment_name(recording: str, start_s: float | None, duration_s: float | None) -> str:
    """Return the name of a segment, to a microsecond.

    Args:
        recording: path of the recording.
        start_s: start in seconds, at least 0; None for the start of the recording.
        duration_s: length in seconds, above 0; None for the rest of the recording.
    """
    end_s = None if duration_s is None else (start_s or 0.0) + duration_s
    start = "" if start_s is None else _plain(start_s)
    return f"{recording}#t={start}" + ("" if end_s is None else f",{_plain(end_s)}")


def parse_segment(audio: str) -> RecordingSegment | None:
    """Return the segment that a name stands for, or None for the name of a whole recording."""
    match = _SEGMENT.match(audio)
    if match is None:
        return None
    start, end = match["start"], match["end"]
    return RecordingSegment(
        match["recording"],
        None if start is None else float(start),
        None if end is None else float(end),
    )


def recording_of(audio: str) -> str:
    """Return the recording that a clip is in: of a segment its recording, else the clip itself."""
    segment = parse_segment(audio)
    return audio if segment is None else segment.recording


def _plain(seconds: float) -> str:
    """Return a time without exponent and trailing zeros."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")
