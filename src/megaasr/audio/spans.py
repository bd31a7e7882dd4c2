"""A view of byte ranges of a file as one file: without rubbish, with a corrected header."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, BinaryIO

from megaasr.audio.source import OpenSource


class SpanFile(io.RawIOBase):
    """Byte ranges of a file, joined in order; read-only and seekable.

    Args:
        file: the file, whose position this view moves.
        spans: start and end of each range in bytes.
        patches: position in the view and bytes that replace those of the file there.
    """

    def __init__(
        self,
        file: BinaryIO,
        spans: Sequence[tuple[int, int]],
        patches: Sequence[tuple[int, bytes]] = (),
    ) -> None:
        self._file = file
        self._spans = [(start, end) for start, end in spans if end > start]
        self._ends = list(accumulate(end - start for start, end in self._spans))
        self._patches = patches
        self._position = 0

    @property
    def size(self) -> int:
        """Total length of the ranges in bytes."""
        return self._ends[-1] if self._ends else 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in the view."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position in the view and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the position on, and return how many bytes were read."""
        view = memoryview(buffer)
        first = self._position
        count = 0
        while count < len(view):
            data = self._read_from_span(len(view) - count)
            if not data:
                break
            view[count : count + len(data)] = data
            count += len(data)
            self._position += len(data)
        for offset, patch in self._patches:
            start, end = max(first, offset), min(first + count, offset + len(patch))
            if start < end:
                view[start - first : end - first] = patch[start - offset : end - offset]
        return count

    def _read_from_span(self, count: int) -> bytes:
        index = bisect_right(self._ends, self._position)
        if index == len(self._spans):
            return b""
        start, end = self._spans[index]
        offset = self._position - (self._ends[index - 1] if index else 0)
        self._file.seek(start + offset)
        return self._file.read(min(count, end - start - offset))


def part_of(
    source: OpenSource,
    spans: Sequence[tuple[int, int]],
    patches: Sequence[tuple[int, bytes]] = (),
) -> OpenSource:
    """Return byte ranges of a recording as a recording of their own.

    Args:
        source: the whole recording; it stays open as long as the part is used.
        spans: start and end of each range in bytes.
        patches: position in the part and bytes that replace those of the file there.
    """
    file: Any = SpanFile(source.file, spans, patches)
    return OpenSource(source.label, file, file.size, None)
