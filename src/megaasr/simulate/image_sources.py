"""Responses of shoebox rooms by the image-source method.

A wall reflects a sound as if its mirror image behind the wall emitted it. In a room with six plane
walls the images form a lattice; each contributes one reflection, delayed and weakened by its
distance, and by a factor for every wall that its path crosses.

Sources: Allen and Berkley 1979, "Image method for efficiently simulating small-room acoustics",
JASA 65(4). Lehmann and Johansson 2008, "Prediction of energy decay in room impulse responses
simulated with an image-source model", JASA 124(1): with a negative factor per reflection, the
images do not add up to a constant pressure. Eyring 1930 for the absorption that a reverberation
time needs.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.waveform import SAMPLE_RATE, Samples

SPEED_OF_SOUND = 343.0
"""Speed of sound in m/s at 20 °C."""

DIRECT_SAMPLES = SAMPLE_RATE // 400
"""Length of the direct sound in a direct-to-reverberant ratio, 2.5 ms as usual in measurements."""

Point = tuple[float, float, float]
Float64Array = NDArray[np.float64]
_SABINE = 24 * math.log(10) / SPEED_OF_SOUND
_CORRECTIONS = 4
_FIT_DB = (-5.0, -35.0)


def shoebox_response(
    room_m: Point, source_m: Point, microphone_m: Point, rt60_s: float, drr_db: float
) -> Samples:
    """Return the response of a shoebox room, float32 array [time] at 16 kHz of energy 1.

    It starts with the direct sound at sample 0. All walls absorb equally, by Eyring's formula for
    the reverberation time. The images of a lattice decay faster along the long sides than along the
    short ones, so the decay is then corrected exponentially to have the reverberation time, and the
    level of what follows the first 2.5 ms to have the direct-to-reverberant ratio.

    Args:
        room_m: length, width and height of the room in metres.
        source_m, microphone_m: positions in the room in metres, apart from each other.
        rt60_s: time in which the reverberation decays by 60 dB, in seconds.
        drr_db: energy of the first 2.5 ms over that of the rest, in dB.
    """
    length, width, height = room_m
    surface = 2 * (length * width + length * height + width * height)
    absorption = 1 - math.exp(-_SABINE * length * width * height / (surface * rt60_s))
    samples = max(2 * DIRECT_SAMPLES, round(rt60_s * SAMPLE_RATE))
    reflection = -math.sqrt(1 - absorption)
    response = _images(room_m, source_m, microphone_m, reflection, samples)
    time_s = np.arange(samples) / SAMPLE_RATE
    for _ in range(_CORRECTIONS):
        measured = reverberation_time_s(response)
        if measured is None:
            break
        response *= 10 ** (-3 * time_s * (1 / rt60_s - 1 / measured))
    direct = float(np.square(response[:DIRECT_SAMPLES]).sum())
    reverberant = float(np.square(response[DIRECT_SAMPLES:]).sum())
    if reverberant > 0:
        response[DIRECT_SAMPLES:] *= math.sqrt(direct / reverberant) * 10 ** (-drr_db / 20)
    response /= math.sqrt(float(np.square(response).sum()))
    return response.astype(np.float32)


def reverberation_time_s(response: NDArray[np.floating]) -> float | None:
    """Return the RT60 of a response in seconds by Schroeder's backward integration.

    The energy after the direct sound (2.5 ms) is integrated backwards, and a line fitted from -5 to
    -35 dB is extrapolated to 60 dB (T30 of ISO 3382-1). None if the response does not decay so far.

    Args:
        response: float array [time] at 16 kHz with the direct sound at its start.
    """
    energy = np.square(response[DIRECT_SAMPLES:], dtype=np.float64)
    remaining = np.cumsum(energy[::-1])[::-1]
    if not energy.size or remaining[0] <= 0:
        return None
    levels = 10 * np.log10(np.maximum(remaining / remaining[0], 1e-12))
    first, last = (int(np.argmax(levels <= level)) for level in _FIT_DB)
    if last <= first + 1:
        return None
    time_s = np.arange(first, last) / SAMPLE_RATE
    slope = float(np.polyfit(time_s, levels[first:last], 1)[0])
    return -60 / slope if slope < 0 else None


def _images(
    room_m: Point, source_m: Point, microphone_m: Point, reflection: float, samples: int
) -> Float64Array:
    """Return the sum of all images within the length of the response; the direct sound is 1."""
    direct_m = math.dist(source_m, microphone_m)
    reach_m = direct_m + samples * SPEED_OF_SOUND / SAMPLE_RATE
    axes = [_axis(*values, reach_m) for values in zip(room_m, source_m, microphone_m, strict=True)]
    (x_m, x_walls), (y_m, y_walls), (z_m, z_walls) = axes
    plane = np.add.outer(np.square(y_m), np.square(z_m)).ravel()
    plane_walls = np.add.outer(y_walls, z_walls).ravel()
    order = np.argsort(plane, kind="stable")
    plane, plane_walls = plane[order], plane_walls[order]
    factors = reflection ** np.arange(sum(int(walls.max()) for _, walls in axes) + 1)
    response = np.zeros(samples)
    # Slice by slice: a long reverberation has millions of images.
    for offset_m, walls in zip(x_m.tolist(), x_walls.tolist(), strict=True):
        count = int(np.searchsorted(plane, reach_m**2 - offset_m**2))
        if not count:
            continue
        distance = np.sqrt(plane[:count] + offset_m**2)
        delay = np.rint((distance - direct_m) * (SAMPLE_RATE / SPEED_OF_SOUND)).astype(np.int64)
        weights = factors[plane_walls[:count] + walls] * (direct_m / distance)
        response += np.bincount(delay, weights, samples + 1)[:samples]
    return response


def _axis(
    side_m: float, source_m: float, microphone_m: float, reach_m: float
) -> tuple[Float64Array, NDArray[np.int64]]:
    """Return the offsets of all images on an axis from the microphone, and the walls they cross."""
    rooms = math.ceil((reach_m + side_m) / (2 * side_m))
    n = np.arange(-rooms, rooms + 1)
    offsets = np.concatenate([source_m + 2 * n * side_m, -source_m + 2 * n * side_m]) - microphone_m
    walls = np.concatenate([2 * np.abs(n), np.abs(n - 1) + np.abs(n)])
    within = np.abs(offsets) <= reach_m
    return offsets[within], walls[within]
