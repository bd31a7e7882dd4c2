"""Text formats of transcripts: txt, tsv, srt and vtt. No text of a segment can break a format.

txt and tsv have one line per segment. For srt and vtt a segment (up to 30 s of speech) is divided
into readable cues: at most two lines of 42 columns, displayed for 0.83 to 7 s if the speed of the
speech permits. Times within a segment are estimates: the share of a cue in the segment's duration
is its share of the characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from megaasr.records.segments import Segment

MAX_LINE_COLUMNS = 42
"""Maximum width of a subtitle's line; wide (Chinese, Japanese, Korean) characters fill two
columns."""
MAX_CUE_LINES = 2
"""Maximum number of lines in a subtitle."""
MIN_CUE_S = 0.83
"""Minimum duration of a subtitle in seconds, unless its segment is too short for that."""
MAX_CUE_S = 7.0
"""Maximum duration of a subtitle in seconds."""

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][\"”’)])\s+|(?<=[。！？])(?![”’」』）])")
# Characters that must not begin a line; they stay with the character before them.
_CLOSING = "，。、！？；：）」』】》〉”’…,.!?;:)]}%"
_ZERO_WIDTH = ("Mn", "Me", "Cf")  # Unicode categories: combining marks and format characters


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle.

    Attributes:
        start, end: times in seconds from the start of the recording; `end` is at least 1 ms after
            `start`.
        lines: one or two lines of text.
    """

    start: float
    end: float
    lines: tuple[str, ...]


def split_into_cues(segment: Segment) -> list[Cue]:
    """Return the cues of a segment, in order of time and without overlap.

    Every sentence begins a new cue, except that short sentences share one. The lines of a sentence
    are of similar length.
    """
    duration_s = segment.end - segment.start
    texts = _cue_texts(single_line(segment.text), duration_s)
    if not texts:
        return []
    durations = _durations([_columns("".join(lines)) for lines in texts], duration_s)
    cues, start = [], segment.start
    for lines, cue_s in zip(texts, durations, strict=True):
        cues.append(Cue(start, start + max(min(cue_s, MAX_CUE_S), 0.001), lines))
        start += cue_s
    return cues


def single_line(text: str) -> str:
    """Return a text on one line: white space as single spaces, control characters removed."""
    # Everything that breaks a line (U+0085 and U+2028 too) is white space or a control character.
    visible = (" " if char.isspace() else char for char in text)
    printable = (char for char in visible if unicodedata.category(char) not in ("Cc", "Cs"))
    return " ".join("".join(printable).split())


def timestamp(seconds: float, *, decimal: str = ".", hours: bool = True) -> str:
    """Return a time as text, such as `01:02:03.004`.

    Args:
        seconds: time in seconds; negative times count as 0.
        decimal: decimal separator (`,` in srt).
        hours: write the hours even if they are 0.
    """
    total_ms = max(0, round(seconds * 1000.0))
    total_minutes, ms = divmod(total_ms, 60_000)
    whole_hours, minutes = divmod(total_minutes, 60)
    hours_text = f"{whole_hours:02d}:" if hours or whole_hours else ""
    return f"{hours_text}{minutes:02d}:{ms // 1000:02d}{decimal}{ms % 1000:03d}"


def live_line(segment: Segment) -> str:
    """Return a segment in the form that whisper prints during transcription, such as
    `[00:00.000 --> 00:04.000]  text`."""
    start, end = (timestamp(time, hours=False) for time in (segment.start, segment.end))
    return f"[{start} --> {end}]  {single_line(segment.text)}"


def render_txt(segments: Sequence[Segment]) -> str:
    """Return one line of text per segment with words."""
    return "".join(f"{text}\n" for _, text in _with_text(segments))


def render_tsv(segments: Sequence[Segment]) -> str:
    """Return a table of start and end in milliseconds and text, with whisper's columns."""
    rows = [
        f"{round(segment.start * 1000)}\t{round(segment.end * 1000)}\t{text}\n"
        for segment, text in _with_text(segments)
    ]
    return "start\tend\ttext\n" + "".join(rows)


def render_srt(segments: Sequence[Segment]) -> str:
    """Return SubRip subtitles."""
    blocks = []
    cues = (cue for segment in segments for cue in split_into_cues(segment))
    for number, cue in enumerate(cues, 1):
        times = f"{timestamp(cue.start, decimal=',')} --> {timestamp(cue.end, decimal=',')}"
        # SubRip has no escapes; an arrow in the text would be read as a line of times.
        text = "\n".join(cue.lines).replace("-->", "→")
        blocks.append(f"{number}\n{times}\n{text}\n")
    return "\n".join(blocks)


def render_vtt(segments: Sequence[Segment]) -> str:
    """Return WebVTT subtitles."""
    blocks = ["WEBVTT\n"]
    for segment in segments:
        for cue in split_into_cues(segment):
            text = "\n".join(cue.lines)
            for char, escape in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
                text = text.replace(char, escape)
            blocks.append(f"{timestamp(cue.start)} --> {timestamp(cue.end)}\n{text}\n")
    return "\n".join(blocks)


def _with_text(segments: Sequence[Segment]) -> Iterator[tuple[Segment, str]]:
    """Yield the segments with words, and their text on one line."""
    for segment in segments:
        if text := single_line(segment.text):
            yield segment, text


def _cue_texts(text: str, duration_s: float) -> list[tuple[str, ...]]:
    """Return the lines of each cue.

    Args:
        text: text of the segment on one line.
        duration_s: duration of the segment in seconds.
    """
    sentences = [part for part in _SENTENCE_END.split(text) if part]
    column_s = duration_s / max(1, _columns(text))
    groups: list[str] = []  # sentences that share cues
    for sentence in sentences:
        joined = _join(groups[-1], sentence) if groups else ""
        too_short = groups and min(_columns(groups[-1]), _columns(sentence)) * column_s < MIN_CUE_S
        max_lines = MAX_CUE_LINES if too_short else 1
        if joined and len(_wrap(_breakable_units(joined), MAX_LINE_COLUMNS)) <= max_lines:
            groups[-1] = joined
        else:
            groups.append(sentence)
    return [lines for group in groups for lines in _balance(group)]


def _balance(text: str) -> list[tuple[str, ...]]:
    """Wrap a text into as few cues as possible, with the narrowest lines that fit into them."""
    units = _breakable_units(text)
    count = len(_wrap(units, MAX_LINE_COLUMNS))
    cue_count = -(-count // MAX_CUE_LINES)
    max_lines = cue_count * MAX_CUE_LINES if cue_count > 1 else count
    widths = range(-(-_columns(text) // max_lines), MAX_LINE_COLUMNS)
    lines = next(
        (narrow for width in widths if len(narrow := _wrap(units, width)) <= max_lines),
        _wrap(units, MAX_LINE_COLUMNS),
    )
    return [tuple(lines[i : i + MAX_CUE_LINES]) for i in range(0, len(lines), MAX_CUE_LINES)]


def _durations(weights: list[int], duration_s: float) -> list[float]:
    """Divide a duration in proportion to weights, each at least `MIN_CUE_S` if possible."""
    total = max(1, sum(weights))
    durations = [duration_s * weight / total for weight in weights]
    spare_s = duration_s - MIN_CUE_S * len(weights)
    if spare_s >= 0 and min(durations) < MIN_CUE_S:
        return [MIN_CUE_S + spare_s * weight / total for weight in weights]
    return durations


def _wrap(units: list[str], width: int) -> list[str]:
    """Fill lines of at most `width` columns; a wider unit has a line of its own."""
    lines, filled = [""], 0
    for unit in units:
        columns = _columns(unit)
        if lines[-1] and filled + columns - unit.endswith(" ") > width:
            lines.append("")
            filled = 0
        lines[-1] += unit
        filled += columns
    return [line for line in (line.strip() for line in lines) if line]


def _breakable_units(text: str) -> list[str]:
    """Divide a text wherever a line may end: after spaces, around wide characters, and inside
    words that are longer than a line."""
    units, filled, previous = [""], 0, ""
    for char in text:
        breakable = previous == " " or _is_wide(previous) or (_is_wide(char) and previous != " ")
        breakable &= char != " " and char not in _CLOSING
        # One column is reserved for the space that may follow.
        if units[-1] and (breakable or filled + _columns(char) >= MAX_LINE_COLUMNS):
            units.append("")
            filled = 0
        units[-1] += char
        filled += _columns(char)
        previous = char
    return units


def _join(first: str, second: str) -> str:
    return first + second if _is_wide(first[-1]) else f"{first} {second}"


def _is_wide(char: str) -> bool:
    return bool(char) and unicodedata.east_asian_width(char) in "WF"


def _columns(text: str) -> int:
    """Return the width of a text in columns of a fixed-width font."""
    return sum(1 + _is_wide(char) for char in text if unicodedata.category(char) not in _ZERO_WIDTH)
