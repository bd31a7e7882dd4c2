"""Text formats of transcripts: txt, tsv, srt and vtt. No text of a segment can break a format.

txt has one line per segment. The other formats have times, which are those of the words
(`megaasr.records.timeline`): a segment of up to 30 s is divided into *phrases* wherever its words
are `MAX_PAUSE_S` or more apart. A phrase is a row of tsv, and a line on the screen. In srt and vtt
it is divided further into readable cues: at most two lines of 42 columns, displayed for at most 7 s
and, if the next one leaves the time, for at least 0.83 s. No cue begins before its first word.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from megaasr.records.segments import Segment
from megaasr.records.timeline import Timeline, count_visible
from megaasr.text.graphemes import columns, is_wide, split_clusters

MAX_LINE_COLUMNS = 42
"""Maximum width of a subtitle's line; wide (Chinese, Japanese, Korean) characters fill two
columns."""
MAX_CUE_LINES = 2
"""Maximum number of lines in a subtitle."""
MIN_CUE_S = 0.83
"""Minimum duration of a subtitle in seconds, unless the next one begins before that."""
MAX_CUE_S = 7.0
"""Maximum duration of a subtitle in seconds."""
MAX_PAUSE_S = 1.5
"""A pause between two words of this many seconds divides a text; no subtitle spans it."""

_SENTENCE_END = re.compile(
    r"(?<=[.!?…।॥؟۔။។])\s+|(?<=[.!?…][\"”’)])\s+|(?<=[。！？])(?![”’」』）])"
)
# Characters that must not begin a line; they stay with the character before them.
_CLOSING = "，。、！？；：）」』】》〉”’…,.!?;:)]}%।॥؟،۔၊။។ๆฯໆ"
_SPACE = re.compile("(?<= )")
_HANGUL = (("\u1100", "\u11ff"), ("\u3130", "\u318f"), ("\ua960", "\ua97f"), ("\uac00", "\ud7ff"))


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


@dataclass(frozen=True, slots=True)
class Phrase:
    """A part of a segment without a long pause.

    Attributes:
        start, end: times in seconds from the start of the recording.
        text: the text on one line.
    """

    start: float
    end: float
    text: str


def split_into_phrases(segment: Segment) -> list[Phrase]:
    """Return the parts of a segment between long pauses, in order of time; none without text."""
    return [phrase for phrase, _ in _timed_phrases(segment)]


def split_into_cues(segment: Segment) -> list[Cue]:
    """Return the cues of a segment, in order of time and without overlap.

    Every sentence begins a new cue, except that short sentences share one. The lines of a sentence
    are of similar length.
    """
    cues: list[Cue] = []
    for phrase, timeline in _timed_phrases(segment):
        first = 0
        for lines in _cue_texts(phrase.text, timeline):
            last = first + count_visible("".join(lines))
            cues.append(Cue(timeline.start_of(first), timeline.end_of(last), lines))
            first = last
    end = segment.end if segment.chunk_end is None else segment.chunk_end
    return _displayed(cues, end)


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


def live_lines(segment: Segment) -> str:
    """Return a segment in the form that whisper prints during transcription, such as
    `[00:00.000 --> 00:04.000]  text`, with one line per phrase."""
    lines = []
    for phrase in split_into_phrases(segment):
        start, end = (timestamp(time, hours=False) for time in (phrase.start, phrase.end))
        lines.append(f"[{start} --> {end}]  {phrase.text}")
    return "\n".join(lines)


def render_txt(segments: Sequence[Segment]) -> str:
    """Return one line of text per segment with words."""
    texts = (single_line(segment.text) for segment in segments)
    return "".join(f"{text}\n" for text in texts if text)


def render_tsv(segments: Sequence[Segment]) -> str:
    """Return a table of start and end in milliseconds and text, with whisper's columns."""
    rows = [
        f"{round(phrase.start * 1000)}\t{round(phrase.end * 1000)}\t{phrase.text}\n"
        for segment in segments
        for phrase in split_into_phrases(segment)
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


def _timed_phrases(segment: Segment) -> Iterator[tuple[Phrase, Timeline]]:
    """Yield the phrases of a segment, each with the times of its characters."""
    text = single_line(segment.text)
    if not text:
        return
    timeline = Timeline.of(segment, count_visible(text))
    for start, end, part in timeline.divide(text, MAX_PAUSE_S):
        times = timeline.part(start, end)
        yield Phrase(times.start_of(0), times.end_of(end - start), part), times


def _cue_texts(text: str, timeline: Timeline) -> list[tuple[str, ...]]:
    """Return the lines of each cue of a phrase."""
    groups: list[str] = []  # sentences that share cues
    first = 0
    for sentence in (part for part in _SENTENCE_END.split(text) if part):
        joined = _join(groups[-1], sentence) if groups else ""
        last = first + count_visible(sentence)
        previous = first - count_visible(groups[-1]) if groups else first
        shortest_s = min(
            timeline.end_of(last) - timeline.start_of(first),
            timeline.end_of(first) - timeline.start_of(previous) if groups else 0.0,
        )
        max_lines = MAX_CUE_LINES if groups and shortest_s < MIN_CUE_S else 1
        if joined and len(_wrap(_breakable_units(joined), MAX_LINE_COLUMNS)) <= max_lines:
            groups[-1] = joined
        else:
            groups.append(sentence)
        first = last
    texts: list[tuple[str, ...]] = []
    first = 0
    for group in groups:
        last = first + count_visible(group)
        texts += _balance_in_time(group, timeline.part(first, last))
        first = last
    return texts


def _balance_in_time(text: str, timeline: Timeline) -> list[tuple[str, ...]]:
    """Return the lines of as few cues as possible, none of which takes more than 7 s to say."""
    cues = _balance(text)
    ends = list(accumulate(count_visible("".join(lines)) for lines in cues))
    longest_s = max(
        timeline.end_of(last) - timeline.start_of(first)
        for first, last in zip([0, *ends], ends, strict=False)
    )
    units = _breakable_units(text)
    if longest_s <= MAX_CUE_S or len(units) < 2 or not timeline.has_word_times:
        return cues
    positions = list(accumulate(count_visible(unit) for unit in units))
    middle = (timeline.start_of(0) + timeline.end_of(positions[-1])) / 2
    cut = min(range(1, len(units)), key=lambda i: abs(timeline.end_of(positions[i - 1]) - middle))
    first, last = positions[cut - 1], positions[-1]
    return [
        *_balance_in_time("".join(units[:cut]).strip(), timeline.part(0, first)),
        *_balance_in_time("".join(units[cut:]).strip(), timeline.part(first, last)),
    ]


def _displayed(cues: Sequence[Cue], end: float) -> list[Cue]:
    """Return cues that are displayed long enough to be read where that is possible.

    Args:
        cues: the cues of a segment, with the times of their words.
        end: the last time at which one may be displayed, in seconds.
    """
    displayed: list[Cue] = []
    start = -math.inf
    for index, cue in enumerate(cues):
        start = max(start, cue.start)
        following = cues[index + 1] if index + 1 < len(cues) else None
        # The next cue may begin a little late, as long as it can be read itself.
        latest = end if following is None else max(following.start, following.end - MIN_CUE_S)
        stop = min(max(cue.end, min(start + MIN_CUE_S, latest)), start + MAX_CUE_S)
        stop = max(stop, start + 0.001)
        displayed.append(Cue(start, stop, cue.lines))
        start = stop
    return displayed


def _balance(text: str) -> list[tuple[str, ...]]:
    """Wrap a text into as few cues as possible, with the narrowest lines that fit into them."""
    units = _breakable_units(text)
    count = len(_wrap(units, MAX_LINE_COLUMNS))
    cue_count = -(-count // MAX_CUE_LINES)
    max_lines = cue_count * MAX_CUE_LINES if cue_count > 1 else count
    widths = range(-(-columns(text) // max_lines), MAX_LINE_COLUMNS)
    lines = next(
        (narrow for width in widths if len(narrow := _wrap(units, width)) <= max_lines),
        _wrap(units, MAX_LINE_COLUMNS),
    )
    return [tuple(lines[i : i + MAX_CUE_LINES]) for i in range(0, len(lines), MAX_CUE_LINES)]


def _wrap(units: list[str], width: int) -> list[str]:
    """Fill lines of at most `width` columns; a wider unit has a line of its own."""
    lines, filled = [""], 0
    for unit in units:
        width_of_unit = columns(unit)
        if lines[-1] and filled + width_of_unit - unit.endswith(" ") > width:
            lines.append("")
            filled = 0
        lines[-1] += unit
        filled += width_of_unit
    return [line for line in (line.strip() for line in lines) if line]


def _breakable_units(text: str) -> list[str]:
    """Divide a text wherever a line may end: after spaces, around wide characters, and inside
    words that are longer than a line."""
    units: list[str] = []
    for word in _SPACE.split(text):
        units += _word_units(word)
    return units


def _word_units(word: str) -> list[str]:
    """Divide a word, with the space after it, wherever a line may end; never within a cluster."""
    clusters = split_clusters(word)
    units = [""]
    previous = ""
    for cluster in clusters:
        breakable = _is_ideographic(previous) or _is_ideographic(cluster)
        if units[-1] and breakable and cluster[0] != " " and cluster[0] not in _CLOSING:
            units.append("")
        units[-1] += cluster
        previous = cluster
    return [part for unit in units for part in _fitting_parts(unit)]


def _fitting_parts(unit: str) -> list[str]:
    """Divide what is wider than a line into as few parts of similar width as possible."""
    width = columns(unit.rstrip(" "))
    if width <= MAX_LINE_COLUMNS:
        return [unit]
    count = -(-width // (MAX_LINE_COLUMNS - 2))  # a part may exceed its share by a cluster
    parts, filled = [""], 0
    for cluster in split_clusters(unit):
        due = filled >= width * len(parts) / count
        if due and parts[-1] and cluster[0] not in f"{_CLOSING} ":
            parts.append("")
        parts[-1] += cluster
        filled += columns(cluster)
    return parts


def _join(first: str, second: str) -> str:
    return first + second if _is_ideographic(first[-1]) else f"{first} {second}"


def _is_ideographic(cluster: str) -> bool:
    """Return whether a line may be broken before and after a cluster: wide, but not Korean."""
    return is_wide(cluster) and not any(low <= cluster[0] <= high for low, high in _HANGUL)
