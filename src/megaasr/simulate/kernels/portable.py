"""The loops of `native.c` in numpy and scipy, for machines without a C compiler."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, lfilter

Floats = NDArray[np.float32]
HOP = 1600
COMBS = (404, 431, 463, 491, 515, 540, 564, 586)
ALLPASSES = (201, 160, 123, 81)
BLOCK = 400
PAST = 16


def first_order_sections(
    x: Floats, zeros: Floats, poles: Floats, gain: float, warm_up: int, /
) -> None:
    """See `_native.pyi`; a recursion over the whole clip needs no warm-up."""
    y = x.astype(np.float64)
    for zero, pole in zip(zeros.tolist(), poles.tolist(), strict=True):
        y = lfilter([1.0, zero], [1.0, pole], y)
    x[:] = gain * y


def k_weighted_sums(
    x: Floats, sections: Floats, warm_up: int, sums: NDArray[np.float64], /
) -> None:
    """See `_native.pyi`."""
    y = x.astype(np.float64)
    for a1, a2, _, m0, m1, m2 in sections.astype(np.float64).reshape(2, 6).tolist():
        # The state-variable filter as a quotient of polynomials: g = a2 / a1, 1 + g k + g^2 = 1/a1.
        g, whole = a2 / a1, 1.0 / a1
        inner = whole - 1.0 - g * g
        below = np.array([whole, 2 * (g * g - 1), whole - 2 * inner])
        above = m0 * below + m1 * g * np.array([1, 0, -1]) + m2 * g * g * np.array([1, 2, 1])
        y = lfilter(above / whole, below / whole, y)
    padded = np.zeros(len(sums) * HOP)
    padded[: min(len(y), len(padded))] = y[: len(padded)]
    sums[:] = np.square(padded).reshape(-1, HOP).sum(axis=1)


def reverb(x: Floats, feedback: float, damp: float, wet: float, dry: float, /) -> None:
    """See `_native.pyi`; the same blocks and sums as `native.c`, all combs at once."""
    d = np.float32(damp)
    d2, d3 = d * d, d * d * d
    d4 = d2 * d2
    d8, d12 = d4 * d4, d4 * d4 * d4
    loop = np.float32(feedback) * (np.float32(1.0) - d) / (np.float32(1.0) - d8 * d8)
    blocks = -(-len(x) // BLOCK)
    entering = np.zeros(blocks * BLOCK, np.float32)
    entering[: len(x)] = np.float32(0.015) * x
    stored = np.zeros((len(COMBS), PAST + COMBS[-1] + len(entering) + BLOCK), np.float32)
    tail = np.empty_like(entering)
    out = np.empty((len(COMBS), PAST + BLOCK), np.float32)
    for first in range(0, len(entering), BLOCK):
        # Every comb is written its delay ahead of where all are read.
        out[:] = stored[:, first : first + PAST + BLOCK]
        tail[first : first + BLOCK] = _added(out[:, PAST:])
        low = (out[:, 3:] + d * out[:, 2:-1]) + (d2 * out[:, 1:-2] + d3 * out[:, :-3])
        low = (low[:, 12:] + d4 * low[:, 8:-4]) + (d8 * low[:, 4:-8] + d12 * low[:, :-12])
        after = entering[first : first + BLOCK] + loop * low[:, -BLOCK:]
        for row, delay in enumerate(COMBS):
            stored[row, PAST + first + delay : PAST + first + delay + BLOCK] = after[row]
    for delay in ALLPASSES:
        _allpass(tail, delay)
    x[:] = np.float32(wet) * tail[: len(x)] + np.float32(dry) * x


def _added(rows: Floats) -> Floats:
    """Add in the order of the rows; numpy's own sum may choose another."""
    total: Floats = rows[0].copy()
    for row in rows[1:]:
        total += row
    return total


def _allpass(x: Floats, delay: int) -> None:
    line = np.zeros(delay, np.float32)
    for first in range(0, len(x), delay):
        y = x[first : first + delay]
        stored = line[: len(y)].copy()
        line[: len(y)] = y + np.float32(0.5) * stored
        np.subtract(stored, y, out=y)


def echo(x: Floats, delay_samples: int, feedback: float, mix: float, /) -> None:
    """See `_native.pyi`."""
    line = np.zeros(delay_samples)
    for first in range(0, len(x), delay_samples):
        y = x[first : first + delay_samples]
        stored = line[: len(y)]
        delayed = stored.copy()
        stored[:] = y + feedback * delayed
        y[:] = (1.0 - mix) * y + mix * delayed


def drive(x: Floats, gain: float, above: Floats, below: Floats, /) -> None:
    """See `_native.pyi`."""
    np.tanh(gain * x, out=x)


def half_rate_trip(x: Floats, even: Floats, odd: Floats, /) -> None:
    """See `_native.pyi`."""
    taps = np.zeros(2 * max(len(even) // 2 * 2, len(odd) - 1) + 1)
    centre = len(taps) // 2
    taps[centre - len(even) + 1 : centre + len(even) : 2] = even
    taps[centre - len(odd) + 1 : centre + len(odd) : 2] = odd
    low = fftconvolve(x.astype(np.float64), taps, mode="full")[centre : centre + len(x)]
    low[1::2] = 0.0
    x[:] = 2.0 * fftconvolve(low, taps, mode="full")[centre : centre + len(x)]


def frame_sums(x: Floats, frame_samples: int, sums: NDArray[np.float64], /) -> None:
    """See `_native.pyi`."""
    padded = np.zeros(len(sums) * frame_samples)
    padded[: len(x)] = x
    sums[:] = np.square(padded).reshape(-1, frame_samples).sum(axis=1)


def add_noise(x: Floats, noise: NDArray[np.int16], offset: int, gain: float, /) -> None:
    """See `_native.pyi`."""
    x += np.float32(gain) * _repeated(len(x), noise, offset)


def noise_sum(samples: int, noise: NDArray[np.int16], offset: int, /) -> float:
    """See `_native.pyi`."""
    return float(np.square(_repeated(samples, noise, offset).astype(np.float64)).sum())


def scale_and_clip(x: Floats, gain: float, /) -> int:
    """See `_native.pyi`."""
    x *= np.float32(gain)
    clipped = int(np.count_nonzero(np.abs(x) > 1.0))
    np.clip(x, -1.0, 1.0, out=x)
    return clipped


def peak(x: Floats, /) -> float:
    """See `_native.pyi`."""
    return float(np.max(np.abs(x), initial=0.0))


def _repeated(samples: int, noise: NDArray[np.int16], offset: int) -> Floats:
    first = noise[offset : offset + samples]
    if len(first) == samples:
        return first.astype(np.float32)
    rest = samples - len(first)
    return np.concatenate([first, np.resize(noise, rest)]).astype(np.float32)
