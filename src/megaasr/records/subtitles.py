"""Write transcripts as txt, srt, vtt, tsv and json, so that no text can break the format.

txt and tsv have one line a segment. For srt and vtt a segment (up to 30 s of speech) is divided
into cues that can be read: at most two lines of 42 columns, shown for 0.83 to 7 s where the
speech allows it. Times inside a segment are estimates: each cue has the share of the segment's
time that it has of its characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from megaasr.records.segments import Segment

MAX_LINE_COLUMNS = 42
"""Columns in a line of a subtitle; a wide (Chinese, Japanese, Korean) character fills two."""
MAX_CUE_LINES = 2
"""Lines in a subtitle."""
MIN_CUE_S = 0.83
"""A subtitle is shown at least this long, in seconds, unless the segment is too short for it."""
MAX_CUE_S = 7.0
"""A subtitle is shown at most this long, in seconds."""

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][\"”’)])\s+|(?<=[。！？])(?![”’」』）])")
# What must not begin a line stays with the character before it.
_CLOSING = "，。、！？；：）」』】》〉”’…,.!?;:)]}%"
_NO_COLUMN = ("Mn", "Me", "Cf")  # accents and joiners


@dataclass(frozen=True, slots=True)
class Cue:
    """What a subtitle shows at one time.

    Attributes:
        start, end: seconds from the start of the recording; end is at least 1 ms after start.
        lines: one or two lines of text.
    """

    start: float
    end: float
    lines: tuple[str, ...]


def cues(segment: Segment) -> list[Cue]:
    """Divide a segment into cues, in order of time and without overlap.

    Sentences get cues of their own, except that short ones share. Line and cue breaks leave the
    lines of about equal length.
    """
    texts = _cue_texts(clean(segment.text), segment.end - segment.start)
    if not texts:
        return []
    shares = _durations([_columns("".join(lines)) for lines in texts], segment.end - segment.start)
    result, start = [], segment.start
    for lines, share in zip(texts, shares, strict=True):
        result.append(Cue(start, start + max(min(share, MAX_CUE_S), 0.001), lines))
        start += share
    return result


def clean(text: str) -> str:
    """Return the text on one line: white space as single spaces, control characters removed."""
    # All that may break a line (also U+0085, U+2028) is white space or a control character.
    visible = (" " if char.isspace() else char for char in text)
    printable = (char for char in visible if unicodedata.category(char) not in ("Cc", "Cs"))
    return " ".join("".join(printable).split())


def timestamp(seconds: float, *, decimal: str = ".", hours: bool = True) -> str:
    """Return `01:02:03.004`, without the hours if they are 0 and not asked for.

    Args:
        seconds: from 0.
        decimal: the mark before the milliseconds (`,` in srt).
        hours: write the hours even if they are 0.
    """
    total_ms = max(0, round(seconds * 1000.0))
    minutes, ms = divmod(total_ms, 60_000)
    over, minutes = divmod(minutes, 60)
    head = f"{over:02d}:" if hours or over else ""
    return f"{head}{minutes:02d}:{ms // 1000:02d}{decimal}{ms % 1000:03d}"


def live_line(segment: Segment) -> str:
    """Return `[00:00.000 --> 00:04.000]  text`, as whisper prints it while it works."""
    start, end = (timestamp(time, hours=False) for time in (segment.start, segment.end))
    return f"[{start} --> {end}]  {clean(segment.text)}"


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
    all_cues = (cue for segment in segments for cue in cues(segment))
    for number, cue in enumerate(all_cues, 1):
        times = f"{timestamp(cue.start, decimal=',')} --> {timestamp(cue.end, decimal=',')}"
        # SubRip has no escapes; an arrow in the text would be read as a line of times.
        text = "\n".join(cue.lines).replace("-->", "→")
        blocks.append(f"{number}\n{times}\n{text}\n")
    return "\n".join(blocks)


def render_vtt(segments: Sequence[Segment]) -> str:
    """Return WebVTT subtitles."""
    blocks = ["WEBVTT\n"]
    for segment in segments:
        for cue in cues(segment):
            text = "\n".join(cue.lines)
            for char, escape in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
                text = text.replace(char, escape)
            blocks.append(f"{timestamp(cue.start)} --> {timestamp(cue.end)}\n{text}\n")
    return "\n".join(blocks)


def _with_text(segments: Sequence[Segment]) -> Iterator[tuple[Segment, str]]:
    """Yield the segments with words, and their text on one line."""
    for segment in segments:
        if text := clean(segment.text):
            yield segment, text


def _cue_texts(text: str, duration_s: float) -> list[tuple[str, ...]]:
    """Divide a text of one line into the lines of its cues."""
    sentences = [part for part in _SENTENCE_END.split(text) if part]
    column_s = duration_s / max(1, _columns(text))
    groups: list[str] = []
    for sentence in sentences:
        joined = _join(groups[-1], sentence) if groups else ""
        hurried = groups and min(_columns(groups[-1]), _columns(sentence)) * column_s < MIN_CUE_S
        room = MAX_CUE_LINES if hurried else 1
        if joined and len(_wrap(_units(joined), MAX_LINE_COLUMNS)) <= room:
            groups[-1] = joined
        else:
            groups.append(sentence)
    return [lines for group in groups for lines in _balanced(group)]


def _balanced(text: str) -> list[tuple[str, ...]]:
    """Wrap a sentence into as few cues as it needs, with the narrowest lines that need no more."""
    units = _units(text)
    count = len(_wrap(units, MAX_LINE_COLUMNS))
    cue_count = -(-count // MAX_CUE_LINES)
    allowed = cue_count * MAX_CUE_LINES if cue_count > 1 else count
    widths = range(-(-_columns(text) // allowed), MAX_LINE_COLUMNS)
    lines = next(
        (narrow for width in widths if len(narrow := _wrap(units, width)) <= allowed),
        _wrap(units, MAX_LINE_COLUMNS),
    )
    return [tuple(lines[at : at + MAX_CUE_LINES]) for at in range(0, len(lines), MAX_CUE_LINES)]


def _durations(weights: list[int], duration_s: float) -> list[float]:
    """Share out a segment's time by weight, but to nobody less than `MIN_CUE_S` if it suffices."""
    total = max(1, sum(weights))
    shares = [duration_s * weight / total for weight in weights]
    spare_s = duration_s - MIN_CUE_S * len(weights)
    if spare_s >= 0 and min(shares) < MIN_CUE_S:
        return [MIN_CUE_S + spare_s * weight / total for weight in weights]
    return shares


def _wrap(units: list[str], width: int) -> list[str]:
    """Fill lines of at most `width` columns; a unit that is wider has a line of its own."""
    lines, filled = [""], 0
    for unit in units:
        columns = _columns(unit)
        if lines[-1] and filled + columns - unit.endswith(" ") > width:
            lines.append("")
            filled = 0
        lines[-1] += unit
        filled += columns
    return [line for line in (line.strip() for line in lines) if line]


def _units(text: str) -> list[str]:
    """Divide a text where a line may end: after spaces, around wide characters, in long words."""
    units, filled, before = [""], 0, ""
    for char in text:
        breakable = before == " " or _wide(before) or (_wide(char) and before != " ")
        breakable &= char != " " and char not in _CLOSING
        # One column is left for the space that may follow.
        if units[-1] and (breakable or filled + _columns(char) >= MAX_LINE_COLUMNS):
            units.append("")
            filled = 0
        units[-1] += char
        filled += _columns(char)
        before = char
    return units


def _join(first: str, second: str) -> str:
    return first + second if _wide(first[-1]) else f"{first} {second}"


def _wide(char: str) -> bool:
    return bool(char) and unicodedata.east_asian_width(char) in "WF"


def _columns(text: str) -> int:
    """Return how many columns a text fills on a screen with letters of one width."""
    return sum(1 + _wide(char) for char in text if unicodedata.category(char) not in _NO_COLUMN)
