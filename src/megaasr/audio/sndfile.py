"""Decode with libsndfile: WAV, FLAC, Ogg Vorbis and Opus, MP3, AIFF, CAF, AU and others."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from megaasr.audio.division import Part
from megaasr.audio.downmix import positions_of_format, positions_of_mask
from megaasr.audio.mpeg import id3_length
from megaasr.audio.pcm import Ending, Pcm, chunk_frames
from megaasr.audio.scale import FloatLevels
from megaasr.audio.source import OpenSource
from megaasr.errors import AudioError

_MALFORMED = 3  # SF_ERR_MALFORMED_FILE of sndfile.h
_UNKNOWN_LENGTH = 2**62  # libsndfile reports 2**63 - 1 when a header states no length
_SAMPLE_DUMP = b"\xf0\x7e"  # of MIDI
_DUMP_HEADER_BYTES, _DUMP_PACKET_BYTES = 21, 127
_STREAMED_BYTES = 0x7FFF_0000  # larger lengths are placeholders of programs that wrote to a pipe
_LENGTH_TOLERANCE_S = 0.05  # a stated length may be off by a codec frame without any loss
_MPEG_TOLERANCE_S = 0.1  # the encoder's padding, which the frames hold and the sound does not
_MAX_STALLS = 256  # an MP3 decoder skips 1 KiB of invalid data per stall
_LENGTH_LINE = re.compile(r"(?:data|SSND|Data Size)\s*:\s*(\d+) \(should be (\d+)\)")
_FLOAT_SUBTYPES = frozenset(("FLOAT", "DOUBLE"))


class NotDecodableError(Exception):
    """libsndfile cannot decode the content.

    Attributes:
        reason: libsndfile's message.
        malformed: whether libsndfile knows the format and found the file to be damaged.
    """

    def __init__(self, reason: str, *, malformed: bool) -> None:
        self.reason = reason
        self.malformed = malformed
        super().__init__(reason)


class _PresentedFile:
    """The file as it is presented to libsndfile.

    It has no `name`, from which soundfile would guess the format, and it stores errors of the
    operating system, which cannot propagate through libsndfile.

    Args:
        source: the recording.
        size_factor: the file claims to be this many times as large as it is.
    """

    def __init__(self, source: OpenSource, *, size_factor: int = 1) -> None:
        self._file: BinaryIO = source.file
        self._real_size = source.size
        self._claimed_size = source.size * size_factor
        self._error: OSError | KeyboardInterrupt | None = None
        self._file.seek(0)

    def raise_error(self, label: str) -> None:
        """Raise the stored error: KeyboardInterrupt, or a read error as AudioError."""
        if isinstance(self._error, KeyboardInterrupt):
            raise self._error
        if self._error is not None:
            raise AudioError(label, f"cannot be read: {self._error}") from self._error

    def is_broken_sample_dump(self) -> bool:
        """Return whether libsndfile would print its complaints to standard output."""
        head = self._file.read(10)
        start = id3_length(head)
        self._file.seek(start)
        broken = self._file.read(2) == _SAMPLE_DUMP and bool(start)
        if head.startswith(_SAMPLE_DUMP):
            self._file.seek(_DUMP_HEADER_BYTES)
            while (packet := self._file.read(_DUMP_PACKET_BYTES)) and not broken:
                broken = packet[:2] != _SAMPLE_DUMP or packet[3:4] != b"\x02"
        self._file.seek(0)
        return broken

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._claimed_size}
        target = base[whence] + offset
        try:
            return self._file.seek(target) if target >= 0 else -1  # as C's lseek does
        except (OSError, OverflowError):  # a damaged header may point anywhere
            return -1

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes. soundfile requires this method but calls `readinto`."""
        data = bytearray(count)
        return bytes(data[: self.readinto(data)])

    def readinto(self, buffer: Any) -> int:
        position = self._file.tell()
        if max(self._real_size, self._claimed_size - 1024) <= position < self._claimed_size:
            # mpg123 looks for a tag in the last 128 bytes, and fails if they cannot be read.
            count = min(len(buffer), self._claimed_size - position)
            buffer[:count] = bytes(count)
            self._file.seek(position + count)
            return count
        try:
            count = int(self._file.readinto(buffer))  # type: ignore[attr-defined]
        except (OSError, KeyboardInterrupt) as error:
            self._error = error
            return 0
        return count


class _Reader(soundfile.SoundFile):  # type: ignore[misc]
    def seekable(self) -> bool:
        """Return False: soundfile would seek after every read, and Opus would decode wrongly."""
        return False

    def close(self) -> None:
        """Close the decoder, once: soundfile marks it as closed after libsndfile has freed it."""
        if not self.__dict__.get("_closing"):
            self.__dict__["_closing"] = True
            super().close()


@contextmanager
def open_pcm(part: Part) -> Iterator[Pcm]:
    """Decode with libsndfile.

    Yields:
        The running decoder.

    Raises:
        NotDecodableError: libsndfile does not know or not support the content.
        AudioError: the system cannot read the file; raised by the iteration, too.
    """
    file = _PresentedFile(part.source, size_factor=part.size_factor)
    reader = _reader(file, part.source.label)
    levels = None
    if reader.subtype in _FLOAT_SUBTYPES:
        with reader:
            levels = _levels(part, file, reader)
        file = _PresentedFile(part.source)
        reader = _reader(file, part.source.label)
    with reader:
        ending = Ending()
        yield Pcm(
            rate=int(reader.samplerate),
            channels=int(reader.channels),
            positions=_positions(part, reader),
            chunks=_chunks(part, file, reader, ending),
            ending=ending,
            float_levels=levels,
        )


def can_open(part: Part) -> bool:
    """Return whether libsndfile knows the content."""
    try:
        _reader(_PresentedFile(part.source), part.source.label).close()
    except NotDecodableError:
        return False
    return True


def duration_s(part: Part) -> float | None:
    """Return the length that the header states, in seconds, or None if it states none.

    Raises:
        NotDecodableError: libsndfile does not know or not support the content.
    """
    if part.size_factor != 1:
        return part.counted_s
    with _reader(_PresentedFile(part.source), part.source.label) as reader:
        frames = int(reader.frames)
        return frames / int(reader.samplerate) if 0 < frames < _UNKNOWN_LENGTH else None


def _levels(part: Part, file: _PresentedFile, reader: _Reader) -> FloatLevels:
    """Return the levels of all samples of a file."""
    levels = FloatLevels()
    for chunk in _chunks(part, file, reader, Ending()):
        levels.add(chunk)
    return levels


def _positions(part: Part, reader: _Reader) -> tuple[str, ...]:
    """Return the positions of the channels."""
    channels = int(reader.channels)
    if part.channel_mask is not None:
        return positions_of_mask(part.channel_mask, channels)
    return positions_of_format(str(reader.format), channels)


def _reader(file: _PresentedFile, label: str) -> _Reader:
    if file.is_broken_sample_dump():
        raise NotDecodableError("a damaged MIDI sample dump", malformed=True)
    try:
        return _Reader(file)
    except soundfile.LibsndfileError as error:
        file.raise_error(label)
        reason = str(error.error_string).rstrip(". ")
        raise NotDecodableError(reason, malformed=error.code == _MALFORMED) from error


def _chunks(
    part: Part, file: _PresentedFile, reader: _Reader, ending: Ending
) -> Iterator[NDArray[np.float32]]:
    """Yield the decoded chunks; afterwards `ending` says whether they are all."""
    label = part.source.label
    buffer = np.empty((chunk_frames(reader.channels), reader.channels), np.float32)
    decoded = stalls = problem_frame = 0
    problem = ""
    while stalls < _MAX_STALLS:
        # A failed read does not report how much it decoded; frames that it did not reach stay NaN.
        buffer.fill(np.nan)
        try:
            count = len(reader.read(out=buffer))
            if not count:
                break
        except soundfile.LibsndfileError as error:
            decoded_frames = np.flatnonzero(~np.isnan(buffer[:, 0]))
            count = int(decoded_frames[-1]) + 1 if decoded_frames.size else 0
            problem = problem or str(error.error_string).rstrip(". ")
            problem_frame = decoded + count
        file.raise_error(label)
        stalls = 0 if count else stalls + 1
        if count:
            decoded += count
            yield buffer[:count]
    file.raise_error(label)
    if part.counted_s is not None and decoded and problem_frame == decoded:
        problem = ""  # after the last frame of an MP3, whose frames are counted below
    if problem_frame == decoded >= int(reader.frames):
        problem = ""  # a tag or padding behind all of the sound
    ending.stopped = not problem or problem_frame == decoded
    ending.decoded_s = decoded / int(reader.samplerate)
    ending.stated_s, ending.problem = _missing(part, reader, decoded, problem)


def _missing(part: Part, reader: _Reader, decoded: int, problem: str) -> tuple[float | None, str]:
    """Return the length that is stated in seconds, and why sound is missing ("" if none is)."""
    rate = int(reader.samplerate)
    decoded_s = decoded / rate
    if part.counted_s is not None:
        if part.counted_s - decoded_s > _MPEG_TOLERANCE_S + 4 * part.counted_frame_s:
            return part.counted_s, problem or "the file is damaged"
        return None, problem
    stated_s = reader.frames / rate if reader.frames < _UNKNOWN_LENGTH else None
    line = _LENGTH_LINE.search(str(reader.extra_info))
    if line and int(line[2]) < int(line[1]) < _STREAMED_BYTES:
        stated_s = decoded_s * int(line[1]) / max(1, int(line[2]))
        return stated_s, problem or "the file ends before the length that its header states"
    if stated_s is not None and stated_s - decoded_s > _LENGTH_TOLERANCE_S:
        return stated_s, problem or "the file is damaged or ends early"
    return stated_s, problem
