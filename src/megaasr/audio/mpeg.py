"""Find the frames of an MPEG audio file (MP3, MP2): where they are, and how many samples they hold.

Decoders estimate the length of a file from its first frames or from its length tag, and stop
there. Counting the frames tells the real length, shows where joined files with other properties
begin, and separates frames from tags and rubbish.

Sources: the frame header of ISO 11172-3 and ISO 13818-3, the Xing/Info and VBRI tags (as in
LAME's VbrTag.c), ID3v2.4 section 3.1, APEv2.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

_BITRATES = {  # kbit/s by (MPEG-1, layer) and index; index 0 is the free format, 15 is invalid
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_XING_OFFSETS = (36, 21, 13)  # header plus side information: MPEG-1 stereo; mono or MPEG-2; both
_TAG_NAMES = re.compile(b"Xing|Info|VBRI")
_TAG_BYTES = 64  # of a frame, in which the tag states its length
_HAS_FRAMES = 1
_BLOCK_BYTES = 2**20
_SURE_RUN = 4  # frames in a row; two bytes of random data look like a header once in 2,000 bytes
_RESUME_RUN = 2  # with the properties that the frames before have
_MAX_RESERVOIR_BYTES = 511
_MAX_FRAME_BYTES = 2_881  # 320 kbit/s at 32 kHz would need 1,441; layer II of 384 kbit/s 1,729


@dataclass(frozen=True, slots=True)
class _FrameKind:
    """What two bytes of a frame header state.

    Attributes:
        length: bytes of the frame, with its header.
        samples: samples per channel.
        rate: sample rate in Hz.
        family: MPEG version and layer; frames of another family or rate belong to another file.
    """

    length: int
    samples: int
    rate: int
    family: int


def _frame_kinds() -> dict[int, _FrameKind]:
    """Return the kinds of frames by the second and third byte of the header."""
    kinds = {}
    for second in range(0xE0, 0x100):
        version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
        if version not in _RATES or layer == 4:
            continue
        first_version = version == 3
        for third in range(0x100):
            bitrate_index, rate_index, padding = third >> 4, third >> 2 & 3, third >> 1 & 1
            if bitrate_index in (0, 15) or rate_index == 3:
                continue
            bits = 1000 * _BITRATES[first_version, layer][bitrate_index]
            rate = _RATES[version][rate_index]
            if layer == 1:
                samples, length = 384, (12 * bits // rate + padding) * 4
            else:
                samples = 1152 if layer == 2 or first_version else 576
                length = samples // 8 * bits // rate + padding
            kinds[second << 8 | third] = _FrameKind(length, samples, rate, second >> 1)
    return kinds


_KINDS = _frame_kinds()


@dataclass(slots=True)
class MpegStream:
    """Frames of one encoder, in order.

    Attributes:
        rate: sample rate in Hz.
        spans: byte ranges of the frames; what lies between is not audio.
        frames: number of frames, with the one that holds the length tag.
        samples: number of samples per channel in them.
        tag_offset: position of the length tag in the joined ranges; None without one.
        tag_frames: number of audio frames that the tag states; None if it states none.
        gaps: number of samples before each interruption by bytes that are neither frames nor
            tags, and the length of the interruption in bytes.
        cut: whether the last frame is incomplete.
        orphans: position and length of the side information of frames that begin in bytes that are
            missing.
    """

    rate: int
    family: int
    spans: list[tuple[int, int]] = field(default_factory=list)
    frames: int = 0
    samples: int = 0
    tag_offset: int | None = None
    tag_frames: int | None = None
    gaps: list[tuple[int, int]] = field(default_factory=list)
    cut: bool = False
    orphans: list[tuple[int, int]] = field(default_factory=list)

    @property
    def duration_s(self) -> float:
        """Length of the audio frames in seconds, with the encoder's padding."""
        samples_per_frame = self.samples / self.frames
        tag = samples_per_frame if self.tag_offset is not None else 0
        return (self.samples - tag) / self.rate

    @property
    def bytes_per_s(self) -> float:
        """Mean number of bytes in a second of sound."""
        return sum(end - start for start, end in self.spans) * self.rate / max(1, self.samples)

    @property
    def tag_is_right(self) -> bool:
        """Whether a decoder may trust the length tag."""
        audio_frames = self.frames - 1
        return self.tag_frames is not None and abs(self.tag_frames - audio_frames) <= 1


class _Window:
    """The bytes of a file around a position that mostly grows."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.size = size
        self._file = file
        self._start = 0
        self._data = b""

    def bytes_from(self, position: int, count: int) -> tuple[bytes, int]:
        """Return a buffer that holds `count` bytes from `position` on, as far as there are any.

        Returns:
            The buffer, and the index of the position in it.
        """
        index = position - self._start
        if index < 0 or index + count > len(self._data):
            self._file.seek(position)
            self._data = self._file.read(max(count, _BLOCK_BYTES))
            self._start, index = position, 0
        return self._data, index


def find_streams(file: BinaryIO, size: int, start: int = 0) -> list[MpegStream]:
    """Find the frames of an MPEG audio file.

    Args:
        file: seekable binary file.
        size: its size in bytes.
        start: position from which to search.

    Returns:
        The streams in order; joined files with other properties, or with length tags of their
        own, are several. Empty if there are not four frames in a row; then it is no MPEG audio
        file, or one with the free bit rate.
    """
    window = _Window(file, size)
    streams: list[MpegStream] = []
    position = start
    while run := _next_run(window, position, streams[-1] if streams else None):
        _add_run(window, streams, *run, previous_end=position)
        position = streams[-1].spans[-1][1]
    return streams


def _next_run(
    window: _Window, position: int, current: MpegStream | None
) -> tuple[int, _FrameKind] | None:
    """Return the first position with several frames in a row, from `position` on."""
    while True:
        skipped = _tag_length(window, position)
        while skipped:
            position += skipped
            skipped = _tag_length(window, position)
        data, index = window.bytes_from(position, 2 * _MAX_FRAME_BYTES * _SURE_RUN)
        if index + 4 > len(data):
            return None
        last = len(data) - 4
        sync = data.find(b"\xff", index, last + 1)
        if sync < 0:
            position += max(1, last + 1 - index)
            continue
        position += sync - index
        kind = _KINDS.get(data[sync + 1] << 8 | data[sync + 2])
        if kind is not None:
            same = current is not None and (kind.family, kind.rate) == (
                current.family,
                current.rate,
            )
            if _is_run(window, position, kind, _RESUME_RUN if same else _SURE_RUN):
                return position, kind
        position += 1


def begins(file: BinaryIO, size: int, position: int) -> bool:
    """Return whether frames that cannot be there by chance begin at a position."""
    window = _Window(file, size)
    data, index = window.bytes_from(position, 4)
    if len(data) < index + 4 or data[index] != 0xFF:
        return False
    kind = _KINDS.get(data[index + 1] << 8 | data[index + 2])
    return kind is not None and _is_run(window, position, kind, _SURE_RUN)


def _is_run(window: _Window, position: int, kind: _FrameKind, count: int) -> bool:
    """Return whether frames of one kind follow each other, `count` or up to the file's end."""
    for index in range(count):
        if position == window.size:
            return index >= 1 and count == _RESUME_RUN
        data, offset = window.bytes_from(position, 4)
        if len(data) < offset + 4 or data[offset] != 0xFF:
            return False
        follower = _KINDS.get(data[offset + 1] << 8 | data[offset + 2])
        if follower is None or (follower.family, follower.rate) != (kind.family, kind.rate):
            return False
        position += follower.length
    return True


def _add_run(
    window: _Window, streams: list[MpegStream], start: int, kind: _FrameKind, *, previous_end: int
) -> None:
    """Follow the frames from `start` on to where they break off, and add them to the streams."""
    position = run_start = start
    stream = streams[-1] if streams else None
    if stream is None or (stream.family, stream.rate) != (kind.family, kind.rate):
        stream = MpegStream(kind.rate, kind.family)
        streams.append(stream)
    elif not _only_tags(window, previous_end, start):
        stream.gaps.append((stream.samples, start - previous_end))
    stream.orphans += _orphans(window, start)
    size, kinds = window.size, _KINDS
    while position + 4 <= size:
        data, index = window.bytes_from(position, _TAG_BYTES)
        last = len(data) - (4 if position - index + len(data) == size else _TAG_BYTES)
        begin = position - index
        tagged = {
            match.start() - offset
            for match in _TAG_NAMES.finditer(data, index)
            for offset in _XING_OFFSETS
        }
        while index <= last:
            follower = (
                kinds.get(data[index + 1] << 8 | data[index + 2]) if data[index] == 0xFF else None
            )
            if follower is None or follower.rate != stream.rate or follower.family != stream.family:
                stream.spans.append((run_start, begin + index))
                return
            if begin + index + follower.length > size:
                stream.cut = True
                stream.spans.append((run_start, size))
                return
            if index in tagged and (tag := _length_tag(data, index, follower)) is not None:
                if stream.frames:
                    stream.spans.append((run_start, begin + index))
                    stream = MpegStream(stream.rate, stream.family)
                    streams.append(stream)
                    run_start = begin + index
                stream.tag_offset, stream.tag_frames = tag
            stream.frames += 1
            stream.samples += follower.samples
            index += follower.length
        position = begin + index
    stream.spans.append((run_start, position))


def _orphans(window: _Window, position: int) -> list[tuple[int, int]]:
    """Return position and length of the side information of frames that lack their beginning.

    The data of a layer III frame may begin up to 511 bytes before it, in the frames before. Behind
    an interruption those bytes are missing, and decoders make loud noise of others.
    """
    orphans = []
    kept = 0
    while kept < _MAX_RESERVOIR_BYTES:
        data, index = window.bytes_from(position, 8)
        kind = _KINDS.get(data[index + 1] << 8 | data[index + 2]) if len(data) > index + 7 else None
        if kind is None or data[index] != 0xFF or kind.family & 3 != 1:
            break
        first_version, mono = kind.family >> 2 & 3 == 3, data[index + 3] >> 6 == 3
        offset = 4 if data[index + 1] & 1 else 6  # a checksum follows the header
        length = (17 if mono else 32) if first_version else (9 if mono else 17)
        begin = data[index + offset]
        if first_version:
            begin = begin << 1 | data[index + offset + 1] >> 7
        if begin > kept:
            orphans.append((position + offset, length))
        kept += kind.length - offset - length
        position += kind.length
    return orphans


def _length_tag(data: bytes, index: int, kind: _FrameKind) -> tuple[int, int | None] | None:
    """Return the position of a length tag in a frame, and the frames that it states, if any."""
    if kind.family & 3 != 1:  # layer III only
        return None
    for offset in _XING_OFFSETS:
        tag = data[index + offset : index + offset + 12]
        if tag[:4] in (b"Xing", b"Info") and len(tag) == 12:
            flags, frames = struct.unpack_from(">II", tag, 4)
            return offset, frames if flags & _HAS_FRAMES else None
    if data[index + 36 : index + 40] == b"VBRI" and index + 54 <= len(data):
        return 36, int(struct.unpack_from(">I", data, index + 50)[0])
    return None


def _only_tags(window: _Window, start: int, end: int) -> bool:
    """Return whether nothing but tags lies between two positions."""
    position = start
    while position < end:
        length = _tag_length(window, position)
        if not length:
            return False
        position += length
    return True


def _tag_length(window: _Window, position: int) -> int:
    """Return the length in bytes of the ID3 or APE tag at a position; 0 if there is none."""
    data, index = window.bytes_from(position, 32)
    head = data[index : index + 32]
    if length := id3_length(head):
        return length
    if head.startswith(b"APETAGEX") and len(head) == 32:
        length, _, flags = struct.unpack_from("<III", head, 12)
        return int(length) + 32 if flags & 1 << 29 else 32  # a header; else its items came before
    if head.startswith(b"TAG"):
        return min(128, window.size - position)
    return 0


def id3_length(head: bytes) -> int:
    """Return the length in bytes of the ID3v2 tag that begins with `head`; 0 if it is none."""
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    # The tag's length has 7 bits in each of 4 bytes, and does not count its 10-byte header.
    shifts = zip(head[6:10], (21, 14, 7, 0), strict=True)
    footer = 10 if head[5] & 0x10 else 0
    return 10 + footer + sum((byte & 0x7F) << shift for byte, shift in shifts)


def trailing_bytes(file: BinaryIO, size: int, streams: list[MpegStream]) -> int:
    """Return how many bytes follow the last frame, without tags and zeros."""
    window = _Window(file, size)
    position = streams[-1].spans[-1][1]
    while length := _tag_length(window, position):
        position += length
    if position >= size:
        return 0
    file.seek(position, os.SEEK_SET)
    rest = file.read(size - position)
    return len(rest) if rest.strip(b"\0") else 0
