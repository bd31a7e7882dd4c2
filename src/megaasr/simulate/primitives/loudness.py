"""Loudness after ITU-R BS.1770, measured and set."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from megaasr.simulate import kernels
from megaasr.simulate.primitives.primitive import Floats, Notes, Primitive, Stage

HOP = 1600  # 100 ms; a block is four of them, 75 % overlap
SHORTEST = 6400  # one block of 400 ms
# K-weighting at 16 kHz (b0 b1 b2, a1 a2): the standard's shelf and high-pass.
_SHELF = ((1.44423391, -1.83954299, 0.6854323), (-1.10713924, 0.39726246))
_HIGH_PASS = ((0.98524253, -1.97048506, 0.98524253), (-1.97037536, 0.97059476))
_ABSOLUTE_GATE = 10 ** ((-70.0 + 0.691) / 10)  # mean square
_WARM_UP = 1280  # samples; the high-pass has then forgotten all but -120 dB


class Loudness(Primitive):
    """y = g x, with g such that the integrated loudness of y is `target_lufs`.

    Integrated loudness as in BS.1770-4: K-weighting, blocks of 400 ms every 100 ms, gates at
    -70 LUFS and 10 LU below the mean. Clips shorter than a block or below the gate stay as they
    are. y may exceed ±1; the simulator clips at the end of the chain, and counts.

    Attributes:
        target_lufs: LUFS; the paper uses -38 to -15.
    """

    primitive: Literal["loudness"] = "loudness"
    target_lufs: float = Field(ge=-70, le=0)

    def apply(self, x: Floats, stage: Stage) -> Notes:
        """See `Primitive.apply`."""
        return _set_loudness(x, self.target_lufs, most=math.inf)


class LoudnessAfterDistortion(Primitive):
    """As `Loudness`, but never above full scale: g is at most 1 / max|x|.

    Overdriven speech has its peaks flattened already, and must not be clipped again.

    Attributes:
        target_lufs: LUFS; the paper uses -38 to -27.
    """

    primitive: Literal["loudness_after_distortion"] = "loudness_after_distortion"
    target_lufs: float = Field(ge=-70, le=0)

    def apply(self, x: Floats, stage: Stage) -> Notes:
        """See `Primitive.apply`."""
        return _set_loudness(x, self.target_lufs, most=1.0)


def _set_loudness(x: Floats, target_lufs: float, *, most: float) -> Notes:
    """Scale x to the target, but not so far that its peak exceeds `most`."""
    if len(x) < SHORTEST:
        return {"skipped": "shorter than 0.4 s, a block of the loudness measure"}
    power = _block_powers(x)
    measured = _gated_lufs(power)
    if math.isinf(measured):
        return {"skipped": "silence: below -70 LUFS throughout"}
    gain = _gain(power, measured, target_lufs)
    notes: Notes = {"measured_lufs": measured}
    if math.isfinite(most):
        peak = kernels.loops.peak(x)
        if gain * peak > most:
            gain = most / peak
            notes["limited"] = 1
    x *= np.float32(gain)
    notes["gain_db"] = 20 * math.log10(gain)
    return notes


def _gain(power: NDArray[np.float64], measured_lufs: float, target_lufs: float) -> float:
    """Return the gain after which the loudness is the target.

    Blocks may cross the absolute gate on the way (the pauses of a soft clip that is raised), which
    moves the relative one; then the gain is found step by step. While none does, one step is exact.
    """
    gain = 10 ** ((target_lufs - measured_lufs) / 20)
    heard = np.count_nonzero(power >= _ABSOLUTE_GATE)
    for _ in range(8):
        raised = gain * gain * power
        before, heard = heard, np.count_nonzero(raised >= _ABSOLUTE_GATE)
        if heard in (before, 0):
            break
        gain *= 10 ** ((target_lufs - _gated_lufs(raised)) / 20)
    return gain


def lufs_or_none(x: Floats) -> float | None:
    """Return the integrated loudness of 16 kHz samples; None for silence and below 0.4 s."""
    measured = integrated_lufs(x) if len(x) >= SHORTEST else -math.inf
    return measured if math.isfinite(measured) else None


def integrated_lufs(x: Floats) -> float:
    """Return the integrated loudness of 16 kHz samples; -inf if no block passes the gate.

    Args:
        x: float32 [time], contiguous, at least 6400 samples (one block).
    """
    return _gated_lufs(_block_powers(x))


def _block_powers(x: Floats) -> NDArray[np.float64]:
    # The last block may begin where the clip has up to 50 ms less than a block left, as in the
    # implementations in use.
    blocks = round((len(x) - SHORTEST) / HOP) + 1
    sums = np.zeros(blocks + 3)
    kernels.loops.k_weighted_sums(x, _SECTIONS, _WARM_UP, sums)
    return (sums[:-3] + sums[1:-2] + sums[2:-1] + sums[3:]) / SHORTEST


def _gated_lufs(power: NDArray[np.float64]) -> float:
    heard = power[power >= _ABSOLUTE_GATE]
    if not heard.size:
        return -math.inf
    louder = heard[heard >= heard.mean() / 10.0]
    return -0.691 + 10 * math.log10(float(louder.mean()))


def _state_variable(
    above: tuple[float, float, float], below: tuple[float, float]
) -> NDArray[np.float64]:
    """Return (a1, a2, a3, m0, m1, m2) of the state-variable filter that equals a biquad.

    In this form float32 is exact enough for a low cut-off: with g = tan(pi f / rate) and damping
    k, the biquad's a1 = 2 (g^2 - 1) / S and a2 = (S - 2 g k) / S, S = 1 + g k + g^2.
    """
    one, two = below
    whole = 4.0 / (1.0 + two - one)
    g = math.sqrt(1.0 + one * whole / 2.0)
    columns = np.array(
        [[1.0, one, two], np.array([1, 0, -1]) * g / whole, np.array([1, 2, 1]) * g * g / whole]
    )
    mixed = np.linalg.solve(columns.T, np.array(above))
    return np.array([1 / whole, g / whole, g * g / whole, *mixed])


_SECTIONS = np.concatenate([_state_variable(*_SHELF), _state_variable(*_HIGH_PASS)]).astype(
    np.float32
)
