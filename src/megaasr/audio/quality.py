"""Measure the quality of a recording without a reference transcript.

All measures are estimates. Speech is detected by the caller, so that this module needs no model;
`megaasr.audio.diagnosis` says what is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.band_levels import (
    HOP,
    band_levels,
    bandwidth_hz,
    measure_decay,
    relative_level_db,
)
from megaasr.audio.channel_balance import (
    ChannelBalance,
    as_channels,
    clearest_mono,
    measure_balance,
)
from megaasr.audio.dropouts import find_dropouts, runs
from megaasr.audio.files import resample
from megaasr.audio.hum import Hum, find_hum, without_hum
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.errors import UsageError

FRAME_SAMPLES = 512
"""Samples at 16 kHz for each decision about speech (32 ms)."""
_MIN_SPEECH_FRAMES = 10
_MARGIN_FRAMES = 16  # around speech: half a second, which has its onset and decay
_MIN_CLIPPED_RUN = 3  # consecutive samples at the limit
_CEILING_QUANTILE = 0.999
_NEAR_CEILING = 0.8
_ACTIVE_RANGE_DB = 30.0
_SOUND_RANGE_DB = 40.0
_NOISE_QUANTILE = 0.1
_SMOOTHED_HOPS = 5  # of 10 ms
_MAX_SNR_DB = 80.0
_SILENT_DB = -120.0


@dataclass(frozen=True, slots=True)
class Quality:
    """Quality measures of a recording; None where a measure cannot be determined.

    Attributes:
        duration_s: length in seconds.
        channels: how the channels relate; the other measures are those of the mean of the sounding
            channels, or of the loudest one if they cancel.
        speech_ratio: share of the 32 ms frames with speech, 0 to 1.
        peak_dbfs: largest magnitude of any channel in dBFS.
        offset: mean of the samples relative to full scale, or to the peak if that is above, the
            largest of any channel.
        hum: mains hum; None if there is none.
        speech_dbfs: mean power of the frames with speech in dBFS, or relative to the peak if that
            is above full scale; None without speech.
        snr_db: power of the speech, less the noise, over that of the quietest tenth of the sound in
            and around speech, in dB, 80 at most. In a reverberant room it is rather the room.
        clipped_share: share of the samples in runs of 3 or more at the recording's own largest
            magnitude, 0 to 1.
        ceiling_share: share of the samples of sounding frames at 80 % of the ceiling or above, 0 to
            1: below 0.05 in speech, 0.4 in a pure tone, and above 0.1 where the input was
            overdriven, even if filters have rounded the tops since.
        bandwidth_hz: highest frequency at which the spectrum is within 50 dB of its loudest band.
        high_band_db, low_band_db: how loud 3 to 7 kHz, and 50 to 300 Hz, get in comparison with the
            whole, in dB.
        decay_db_per_s: fall of the level where sounds end.
        decay_asymmetry: rises of the level over its falls; above 1 in reverberation.
        reverberation_s: reverberation time (RT60) of the early decay in seconds; None if the region
            is too short, or if it cannot be told from noise.
        dropouts: number of dropouts, see `megaasr.audio.dropouts`.
    """

    duration_s: float
    channels: ChannelBalance
    speech_ratio: float
    peak_dbfs: float
    offset: float
    hum: Hum | None
    speech_dbfs: float | None
    snr_db: float | None
    clipped_share: float
    ceiling_share: float
    bandwidth_hz: float
    high_band_db: float
    low_band_db: float
    decay_db_per_s: float | None
    decay_asymmetry: float | None
    reverberation_s: float | None
    dropouts: int

    @property
    def dropouts_per_min(self) -> float:
        """Number of dropouts in a minute."""
        return self.dropouts / (self.duration_s / 60)


def measure_quality(
    samples: NDArray[np.floating[Any]],
    sample_rate: int,
    mono: Samples,
    is_speech: NDArray[np.bool_],
) -> Quality:
    """Measure the quality of a recording.

    Args:
        samples: float array [channels, time] or [time]; full scale is ±1.
        sample_rate: sample rate of `samples` in Hz.
        mono: the sound that is measured, at 16 kHz, see `scaled_mono`.
        is_speech: whether there is speech in each frame of 512 samples of `mono`, bool array
            [frames].

    Raises:
        UsageError: the recording is shorter than a frame.
    """
    count = min(mono.size // FRAME_SAMPLES, len(is_speech))
    if not count:
        raise UsageError(f"{mono.size} samples are too few to measure; {FRAME_SAMPLES} are needed")
    channels = as_channels(samples)
    peak = float(np.abs(channels).max())
    offset = float(np.abs(channels.mean(axis=1, dtype=np.float64)).max())
    channels = channels / max(1.0, peak)
    balance = measure_balance(channels, sample_rate)
    own_rate = clearest_mono(channels, balance)
    hum = find_hum(mono)
    if hum is not None:
        own_rate = without_hum(own_rate - own_rate.mean(), sample_rate, hum)
        mono = without_hum(mono, SAMPLE_RATE, hum)
    is_speech = is_speech[:count]
    region = _region(mono, is_speech)
    speech_power, noise_power = _powers(mono, is_speech, region)
    snr_db = _snr_db(speech_power, noise_power)
    levels = band_levels(mono)
    frames = np.repeat(region, FRAME_SAMPLES // HOP)[: len(levels.total)]
    frames = np.pad(frames, (0, len(levels.total) - len(frames)), mode="edge")
    decay = measure_decay(levels, frames)
    duration_s = channels.shape[1] / sample_rate
    return Quality(
        duration_s=duration_s,
        channels=balance,
        speech_ratio=float(is_speech.mean()),
        peak_dbfs=_db(peak**2),
        offset=offset / max(1.0, peak),
        hum=hum,
        speech_dbfs=_db(speech_power) if is_speech.any() and speech_power > 0 else None,
        snr_db=snr_db,
        clipped_share=max(clipped_share(channel) for channel in channels),
        ceiling_share=ceiling_share(own_rate - own_rate.mean(), sample_rate),
        bandwidth_hz=bandwidth_hz(mono),
        high_band_db=relative_level_db(levels.high, levels, frames),
        low_band_db=relative_level_db(levels.low, levels, frames),
        decay_db_per_s=None if decay is None else decay.db_per_s,
        decay_asymmetry=None if decay is None else decay.asymmetry,
        reverberation_s=None if decay is None else decay.rt60_s,
        dropouts=len(find_dropouts(own_rate, sample_rate, speech_power)),
    )


def scaled_mono(samples: NDArray[np.floating[Any]], sample_rate: int) -> Samples:
    """Return the sound that is measured, float32 [time] at 16 kHz, within ±1 and without offset.

    Args:
        samples: float array [channels, time] or [time], at least one sample.
        sample_rate: sample rate of `samples` in Hz.
    """
    channels = as_channels(samples)
    mono = clearest_mono(channels, measure_balance(channels, sample_rate))
    mono = (mono - mono.mean()) / max(1.0, float(np.abs(channels).max()))
    return resample(mono.astype(np.float32), sample_rate, SAMPLE_RATE)


def clipped_share(samples: NDArray[np.floating[Any]]) -> float:
    """Return the share of samples in runs of 3 or more at the largest magnitude (within 0.1 %).

    Args:
        samples: float array [time], at least one sample.
    """
    limit = float(np.abs(samples).max())
    if limit < 1e-3:
        return 0.0
    share = 0
    for sign in (1, -1):
        starts, ends = runs(sign * samples >= 0.999 * limit)
        lengths = ends - starts
        share += int(lengths[lengths >= _MIN_CLIPPED_RUN].sum())
    return share / samples.size


def ceiling_share(samples: NDArray[np.floating[Any]], sample_rate: int) -> float:
    """Return the share of the samples of sounding frames at 80 % of the ceiling or above.

    The ceiling is the magnitude that one sounding sample in a thousand exceeds, so that a click
    does not hide it; frames (20 ms) sound within 30 dB of the 95th percentile.

    Args:
        samples: float array [time], at least one sample.
        sample_rate: sample rate of `samples` in Hz.
    """
    frame = min(samples.size, max(1, round(0.02 * sample_rate)))
    framed = np.abs(samples[: samples.size // frame * frame]).reshape(-1, frame)
    power = np.square(framed).mean(axis=1)
    active = framed[power >= np.quantile(power, 0.95) * 10 ** (-_ACTIVE_RANGE_DB / 10)]
    ceiling = float(np.quantile(active, _CEILING_QUANTILE))
    return float((active >= _NEAR_CEILING * ceiling).mean()) if ceiling > 0 else 0.0


def _region(mono: Samples, is_speech: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the frames in and around speech; with hardly any speech, in and around sound."""
    if is_speech.sum() < _MIN_SPEECH_FRAMES:
        framed = mono[: len(is_speech) * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
        power = np.square(framed, dtype=np.float64).mean(axis=1)
        is_speech = power >= power.max() * 10 ** (-_SOUND_RANGE_DB / 10)
    width = np.ones(2 * _MARGIN_FRAMES + 1)
    return np.convolve(is_speech, width)[_MARGIN_FRAMES : _MARGIN_FRAMES + len(is_speech)] > 0.5


def _powers(
    mono: Samples, is_speech: NDArray[np.bool_], region: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the mean square of the speech with its noise, and that of the noise."""
    hop = SAMPLE_RATE // 100
    count = len(is_speech) * FRAME_SAMPLES // hop
    power = np.square(mono[: count * hop].reshape(count, hop), dtype=np.float64).mean(axis=1)
    frame = np.minimum(np.arange(count) * hop // FRAME_SAMPLES, len(is_speech) - 1)
    if is_speech.sum() >= _MIN_SPEECH_FRAMES:
        speech = power[is_speech[frame]]
    else:
        speech = power[power >= np.quantile(power, 0.95) * 10 ** (-_ACTIVE_RANGE_DB / 10)]
    smooth = np.convolve(power, np.ones(_SMOOTHED_HOPS) / _SMOOTHED_HOPS, "same")
    return float(speech.mean()), float(np.quantile(smooth[region[frame]], _NOISE_QUANTILE))


def _snr_db(speech_power: float, noise_power: float) -> float | None:
    if speech_power <= 0:
        return None
    clean_power = max(speech_power - noise_power, 1e-3 * speech_power)
    return min(_MAX_SNR_DB, _db(clean_power) - _db(max(noise_power, 1e-12)))


def _db(power: float) -> float:
    return max(_SILENT_DB, 10 * math.log10(power)) if power > 0 else _SILENT_DB
