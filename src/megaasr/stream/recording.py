"""The audio of a live session as a WAV file that is complete at any moment."""

from __future__ import annotations

import os
import wave
from pathlib import Path
from types import TracebackType
from typing import Self

from megaasr.audio.encoding import pcm_16
from megaasr.audio.waveform import Samples
from megaasr.errors import UsageError

_SYNC_S = 1.0
MAX_BYTES = 2**32 - 2**16
"""Size from which a WAV file cannot grow: 37 hours at 16 kHz."""


class Recording:
    """Writes audio to a WAV file of 16 bits while it comes.

    Its header states the length after every block, so that a killed process leaves a file that can
    be transcribed; at most the last second is lost when the power fails.

    Args:
        path: the file, which must not exist.
        sample_rate: samples per second.

    Attributes:
        is_full: whether the file reached `MAX_BYTES`; what came after it is not recorded.

    Raises:
        UsageError: the file exists.
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path, sample_rate: int) -> None:
        try:
            self._file = path.open("xb")
        except FileExistsError as error:
            raise UsageError(f"{path} exists; choose another name for the recording") from error
        self._writer = wave.open(self._file, "wb")  # noqa: SIM115 (closed with the recording)
        self._writer.setparams((1, 2, sample_rate, 0, "NONE", "not compressed"))
        self._rate = sample_rate
        self._unsynced = self._bytes = 0
        self.is_full = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
        self._file.close()

    def write(self, samples: Samples) -> None:
        """Append samples, float32 of shape [time].

        Raises:
            OSError: the disk is full, for example.
        """
        data = pcm_16(samples).astype("<i2").tobytes()
        self.is_full = self.is_full or self._bytes + len(data) > MAX_BYTES
        if self.is_full:
            return
        self._bytes += len(data)
        self._writer.writeframes(data)
        self._file.flush()
        self._unsynced += len(samples)
        if self._unsynced >= _SYNC_S * self._rate:
            os.fsync(self._file.fileno())
            self._unsynced = 0
