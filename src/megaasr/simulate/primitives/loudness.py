"""Measure and set loudness according to ITU-R BS.1770."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from megaasr.audio.waveform import Samples
from megaasr.simulate import kernels
from megaasr.simulate.primitives.primitive import Measurements, Primitive, Resources

HOP = 1600  # 100 ms; a block has four hops, so blocks overlap by 75 %
BLOCK = 6400  # 400 ms
# K-weighting at 16 kHz (b0 b1 b2, a1 a2): the standard's shelf and high-pass.
_SHELF = ((1.44423391, -1.83954299, 0.6854323), (-1.10713924, 0.39726246))
_HIGH_PASS = ((0.98524253, -1.97048506, 0.98524253), (-1.97037536, 0.97059476))
_ABSOLUTE_GATE = 10 ** ((-70.0 + 0.691) / 10)  # mean square
_WARM_UP = 1280  # samples, after which the state of the high-pass has decayed by 120 dB


class Loudness(Primitive):
    """y = g x, with g such that the integrated loudness of y is `target_lufs`.

    Integrated loudness according to BS.1770-4: K-weighting, blocks of 400 ms every 100 ms, gates at
    -70 LUFS and 10 LU below the mean. Clips shorter than a block or below the gate are unchanged. y
    may exceed ±1; the simulator clips at the end of the chain and counts the clipped samples.

    Attributes:
        target_lufs: loudness in LUFS; the paper uses -38 to -15.
    """

    primitive: Literal["loudness"] = "loudness"
    target_lufs: float = Field(ge=-70, le=0)

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`."""
        return _set_loudness(x, self.target_lufs, max_peak=math.inf)


class LoudnessAfterDistortion(Primitive):
    """Like `Loudness`, but never above full scale: g is at most 1 / max|x|.

    The peaks of overdriven speech are flattened already, and must not be clipped again.

    Attributes:
        target_lufs: loudness in LUFS; the paper uses -38 to -27.
    """

    primitive: Literal["loudness_after_distortion"] = "loudness_after_distortion"
    target_lufs: float = Field(ge=-70, le=0)

    def apply(self, x: Samples, resources: Resources) -> Measurements:
        """See `Primitive.apply`."""
        return _set_loudness(x, self.target_lufs, max_peak=1.0)


def _set_loudness(x: Samples, target_lufs: float, *, max_peak: float) -> Measurements:
    """Scale x to the target, or as close to it as `max_peak` allows."""
    if len(x) < BLOCK:
        return {"skipped": "shorter than 0.4 s, a block of the loudness measure"}
    power = _block_powers(x)
    measured = _gated_lufs(power)
    if math.isinf(measured):
        return {"skipped": "silence: below -70 LUFS throughout"}
    gain = _gain(power, measured, target_lufs)
    measurements: Measurements = {"measured_lufs": measured}
    if math.isfinite(max_peak):
        peak = kernels.loops.peak(x)
        if gain * peak > max_peak:
            gain = max_peak / peak
            measurements["limited"] = 1
    x *= np.float32(gain)
    measurements["gain_db"] = 20 * math.log10(gain)
    return measurements


def _gain(power: NDArray[np.float64], measured_lufs: float, target_lufs: float) -> float:
    """Return the gain that gives the target loudness.

    If no block crosses the absolute gate, the first estimate is exact. Blocks that do (the pauses
    of a soft clip that is raised) move the relative gate; the gain is then found iteratively.
    """
    gain = 10 ** ((target_lufs - measured_lufs) / 20)
    blocks = np.count_nonzero(power >= _ABSOLUTE_GATE)
    for _ in range(8):
        scaled = gain * gain * power
        previous, blocks = blocks, np.count_nonzero(scaled >= _ABSOLUTE_GATE)
        if blocks in (previous, 0):
            break
        gain *= 10 ** ((target_lufs - _gated_lufs(scaled)) / 20)
    return gain


def lufs_or_none(x: Samples) -> float | None:
    """Return the integrated loudness in LUFS; None for silence and for clips below 0.4 s.

    Args:
        x: contiguous float32 array [time], 16 kHz mono.
    """
    measured = integrated_lufs(x) if len(x) >= BLOCK else -math.inf
    return measured if math.isfinite(measured) else None


def integrated_lufs(x: Samples) -> float:
    """Return the integrated loudness in LUFS; -inf if no block passes the gate.

    Args:
        x: contiguous float32 array [time], 16 kHz mono, at least 6400 samples (one block).
    """
    return _gated_lufs(_block_powers(x))


def _block_powers(x: Samples) -> NDArray[np.float64]:
    # The last block may extend past the end of the clip by up to 50 ms, as in common
    # implementations.
    blocks = round((len(x) - BLOCK) / HOP) + 1
    sums = np.zeros(blocks + 3)
    kernels.loops.k_weighted_sums(x, _SECTIONS, _WARM_UP, sums)
    return (sums[:-3] + sums[1:-2] + sums[2:-1] + sums[3:]) / BLOCK


def _gated_lufs(power: NDArray[np.float64]) -> float:
    audible = power[power >= _ABSOLUTE_GATE]
    if not audible.size:
        return -math.inf
    gated = audible[audible >= audible.mean() / 10.0]
    return -0.691 + 10 * math.log10(float(gated.mean()))


def _state_variable(
    numerator: tuple[float, float, float], denominator: tuple[float, float]
) -> NDArray[np.float64]:
    """Return (a1, a2, a3, m0, m1, m2) of the state-variable filter equivalent to a biquad.

    In this form, float32 is precise enough for a low cutoff. With g = tan(pi f / rate) and damping
    k, the biquad has a1 = 2 (g^2 - 1) / S and a2 = (S - 2 g k) / S, where S = 1 + g k + g^2.
    """
    a1, a2 = denominator
    s = 4.0 / (1.0 + a2 - a1)
    g = math.sqrt(1.0 + a1 * s / 2.0)
    columns = np.array(
        [[1.0, a1, a2], np.array([1, 0, -1]) * g / s, np.array([1, 2, 1]) * g * g / s]
    )
    mix = np.linalg.solve(columns.T, np.array(numerator))
    return np.array([1 / s, g / s, g * g / s, *mix])


_SECTIONS = np.concatenate([_state_variable(*_SHELF), _state_variable(*_HIGH_PASS)]).astype(
    np.float32
)
