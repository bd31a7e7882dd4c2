"""Dropouts: sound that is cut inside speech, and what receivers put in its place.

Receivers fill a lost packet with silence or repeat the last one. A pause that a noise gate closed
is no dropout, nor is the closure of a stop consonant: there, the speech has faded before, or sets
in after. A dropout is cut on both sides, at whatever the waveform was doing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MIN_GAP_S, _MAX_GAP_S = 0.008, 0.4
_EMPTY_DB = -60.0  # below the speech
_EDGE_S, _CONTEXT_S = 0.001, 0.02
_MIN_EDGE_DB = -8.0  # of the last ms before a cut (and the first after it) against its 20 ms
_MIN_LEVEL_DB = -10.0  # of both against the speech: gates close at the level of quiet sounds
_PACKETS_S = (0.01, 0.02, 0.03, 0.04, 0.06)
_MIN_REPEATED = 0.9  # of a packet
_MAX_DIFFERENCE_DB = -70.0  # between a packet and its repetition, against the speech
_MIN_REPEATED_DB = -30.0  # of a repeated packet against the speech


def find_dropouts(
    samples: NDArray[np.floating[Any]], sample_rate: int, speech_power: float
) -> NDArray[np.int64]:
    """Return the sample indices at which dropouts begin, int64 of shape [dropouts], ascending.

    Args:
        samples: float array [time] at the rate of the recording: resampling would blur cuts and
            repetitions.
        sample_rate: sample rate of `samples` in Hz.
        speech_power: mean square of the speech; 0 for none, which has no dropouts.
    """
    if speech_power <= 0:
        return np.zeros(0, np.int64)
    centred = samples - samples.mean()
    limit = np.sqrt(speech_power) * 10 ** (_EMPTY_DB / 20)
    # What replaces a packet has the offset of the sound card, or none.
    empty = (np.abs(samples) <= limit) | (np.abs(centred) <= limit)
    gaps = _gaps(centred, sample_rate, speech_power, empty)
    repeats = _repeats(centred, sample_rate, speech_power)
    starts = np.sort(np.concatenate([gaps, repeats]))
    # A packet of 20 ms that is repeated four times is also one of 40 ms that is repeated twice.
    keep = np.diff(starts, prepend=-sample_rate) > _PACKETS_S[-1] * sample_rate
    return starts[keep]


def _gaps(
    samples: NDArray[np.floating[Any]], rate: int, speech_power: float, empty: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the starts of silences that are cut on both sides."""
    starts, ends = runs(empty)
    context, edge = round(_CONTEXT_S * rate), max(2, round(_EDGE_S * rate))
    lengths = ends - starts
    fits = (lengths >= _MIN_GAP_S * rate) & (lengths <= _MAX_GAP_S * rate)
    fits &= (starts >= context) & (ends <= samples.size - context)
    cuts = []
    for start, end in zip(starts[fits].tolist(), ends[fits].tolist(), strict=True):
        before, after = samples[start - context : start], samples[end : end + context]
        if all(
            _is_cut(near, around, speech_power)
            for near, around in ((before[-edge:], before), (after[:edge], after))
        ):
            cuts.append(start)
    return np.array(cuts, np.int64)


def _is_cut(
    near: NDArray[np.floating[Any]], around: NDArray[np.floating[Any]], speech_power: float
) -> bool:
    """Return whether speech is at full level right up to a gap."""
    near_power, power = float(np.square(near).mean()), float(np.square(around).mean())
    return (
        near_power >= power * 10 ** (_MIN_EDGE_DB / 10)
        and near_power >= speech_power * 10 ** (_MIN_LEVEL_DB / 10)
        and power >= speech_power * 10 ** (_MIN_LEVEL_DB / 10)
    )


def _repeats(
    samples: NDArray[np.floating[Any]], rate: int, speech_power: float
) -> NDArray[np.int64]:
    """Return the starts of packets that repeat the packet before them, sample for sample."""
    tolerance = np.sqrt(speech_power) * 10 ** (_MAX_DIFFERENCE_DB / 20)
    repeated = []
    for packet_s in _PACKETS_S:
        packet = round(packet_s * rate)
        if samples.size <= 2 * packet:
            continue
        starts, ends = runs(np.abs(samples[packet:] - samples[:-packet]) <= tolerance)
        long = ends - starts >= _MIN_REPEATED * packet
        for start, end in zip(starts[long].tolist(), ends[long].tolist(), strict=True):
            power = float(np.square(samples[start + packet : end + packet]).mean())
            if power >= speech_power * 10 ** (_MIN_REPEATED_DB / 10):
                repeated.append(start + packet)
    return np.array(repeated, np.int64)


def runs(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first index of every run of true values, and the index after its last."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return edges[::2], edges[1::2]
