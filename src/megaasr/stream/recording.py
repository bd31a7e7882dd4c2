"""The audio of a live session as a WAV file that is complete at any moment."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from megaasr.audio.encoding import pcm_16
from megaasr.audio.waveform import Samples
from megaasr.errors import UsageError
from megaasr.stream.unbuffered import create, write_all

_SYNC_S = 1.0
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
MAX_BYTES = 2**32 - 2**16
"""Size from which a WAV file cannot grow: 37 hours at 16 kHz."""


class Recording:
    """Writes audio to a WAV file of 16 bits while it comes, as long as there is space.

    Its header states the length after every block, so that a killed process leaves a file that can
    be transcribed; at most the last second is lost when the power fails.

    Args:
        path: the file, which must not exist.
        sample_rate: samples per second.
        on_stop: called with a message when nothing can be recorded any more: the disk is full, or
            the file reached `MAX_BYTES`. What was recorded before remains.

    Raises:
        UsageError: the file exists.
        OSError: the file cannot be written.
    """

    def __init__(
        self, path: Path, sample_rate: int, on_stop: Callable[[str], None] = lambda message: None
    ) -> None:
        try:
            self._file = create(path)
        except FileExistsError as error:
            raise UsageError(f"{path} exists; choose another name for the recording") from error
        self._path, self._rate, self._on_stop = path, sample_rate, on_stop
        self._unsynced = self._bytes = 0
        self._is_stopped = False
        try:
            self._write_at(0, self._header(0))
        except OSError:
            self._file.close()
            path.unlink()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, samples: Samples) -> None:
        """Append samples, float32 of shape [time]; nothing if the recording was stopped."""
        if self._is_stopped:
            return
        data = pcm_16(samples).astype("<i2").tobytes()
        if self._bytes + len(data) > MAX_BYTES:
            self._stop("a WAV file cannot be longer")
            return
        try:
            self._append(data)
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(_HEADER.size + self._bytes)  # to the last complete block
            self._stop(error.strerror or str(error))

    def _append(self, data: bytes) -> None:
        self._write_at(_HEADER.size + self._bytes, data)
        self._write_at(0, self._header(self._bytes + len(data)))
        self._bytes += len(data)
        self._unsynced += len(data) // 2
        if self._unsynced >= _SYNC_S * self._rate:
            os.fsync(self._file.fileno())
            self._unsynced = 0

    def _write_at(self, position: int, data: bytes) -> None:
        self._file.seek(position)
        write_all(self._file, data)

    def _header(self, size: int) -> bytes:
        """Return the header of a file with so many bytes of samples."""
        rate = self._rate
        sound = (16, 1, 1, rate, 2 * rate, 2, 16)  # PCM, mono, 2 bytes a sample
        return _HEADER.pack(b"RIFF", 36 + size, b"WAVE", b"fmt ", *sound, b"data", size)

    def _stop(self, reason: str) -> None:
        self._is_stopped = True
        self._on_stop(
            f"{self._path} ends after {self._bytes / 2 / self._rate:.1f} s ({reason}); what "
            "follows is transcribed, but not recorded"
        )
