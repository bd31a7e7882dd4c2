"""What container formats say wrongly about their own length, read from their bytes.

libsndfile believes these statements, and would silently drop sound that is in the file:

- an MP3 without a length tag: it estimates the length from the first frames, and stops there
  (a recording that starts loud and goes on quietly loses more than half);
- joined MP3 files: it stops at the length that the first file's tag states;
- a WAV whose recorder was killed: the header still says that 0 bytes of sound follow;
- joined Ogg streams: it stops after the first.

Sources: the ISO 11172-3 frame header and the Xing/Info and VBRI tags (as in LAME's VbrTag.c),
the RIFF WAVE format, and RFC 3533 (Ogg). Each claim was checked against libsndfile 1.2.2.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

_FIRST_FRAME_BYTES = 4096
_XING_OFFSETS = (36, 21, 13)  # header plus side information: MPEG-1 stereo; mono or MPEG-2; both
_HAS_FRAMES_AND_BYTES = 3
_TAIL_BYTES = 2 * 65_307  # two Ogg pages of the largest size
_OGG_HEADER_BYTES = 27
_OGG_BEGIN = 2


@dataclass(frozen=True, slots=True)
class MpegLength:
    """What an MPEG audio file (MP3, MP2) says about its length.

    Attributes:
        trusted: a tag states frames and bytes, and the bytes agree with the file's size; a file
            that is shorter than its tag says was cut off, and its tag is still trusted.
        tag_offset: where the tag starts in the file, or None without a tag.
    """

    trusted: bool
    tag_offset: int | None


@dataclass(frozen=True, slots=True)
class OggEnd:
    """How an Ogg file ends.

    Attributes:
        joined: the last page belongs to a stream that did not begin at the start of the file.
        cut: the file ends in the middle of a page.
    """

    joined: bool
    cut: bool


def mpeg_length(file: BinaryIO, size: int) -> MpegLength:
    """Read the Xing, Info or VBRI tag in the first frame of an MPEG audio file of `size` bytes."""
    file.seek(0)
    head = file.read(10)
    start = 0
    if head.startswith(b"ID3") and len(head) == 10:
        # The tag's length has 7 bits in each of 4 bytes, and does not count its 10-byte header.
        shifts = zip(head[6:], (21, 14, 7, 0), strict=True)
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in shifts)
    file.seek(start)
    frame = file.read(_FIRST_FRAME_BYTES)
    sync = next(
        (i for i in range(len(frame) - 1) if frame[i] == 0xFF and frame[i + 1] >= 0xE0), None
    )
    if sync is None:
        return MpegLength(trusted=False, tag_offset=None)
    for offset in (sync + extra for extra in _XING_OFFSETS):
        if frame[offset : offset + 4] in (b"Xing", b"Info") and len(frame) >= offset + 16:
            flags, _, stated = struct.unpack_from(">III", frame, offset + 4)
            complete = flags & _HAS_FRAMES_AND_BYTES == _HAS_FRAMES_AND_BYTES
            trusted = complete and _covers(stated, size - start - sync)
            return MpegLength(trusted, start + offset)
    vbri = sync + 36
    if frame[vbri : vbri + 4] == b"VBRI" and len(frame) >= vbri + 18:
        (stated,) = struct.unpack_from(">I", frame, vbri + 10)
        return MpegLength(_covers(stated, size - start - sync), start + vbri)
    return MpegLength(trusted=False, tag_offset=None)


def _covers(stated: int, actual: int) -> bool:
    """Say if `stated` bytes reach the file's end, but for the tags that players append there."""
    return actual <= stated * 1.01 + 8192


def unfinished_wav_length(file: BinaryIO, size: int) -> int | None:
    """Return the offset of a WAV's zero data length where sound follows all the same, or None."""
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    position = 12
    while True:
        file.seek(position)
        chunk = file.read(16)
        if len(chunk) < 8:
            return None
        (length,) = struct.unpack_from("<I", chunk, 4)
        if chunk[:4] == b"data":
            break
        position += 8 + length + length % 2
    follows = size - position - 8
    if length or not follows:
        return None
    if len(chunk) == 16 and chunk[8:12].isalnum():
        # Perhaps the sound is truly empty, and what follows is a further chunk up to the end.
        (next_length,) = struct.unpack_from("<I", chunk, 12)
        if 0 <= follows - 8 - next_length <= 1:
            return None
    return position + 4


def ogg_end(file: BinaryIO, size: int) -> OggEnd | None:
    """Read how an Ogg file of `size` bytes ends; None if it is not Ogg or its end is rubbish."""
    first = _first_serials(file)
    if not first:
        return None
    start = max(0, size - _TAIL_BYTES)
    file.seek(start)
    tail = file.read(_TAIL_BYTES)
    at = tail.rfind(b"OggS")
    if at >= 0 and len(tail) - at < _OGG_HEADER_BYTES:  # cut inside the last page's header
        before = tail.rfind(b"OggS", 0, at)
        return OggEnd(joined=_serial(tail, before) not in first, cut=True) if before >= 0 else None
    if at < 0:
        return None
    segments = tail[at + 26]
    table = tail[at + _OGG_HEADER_BYTES : at + _OGG_HEADER_BYTES + segments]
    end = at + _OGG_HEADER_BYTES + segments + sum(table)
    cut = len(table) < segments or end > len(tail)
    return OggEnd(joined=_serial(tail, at) not in first, cut=cut)


def _serial(data: bytes, page: int) -> bytes:
    return data[page + 14 : page + 18]


def _first_serials(file: BinaryIO) -> set[bytes]:
    """Collect the serial numbers of the streams that begin at the start of an Ogg file."""
    serials: set[bytes] = set()
    file.seek(0)
    while len(header := file.read(_OGG_HEADER_BYTES)) == _OGG_HEADER_BYTES:
        if header[:4] != b"OggS" or not header[5] & _OGG_BEGIN:
            break
        serials.add(_serial(header, 0))
        file.seek(sum(file.read(header[26])), os.SEEK_CUR)
    return serials
