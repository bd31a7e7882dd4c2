"""Encode audio in memory, for formats that embed it (Parquet, tar, HTML)."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from megaasr.audio.waveform import Samples, Waveform

AudioFormat = Literal["flac", "wav"]
_FULL = 2.0**15


def pcm_16(samples: Samples) -> NDArray[np.int16]:
    """Round samples to 16 bits exactly as `files.write` does, clipping at full scale.

    Args:
        samples: float32 array [time]; full scale is ±1.
    """
    # Exact in float32: the factor is a power of two, and the limits need fewer than 24 bits.
    steps = samples * np.float32(_FULL)
    np.rint(steps, out=steps)
    np.clip(steps, np.float32(-_FULL), np.float32(_FULL - 1), out=steps)
    return steps.astype(np.int16)


def encode(waveform: Waveform, audio_format: AudioFormat) -> bytes:
    """Return the bytes of a 16-bit WAV or FLAC file; the same samples give the same bytes."""
    target = io.BytesIO()
    soundfile.write(
        target, pcm_16(waveform.samples), waveform.sample_rate, "PCM_16", format=audio_format
    )
    return target.getvalue()
