"""The loops of `native.c` in numpy and scipy, for installations without a C compiler."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, lfilter

Float32Array = NDArray[np.float32]
HOP = 1600
COMBS = (404, 431, 463, 491, 515, 540, 564, 586)
ALLPASSES = (201, 160, 123, 81)
BLOCK = 400
PAST = 16


def first_order_sections(
    x: Float32Array, zeros: Float32Array, poles: Float32Array, gain: float, warm_up: int, /
) -> None:
    """See `_native.pyi`; a single recursion over the clip needs no warm-up."""
    y = x.astype(np.float64)
    for zero, pole in zip(zeros.tolist(), poles.tolist(), strict=True):
        y = lfilter([1.0, zero], [1.0, pole], y)
    x[:] = gain * y


def k_weighted_sums(
    x: Float32Array, sections: Float32Array, warm_up: int, sums: NDArray[np.float64], /
) -> None:
    """See `_native.pyi`."""
    y = x.astype(np.float64)
    for a1, a2, _, m0, m1, m2 in sections.astype(np.float64).reshape(2, 6).tolist():
        # The state-variable filter as a rational function: g = a2 / a1, s = 1 + g k + g^2 = 1 / a1.
        g, s = a2 / a1, 1.0 / a1
        g_k = s - 1.0 - g * g
        denominator = np.array([s, 2 * (g * g - 1), s - 2 * g_k])
        numerator = m0 * denominator
        numerator = numerator + m1 * g * np.array([1, 0, -1]) + m2 * g * g * np.array([1, 2, 1])
        y = lfilter(numerator / s, denominator / s, y)
    padded = np.zeros(len(sums) * HOP)
    padded[: min(len(y), len(padded))] = y[: len(padded)]
    sums[:] = np.square(padded).reshape(-1, HOP).sum(axis=1)


def reverb(x: Float32Array, feedback: float, damp: float, wet: float, dry: float, /) -> None:
    """See `_native.pyi`; the same blocks and order of sums as `native.c`, all combs at once."""
    d = np.float32(damp)
    d2, d3 = d * d, d * d * d
    d4 = d2 * d2
    d8, d12 = d4 * d4, d4 * d4 * d4
    loop = np.float32(feedback) * (np.float32(1.0) - d) / (np.float32(1.0) - d8 * d8)
    blocks = -(-len(x) // BLOCK)
    scaled = np.zeros(blocks * BLOCK, np.float32)
    scaled[: len(x)] = np.float32(0.015) * x
    lines = np.zeros((len(COMBS), PAST + COMBS[-1] + len(scaled) + BLOCK), np.float32)
    tail = np.empty_like(scaled)
    out = np.empty((len(COMBS), PAST + BLOCK), np.float32)
    for first in range(0, len(scaled), BLOCK):
        # All combs are read at the same position, and each is written ahead of it by its delay.
        out[:] = lines[:, first : first + PAST + BLOCK]
        tail[first : first + BLOCK] = _sum_in_order(out[:, PAST:])
        low = (out[:, 3:] + d * out[:, 2:-1]) + (d2 * out[:, 1:-2] + d3 * out[:, :-3])
        low = (low[:, 12:] + d4 * low[:, 8:-4]) + (d8 * low[:, 4:-8] + d12 * low[:, :-12])
        written = scaled[first : first + BLOCK] + loop * low[:, -BLOCK:]
        for comb, delay in enumerate(COMBS):
            lines[comb, PAST + first + delay : PAST + first + delay + BLOCK] = written[comb]
    for delay in ALLPASSES:
        _allpass(tail, delay)
    x[:] = np.float32(wet) * tail[: len(x)] + np.float32(dry) * x


def _sum_in_order(rows: Float32Array) -> Float32Array:
    """Add rows in their order; numpy's sum may choose another."""
    total: Float32Array = rows[0].copy()
    for row in rows[1:]:
        total += row
    return total


def _allpass(x: Float32Array, delay: int) -> None:
    line = np.zeros(delay, np.float32)
    for first in range(0, len(x), delay):
        y = x[first : first + delay]
        stored = line[: len(y)].copy()
        line[: len(y)] = y + np.float32(0.5) * stored
        np.subtract(stored, y, out=y)


def echo(x: Float32Array, delay_samples: int, feedback: float, mix: float, /) -> None:
    """See `_native.pyi`."""
    line = np.zeros(delay_samples)
    for first in range(0, len(x), delay_samples):
        y = x[first : first + delay_samples]
        stored = line[: len(y)]
        delayed = stored.copy()
        stored[:] = y + feedback * delayed
        y[:] = (1.0 - mix) * y + mix * delayed


def drive(
    x: Float32Array, gain: float, numerator: Float32Array, denominator: Float32Array, /
) -> None:
    """See `_native.pyi`."""
    np.tanh(gain * x, out=x)


def half_rate_trip(x: Float32Array, even: Float32Array, odd: Float32Array, /) -> None:
    """See `_native.pyi`."""
    taps = np.zeros(2 * max(len(even) // 2 * 2, len(odd) - 1) + 1)
    centre = len(taps) // 2
    taps[centre - len(even) + 1 : centre + len(even) : 2] = even
    taps[centre - len(odd) + 1 : centre + len(odd) : 2] = odd
    low = fftconvolve(x.astype(np.float64), taps, mode="full")[centre : centre + len(x)]
    low[1::2] = 0.0
    x[:] = 2.0 * fftconvolve(low, taps, mode="full")[centre : centre + len(x)]


def frame_sums(x: Float32Array, frame_samples: int, sums: NDArray[np.float64], /) -> None:
    """See `_native.pyi`."""
    padded = np.zeros(len(sums) * frame_samples)
    padded[: len(x)] = x
    sums[:] = np.square(padded).reshape(-1, frame_samples).sum(axis=1)


def add_noise(x: Float32Array, noise: NDArray[np.int16], offset: int, gain: float, /) -> None:
    """See `_native.pyi`."""
    x += np.float32(gain) * _repeated(len(x), noise, offset)


def noise_sum(samples: int, noise: NDArray[np.int16], offset: int, /) -> float:
    """See `_native.pyi`."""
    return float(np.square(_repeated(samples, noise, offset).astype(np.float64)).sum())


def scale_and_clip(x: Float32Array, gain: float, /) -> int:
    """See `_native.pyi`."""
    x *= np.float32(gain)
    clipped = int(np.count_nonzero(np.abs(x) > 1.0))
    np.clip(x, -1.0, 1.0, out=x)
    return clipped


def peak(x: Float32Array, /) -> float:
    """See `_native.pyi`."""
    return float(np.max(np.abs(x), initial=0.0))


def _repeated(samples: int, noise: NDArray[np.int16], offset: int) -> Float32Array:
    start = noise[offset : offset + samples]
    if len(start) == samples:
        return start.astype(np.float32)
    missing = samples - len(start)
    return np.concatenate([start, np.resize(noise, missing)]).astype(np.float32)
