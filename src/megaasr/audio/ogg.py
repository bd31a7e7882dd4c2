"""Find the streams of an Ogg file by its pages.

libsndfile reads the first stream only, and does not say that others follow.

Source: RFC 3533 (Ogg).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

_HEADER = struct.Struct("<4sBBqIIIB")
_BEGIN = 2
_BLOCK_BYTES = 2**20


@dataclass(slots=True)
class OggLink:
    """Streams that begin together: one link of a chain of joined files.

    Attributes:
        start: position of its first page.
        end: position after its last page.
        serials: serial numbers of its streams; several if they are multiplexed.
        lost_pages: pages that the numbering shows to be missing.
        rubbish_bytes: bytes between its pages that belong to none.
        cut: whether the last page is incomplete.
    """

    start: int
    end: int
    serials: list[int]
    lost_pages: int = 0
    rubbish_bytes: int = 0
    cut: bool = False


def find_links(file: BinaryIO, size: int) -> list[OggLink]:
    """Find the links of an Ogg file of `size` bytes; empty if it does not begin with a page."""
    links: list[OggLink] = []
    numbers: dict[int, int] = {}
    at_begin = False
    position = 0
    while (page := _next_page(file, size, position, first=not links)) is not None:
        start, end, flags, serial, number = page
        begins = bool(flags & _BEGIN)
        if not links or (begins and not at_begin):
            links.append(OggLink(start, end, []))
            numbers = {}
        link = links[-1]
        link.rubbish_bytes += start - position if link.serials else 0
        if begins and serial not in link.serials:
            link.serials.append(serial)
        if serial in numbers:
            link.lost_pages += max(0, number - numbers[serial] - 1)
        numbers[serial] = number
        at_begin = begins
        link.end = min(end, size)
        link.cut = end > size
        position = link.end
    if links and position < size:
        # A tail without a page: the beginning of a page that was cut off, or an appended tag.
        file.seek(position)
        links[-1].cut |= file.read(4) in (b"OggS", b"OggS"[: size - position])
    return links


def _next_page(
    file: BinaryIO, size: int, position: int, *, first: bool
) -> tuple[int, int, int, int, int] | None:
    """Return start, end, flags, serial number and page number of the next page."""
    while position + _HEADER.size <= size:
        file.seek(position)
        header = file.read(_HEADER.size)
        name, version, flags, _, serial, number, _, segments = _HEADER.unpack(header)
        if name == b"OggS" and version == 0:
            lacing = file.read(segments)
            if len(lacing) < segments:
                return position, size + 1, flags, serial, number
            end = position + _HEADER.size + segments + sum(lacing)
            return position, end, flags, serial, number
        if first:
            return None
        file.seek(position + 1)
        data = file.read(_BLOCK_BYTES)
        index = data.find(b"OggS")
        position += 1 + (index if index >= 0 else max(1, len(data) - 3))
    return None
