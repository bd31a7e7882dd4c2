"""The microphone, through PortAudio."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import numpy as np

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.errors import AudioError, UsageError

_BLOCK_S = 0.05


def microphone_blocks(
    device: str | None = None, on_overflow: Callable[[], None] = lambda: None
) -> Iterator[Samples]:
    """Yield what a microphone hears, without end.

    Args:
        device: number or part of the name of a device; None for the system's default.
        on_overflow: called when the system lost samples, because nobody took them in time.

    Yields:
        float32 arrays of shape [time], 16 kHz mono.

    Raises:
        UsageError: sounddevice or PortAudio is not installed.
        AudioError: there is no such device, or it cannot be used.
    """
    sounddevice = _sounddevice()
    blocks: SimpleQueue[tuple[Samples, bool]] = SimpleQueue()

    def take(data: Any, frames: int, time: Any, status: Any) -> None:
        blocks.put((np.asarray(data)[:, 0].copy(), bool(status.input_overflow)))

    try:
        stream = sounddevice.InputStream(
            samplerate=SAMPLE_RATE,
            blocksize=round(_BLOCK_S * SAMPLE_RATE),
            device=int(device) if device is not None and device.isdecimal() else device,
            channels=1,
            dtype="float32",
            callback=take,
        )
        with stream:
            while True:
                samples, is_lost = blocks.get()
                if is_lost:
                    on_overflow()
                yield samples
    except (sounddevice.PortAudioError, ValueError) as error:
        raise AudioError(
            "microphone",
            f"cannot be used: {error}; `python -m sounddevice` lists the devices",
        ) from error


def _sounddevice() -> Any:
    """Import sounddevice.

    Raises:
        UsageError: it or PortAudio is not installed.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise UsageError("the microphone needs sounddevice: pip install 'megaasr[live]'") from error
    except OSError as error:
        raise UsageError(
            "the microphone needs PortAudio: `sudo apt install libportaudio2` (Debian, Ubuntu); "
            "on macOS and Windows it comes with sounddevice"
        ) from error
    return sounddevice
