"""Measure the quality of a recording without a reference transcript.

All measures are estimates. Speech and pauses are told apart by the probabilities of a
voice-activity detector, which the caller passes in, so that this module needs no model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import welch

from megaasr.audio.measure import peak
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.errors import UsageError

_FRAME_SAMPLES = 512  # per probability of speech: 32 ms
_SPEECH_THRESHOLD = 0.5
_MIN_CLIPPED_RUN = 3  # consecutive samples at the limit
_MIN_DROPOUT_S = 0.02
_BAND_FLOOR_DB = 50.0  # below the loudest band; weaker parts of the spectrum count as empty


@dataclass(frozen=True, slots=True)
class Quality:
    """Quality measures of a recording; None where a measure cannot be determined.

    Attributes:
        duration_s: length in seconds.
        speech_ratio: share of the 32 ms frames with speech, 0 to 1.
        peak_dbfs: largest magnitude in dBFS.
        speech_dbfs: mean power of the frames with speech in dBFS; None without speech.
        snr_db: power of the frames with speech, less the noise, over that of the frames away from
            speech, in dB; None unless there are both.
        clipped_share: share of the samples that lie in runs of 3 or more at the recording's own
            largest magnitude, 0 to 1.
        bandwidth_hz: highest frequency at which the spectrum is within 50 dB of its loudest band.
        dropouts_per_min: runs of exactly equal samples of at least 20 ms in or beside speech, per
            minute.
        reverberation_s: RT60 in seconds, the median over decays after speech (20 dB, extrapolated
            to 60 dB); None if there are fewer than two such decays.
    """

    duration_s: float
    speech_ratio: float
    peak_dbfs: float
    speech_dbfs: float | None
    snr_db: float | None
    clipped_share: float
    bandwidth_hz: float
    dropouts_per_min: float
    reverberation_s: float | None


def measure_quality(samples: Samples, speech: NDArray[np.float32]) -> Quality:
    """Measure the quality of a recording.

    Args:
        samples: float32 array [time], 16 kHz mono, at least one frame of 512 samples.
        speech: probability of speech in each frame of 512 samples, float32 array [frames].

    Raises:
        UsageError: the recording is shorter than a frame.
    """
    count = samples.size // _FRAME_SAMPLES
    if not count:
        raise UsageError(
            f"{samples.size} samples are too few to measure; {_FRAME_SAMPLES} are needed"
        )
    frames = samples[: count * _FRAME_SAMPLES].reshape(count, _FRAME_SAMPLES).astype(np.float64)
    power = np.square(frames).mean(axis=1)
    is_speech = speech[:count] >= _SPEECH_THRESHOLD
    speech_power = float(power[is_speech].mean()) if is_speech.any() else None
    # Frames next to speech still contain its onset or decay.
    is_noise = np.convolve(is_speech, np.ones(3), "same") < 0.5
    noise_power = float(power[is_noise].mean()) if is_noise.sum() >= 3 else None
    duration_s = samples.size / SAMPLE_RATE
    return Quality(
        duration_s=duration_s,
        speech_ratio=float(is_speech.mean()),
        peak_dbfs=_db(peak(samples) ** 2),
        speech_dbfs=None if speech_power is None else _db(speech_power),
        snr_db=_snr_db(speech_power, noise_power),
        clipped_share=clipped_share(samples),
        bandwidth_hz=bandwidth_hz(samples),
        dropouts_per_min=_count_dropouts(samples, is_speech) / (duration_s / 60),
        reverberation_s=reverberation_s(samples, is_speech),
    )


def clipped_share(samples: Samples) -> float:
    """Return the share of samples in runs of 3 or more at the largest magnitude (within 0.1 %).

    Args:
        samples: float32 array [time], at least one sample.
    """
    limit = peak(samples)
    if limit < 1e-3:
        return 0.0
    starts, ends = _runs(np.abs(samples) >= 0.999 * limit)
    lengths = ends - starts
    return float(lengths[lengths >= _MIN_CLIPPED_RUN].sum() / samples.size)


def bandwidth_hz(samples: Samples) -> float:
    """Return the highest frequency in Hz at which the spectrum is within 50 dB of its maximum.

    Args:
        samples: float32 array [time], 16 kHz mono.
    """
    hertz, power = welch(samples.astype(np.float64), SAMPLE_RATE, nperseg=min(1024, samples.size))
    level = 10 * np.log10(power + 1e-20)
    above = np.flatnonzero(level >= level.max() - _BAND_FLOOR_DB)
    return float(hertz[above[-1]])


def reverberation_s(samples: Samples, is_speech: NDArray[np.bool_]) -> float | None:
    """Estimate RT60 in seconds from the decay of the level where speech ends.

    Args:
        samples: float32 array [time], 16 kHz mono.
        is_speech: whether each frame of 512 samples contains speech, bool array [frames].

    Returns:
        The median over all usable decays; None if there are fewer than two.
    """
    hop = 160
    power = np.square(samples[: samples.size // hop * hop].astype(np.float64))
    level = 10 * np.log10(power.reshape(-1, hop).mean(axis=1) + 1e-12)
    slopes = []
    _, ends = _runs(is_speech)
    for end in ends:
        last = min(int(end) * _FRAME_SAMPLES // hop, len(level) - 1)
        # The decay starts at the last loud frame, up to 0.3 s before the detector reports the end.
        first = max(0, last - 30)
        final_levels = level[first : last + 1]
        start = first + int(np.flatnonzero(final_levels >= final_levels.max() - 3.0)[-1])
        tail = level[start : start + 80]
        if len(tail) < 8:
            continue
        length = int(np.argmax(tail <= tail[0] - 20)) or 0
        if length < 2:
            continue
        slopes.append(20 / (length * hop / SAMPLE_RATE))
    if len(slopes) < 2:
        return None
    return float(60 / np.median(slopes))


def _count_dropouts(samples: Samples, is_speech: NDArray[np.bool_]) -> int:
    """Count runs of equal samples of at least 20 ms that lie in speech or beside it."""
    starts, ends = _runs(np.diff(samples) == 0)
    long = (ends - starts) >= _MIN_DROPOUT_S * SAMPLE_RATE
    near_speech = np.convolve(is_speech, np.ones(7), "same") > 0
    frames = np.minimum(starts[long] // _FRAME_SAMPLES, len(is_speech) - 1)
    return int(near_speech[frames].sum())


def _runs(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first index of every run of true values, and the index after its last."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return edges[::2], edges[1::2]


def _snr_db(speech_power: float | None, noise_power: float | None) -> float | None:
    if speech_power is None or noise_power is None:
        return None
    clean_power = max(speech_power - noise_power, 1e-12)
    return max(-20.0, _db(clean_power) - _db(max(noise_power, 1e-12)))


def _db(power: float) -> float:
    return 10 * math.log10(power) if power > 0 else -120.0


def advice(quality: Quality) -> list[str]:
    """Return plain-language advice on a recording; empty if nothing is wrong with it."""
    tips = []
    if quality.speech_ratio < 0.02:
        tips.append(
            "Hardly any speech was found: this may be the wrong recording, or the speech is too "
            "degraded to be told from noise. mega-asr transcribe --no-vad transcribes all of it."
        )
    if quality.speech_dbfs is not None and quality.speech_dbfs < -45:
        tips.append(
            "The speech is very quiet: move closer to the microphone, or raise the recording level."
        )
    if quality.clipped_share > 1e-4:
        tips.append("It is overloaded (clipped): lower the recording level; gain cannot repair it.")
    if quality.snr_db is not None and quality.snr_db < 10:
        tips.append(
            "There is a lot of noise: use the robust branch. Denoising first usually makes "
            "recognition worse."
        )
    if quality.bandwidth_hz < 4200:
        tips.append("It is narrow-band (telephone): use the original file if there is one.")
    if quality.dropouts_per_min > 2:
        tips.append("Audio is missing (dropouts): record locally instead of over the network.")
    if quality.reverberation_s is not None and quality.reverberation_s > 0.9:
        tips.append(
            "The room is reverberant: move closer to the microphone, or use a close-talking one."
        )
    return tips
