"""Faster or slower speech at the same pitch: waveform-similarity overlap-add (WSOLA).

Verhelst and Roelands 1993, "An overlap-add technique based on waveform similarity (WSOLA) for
high quality time-scale modification of speech", ICASSP. Segments of 40 ms are taken from the
input at one distance and added at another; each may move a little, to where it continues the
segment before it best, so that periods of the voice meet in phase.
"""

from __future__ import annotations

import numpy as np

from megaasr.errors import UsageError
from megaasr.simulate.primitives.primitive import Floats

SLOWEST, FASTEST = 0.5, 2.0
_SEGMENT = 640  # 40 ms
_HOP = _SEGMENT // 2
_REACH = 160  # 10 ms, half a period of 50 Hz: how far a segment may move either way
_SILENCE = 1e-12  # -120 dB, in power
# So that of equal candidates, as a steady tone has them, the nearest wins and not a rounding.
_FARTHER_IS_WORSE = (1e-3 * np.abs(np.arange(-_REACH, _REACH + 1)) / _REACH).astype(np.float32)


def change_speed(samples: Floats, factor: float) -> Floats:
    """Return speech that is `factor` times as fast, its pitch kept.

    Args:
        samples: float32 [time] at 16 kHz, at least one; not changed.
        factor: 0.5 (half as fast) to 2.0; 1.0 returns `samples` itself.

    Returns:
        float32 [round(time / factor)], at least one sample. Where the input is shorter than a
        segment of 40 ms there is no pitch to keep, and it is interpolated.

    Raises:
        UsageError: the factor is not in 0.5..2.
    """
    check_speed(factor)
    if factor == 1.0:
        return samples
    length = max(1, round(samples.size / factor))
    if samples.size < _SEGMENT:
        moments = np.linspace(0, samples.size - 1, length)
        return np.interp(moments, np.arange(samples.size), samples).astype(np.float32)
    return _overlap_add(samples, factor, length)


def check_speed(factor: float) -> float:
    """Return the factor.

    Raises:
        UsageError: it is not in 0.5..2.
    """
    if not SLOWEST <= factor <= FASTEST:  # NaN too
        raise UsageError(
            f"speed {factor}: it must be from {SLOWEST} (half as fast) to {FASTEST} (twice)"
        )
    return factor


def _overlap_add(samples: Floats, factor: float, length: int) -> Floats:
    # Segment k is centred on sample k * hop of the output. The margin in front lets the first
    # one be centred on the first sample, the one behind lets the last ones reach over the end.
    front = _REACH + _HOP
    padded = np.zeros(front + samples.size + _REACH + 2 * _SEGMENT, np.float32)
    padded[front : front + samples.size] = samples
    inverse_rms = _inverse_rms(padded)
    window = np.hanning(_SEGMENT + 1)[:-1].astype(np.float32)  # two, a hop apart, add to 1
    count = -(-length // _HOP) + 1
    out = np.zeros((count + 1) * _HOP, np.float32)
    begin = _REACH
    for number in range(count):
        if number:
            nominal = min(_REACH + round(number * _HOP * factor), front + samples.size)
            begin = _best_begin(padded, inverse_rms, begin + _HOP, nominal)
        at = number * _HOP
        out[at : at + _SEGMENT] += window * padded[begin : begin + _SEGMENT]
    return out[_HOP : _HOP + length]


def _best_begin(padded: Floats, inverse_rms: Floats, wanted: int, nominal: int) -> int:
    """Return where, near `nominal`, the segment begins that is most like that from `wanted` on.

    Likeness is the normalised correlation of their first halves, which is where the segment
    overlaps with the one before.
    """
    if abs(wanted - nominal) <= _REACH:
        return wanted  # nothing continues a segment better than what followed it
    first = nominal - _REACH
    candidates = padded[first : first + 2 * _REACH + _HOP]
    likeness = np.correlate(candidates, padded[wanted : wanted + _HOP], "valid")
    likeness *= inverse_rms[first : first + likeness.size]
    most = likeness.max()
    if most <= 0:
        return nominal  # silence, or nothing alike
    return first + int(np.argmax(likeness - most * _FARTHER_IS_WORSE))


def _inverse_rms(padded: Floats) -> Floats:
    """Return one over the RMS of the half segment from each sample on; 0 for silence."""
    sums = np.zeros(padded.size + 1)
    np.cumsum(np.square(padded, dtype=np.float64), out=sums[1:])
    power = (sums[_HOP:] - sums[:-_HOP]) / _HOP
    heard = power > _SILENCE * power.max()
    inverse = np.zeros(power.size, np.float32)
    inverse[heard] = 1.0 / np.sqrt(power[heard])
    return inverse
