"""Recognise MP4 files with a single, plain audio track, so that ffprobe need not be started.

Phones and voice recorders write such files. ffprobe takes as long as decoding a short one.

Source: ISO 14496-12 (sections 8.2 to 8.6).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from megaasr.audio.tracks import MIN_HOLE_S, Track

_MAX_MOVIE_BYTES = 64 * 2**20
_CODECS = {b"mp4a": "aac", b"alac": "alac", b".mp3": "mp3", b"samr": "amr_nb", b"sawb": "amr_wb"}


def plain_track(file: BinaryIO, size: int) -> Track | None:
    """Return the audio track of an MP4 file if it is the only one and has no holes.

    Returns:
        The track, without its channels; None if ffprobe must tell, because there are several audio
        tracks, it is fragmented, starts late, has holes, or is not understood.
    """
    try:
        return _plain_track(_movie(file, size))
    except (struct.error, ZeroDivisionError):  # damaged
        return None


def _movie(file: BinaryIO, size: int) -> bytes:
    """Return the content of the box `moov`; b"" if there is none."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length, name = struct.unpack_from(">I4s", header)
        start = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", header, 8)
            start = 16
        if name == b"moov" and start < length <= min(_MAX_MOVIE_BYTES, size - position):
            file.seek(position + start)
            return file.read(length - start)
        if name == b"moof" or length < start:
            break
        position += length
    return b""


def _plain_track(movie: bytes) -> Track | None:
    boxes = dict(_boxes(movie))
    if b"mvhd" not in boxes or b"mvex" in boxes:
        return None
    tracks = [dict(_boxes(content)) for name, content in _boxes(movie) if name == b"trak"]
    audio = [track for track in tracks if _handler(track) == b"soun"]
    if len(audio) != 1:
        return None
    media = dict(_boxes(audio[0][b"mdia"]))
    table = dict(_boxes(dict(_boxes(media.get(b"minf", b""))).get(b"stbl", b"")))
    codec = _CODECS.get(table.get(b"stsd", b"")[12:16])
    rate, length = _rate_and_length(media.get(b"mdhd", b""))
    movie_rate, _ = _rate_and_length(boxes[b"mvhd"])
    if codec is None or not _is_even(table.get(b"stts", b""), rate):
        return None
    duration_s = length / rate
    if b"edts" in audio[0]:
        edit_s = _edit(dict(_boxes(audio[0][b"edts"])).get(b"elst", b""), movie_rate)
        if edit_s is None:
            return None
        duration_s = min(duration_s, edit_s)
    return Track(1, codec, "", 0, "", "", "", default=True, duration_s=duration_s)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if length < 8:
            return
        yield name, data[position + 8 : position + length]
        position += length


def _handler(track: dict[bytes, bytes]) -> bytes:
    return dict(_boxes(track.get(b"mdia", b""))).get(b"hdlr", b"")[8:12]


def _rate_and_length(header: bytes) -> tuple[int, int]:
    """Return the units in a second and the length in units that `mvhd` or `mdhd` states."""
    rate, length = (
        struct.unpack_from(">IQ", header, 20)
        if header[:1] == b"\x01"
        else (struct.unpack_from(">II", header, 12))
    )
    return int(rate), int(length)


def _is_even(times: bytes, rate: int) -> bool:
    """Return whether all frames but the last follow each other without a hole."""
    (count,) = struct.unpack_from(">I", times, 4)
    entries = list(struct.iter_unpack(">II", times[8 : 8 + 8 * min(count, 3)]))
    if not entries or count > 3:
        return False
    usual = max(entries)[1]  # the duration of most frames
    return all(delta <= usual + MIN_HOLE_S * rate for _, delta in entries)


def _edit(edits: bytes, movie_rate: int) -> float | None:
    """Return the length of the only edit in seconds; None if there is another one, or a hole."""
    version = edits[:1] == b"\x01"
    (count,) = struct.unpack_from(">I", edits, 4)
    length, start = struct.unpack_from(">Qq" if version else ">Ii", edits, 8)
    return None if count != 1 or start < 0 else float(length / movie_rate)
