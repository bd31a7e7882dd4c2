"""The inner loops. float32 arrays of samples [time] are contiguous, and are changed in place."""

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

def first_order_sections(
    x: Float32Array, zeros: Float32Array, poles: Float32Array, gain: float, warm_up: int, /
) -> None:
    """Apply a cascade of y[t] = x[t] + zero x[t-1] - pole y[t-1], then the gain.

    `warm_up` is the number of samples after which the initial state no longer matters.
    """

def k_weighted_sums(
    x: Float32Array, sections: Float32Array, warm_up: int, sums: NDArray[np.float64], /
) -> None:
    """Write the sums of squares of every 1600 samples of the K-weighted clip into `sums`.

    `sections` are (a1, a2, a3, m0, m1, m2) of two state-variable filters. `x` is not changed.
    """

def reverb(x: Float32Array, feedback: float, damp: float, wet: float, dry: float, /) -> None:
    """Apply Freeverb: wet times the tail plus dry times the clip."""

def echo(x: Float32Array, delay_samples: int, feedback: float, mix: float, /) -> None:
    """Compute (1 - mix) x + mix w, with w[t] = x[t - delay] + feedback w[t - delay]."""

def drive(
    x: Float32Array, gain: float, numerator: Float32Array, denominator: Float32Array, /
) -> None:
    """Compute tanh(gain x) as a rational function with these coefficients in (gain x)^2."""

def half_rate_trip(x: Float32Array, even: Float32Array, odd: Float32Array, /) -> None:
    """Resample to half the rate and back, with one symmetric low-pass for both directions.

    `even` and `odd` are its taps at even and odd distances from the centre.
    """

def frame_sums(x: Float32Array, frame_samples: int, sums: NDArray[np.float64], /) -> None:
    """Write the sum of squares of every frame into `sums`; the last frame may be shorter."""

def add_noise(x: Float32Array, noise: NDArray[np.int16], offset: int, gain: float, /) -> None:
    """Add gain times the noise, which starts at sample `offset` and repeats."""

def noise_sum(samples: int, noise: NDArray[np.int16], offset: int, /) -> float:
    """Return the sum of squares of what `add_noise` would add with gain 1."""

def scale_and_clip(x: Float32Array, gain: float, /) -> int:
    """Scale, clip to ±1, and return the number of clipped samples."""

def peak(x: Float32Array, /) -> float:
    """Return the largest magnitude."""

def use_width(floats: int, /) -> bool:
    """Use vectors of 4 or 8 floats; return whether this processor supports that width.

    The widest supported vectors are the default. All widths give the same results, which a test
    checks. The portable loops do not have this function.
    """
