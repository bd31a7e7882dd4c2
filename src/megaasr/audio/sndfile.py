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

from megaasr.audio import containers
from megaasr.audio.pcm import Pcm, chunk_frames, warn_truncated
from megaasr.audio.source import OpenSource
from megaasr.errors import AudioEmptyError, AudioError, AudioFormatError

_MALFORMED = 3  # SF_ERR_MALFORMED_FILE of sndfile.h
_UNKNOWN_LENGTH = 2**62  # libsndfile reports 2**63 - 1 when a header states no length
_STREAMED_BYTES = 0x7FFF_0000  # larger lengths are placeholders of programs that wrote to a pipe
_LENGTH_TOLERANCE_S = 0.1  # a stated length may be off by a codec frame without any loss
_MAX_STALLS = 256  # an MP3 decoder skips 1 KiB of invalid data per stall
# Ratio of the most to the fewest frames that a file of one size can hold: 40 for 8 to 320 kbit/s.
_MP3_SIZE_FACTOR = 64
_LENGTH_LINE = re.compile(r"(?:data|SSND|Data Size)\s*:\s*(\d+) \(should be (\d+)\)")


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


class _CorrectedFile:
    """The file as it is presented to libsndfile, with errors in its header corrected.

    It has no `name`, from which soundfile would guess the format, and it stores errors of the
    operating system, which cannot propagate through libsndfile.

    Args:
        source: the recording.
        patch: offset and bytes that replace those of the file.
        size_factor: the file claims to be this many times as large as it is.
    """

    def __init__(
        self, source: OpenSource, *, patch: tuple[int, bytes] | None = None, size_factor: int = 1
    ) -> None:
        self._file: BinaryIO = source.file
        self._real_size = source.size
        self._claimed_size = source.size * size_factor
        self._patch = patch
        self._error: OSError | KeyboardInterrupt | None = None
        self._file.seek(0)

    def raise_error(self, label: str) -> None:
        """Raise the stored error: KeyboardInterrupt, or a read error as AudioError."""
        if isinstance(self._error, KeyboardInterrupt):
            raise self._error
        if self._error is not None:
            raise AudioError(label, f"cannot be read: {self._error}") from self._error

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._claimed_size}
        target = base[whence] + offset
        return self._file.seek(target) if target >= 0 else -1  # as C's lseek does

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
        if self._patch is not None:
            offset, patch = self._patch
            first, end = max(position, offset), min(position + count, offset + len(patch))
            for index in range(first, end):
                buffer[index - position] = patch[index - offset : index - offset + 1]
        return count


class _Reader(soundfile.SoundFile):  # type: ignore[misc]
    def seekable(self) -> bool:
        """Return False: soundfile would seek after every read, and Opus would decode wrongly."""
        return False


@contextmanager
def open_pcm(source: OpenSource) -> Iterator[Pcm]:
    """Decode with libsndfile.

    Yields:
        The running decoder. If the file is truncated or damaged, an `AudioTruncatedWarning`
        follows the last chunk; if nothing was decoded, iteration raises AudioEmptyError or
        AudioFormatError, and AudioError if the system cannot read the file.

    Raises:
        NotDecodableError: libsndfile does not know or not support the content.
    """
    file, reader, trusted = _open(source)
    with reader:
        chunks = _chunks(source, file, reader, trusted=trusted)
        yield Pcm(int(reader.samplerate), int(reader.channels), chunks)


def duration_s(source: OpenSource) -> float | None:
    """Return the length that the header states, in seconds, or None if it states none.

    Raises:
        NotDecodableError: libsndfile does not know or not support the content.
    """
    _, reader, trusted = _open(source)
    with reader:
        frames = int(reader.frames)
        stated = trusted and 0 < frames < _UNKNOWN_LENGTH
        end = containers.ogg_end(source.file, source.size)
        if not stated or (end is not None and end.joined):
            return None
        return frames / int(reader.samplerate)


def _open(source: OpenSource) -> tuple[_CorrectedFile, _Reader, bool]:
    """Open with the necessary corrections; return also whether the stated length is trusted."""
    data_length = containers.unfinished_wav_length(source.file, source.size)
    patch = None if data_length is None else (data_length, b"\xff\xff\xff\xff")
    file = _CorrectedFile(source, patch=patch)
    reader = _reader(file, source.label)
    if reader.format != "MP3":
        return file, reader, True
    position = file.tell()
    length = containers.mpeg_length(source.file, source.size)
    file.seek(position)
    if length.trusted:
        return file, reader, True
    # Hide the wrong length tag, and claim a size at which every estimate of the length is long
    # enough: the decoder then continues to the real end. (The tag's frame becomes about 25 ms of
    # silence.)
    reader.close()
    tag_patch = None if length.tag_offset is None else (length.tag_offset, bytes(4))
    file = _CorrectedFile(source, patch=tag_patch, size_factor=_MP3_SIZE_FACTOR)
    return file, _reader(file, source.label), False


def _reader(file: _CorrectedFile, label: str) -> _Reader:
    try:
        return _Reader(file)
    except soundfile.LibsndfileError as error:
        file.raise_error(label)
        reason = str(error.error_string).rstrip(". ")
        raise NotDecodableError(reason, malformed=error.code == _MALFORMED) from error


def _chunks(
    source: OpenSource, file: _CorrectedFile, reader: _Reader, *, trusted: bool
) -> Iterator[NDArray[np.float32]]:
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
        file.raise_error(source.label)
        stalls = 0 if count else stalls + 1
        if count:
            decoded += count
            yield buffer[:count]
    file.raise_error(source.label)
    if reader.format == "MP3" and decoded and problem_frame == decoded:
        problem = ""  # after the last frame: a tag that a player appended, no lost audio
    _report_end(source, reader, decoded, problem, trusted=trusted)


def _report_end(
    source: OpenSource, reader: _Reader, decoded: int, problem: str, *, trusted: bool
) -> None:
    """Warn about lost audio; raise if nothing was decoded."""
    stated = int(reader.frames) if trusted and reader.frames < _UNKNOWN_LENGTH else None
    if not decoded:
        if problem or stated:
            reason = f"damaged, not a single sample could be decoded ({problem or 'cut off'})"
            raise AudioFormatError(source.label, f"{reason}; fetch or export it again")
        raise AudioEmptyError(source.label, "a header without a single sample; record it again")
    rate = int(reader.samplerate)
    line = _LENGTH_LINE.search(str(reader.extra_info))
    if line and int(line[2]) < int(line[1]) < _STREAMED_BYTES:
        stated = round(decoded * int(line[1]) / max(1, int(line[2])))
        problem = problem or "the file ends before the length that its header states"
    elif stated is not None and stated - decoded > _LENGTH_TOLERANCE_S * rate:
        problem = problem or "the file is damaged or ends early"
    elif (end := containers.ogg_end(source.file, source.size)) is not None and end.joined:
        stated = None
        problem = "it is several Ogg streams joined, of which only ffmpeg reads all; install it"
    elif end is not None and end.cut:
        stated = None
        problem = problem or "the file ends in the middle of a page"
    if problem:
        stated_s = None if stated is None else stated / rate
        warn_truncated(source.label, decoded / rate, stated_s, problem)
