"""The companding laws of ITU-T G.711: 16-bit samples as 8-bit codes, and back.

Both laws divide the range into segments that double in width, with 16 equal intervals each, so that
the error grows with the signal. Codes are as they are transmitted: mu-law with all bits inverted,
A-law with every other bit inverted.

Source: ITU-T G.711 (11/88), tables 1a to 2b. As in ITU-T G.191, negative samples are companded by
their ones' complement, which makes both halves of the scale symmetric around -1/2.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Law = Literal["mu", "a"]
_BIAS = 33  # of mu-law, in units of 14 bits: makes all segments powers of two
_MU_SHIFT, _A_SHIFT = 2, 4  # 14 bits, and 12 bits
_INVERTED_A = 0x55


def encode(pcm: NDArray[np.int16], law: Law) -> NDArray[np.uint8]:
    """Return the codes of samples, uint8 array of the same shape.

    Args:
        pcm: int16 samples, full scale 32768.
        law: companding law, `mu` (North America, Japan) or `a` (elsewhere).
    """
    return _codes(law)[pcm.astype(np.int16).view(np.uint16)]


def decode(codes: NDArray[np.uint8], law: Law) -> NDArray[np.int16]:
    """Return the samples of codes, int16 array of the same shape.

    Args:
        codes: codes as they are transmitted.
        law: companding law, `mu` or `a`.
    """
    return _levels(law)[codes]


@cache
def _codes(law: Law) -> NDArray[np.uint8]:
    """Return the code of every 16-bit pattern [65536]."""
    pcm = np.arange(2**16, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.where(pcm < 0, ~pcm, pcm)
    sign = np.where(pcm < 0, 0, 0x80)
    if law == "mu":
        biased = np.minimum((magnitude >> _MU_SHIFT) + _BIAS, 2**13 - 1)
        segment = _highest_bit(biased) - 5
        interval = (biased >> (segment + 1)) & 15
        return np.asarray(sign | (0x7F - (segment << 4 | interval)), np.uint8)
    scaled = magnitude >> _A_SHIFT
    # The two lowest segments have the same interval.
    segment = np.maximum(_highest_bit(np.maximum(scaled, 1)) - 3, 0)
    interval = (scaled >> np.maximum(segment - 1, 0)) & 15
    return np.asarray((sign | segment << 4 | interval) ^ _INVERTED_A, np.uint8)


@cache
def _levels(law: Law) -> NDArray[np.int16]:
    """Return the sample of every code [256]: the middle of its interval."""
    code = np.arange(256)
    plain = 0xFF - code if law == "mu" else code ^ _INVERTED_A
    segment, interval = plain >> 4 & 7, plain & 15
    if law == "mu":
        magnitude = (((2 * interval + _BIAS) << segment) - _BIAS) << _MU_SHIFT
        positive = plain < 0x80  # the sign is inverted like all bits
    else:
        steps = np.where(segment > 0, 2 * interval + 33, 2 * interval + 1)
        magnitude = (steps << np.maximum(segment - 1, 0)) << (_A_SHIFT - 1)
        positive = plain >= 0x80
    return np.asarray(np.where(positive, magnitude, -magnitude), np.int16)


def _highest_bit(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the number of the highest bit that is set, from 0; values are 1 to 8191."""
    return np.asarray(np.searchsorted(2 ** np.arange(14), values, side="right") - 1, np.int32)
