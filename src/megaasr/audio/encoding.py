"""Recordings as the bytes of a file, for containers that embed them."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from megaasr.audio.waveform import Waveform

AudioFormat = Literal["flac", "wav"]
_FULL = 2.0**15


def pcm_16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """Round to 16 bits, exactly as `files.write` does; beyond full scale is clipped.

    Args:
        samples: float32 [time], full scale ±1.
    """
    # Exact in float32: the factor is a power of two, and the limits have less than 24 bits.
    steps = samples * np.float32(_FULL)
    np.rint(steps, out=steps)
    np.clip(steps, np.float32(-_FULL), np.float32(_FULL - 1), out=steps)
    return steps.astype(np.int16)


def encode(waveform: Waveform, audio_format: AudioFormat) -> bytes:
    """Return a WAV or FLAC file of 16 bits in memory; the same samples give the same bytes."""
    target = io.BytesIO()
    soundfile.write(
        target, pcm_16(waveform.samples), waveform.sample_rate, "PCM_16", format=audio_format
    )
    return target.getvalue()
