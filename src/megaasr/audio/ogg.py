"""Find the streams of an Ogg file by its pages.

libsndfile reads the first stream only, and does not say that others follow, nor that it dropped
pages whose checksum is wrong.

Source: RFC 3533 (Ogg).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

_HEADER = struct.Struct("<4sBBqIIIB")
_BEGIN = 2
_BLOCK_BYTES = 2**20
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_OPUS_RATE = 48_000


@dataclass(slots=True)
class OggLink:
    """Streams that begin together: one link of a chain of joined files.

    Attributes:
        start: position of its first page.
        end: position after its last page.
        serials: serial numbers of its streams; several if they are multiplexed.
        lost_pages: pages that the numbering shows to be missing.
        bad_pages: pages whose checksum is wrong, which decoders leave out.
        lost_at: samples before the first lost or bad page; None if none is lost.
        rate: samples of `lost_at` in a second; None if the codec is unknown.
        rubbish_bytes: bytes between its pages that belong to none.
        cut: whether the last page is incomplete.
    """

    start: int
    end: int
    serials: list[int]
    lost_pages: int = 0
    bad_pages: int = 0
    lost_at: int | None = None
    rate: int | None = None
    rubbish_bytes: int = 0
    cut: bool = False


def find_links(file: BinaryIO, size: int) -> list[OggLink]:
    """Find the links of an Ogg file of `size` bytes; empty if it does not begin with a page."""
    links: list[OggLink] = []
    numbers: dict[int, int] = {}
    at_begin = False
    position = 0
    granule = 0
    while (page := _next_page(file, size, position, first=not links)) is not None:
        begins = bool(page.flags & _BEGIN)
        if not links or (begins and not at_begin):
            links.append(OggLink(page.start, page.end, []))
            numbers = {}
            granule = 0
        link = links[-1]
        link.rubbish_bytes += page.start - position if link.serials else 0
        if begins and page.serial not in link.serials:
            link.serials.append(page.serial)
            link.rate = link.rate or _rate(page.data)
        lost = max(0, page.number - numbers.get(page.serial, page.number) - 1)
        link.lost_pages += lost
        link.bad_pages += not page.is_right
        if link.lost_at is None and (lost or not page.is_right):
            link.lost_at = granule
        numbers[page.serial] = page.number
        if page.is_right and page.granule >= 0:
            granule = page.granule
        at_begin = begins
        link.end = min(page.end, size)
        link.cut = page.end > size
        position = link.end
    if links and position < size:
        # A tail without a page: the beginning of a page that was cut off, or an appended tag.
        file.seek(position)
        links[-1].cut |= file.read(4) in (b"OggS", b"OggS"[: size - position])
    return links


@dataclass(frozen=True, slots=True)
class _Page:
    start: int
    end: int
    flags: int
    granule: int
    serial: int
    number: int
    data: bytes
    is_right: bool


def _rate(packet: bytes) -> int | None:
    """Return how many samples a second has, by the first packet of a stream."""
    if packet.startswith(b"OpusHead"):
        return _OPUS_RATE
    if packet.startswith(b"\x01vorbis") and len(packet) >= 16:
        return int(struct.unpack_from("<I", packet, 12)[0]) or None
    return None


def checksum(page: bytes) -> int:
    """Return the checksum of a page whose own checksum is 0.

    It is the CRC-32 of zlib with the bits of each byte in the other order, and without inversion.
    """
    reverse = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reverse.to_bytes(4, "little").translate(_REVERSED_BITS), "big")


def _next_page(file: BinaryIO, size: int, position: int, *, first: bool) -> _Page | None:
    """Return the next page."""
    while position + _HEADER.size <= size:
        file.seek(position)
        header = file.read(_HEADER.size)
        name, version, flags, granule, serial, number, stated, segments = _HEADER.unpack(header)
        if name == b"OggS" and version == 0:
            lacing = file.read(segments)
            end = position + _HEADER.size + segments + sum(lacing)
            if len(lacing) < segments or end > size:
                return _Page(position, size + 1, flags, granule, serial, number, b"", True)
            data = file.read(sum(lacing))
            page_bytes = b"".join((header[:22], bytes(4), header[26:], lacing, data))
            is_right = checksum(page_bytes) == stated
            if is_right or first or _page_follows(file, size, end):
                return _Page(position, end, flags, granule, serial, number, data, is_right)
        if first:
            return None
        file.seek(position + 1)
        data = file.read(_BLOCK_BYTES)
        index = data.find(b"OggS")
        position += 1 + (index if index >= 0 else max(1, len(data) - 3))
    return None


def _page_follows(file: BinaryIO, size: int, position: int) -> bool:
    file.seek(position)
    return position >= size or file.read(4) == b"OggS"
