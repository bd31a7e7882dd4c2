"""Limits of what is decoded: a small file may hold days of silence, or hundreds of channels."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.decoding import source_format
from megaasr.audio.files import duration_s
from megaasr.audio.waveform import Samples
from megaasr.serve.error_responses import RequestError
from megaasr.transcribe.speech_activity import detect_speech

_MIN_ADVANCE_S = 15.0
"""Two windows that the detector is given are at least this far apart, but for the last ones
(`megaasr.transcribe.chunking`)."""


@dataclass(frozen=True, slots=True)
class StatedFormat:
    """What a recording states about itself.

    Attributes:
        channels: number of channels.
        duration_s: length in seconds; None if it states none.
    """

    channels: int
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """Limits of a recording.

    Attributes:
        max_audio_s: longest duration in seconds.
        max_channels: most channels.
    """

    max_audio_s: float
    max_channels: int

    def check(self, path: Path, track: int | None) -> StatedFormat:
        """Check and return what a file states about itself.

        Args:
            path: the recording.
            track: number of the audio track; None for the default one.

        Raises:
            AudioError: the file cannot be decoded.
            RequestError: 400, it exceeds a limit.
        """
        channels, _ = source_format(path, track)
        if channels > self.max_channels:
            raise RequestError(
                400,
                f"the recording has {channels} channels; this server allows {self.max_channels}",
                param="file",
                code="too_many_channels",
            )
        stated_s = duration_s(path)
        if stated_s is not None and stated_s > self.max_audio_s:
            raise self.too_long(f"{stated_s:.0f} s")
        return StatedFormat(channels, stated_s)

    def too_long(self, duration: str) -> RequestError:
        """Return the error of a recording that is too long."""
        return RequestError(
            400,
            f"the recording is {duration} long; this server allows {self.max_audio_s:.0f} s. "
            "Divide it, or ask the operator for a larger max_audio_s",
            param="file",
            code="audio_too_long",
        )


class GuardedDetector:
    """Voice-activity detection that ends the work on a recording which is cancelled or too long.

    It is called for every part of a recording before anything is decoded, and so is the place where
    a file that states no duration is found to be too long, after at most twice what is allowed.

    Args:
        limits: limits of the recording.
        channels: number of channels that are transcribed one after the other.
        cancelled: lets the next call raise when it is set.
    """

    def __init__(self, limits: AudioLimits, channels: int, cancelled: threading.Event) -> None:
        self._limits = limits
        self._channels = channels
        self._windows = 0
        self._cancelled = cancelled

    def __call__(self, samples: Samples, /) -> NDArray[np.float32]:
        """Return the probability of speech in every frame of 32 ms, float32 of shape [frames].

        Raises:
            CancelledError: the work was cancelled.
            RequestError: 400, the recording is too long.
        """
        if self._cancelled.is_set():
            raise CancelledError("the request was cancelled")
        self._windows += 1
        least_s = (self._windows / self._channels - 2) * _MIN_ADVANCE_S
        if least_s > self._limits.max_audio_s:
            raise self._limits.too_long(f"at least {least_s:.0f} s")
        return detect_speech(samples)
