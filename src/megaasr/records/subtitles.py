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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from megaasr.errors import UsageError
from megaasr.records.segments import Segment
from megaasr.records.timeline import Timeline, count_visible
from megaasr.text.graphemes import columns, is_wide, split_clusters

MIN_CUE_S = 0.83
"""Minimum duration of a subtitle in seconds, unless the next one begins before that."""
MAX_CUE_S = 7.0
"""Maximum duration of a subtitle in seconds."""
MAX_PAUSE_S = 1.5
"""A pause between two words of this many seconds divides a text; no subtitle spans it."""

_MIN_HIGHLIGHT_S = 0.02
"""Shorter highlights, and pauses between them, are not displayed."""

_SENTENCE_END = re.compile(
    r"(?<=[.!?…।॥؟۔။។])\s+|(?<=[.!?…][\"”’)])\s+|(?<=[。！？])(?![”’」』）])"
)
# Characters that must not begin a line; they stay with the character before them.
_CLOSING = "，。、！？；：）」』】》〉”’…,.!?;:)]}%।॥؟،۔၊။។ๆฯໆ"
_SPACE = re.compile("(?<= )")
_HANGUL = (("\u1100", "\u11ff"), ("\u3130", "\u318f"), ("\ua960", "\ua97f"), ("\uac00", "\ud7ff"))


@dataclass(frozen=True, slots=True)
class SubtitleLayout:
    """How subtitles look.

    Attributes:
        columns: maximum width of a line; wide (Chinese, Japanese, Korean) characters fill two
            columns.
        lines: maximum number of lines.
        highlight_words: underline each word while it is spoken, in a cue of its own, as whisper
            does; segments whose words have no times are displayed without.

    Raises:
        UsageError: `columns` is less than 4, or `lines` less than 1.
    """

    columns: int = 42
    lines: int = 2
    highlight_words: bool = False

    def __post_init__(self) -> None:
        if self.columns < _MIN_COLUMNS:
            raise UsageError(
                f"lines of {self.columns} columns are too narrow; {_MIN_COLUMNS} is the least"
            )
        if self.lines < 1:
            raise UsageError(f"{self.lines} lines in a subtitle; at least 1 is needed")


_MIN_COLUMNS = 4
DEFAULT_LAYOUT = SubtitleLayout()


@dataclass(frozen=True, slots=True)
class CueWord:
    """A word of a subtitle.

    Attributes:
        start, end: times in seconds from the start of the recording.
        first, last: position before its first and after its last character, counted in visible
            characters of the subtitle's text.
    """

    start: float
    end: float
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle.

    Attributes:
        start, end: times in seconds from the start of the recording; `end` is at least 1 ms after
            `start`.
        lines: lines of text.
        words: the words with their times; empty if they are unknown.
    """

    start: float
    end: float
    lines: tuple[str, ...]
    words: tuple[CueWord, ...] = ()


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


def split_into_cues(segment: Segment, layout: SubtitleLayout = DEFAULT_LAYOUT) -> list[Cue]:
    """Return the cues of a segment, in order of time and without overlap.

    Every sentence begins a new cue, except that short sentences share one. The lines of a sentence
    are of similar length.
    """
    cues: list[Cue] = []
    for phrase, timeline in _timed_phrases(segment):
        first = 0
        for lines in _cue_texts(phrase.text, timeline, layout):
            last = first + count_visible("".join(lines))
            words = _cue_words(timeline.part(first, last))
            cues.append(Cue(timeline.start_of(first), timeline.end_of(last), lines, words))
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


def render_srt(segments: Sequence[Segment], layout: SubtitleLayout = DEFAULT_LAYOUT) -> str:
    """Return SubRip subtitles."""
    return "\n".join(srt_blocks(segments, layout))


def srt_blocks(
    segments: Sequence[Segment], layout: SubtitleLayout = DEFAULT_LAYOUT, *, first: int = 1
) -> list[str]:
    """Return the blocks of SubRip subtitles, which an empty line separates.

    Args:
        segments: the segments.
        layout: how subtitles look.
        first: number of the first block.
    """
    blocks = []
    displayed = _displayed_texts(segments, layout, _safe_in_srt)
    for number, (start, end, text) in enumerate(displayed, first):
        times = f"{timestamp(start, decimal=',')} --> {timestamp(end, decimal=',')}"
        blocks.append(f"{number}\n{times}\n{text}\n")
    return blocks


def render_vtt(segments: Sequence[Segment], layout: SubtitleLayout = DEFAULT_LAYOUT) -> str:
    """Return WebVTT subtitles."""
    blocks = ["WEBVTT\n"]
    for start, end, text in _displayed_texts(segments, layout, _escaped_for_vtt):
        blocks.append(f"{timestamp(start)} --> {timestamp(end)}\n{text}\n")
    return "\n".join(blocks)


def _safe_in_srt(text: str) -> str:
    # SubRip has no escapes; an arrow in the text would be read as a line of times.
    return text.replace("-->", "→")


def _escaped_for_vtt(text: str) -> str:
    for char, escape in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(char, escape)
    return text


def _displayed_texts(
    segments: Sequence[Segment], layout: SubtitleLayout, escape: Callable[[str], str]
) -> Iterator[tuple[float, float, str]]:
    """Yield start, end and escaped text of everything that is displayed, in order of time."""
    for segment in segments:
        for cue in split_into_cues(segment, layout):
            if not layout.highlight_words or not cue.words:
                yield cue.start, cue.end, escape("\n".join(cue.lines))
                continue
            for start, end, word in _highlights(cue):
                yield start, end, _underlined(cue.lines, word, escape)


def _highlights(cue: Cue) -> Iterator[tuple[float, float, CueWord | None]]:
    """Yield the parts of a cue, each with the word that is spoken, or None in a pause."""
    time = cue.start
    for word in cue.words:
        start, end = min(max(word.start, time), cue.end), min(word.end, cue.end)
        if end - start < _MIN_HIGHLIGHT_S:
            continue
        if start - time >= _MIN_HIGHLIGHT_S:
            yield time, start, None
        else:
            start = time
        yield start, end, word
        time = end
    if cue.end - time >= _MIN_HIGHLIGHT_S or time == cue.start:
        yield time, cue.end, None


def _underlined(lines: Sequence[str], word: CueWord | None, escape: Callable[[str], str]) -> str:
    """Return the escaped text of a cue with a word between `<u>` and `</u>`, on each line that it
    is on."""
    if word is None:
        return escape("\n".join(lines))
    marked = []
    position = 0
    for line in lines:
        inside = []
        for index, char in enumerate(line):
            if not char.isspace():
                if word.first <= position < word.last:
                    inside.append(index)
                position += 1
        if inside:
            before, after = line[: inside[0]], line[inside[-1] + 1 :]
            spoken = escape(line[inside[0] : inside[-1] + 1])
            marked.append(f"{escape(before)}<u>{spoken}</u>{escape(after)}")
        else:
            marked.append(escape(line))
    return "\n".join(marked)


def _cue_words(timeline: Timeline) -> tuple[CueWord, ...]:
    """Return the words of a cue whose characters have these times; none if they are estimates."""
    if not timeline.has_word_times:
        return ()
    bounds = zip(
        timeline.starts, timeline.ends, timeline.positions, timeline.positions[1:], strict=False
    )
    return tuple(CueWord(*bound) for bound in bounds)


def _timed_phrases(segment: Segment) -> Iterator[tuple[Phrase, Timeline]]:
    """Yield the phrases of a segment, each with the times of its characters."""
    text = single_line(segment.text)
    if not text:
        return
    timeline = Timeline.of(segment, count_visible(text))
    for start, end, part in timeline.divide(text, MAX_PAUSE_S):
        times = timeline.part(start, end)
        yield Phrase(times.start_of(0), times.end_of(end - start), part), times


def _cue_texts(text: str, timeline: Timeline, layout: SubtitleLayout) -> list[tuple[str, ...]]:
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
        max_lines = layout.lines if groups and shortest_s < MIN_CUE_S else 1
        units = _breakable_units(joined, layout.columns)
        if joined and len(_wrap(units, layout.columns)) <= max_lines:
            groups[-1] = joined
        else:
            groups.append(sentence)
        first = last
    texts: list[tuple[str, ...]] = []
    first = 0
    for group in groups:
        last = first + count_visible(group)
        texts += _balance_in_time(group, timeline.part(first, last), layout)
        first = last
    return texts


def _balance_in_time(
    text: str, timeline: Timeline, layout: SubtitleLayout
) -> list[tuple[str, ...]]:
    """Return the lines of as few cues as possible, none of which takes more than 7 s to say."""
    cues = _balance(text, layout)
    ends = list(accumulate(count_visible("".join(lines)) for lines in cues))
    longest_s = max(
        timeline.end_of(last) - timeline.start_of(first)
        for first, last in zip([0, *ends], ends, strict=False)
    )
    units = _breakable_units(text, layout.columns)
    if longest_s <= MAX_CUE_S or len(units) < 2 or not timeline.has_word_times:
        return cues
    positions = list(accumulate(count_visible(unit) for unit in units))
    middle = (timeline.start_of(0) + timeline.end_of(positions[-1])) / 2
    cut = min(range(1, len(units)), key=lambda i: abs(timeline.end_of(positions[i - 1]) - middle))
    first, last = positions[cut - 1], positions[-1]
    return [
        *_balance_in_time("".join(units[:cut]).strip(), timeline.part(0, first), layout),
        *_balance_in_time("".join(units[cut:]).strip(), timeline.part(first, last), layout),
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
        displayed.append(replace(cue, start=start, end=stop))
        start = stop
    return displayed


def _balance(text: str, layout: SubtitleLayout) -> list[tuple[str, ...]]:
    """Wrap a text into as few cues as possible, with the narrowest lines that fit into them."""
    units = _breakable_units(text, layout.columns)
    count = len(_wrap(units, layout.columns))
    cue_count = -(-count // layout.lines)
    max_lines = cue_count * layout.lines if cue_count > 1 else count
    widths = range(-(-columns(text) // max_lines), layout.columns)
    lines = next(
        (narrow for width in widths if len(narrow := _wrap(units, width)) <= max_lines),
        _wrap(units, layout.columns),
    )
    return [tuple(lines[i : i + layout.lines]) for i in range(0, len(lines), layout.lines)]


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


def _breakable_units(text: str, max_columns: int) -> list[str]:
    """Divide a text wherever a line may end: after spaces, around wide characters, and inside
    words that are longer than a line."""
    units: list[str] = []
    for word in _SPACE.split(text):
        units += _word_units(word, max_columns)
    return units


def _word_units(word: str, max_columns: int) -> list[str]:
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
    return [part for unit in units for part in _fitting_parts(unit, max_columns)]


def _fitting_parts(unit: str, max_columns: int) -> list[str]:
    """Divide what is wider than a line into as few parts of similar width as possible."""
    width = columns(unit.rstrip(" "))
    if width <= max_columns:
        return [unit]
    count = -(-width // (max_columns - 2))  # a part may exceed its share by a cluster
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
