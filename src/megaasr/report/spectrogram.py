"""Spectrograms as small PNG pictures, all on the same colour scale.

The pictures hold the colours only; the page draws the axes, as text that stays legible at any size.
Written here in a few lines, because matplotlib's pictures include axes in a fixed colour scheme,
and are ten times as large and slow.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.waveform import SAMPLE_RATE, Waveform
from megaasr.errors import UsageError

HIGHEST_HZ = SAMPLE_RATE / 2
QUIETEST_DB, LOUDEST_DB = -110.0, -20.0
"""The ends of the colour scale; a sine at full scale has 0 dB."""

_WINDOW = 512  # samples: 32 ms, so that a voice's harmonics stand apart
_ROWS = _WINDOW // 2
_COLUMNS = 400
_COLOURS = 64  # steps of 1.4 dB; more would only make the pictures larger
# From quiet to loud, as red, green and blue. Lightness increases evenly, so that the pictures can
# be read in black-and-white print and by people with colour vision deficiency.
_ANCHORS = (
    (6, 6, 16),
    (36, 18, 78),
    (86, 24, 112),
    (140, 38, 108),
    (194, 62, 82),
    (234, 106, 50),
    (250, 168, 48),
    (250, 226, 110),
    (254, 252, 214),
)


def levels_db(waveform: Waveform) -> NDArray[np.float64]:
    """Return the level over frequency and time.

    Args:
        waveform: audio at 16 kHz.

    Returns:
        float64 array of shape [256, times]: bands from 0 to 8 kHz, at most 400 times; in dB, where
        a sine at full scale has 0 dB.

    Raises:
        UsageError: the waveform has another sample rate.
    """
    if waveform.sample_rate != SAMPLE_RATE:
        raise UsageError(f"a spectrogram needs {SAMPLE_RATE} Hz, got {waveform.sample_rate} Hz")
    samples = waveform.samples
    count = min(_COLUMNS, max(1, len(samples) // 64))
    # Column k is centred on the k-th of `count` equal parts of the clip.
    centres = ((np.arange(count) + 0.5) * len(samples) / count).astype(np.int64)
    padded = np.pad(samples, _WINDOW // 2)
    frames = padded[centres[:, np.newaxis] + np.arange(_WINDOW)]
    window = np.hanning(_WINDOW + 1)[:-1]
    amplitude = np.abs(np.fft.rfft(frames * window)) * (2 / window.sum())
    power = np.square(amplitude).T
    # 257 frequencies become 256 bands; each is the mean of its two edges.
    return np.asarray(10 * np.log10((power[:-1] + power[1:]) / 2 + 1e-20), np.float64)


def picture(waveform: Waveform) -> bytes:
    """Return the spectrogram of a 16 kHz waveform as a PNG, low frequencies at the bottom."""
    level = (levels_db(waveform) - QUIETEST_DB) / (LOUDEST_DB - QUIETEST_DB)
    steps = np.clip(np.rint(level * (_COLOURS - 1)), 0, _COLOURS - 1).astype(np.uint8)
    return _png(steps[::-1])


def colour_bar() -> bytes:
    """Return the colour scale as a PNG with a single row, quiet on the left."""
    return _png(np.arange(_COLOURS, dtype=np.uint8)[np.newaxis])


def _png(steps: NDArray[np.uint8]) -> bytes:
    """Return an array of colour indices, shape [height, width], as a PNG with our palette."""
    height, width = steps.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits, from a palette
    rows = np.pad(steps, ((0, 0), (1, 0)))  # each row begins with its filter type, 0 for none
    chunks = (
        (b"IHDR", header),
        (b"PLTE", _palette().tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def _palette() -> NDArray[np.uint8]:
    """Return the palette as uint8 of shape [colours, 3], interpolated between the anchors."""
    positions = np.linspace(0, len(_ANCHORS) - 1, _COLOURS)
    anchors = range(len(_ANCHORS))
    channels = [np.interp(positions, anchors, channel) for channel in zip(*_ANCHORS, strict=True)]
    return np.asarray(np.rint(np.stack(channels, axis=1)), np.uint8)
