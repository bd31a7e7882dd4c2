"""Decode with libsndfile: WAV, FLAC, Ogg Vorbis and Opus, MP3, AIFF, CAF, AU and the like."""

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
_UNKNOWN_LENGTH = 2**62  # libsndfile says 2**63 - 1 when a header gives no length
_STREAMED_BYTES = 0x7FFF_0000  # lengths above are placeholders of programs that wrote to a pipe
_SLACK_S = 0.1  # a header's length may be off by a codec's frame without anything being lost
_MOST_STALLS = 256  # an MP3 decoder skips 1 KiB of rubbish per stall
_STRETCH = 64  # most frames that the same bytes can hold, over the fewest (320 to 8 kbit/s: 40)
_LENGTH_LINE = re.compile(r"(?:data|SSND|Data Size)\s*:\s*(\d+) \(should be (\d+)\)")


class NotDecodableError(Exception):
    """libsndfile cannot decode this; carries its reason, for the next decoder to add to."""

    def __init__(self, reason: str, *, malformed: bool) -> None:
        self.reason = reason
        self.malformed = malformed
        super().__init__(reason)


class _View:
    """The file as libsndfile shall see it, with corrections of what its header says wrongly.

    It has no `name`, from which soundfile would guess the format, and it keeps the system's
    errors, which cannot pass through libsndfile.
    """

    def __init__(
        self, source: OpenSource, *, patch: tuple[int, bytes] | None = None, stretch: int = 1
    ) -> None:
        self._file: BinaryIO = source.file
        self._real_size = source.size
        self._claimed_size = source.size * stretch
        self._patch = patch
        self._error: OSError | KeyboardInterrupt | None = None
        self._file.seek(0)

    def raise_error(self, label: str) -> None:
        """Raise what libsndfile could not pass through: Ctrl-C, or AudioError of a bad disk."""
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
        """Satisfy soundfile, which asks for either method; it calls `readinto`."""
        data = bytearray(count)
        return bytes(data[: self.readinto(data)])

    def readinto(self, buffer: Any) -> int:
        position = self._file.tell()
        if max(self._real_size, self._claimed_size - 1024) <= position < self._claimed_size:
            # mpg123 looks for a tag in the last 128 bytes, and gives up if they cannot be read.
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
            offset, new = self._patch
            for at in range(max(position, offset), min(position + count, offset + len(new))):
                buffer[at - position] = new[at - offset : at - offset + 1]
        return count


class _Reader(soundfile.SoundFile):  # type: ignore[misc]
    def seekable(self) -> bool:
        """Deny it: soundfile otherwise seeks after every read, and Opus then decodes wrongly."""
        return False


@contextmanager
def open_pcm(source: OpenSource) -> Iterator[Pcm]:
    """Decode with libsndfile.

    Yields:
        The running decoder. Its chunks end with an `AudioTruncatedWarning` if the file is cut
        off or damaged; they raise AudioEmptyError or AudioFormatError if nothing was decoded,
        and AudioError if the system cannot read the file.

    Raises:
        NotDecodableError: libsndfile does not know or not support the content.
    """
    view, reader, trusted = _open(source)
    with reader:
        chunks = _chunks(source, view, reader, trusted=trusted)
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


def _open(source: OpenSource) -> tuple[_View, _Reader, bool]:
    """Open with the corrections that the content needs; say if the stated length is trusted."""
    data_length = containers.unfinished_wav_length(source.file, source.size)
    patch = None if data_length is None else (data_length, b"\xff\xff\xff\xff")
    view = _View(source, patch=patch)
    reader = _reader(view, source.label)
    if reader.format != "MP3":
        return view, reader, True
    position = view.tell()
    length = containers.mpeg_length(source.file, source.size)
    view.seek(position)
    if length.trusted:
        return view, reader, True
    # Hide a wrong length tag, and claim a size from which no estimate comes out too short: the
    # decoder then goes on to the real end. (The tag's frame becomes some 25 ms of silence.)
    reader.close()
    hidden = None if length.tag_offset is None else (length.tag_offset, bytes(4))
    view = _View(source, patch=hidden, stretch=_STRETCH)
    return view, _reader(view, source.label), False


def _reader(view: _View, label: str) -> _Reader:
    try:
        return _Reader(view)
    except soundfile.LibsndfileError as error:
        view.raise_error(label)
        reason = str(error.error_string).rstrip(". ")
        raise NotDecodableError(reason, malformed=error.code == _MALFORMED) from error


def _chunks(
    source: OpenSource, view: _View, reader: _Reader, *, trusted: bool
) -> Iterator[NDArray[np.float32]]:
    buffer = np.empty((chunk_frames(reader.channels), reader.channels), np.float32)
    decoded = stalls = problem_at = 0
    problem = ""
    while stalls < _MOST_STALLS:
        # A failed read does not say how much it decoded; what it did not reach stays NaN.
        buffer.fill(np.nan)
        try:
            count = len(reader.read(out=buffer))
            if not count:
                break
        except soundfile.LibsndfileError as error:
            reached = np.flatnonzero(~np.isnan(buffer[:, 0]))
            count = int(reached[-1]) + 1 if reached.size else 0
            problem = problem or str(error.error_string).rstrip(". ")
            problem_at = decoded + count
        view.raise_error(source.label)
        stalls = 0 if count else stalls + 1
        if count:
            decoded += count
            yield buffer[:count]
    view.raise_error(source.label)
    if reader.format == "MP3" and decoded and problem_at == decoded:
        problem = ""  # after the last frame: a tag of some player, no lost sound
    _report_end(source, reader, decoded, problem, trusted=trusted)


def _report_end(
    source: OpenSource, reader: _Reader, decoded: int, problem: str, *, trusted: bool
) -> None:
    """Warn about lost sound; raise if there was none."""
    promised = int(reader.frames) if trusted and reader.frames < _UNKNOWN_LENGTH else None
    if not decoded:
        if problem or promised:
            reason = f"damaged, not a single sample could be decoded ({problem or 'cut off'})"
            raise AudioFormatError(source.label, f"{reason}; fetch or export it again")
        raise AudioEmptyError(source.label, "a header without a single sample; record it again")
    rate = int(reader.samplerate)
    line = _LENGTH_LINE.search(str(reader.extra_info))
    if line and int(line[2]) < int(line[1]) < _STREAMED_BYTES:
        promised = round(decoded * int(line[1]) / max(1, int(line[2])))
        problem = problem or "the file ends before the length that its header states"
    elif promised is not None and promised - decoded > _SLACK_S * rate:
        problem = problem or "the file is damaged or ends early"
    elif (end := containers.ogg_end(source.file, source.size)) is not None and end.joined:
        promised = None
        problem = "it is several Ogg streams joined, of which only ffmpeg reads all; install it"
    elif end is not None and end.cut:
        promised = None
        problem = problem or "the file ends in the middle of a page"
    if problem:
        promised_s = None if promised is None else promised / rate
        warn_truncated(source.label, decoded / rate, promised_s, problem)
