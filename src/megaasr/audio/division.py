"""Divide an encoded recording into parts that a decoder can read from start to end.

Decoders stop where a joined file begins, where a header was not brought up to date, or where
rubbish lies between the frames, and do not say so. Here the structure of the file is followed
without decoding: every part is a view of the file that the decoder reads to its end, and says how
much sound it must give. Each claim was checked against libsndfile 1.2.2 and ffmpeg 5.1.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import BinaryIO

from megaasr.audio import mpeg, ogg, riff
from megaasr.audio.source import OpenSource
from megaasr.audio.spans import part_of
from megaasr.audio.structure import ADTS, BEGINNING, LONGEST_BEGINNING, end_of, is_cut

# Ratio of the most to the fewest frames that a file of one size can hold: 40 for 8 to 320 kbit/s.
_MPEG_SIZE_FACTOR = 64
_MIN_GAP_BYTES = 24  # the smallest frame; less is padding
_SEARCH_BYTES = 16 * 2**20  # before the first frame
_BLOCK_BYTES = 2**20
_FLAC = re.compile(rb"fLaC[\x00\x80]\0\0\x22", re.DOTALL)
_MATROSKA = re.compile(rb"\x1aE\xdf\xa3.{1,40}?(?:webm|matroska)", re.DOTALL)
_ADTS = [bytes((second,)) for second in ADTS]
_WAVE_FORMAT_EXTENSIBLE = 0xFFFE
_AU_STREAMED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a recording that one decoder can read.

    Attributes:
        source: the part as a recording of its own.
        problem: why sound is missing from it, as its structure shows; "" if it is whole.
        problem_at_s: where, in seconds from the start of the part; None for its end.
        counted_s: length in seconds by the frames of an MPEG audio file; None for all others.
        counted_frame_s: length of such a frame in seconds.
        size_factor: the file must claim to be this many times as large as it is, so that
            libsndfile's estimate of the length is long enough.
        channel_mask: positions of the channels as a WAV file states them; None if it does not.
        multiplexed: whether it holds several streams, of which libsndfile sees one.
        repaired: what was corrected without losing sound; "" if nothing.
    """

    source: OpenSource
    problem: str = ""
    problem_at_s: float | None = None
    counted_s: float | None = None
    counted_frame_s: float = 0.0
    size_factor: int = 1
    channel_mask: int | None = None
    multiplexed: bool = False
    repaired: str = ""


def divide(source: OpenSource) -> list[Part]:
    """Return the parts of a recording in order, at least one."""
    parts: list[Part] = []
    start = _after_tags(source.file, source.size)
    source.file.seek(start)
    if start and not BEGINNING.match(source.file.read(LONGEST_BEGINNING)):
        start = 0  # MPEG audio, whose tags decoders expect
    while True:
        rest = part_of(source, [(start, source.size)]) if start else source
        new, end = _divide_one_format(rest)
        follower = _follower(rest, end)
        if follower is None:
            return parts + new
        if new[-1].source is rest:
            new[-1] = replace(new[-1], source=part_of(rest, [(0, end)]))
        parts += new
        start += follower


def _divide_one_format(source: OpenSource) -> tuple[list[Part], int]:
    """Return the parts up to where the container ends, and the position of that end."""
    source.file.seek(_after_tags(source.file, source.size))
    head = source.file.read(16)
    for offset, magic, parts_of in (
        (0, b"RIFF", _riff_parts),
        (0, b"RIFX", _riff_parts),
        (0, b"FORM", _riff_parts),
        (0, b"OggS", _ogg_parts),
        (0, b"fLaC", _flac_parts),
        (0, b"\x1aE\xdf\xa3", _matroska_parts),
        (4, b"ftyp", _mp4_parts),
        (0, b".snd", _au_parts),
        (0, b"\xff", _mpeg_parts),
    ):
        if head[offset : offset + len(magic)] == magic:
            parts, end = parts_of(source)
            return parts or [Part(source)], end
    cut = is_cut(source.file, source.size)
    problem = "the file ends before the length that its header states" if cut else ""
    end = end_of(source.file, source.size)
    # libsndfile reads W64 and RF64 to the end of the file.
    trimmed = head[:4] in (b"riff", b"RF64") and _only_padding(source.file, source.size, end)
    return [Part(part_of(source, [(0, end)]) if trimmed else source, problem)], end


def _follower(source: OpenSource, end: int) -> int | None:
    """Return where another recording begins behind the end of a container; None if none does."""
    file, size = source.file, source.size
    if not 0 < end < size:
        return None
    position = _after_zeros(file, end)
    file.seek(position)
    block = file.read(LONGEST_BEGINNING)
    if BEGINNING.match(block):
        return position
    if position - end >= 3 and BEGINNING.match(bytes(3) + block):
        return position - 3  # the length of a box of MP4 begins with zeros
    frames = end + mpeg.id3_length(block) if position == end else end
    return end if mpeg.begins(file, size, frames) else None


def divide_after_rubbish(source: OpenSource) -> list[Part]:
    """Return the parts of a recording that begins with something else; empty if none is found."""
    start = _find_beginning(source)
    if start is not None:
        inner = part_of(source, [(start, source.size)])
        parts = divide(inner)
    else:
        streams = mpeg.find_streams(source.file, min(source.size, _SEARCH_BYTES))
        if not streams:
            return []
        start = streams[0].spans[0][0]
        parts, _ = _mpeg_parts(source, start)
    if parts and start:
        skipped = f"{start} bytes before the recording are not sound, and were skipped"
        parts[0] = replace(parts[0], repaired=skipped)
    return parts


def _only_padding(file: BinaryIO, size: int, end: int) -> bool:
    """Return whether zeros and tags follow, and not sound that the header does not count."""
    position = _after_zeros(file, end)
    file.seek(position)
    return end < size and (position == size or file.read(8).startswith(riff.TAGS))


def _after_zeros(file: BinaryIO, position: int) -> int:
    """Return the position of the first byte that is not 0, or the end of the file."""
    file.seek(position)
    while block := file.read(_BLOCK_BYTES):
        rest = block.lstrip(b"\0")
        if rest:
            return position + len(block) - len(rest)
        position += len(block)
    return position


def _find_beginning(source: OpenSource) -> int | None:
    """Return where the first file that can be recognised begins."""
    source.file.seek(0)
    offset, data = 0, b""
    while offset < _SEARCH_BYTES:
        block = source.file.read(_BLOCK_BYTES)
        data = data[-LONGEST_BEGINNING:] + block
        match = BEGINNING.search(data)
        if match:
            return offset + match.start() - (len(data) - len(block))
        if not block:
            return None
        offset += len(block)
    return None


def _after_tags(file: BinaryIO, size: int) -> int:
    """Return the position after the ID3 tags at the start of a file."""
    position = 0
    while position < size:
        file.seek(position)
        length = mpeg.id3_length(file.read(10))
        if not length:
            break
        position += length
    return position


def _mpeg_parts(source: OpenSource, start: int = 0) -> tuple[list[Part], int]:
    if source.head(2)[1:] in _ADTS and not start:
        return [], end_of(source.file, source.size)
    streams = mpeg.find_streams(source.file, source.size, start)
    parts = [_mpeg_part(source, stream) for stream in streams]
    if parts:
        rest = mpeg.trailing_bytes(source.file, source.size, streams)
        if rest > streams[-1].bytes_per_s and not parts[-1].problem:
            seconds = rest / streams[-1].bytes_per_s
            problem = f"{rest} bytes at the end are not audio (about {seconds:.1f} s)"
            parts[-1] = replace(parts[-1], problem=problem)
        return parts, streams[-1].spans[-1][1]
    return parts, source.size


def _mpeg_part(source: OpenSource, stream: mpeg.MpegStream) -> Part:
    gaps = [(samples, length) for samples, length in stream.gaps if length >= _MIN_GAP_BYTES]
    problem, at_s = "", None
    if gaps:
        lost = sum(length for _, length in gaps)
        at_s = gaps[0][0] / stream.rate
        problem = (
            f"{lost} bytes between the frames are not audio, from {at_s:.2f} s on (about "
            f"{lost / stream.bytes_per_s:.2f} s)"
        )
    elif stream.cut:
        problem = "the file ends in the middle of a frame"
    counted_s, size_factor = stream.duration_s, 1
    frame_s = stream.samples / stream.frames / stream.rate
    patches: list[tuple[int, bytes]] = []
    if stream.tag_frames is not None and stream.tag_frames > stream.frames:
        counted_s = stream.tag_frames * frame_s  # the file was cut: its tag states the length
    elif not stream.tag_is_right:
        # Hide the wrong length tag; its frame becomes about 25 ms of silence.
        size_factor = _MPEG_SIZE_FACTOR
        patches = [] if stream.tag_offset is None else [(stream.tag_offset, bytes(4))]
    # Without side information, a frame is silence.
    patches += [(_inside(stream.spans, start), bytes(length)) for start, length in stream.orphans]
    is_complete = not patches and stream.spans[0][0] == 0 and stream.spans[-1][1] == source.size
    part = (
        source if is_complete and len(stream.spans) == 1 else part_of(source, stream.spans, patches)
    )
    return Part(
        part,
        problem,
        problem_at_s=at_s,
        counted_s=counted_s,
        counted_frame_s=frame_s,
        size_factor=size_factor,
    )


def _inside(spans: list[tuple[int, int]], position: int) -> int:
    """Return a position of the file as one in the joined spans."""
    return sum(min(end, position) - start for start, end in spans if start < position)


def _riff_parts(source: OpenSource) -> tuple[list[Part], int]:
    riff_parts = riff.find_parts(source.file, source.size)
    if not riff_parts:
        return [], end_of(source.file, source.size)
    end = max(riff_parts[-1].trailer[1], riff_parts[-1].sound[1])
    if len(riff_parts) == 1 and riff_parts[0].length_is_right:
        return [Part(source, channel_mask=_channel_mask(source.file, *riff_parts[0].header))], end
    parts = []
    for part in riff_parts:
        mask = _channel_mask(source.file, *part.header)
        spans = [part.header, part.sound, part.trailer]
        length = part.sound[1] - part.sound[0]
        order = "<" if _starts_with(source.file, part.header[0], b"RIFF") else ">"
        stated, repaired = part.stated_bytes, ""
        patches = []
        if stated <= length:  # else the file was cut, and libsndfile shall say so
            patches = [(part.length_offset, struct.pack(order + "I", length))]
        if 0 < stated < length:
            repaired = (
                f"its header states {stated} bytes of sound and {length} follow; all of them were "
                "decoded"
            )
        parts.append(Part(part_of(source, spans, patches), channel_mask=mask, repaired=repaired))
    return parts, end


def _starts_with(file: BinaryIO, position: int, magic: bytes) -> bool:
    file.seek(position)
    return file.read(len(magic)) == magic


def _channel_mask(file: BinaryIO, start: int, end: int) -> int | None:
    """Return the positions of the channels that a WAV header states; None if it states none."""
    file.seek(start)
    header = file.read(min(end - start, 4096))
    position = header.find(b"fmt ", 12)
    if position < 0 or len(header) < position + 32:
        return None
    (code,) = struct.unpack_from("<H", header, position + 8)
    if code != _WAVE_FORMAT_EXTENSIBLE:
        return None
    return int(struct.unpack_from("<I", header, position + 28)[0])


def _au_parts(source: OpenSource) -> tuple[list[Part], int]:
    """Return a Sun AU file, whose sound reaches to the end of the file whatever it states."""
    source.file.seek(0)
    header = source.file.read(12)
    if len(header) < 12:
        return [], source.size
    offset, stated = struct.unpack_from(">II", header, 4)
    length = source.size - offset
    if stated >= length or not 0 < length < _AU_STREAMED:
        return [], source.size
    if stated and _follower(source, offset + stated) is not None:
        return [Part(source)], offset + stated
    corrected = part_of(source, [(0, source.size)], [(8, struct.pack(">I", length))])
    repaired = f"its header states {stated} bytes of sound and {length} follow; all were decoded"
    return [Part(corrected, repaired=repaired if stated else "")], source.size


def _ogg_parts(source: OpenSource) -> tuple[list[Part], int]:
    links = ogg.find_links(source.file, source.size)
    parts = []
    for link in links:
        problem = ""
        at_s = link.lost_at / link.rate if link.lost_at is not None and link.rate else None
        if link.lost_pages:
            problem = f"{link.lost_pages} pages are missing from the Ogg stream"
        elif link.bad_pages:
            problem = (
                "1 page of the Ogg stream is damaged, and was left out"
                if link.bad_pages == 1
                else f"{link.bad_pages} pages of the Ogg stream are damaged, and were left out"
            )
        elif link.rubbish_bytes:
            problem = f"{link.rubbish_bytes} bytes between the pages are not audio"
        elif link.cut:
            problem = "the file ends in the middle of a page"
        part = source if len(links) == 1 else part_of(source, [(link.start, link.end)])
        multiplexed = len(link.serials) > 1
        parts.append(Part(part, problem, problem_at_s=at_s, multiplexed=multiplexed))
    return parts, links[-1].end if links else source.size


def _flac_parts(source: OpenSource) -> tuple[list[Part], int]:
    return _joined_parts(source, _FLAC), source.size


def _matroska_parts(source: OpenSource) -> tuple[list[Part], int]:
    parts = _joined_parts(source, _MATROSKA)
    return parts, end_of(source.file, source.size) if len(parts) == 1 else source.size


def _joined_parts(source: OpenSource, beginning: re.Pattern[bytes]) -> list[Part]:
    """Divide joined files of one format by the bytes that each of them begins with."""
    starts = [0, *(start for start in _occurrences(source.file, beginning) if start > 0)]
    first = _after_tags(source.file, source.size)
    starts = [start for start in starts if start == 0 or start > first]
    return _divided_at(source, starts)


def _occurrences(file: BinaryIO, pattern: re.Pattern[bytes]) -> Iterator[int]:
    file.seek(0)
    end, data = 0, b""
    last = -1
    while block := file.read(_BLOCK_BYTES):
        data = data[-LONGEST_BEGINNING:] + block
        end += len(block)
        for match in pattern.finditer(data):
            start = end - len(data) + match.start()
            if start > last:
                last = start
                yield start


def _mp4_parts(source: OpenSource) -> tuple[list[Part], int]:
    return [Part(source)], end_of(source.file, source.size)


def _divided_at(source: OpenSource, starts: list[int]) -> list[Part]:
    if len(starts) < 2:
        return [Part(source)]
    return [Part(part_of(source, [span])) for span in pairwise([*starts, source.size])]
