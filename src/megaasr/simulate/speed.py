"""Change the speed of speech at the same pitch by waveform-similarity overlap-add (WSOLA).

Source: Verhelst and Roelands 1993, "An overlap-add technique based on waveform similarity (WSOLA)
for high quality time-scale modification of speech", ICASSP. Segments of 40 ms are taken from the
input at one interval and added at another. Each may be shifted slightly to where it best continues
the previous segment, so that the periods of the voice stay in phase.
"""

from __future__ import annotations

import numpy as np

from megaasr.audio.waveform import Samples
from megaasr.errors import UsageError

MIN_SPEED, MAX_SPEED = 0.5, 2.0
_SEGMENT = 640  # 40 ms
_HOP = _SEGMENT // 2
_MAX_SHIFT = 160  # 10 ms, half a period of 50 Hz, in either direction
_SILENCE = 1e-12  # -120 dB, in power
# A steady tone has many equally similar candidates: prefer the nearest, not a rounding error.
_DISTANCE_PENALTY = (1e-3 * np.abs(np.arange(-_MAX_SHIFT, _MAX_SHIFT + 1)) / _MAX_SHIFT).astype(
    np.float32
)


def change_speed(samples: Samples, factor: float) -> Samples:
    """Return speech that is `factor` times as fast, at the same pitch.

    Args:
        samples: float32 array [time] at 16 kHz of at least one sample; it is not changed.
        factor: 0.5 (half as fast) to 2.0; 1.0 returns `samples` itself.

    Returns:
        float32 array [round(time / factor)] of at least one sample. An input shorter than a segment
        of 40 ms is interpolated, since it has no pitch to preserve.

    Raises:
        UsageError: the factor is not in 0.5..2.
    """
    check_speed(factor)
    if factor == 1.0:
        return samples
    length = max(1, round(samples.size / factor))
    if samples.size < _SEGMENT:
        positions = np.linspace(0, samples.size - 1, length)
        return np.interp(positions, np.arange(samples.size), samples).astype(np.float32)
    return _overlap_add(samples, factor, length)


def check_speed(factor: float) -> float:
    """Return the speed factor if it is valid.

    Raises:
        UsageError: it is not in 0.5..2.
    """
    if not MIN_SPEED <= factor <= MAX_SPEED:  # NaN too
        raise UsageError(
            f"speed {factor}: it must be from {MIN_SPEED} (half as fast) to {MAX_SPEED} (twice)"
        )
    return factor


def _overlap_add(samples: Samples, factor: float, length: int) -> Samples:
    # Segment k is centred on output sample k * hop. The padding in front allows the first segment
    # to be centred on the first sample, and that behind allows the last ones to exceed the end.
    front = _MAX_SHIFT + _HOP
    padded = np.zeros(front + samples.size + _MAX_SHIFT + 2 * _SEGMENT, np.float32)
    padded[front : front + samples.size] = samples
    inverse_rms = _inverse_rms(padded)
    window = np.hanning(_SEGMENT + 1)[:-1].astype(np.float32)  # two windows a hop apart add up to 1
    count = -(-length // _HOP) + 1
    out = np.zeros((count + 1) * _HOP, np.float32)
    start = _MAX_SHIFT
    for number in range(count):
        if number:
            nominal = min(_MAX_SHIFT + round(number * _HOP * factor), front + samples.size)
            start = _best_start(padded, inverse_rms, start + _HOP, nominal)
        position = number * _HOP
        out[position : position + _SEGMENT] += window * padded[start : start + _SEGMENT]
    return out[_HOP : _HOP + length]


def _best_start(padded: Samples, inverse_rms: Samples, natural: int, nominal: int) -> int:
    """Return the start of the segment that best continues the previous one.

    Similarity is the normalised correlation with the natural continuation over half a segment,
    which is the part that overlaps with the previous segment.

    Args:
        padded: input samples with padding.
        inverse_rms: inverse RMS of the half segment from each sample on.
        natural: start of what follows the previous segment in the input.
        nominal: start according to the speed; the result differs by at most `_MAX_SHIFT`.
    """
    if abs(natural - nominal) <= _MAX_SHIFT:
        return natural  # nothing continues a segment better than what followed it
    first = nominal - _MAX_SHIFT
    candidates = padded[first : first + 2 * _MAX_SHIFT + _HOP]
    similarity = np.correlate(candidates, padded[natural : natural + _HOP], "valid")
    similarity *= inverse_rms[first : first + similarity.size]
    highest = similarity.max()
    if highest <= 0:
        return nominal  # silence, or nothing similar
    return first + int(np.argmax(similarity - highest * _DISTANCE_PENALTY))


def _inverse_rms(padded: Samples) -> Samples:
    """Return the inverse RMS of the half segment from each sample on; 0 for silence."""
    sums = np.zeros(padded.size + 1)
    np.cumsum(np.square(padded, dtype=np.float64), out=sums[1:])
    power = (sums[_HOP:] - sums[:-_HOP]) / _HOP
    audible = power > _SILENCE * power.max()
    inverse = np.zeros(power.size, np.float32)
    inverse[audible] = 1.0 / np.sqrt(power[audible])
    return inverse
