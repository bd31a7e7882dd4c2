"""Find the sound in WAV and AIFF files whose header does not tell the truth about it.

A recorder that is killed leaves a header of the last moment at which it was written: its length
is 0 or too small, and the sound goes on behind the stated end. Joined files have several headers.

Sources: the RIFF WAVE and AIFF formats; EBU Tech 3306 (RF64).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from megaasr.audio import mpeg
from megaasr.audio.structure import BEGINNING, LONGEST_BEGINNING

_CHUNK_NAME = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9_ \-.]{3}", re.ASCII)
TAGS = (b"ID3", b"TAG", b"APETAGEX")
_OTHER_FORMATS = (b"caff", b"fLaC", b"OggS", b"wvpk", b"TTA1", b"riff")  # chunks by their names
_UNKNOWN_LENGTH = 0xFFFFFFFF
_PLACEHOLDERS = 0x7FFF_0000  # larger lengths were written by programs that wrote to a pipe
_MIN_REST_BYTES = LONGEST_BEGINNING


@dataclass(frozen=True, slots=True)
class RiffPart:
    """A WAV or AIFF file inside a file, with one uninterrupted stretch of sound.

    Attributes:
        header: byte range of everything before the sound.
        sound: byte range of the sound.
        trailer: byte range of what belongs to it after the sound.
        length_offset: position of the sound's length in the header.
        length_is_right: whether the length that the header states is that of `sound`.
        stated_bytes: length of the sound that the header states.
    """

    header: tuple[int, int]
    sound: tuple[int, int]
    trailer: tuple[int, int]
    length_offset: int
    length_is_right: bool
    stated_bytes: int


def find_parts(file: BinaryIO, size: int) -> list[RiffPart]:
    """Find the sound in a WAV (RIFF) or AIFF file of `size` bytes.

    Returns:
        The parts in order, each of which is one WAV or AIFF file; several if files were joined,
        or if a file has several chunks of sound. Empty if the structure is not understood, and
        for RF64, whose lengths lie elsewhere.
    """
    parts: list[RiffPart] = []
    position = 0
    while position < size:
        new = _parts_of_form(file, size, position)
        if not new:
            break
        parts += new
        position = max(new[-1].trailer[1], new[-1].sound[1])
    return parts


def _parts_of_form(file: BinaryIO, size: int, start: int) -> list[RiffPart]:
    """Return the parts of the WAV or AIFF file that begins at `start`."""
    file.seek(start)
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RIFX") and head[8:] == b"WAVE":
        order, sound_name = "<" if head[:4] == b"RIFF" else ">", b"data"
    elif head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        order, sound_name = ">", b"SSND"
    else:
        return []
    parts: list[RiffPart] = []
    position = start + 12
    header_end = None
    while (chunk := _chunk(file, size, position, order)) is not None:
        name, length = chunk
        if name == sound_name:
            # The second chunk of sound has the header of the first.
            header_end = position + 8 if header_end is None else header_end
            end = _sound_end(file, size, position, length, order)
            stop = _trailer_end(file, size, end, order, sound_name)
            parts.append(
                RiffPart(
                    (start, header_end),
                    (position + 8, end),
                    (min(size, end + (end - position) % 2), stop),
                    header_end - start - 4,
                    end - position - 8 == length,
                    length,
                )
            )
            position = stop
            continue
        if parts or name in (b"RIFF", b"FORM", b"RIFX", b"RF64"):
            break
        position += 8 + length + length % 2
    return parts


def _sound_end(file: BinaryIO, size: int, position: int, length: int, order: str) -> int:
    """Return where the sound of a chunk ends: where it is stated, or where the file ends."""
    stated_end = position + 8 + length
    if stated_end >= size or length >= _PLACEHOLDERS:
        return size
    for padding in (length % 2, 0):
        if _is_followed_by_structure(file, size, stated_end + padding, order):
            return stated_end
    return size


def _is_followed_by_structure(file: BinaryIO, size: int, position: int, order: str) -> bool:
    """Return whether chunks, a tag, a new file, zeros or nothing much follows."""
    if size - position < _MIN_REST_BYTES:
        return True
    file.seek(position)
    head = file.read(_MIN_REST_BYTES)
    if head.startswith(TAGS) or (not head.strip(b"\0") and _only_zeros(file)):
        return True
    if BEGINNING.match(head) or mpeg.begins(file, size, position):
        return True
    return _chunk(file, size, position, order) is not None


def _only_zeros(file: BinaryIO) -> bool:
    """Return whether only zeros follow, and perhaps a tag."""
    while data := file.read(2**20):
        if rest := data.lstrip(b"\0"):
            return rest.startswith(TAGS)
    return True


def _trailer_end(file: BinaryIO, size: int, end: int, order: str, sound_name: bytes) -> int:
    """Return where the chunks after the sound end: before the next sound, file, or rubbish."""
    position = end
    while position < size:
        for padding in (0, 1):
            chunk = _chunk(file, size, position + padding, order)
            if chunk is not None:
                break
        else:
            return position  # rubbish, or a file of another format
        name, length = chunk
        if name in (sound_name, b"RIFF", b"RIFX", b"FORM", b"RF64"):
            return position + padding
        position += padding + 8 + length + length % 2
    return min(position, size)


def _chunk(file: BinaryIO, size: int, position: int, order: str) -> tuple[bytes, int] | None:
    """Return name and length of the chunk at a position; None if there is none."""
    file.seek(position)
    head = file.read(LONGEST_BEGINNING)
    if len(head) < 8 or not _CHUNK_NAME.fullmatch(head[:4]):
        return None
    if head[:4] in _OTHER_FORMATS and BEGINNING.match(head):
        return None
    (length,) = struct.unpack_from(order + "I", head, 4)
    if head[:4] in (b"data", b"SSND"):
        return head[:4], int(length)
    return None if position + 8 + length > size + 1 else (head[:4], int(length))
