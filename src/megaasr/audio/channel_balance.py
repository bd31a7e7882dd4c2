"""How the channels of a recording relate: silent or cancelling ones, separate speakers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megaasr.errors import UsageError

_FRAME_S = 0.05
_SILENT_DB = 60.0  # a channel this far below the loudest is silent
_LOST_DB = 10.0  # of the channels' mean against a channel: they cancel
_MAX_SHARED = 0.3  # correlation of waveforms and of levels between separate speakers


@dataclass(frozen=True, slots=True)
class ChannelBalance:
    """How the channels of a recording relate.

    Attributes:
        count: number of channels.
        loudest: index of the loudest channel, from 0.
        silent: indices of the channels that are at least 60 dB below the loudest.
        mix_loss_db: level of the mean of the sounding channels below their mean power, in dB; 0
            for equal channels, 3 for two unrelated ones, much for channels that cancel. At most
            120.
        separate: whether two sounding channels carry sounds that have nothing in common, neither
            waveform nor level over time, such as the two sides of a call.
    """

    count: int
    loudest: int
    silent: tuple[int, ...]
    mix_loss_db: float
    separate: bool

    @property
    def cancels(self) -> bool:
        """Whether the channels cancel when they are mixed, as with one of them inverted."""
        return self.mix_loss_db >= _LOST_DB


def measure_balance(samples: NDArray[np.floating[Any]], sample_rate: int) -> ChannelBalance:
    """Compare the channels of a recording.

    Args:
        samples: float array [channels, time] or [time], at least one sample; full scale is ±1.
        sample_rate: sample rate of `samples` in Hz.

    Raises:
        UsageError: there are no samples, or the array has another shape.
    """
    channels = as_channels(samples)
    channels = channels - channels.mean(axis=1, keepdims=True, dtype=np.float64)
    power = np.square(channels).mean(axis=1)
    loudest = int(power.argmax())
    limit = power[loudest] * 10 ** (-_SILENT_DB / 10)
    silent = power <= limit if power[loudest] > 0 else np.zeros(len(power), bool)
    sounding = channels[~silent]
    mixed = float(np.square(sounding.mean(axis=0)).mean())
    mean_power = float(power[~silent].mean())
    loss = 10 * np.log10(mean_power / max(mixed, 1e-12 * mean_power)) if mean_power > 0 else 0.0
    return ChannelBalance(
        count=len(channels),
        loudest=loudest,
        silent=tuple(np.flatnonzero(silent).tolist()),
        mix_loss_db=max(0.0, float(loss)),
        separate=len(sounding) == 2 and _is_separate(sounding, sample_rate),
    )


def clearest_mono(
    samples: NDArray[np.floating[Any]], balance: ChannelBalance
) -> NDArray[np.floating[Any]]:
    """Return the sound that is measured, [time]: the mean of two sounding channels, or the loudest
    channel where they cancel, and of surround sound, whose dialogue is in the centre.

    Args:
        samples: float array [channels, time] or [time].
        balance: result of `measure_balance` for the same samples.
    """
    channels = as_channels(samples)
    sounding = [index for index in range(len(channels)) if index not in balance.silent]
    if balance.cancels or balance.count > 2:
        sounding = [balance.loudest]
    mono: NDArray[np.floating[Any]] = channels[sounding].mean(axis=0)
    return mono


def as_channels(samples: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return samples [channels, time]; those of shape [time] are one channel.

    Raises:
        UsageError: there are no samples, or the array has another shape.
    """
    channels = samples[np.newaxis] if samples.ndim == 1 else samples
    if channels.ndim != 2 or not channels.size:
        raise UsageError(
            "samples must be [channels, time] or [time] with at least one sample, got "
            f"{list(samples.shape)}"
        )
    return channels


def _is_separate(channels: NDArray[np.floating[Any]], sample_rate: int) -> bool:
    """Return whether two channels share neither their waveform nor their level over time."""
    frame = max(1, round(_FRAME_S * sample_rate))
    count = channels.shape[1] // frame
    if count < 40:  # two seconds: less does not tell
        return False
    framed = channels[:, : count * frame].reshape(2, count, frame)
    level = 10 * np.log10(np.square(framed).mean(axis=2) + 1e-10)
    waveforms = abs(_correlation(channels[0], channels[1]))
    return waveforms < _MAX_SHARED and _correlation(level[0], level[1]) < _MAX_SHARED


def _correlation(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0
