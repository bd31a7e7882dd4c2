"""The inner loops; float32 [time] arrays are contiguous and changed in place."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

def first_order_sections(
    x: Floats, zeros: Floats, poles: Floats, gain: float, warm_up: int, /
) -> None:
    """Cascade of y[t] = x[t] + zero x[t-1] - pole y[t-1], then the gain.

    `warm_up`: samples after which the cascade has forgotten how it began.
    """

def k_weighted_sums(
    x: Floats, sections: Floats, warm_up: int, sums: NDArray[np.float64], /
) -> None:
    """Write the sums of squares over 1600 samples each of the K-weighted clip.

    `sections`: (a1, a2, a3, m0, m1, m2) of two state-variable filters. `x` is not changed.
    """

def reverb(x: Floats, feedback: float, damp: float, wet: float, dry: float, /) -> None:
    """Freeverb: wet times the tail plus dry times the clip."""

def echo(x: Floats, delay_samples: int, feedback: float, mix: float, /) -> None:
    """(1 - mix) x + mix w, with w[t] = x[t - delay] + feedback w[t - delay]."""

def drive(x: Floats, gain: float, above: Floats, below: Floats, /) -> None:
    """tanh(gain x) as a quotient of polynomials in (gain x)^2."""

def half_rate_trip(x: Floats, even: Floats, odd: Floats, /) -> None:
    """Every second sample of the low-passed clip, and back; one symmetric filter for both.

    `even`, `odd`: its taps at even and odd distance from the centre.
    """

def frame_sums(x: Floats, frame_samples: int, sums: NDArray[np.float64], /) -> None:
    """Write the sum of squares of every frame, the last one perhaps shorter."""

def add_noise(x: Floats, noise: NDArray[np.int16], offset: int, gain: float, /) -> None:
    """Add gain times the noise, read from `offset` on and repeated."""

def noise_sum(samples: int, noise: NDArray[np.int16], offset: int, /) -> float:
    """Return the sum of squares of what `add_noise` would add with gain 1."""

def scale_and_clip(x: Floats, gain: float, /) -> int:
    """Scale, clip to ±1, and return how many samples were clipped."""

def peak(x: Floats, /) -> float:
    """Return the largest magnitude."""

def use_width(floats: int, /) -> bool:
    """Choose vectors of 4 or 8 floats (only here, not in the portable loops); whether it can.

    The widest is in use from the start. The results are the same; a test sees to it.
    """
