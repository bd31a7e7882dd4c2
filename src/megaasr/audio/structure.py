"""Where a container ends by its own account, and what files begin with.

What follows the end of a container is another file, a tag, or rubbish; decoders ignore it.

Sources: EBU Tech 3306 (RF64), Sony Wave64, Apple's Core Audio Format, RFC 8794 (EBML), ISO 14496-12
(MP4), Advanced Systems Format, section 2, OpenDML (AVI).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import BinaryIO

BEGINNING = re.compile(
    rb"fLaC[\x00\x80]\0\0\x22"
    rb"|OggS\0\x02"
    rb"|R(?:IFF|F64).{4}(?:WAVE(?:fmt |ds64|JUNK|bext)|AVI LIST)"
    rb"|RIFX.{4}WAVEfmt "
    rb"|FORM.{4}AIF[FC](?:COMM|FVER)"
    rb"|\0\0\0.ftyp"
    rb"|\x1aE\xdf\xa3.{1,40}?(?:webm|matroska)"
    rb"|caff\0\x01\0[\0\x01]desc"
    rb"|riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c"
    rb"|wvpk.{4}[\x02-\x10]\x04\0\0"
    rb"|TTA1[\x01\x02]\0"
    rb"|FLV\x01[\x01\x04\x05]\0\0\0\x09"
    rb"|\.snd\0\0[\0-\x10].{5}\0\0\0[\x01-\x1b]\0[\0-\x02].{2}\0\0\0[\x01-\x08]"
    rb"|#!AMR(?:-WB)?\n",
    re.DOTALL,
)
"""What recordings begin with, where it is long enough not to occur by chance."""
LONGEST_BEGINNING = 64
ADTS = (0xF0, 0xF1, 0xF8, 0xF9)
"""Second bytes of the header of AAC frames (ADTS), whose first is 0xFF."""

_PADDING_BYTES = 8
_MAX_STATED_BYTES = 2**48  # larger lengths are placeholders of programs that wrote to a pipe
_MAX_ELEMENTS = 100_000
_NAME = re.compile(rb"[A-Za-z0-9 \xa9_-]{4}")  # of a box or chunk
_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_WAVE64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"
_ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"


def end_of(file: BinaryIO, size: int) -> int:
    """Return where the container at the start of a file ends; `size` if that is unknown."""
    return min(size, _stated_end(file, size))


def is_cut(file: BinaryIO, size: int) -> bool:
    """Return whether a W64 or RF64 file is shorter than its header states.

    libsndfile corrects their lengths without a word.
    """
    file.seek(0)
    if not file.read(16).startswith((_WAVE64, b"RF64")):
        return False
    return size + _PADDING_BYTES < _stated_end(file, size) < _MAX_STATED_BYTES


def _stated_end(file: BinaryIO, size: int) -> int:
    file.seek(0)
    head = file.read(16)
    for offset, magic, measure in _MEASURES:
        if head[offset : offset + len(magic)] == magic:
            return measure(file, size)
    return size


def _chain(file: BinaryIO, size: int, start: int, header: int, step: Callable[[bytes], int]) -> int:
    """Follow elements whose headers state their lengths.

    Args:
        file: the container.
        size: length of the file in bytes.
        start: position of the first element.
        header: length of an element's header in bytes.
        step: returns the length of an element with its header; 0 or less at what is none.
    """
    position = start
    for _ in range(_MAX_ELEMENTS):
        if position + header > size:
            break
        file.seek(position)
        data = file.read(LONGEST_BEGINNING)
        length = step(data[:header])
        if length <= 0 or (position and BEGINNING.match(data)):
            break
        position += length
    return position


def _caf_step(header: bytes) -> int:
    name, length = struct.unpack(">4sq", header)
    if not _NAME.fullmatch(name):
        return 0
    return 2**62 if length < 0 else 12 + int(length)


def _mp4_step(header: bytes) -> int:
    length, name, large = struct.unpack(">I4sQ", header)
    if not _NAME.fullmatch(name):
        return 0
    if length == 0:
        return 2**62  # to the end of the file
    return int(large if length == 1 else length) if length == 1 or length >= 8 else 0


def _asf_step(header: bytes) -> int:
    (length,) = struct.unpack_from("<Q", header, 16)
    return int(length) if length >= 24 else 0


def _adts_step(header: bytes) -> int:
    if header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return 0
    return (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5


def _avi_step(header: bytes) -> int:
    name, length, form = struct.unpack("<4sI4s", header)
    return 8 + int(length) + length % 2 if name == b"RIFF" and form in (b"AVI ", b"AVIX") else 0


def _ebml_number(data: bytes, *, keep_marker: bool) -> tuple[int, int]:
    """Return a number of variable length and its length in bytes; -1 for an unknown size."""
    length = 9 - data[0].bit_length() if data and data[0] else 0
    if not length or len(data) < length:
        return 0, 0
    value = int.from_bytes(data[:length], "big")
    if keep_marker:
        return value, length
    value &= (1 << 7 * length) - 1
    return (-1 if value == (1 << 7 * length) - 1 else value), length


def _matroska_step(header: bytes) -> int:
    name, name_length = _ebml_number(header, keep_marker=True)
    if name not in (_EBML, _SEGMENT):
        return 0
    length, length_length = _ebml_number(header[name_length:], keep_marker=False)
    return 2**62 if length < 0 else name_length + length_length + length


def _elements(start: int, header: int, step: Callable[[bytes], int]) -> Callable[..., int]:
    """Return a function that follows the elements of a container; see `_chain`."""
    return lambda file, size: _chain(file, size, start, header, step)


def _stated_at(offset: int, form: str, added: int) -> Callable[[BinaryIO, int], int]:
    """Return a reader of the container's length from its header."""

    def read(file: BinaryIO, size: int) -> int:
        file.seek(offset)
        data = file.read(struct.calcsize(form))
        if len(data) < struct.calcsize(form):
            return size
        (length,) = struct.unpack(form, data)
        return int(length) + added if length + added > offset else size

    return read


_MEASURES: tuple[tuple[int, bytes, Callable[[BinaryIO, int], int]], ...] = (
    (0, b"caff", _elements(8, 12, _caf_step)),
    (0, _WAVE64, _stated_at(16, "<Q", 0)),
    (0, b"RF64", _stated_at(20, "<Q", 8)),
    (0, b"\x1aE\xdf\xa3", _elements(0, 12, _matroska_step)),
    (4, b"ftyp", _elements(0, 16, _mp4_step)),
    (8, b"AVI ", _elements(0, 12, _avi_step)),
    (0, _ASF, _elements(0, 24, _asf_step)),
    *((0, bytes((0xFF, second)), _elements(0, 7, _adts_step)) for second in ADTS),
)
