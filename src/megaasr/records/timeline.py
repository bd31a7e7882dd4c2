"""When each character of a segment is spoken, from the times of its words."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from megaasr.records.segments import Segment, Word
from megaasr.text.graphemes import split_clusters

_FIRST_UNSPACED = "\u0e00"  # Thai; nearly all scripts of lower code points have spaces


def count_visible(text: str) -> int:
    """Return the number of characters of a text that are not white space."""
    return sum(not char.isspace() for char in text)


@dataclass(frozen=True, slots=True)
class Timeline:
    """Times of the visible characters of a text.

    Positions count visible characters: position 3 is before the fourth one.

    Attributes:
        positions: position of every boundary of two words, increasing, from 0 to the end.
        starts, ends: start and end of the word after and before each boundary, in seconds from the
            start of the recording. `starts` has one entry per word, and so has `ends`.
        has_word_times: False if no word had times, so that all of them are estimates from the
            length of the text.
    """

    positions: tuple[int, ...]
    starts: tuple[float, ...]
    ends: tuple[float, ...]
    has_word_times: bool

    @classmethod
    def of(cls, segment: Segment, length: int) -> Timeline:
        """Return the times of the characters of a segment's text.

        Words that differ from the text (another spelling of a number, say) are stretched over it.
        Where a word has no times, they are interpolated between its neighbours'.

        Args:
            segment: the segment.
            length: number of visible characters of its text, at least 1.
        """
        words = [word for word in segment.words if count_visible(word.text)]
        if all(word.start is None and word.end is None for word in words):
            return cls((0, length), (segment.start,), (segment.end,), has_word_times=False)
        total = list(accumulate((count_visible(word.text) for word in words), initial=0))
        positions = [round(count * (length / total[-1])) for count in total]
        starts, ends = _complete(words, total, segment)
        kept = [i for i in range(len(words)) if positions[i] < positions[i + 1]]
        bounds = (*(positions[i] for i in kept), length)
        return cls(
            bounds,
            tuple(starts[i] for i in kept),
            tuple(ends[i] for i in kept),
            has_word_times=True,
        )

    @property
    def duration_s(self) -> float:
        """Seconds from the first character to the last."""
        return self.ends[-1] - self.starts[0]

    def start_of(self, position: int) -> float:
        """Return when the character after a position begins."""
        index = min(self._word(position), len(self.starts) - 1)
        return self._within(index, position)

    def end_of(self, position: int) -> float:
        """Return when the character before a position ends."""
        index = max(0, self._word(position - 1))
        return self._within(min(index, len(self.starts) - 1), position)

    def part(self, start: int, end: int) -> Timeline:
        """Return the times of the characters from one position to another, which counts from 0."""
        first, last = self._word(start), self._word(end - 1)
        inner = self.positions[first + 1 : last + 1]
        return Timeline(
            (0, *(position - start for position in inner), end - start),
            (self._within(first, start), *self.starts[first + 1 : last + 1]),
            (*self.ends[first:last], self._within(last, end)),
            self.has_word_times,
        )

    def divide(self, text: str, pause_s: float) -> Iterator[tuple[int, int, str]]:
        """Yield start, end and text of the parts of a text between pauses.

        Args:
            text: the text that the times belong to, on one line.
            pause_s: shortest pause in seconds that divides it.
        """
        cuts = [
            position
            for position, end, start in zip(
                self.positions[1:-1], self.ends, self.starts[1:], strict=False
            )
            if start - end >= pause_s
        ]
        part, first, last = "", 0, 0
        for unit in _inseparable_parts(text) if cuts else [text]:
            if cuts and last >= cuts[0] and last > first:
                yield first, last, part.strip()
                part, first = "", last
                cuts = [cut for cut in cuts if cut > last]
            part += unit
            last += count_visible(unit)
        yield first, last, part.strip()

    def _word(self, position: int) -> int:
        """Return the index of the word that the character after a position belongs to."""
        return bisect_right(self.positions, position) - 1

    def _within(self, index: int, position: int) -> float:
        """Return the time of a position within a word or at its boundaries."""
        first, last = self.positions[index : index + 2]
        share = (position - first) / (last - first)
        return self.starts[index] + share * (self.ends[index] - self.starts[index])


def _complete(
    words: Sequence[Word], total: Sequence[int], segment: Segment
) -> tuple[list[float], list[float]]:
    """Return start and end of every word, nondecreasing, with missing times interpolated.

    Args:
        words: the words, some of which have times.
        total: number of visible characters before each word, and of all of them.
        segment: the segment, whose bounds serve before the first and after the last known time.
    """
    times: list[float | None] = []
    positions: list[int] = []
    for index, word in enumerate(words):
        times += [word.start, word.end]
        positions += [total[index], total[index + 1]]
    anchors = [(p, time) for p, time in zip(positions, times, strict=True) if time is not None]
    before = (-1e-9, min(segment.start, anchors[0][1]))
    after = (total[-1] + 1e-9, max(segment.end, anchors[-1][1]))
    anchor_positions, anchor_times = zip(before, *anchors, after, strict=True)
    ordered_times = list(accumulate(anchor_times, max))
    complete = [
        _interpolated(position, anchor_positions, ordered_times) if time is None else time
        for position, time in zip(positions, times, strict=True)
    ]
    ordered = list(accumulate(complete, max))
    return ordered[::2], ordered[1::2]


def _interpolated(position: int, positions: Sequence[float], times: Sequence[float]) -> float:
    """Return the time of a position between positions with known times, which do not decrease."""
    right = min(bisect_right(positions, position), len(positions) - 1)
    left = right - 1
    share = (position - positions[left]) / (positions[right] - positions[left])
    return times[left] + share * (times[right] - times[left])


def _inseparable_parts(text: str) -> list[str]:
    """Divide a text into words, in scripts without spaces into clusters, and white space."""
    parts: list[str] = []
    previous = " "
    for cluster in split_clusters(text):
        if _is_letter(previous) and _is_letter(cluster):
            parts[-1] += cluster
        else:
            parts.append(cluster)
        previous = cluster
    return parts


def _is_letter(cluster: str) -> bool:
    """Return whether a cluster belongs to a word that spaces separate from others."""
    return not cluster.isspace() and cluster[0] < _FIRST_UNSPACED
