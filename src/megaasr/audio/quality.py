"""What can be measured of a recording's quality without knowing what was said.

Estimates, each with its method; they describe, and decide nothing. Speech is told from pauses by
given probabilities (of a voice-activity detector), so this module needs no model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import welch

from megaasr.audio.measure import peak
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import UsageError

Samples = NDArray[np.float32]
_FRAME = 512  # samples of a probability of speech
_SPEECH = 0.5
_CLIPPED_RUN = 3  # samples at the limit in a row
_DROPOUT_S = 0.02
_BAND_FLOOR_DB = 50.0  # below the loudest band a spectrum counts as empty


@dataclass(frozen=True, slots=True)
class Quality:
    """Measures of a recording; None where they cannot be taken.

    Attributes:
        duration_s: seconds.
        speech_ratio: 0..1, share of 32 ms frames in which somebody speaks.
        peak_dbfs, speech_dbfs: largest sample; power of the frames with speech.
        snr_db: power of speech frames (noise taken off) over that of frames apart from speech, in
            dB; None without both kinds.
        clipped_share: 0..1, samples in runs of 3 or more at the recording's own largest value.
        bandwidth_hz: below this frequency lies all but what is 50 dB weaker than the loudest band.
        dropouts_per_min: stretches of exactly equal samples of 20 ms and more inside speech.
        reverberation_s: RT60 by the median of decays after speech (20 dB, extrapolated to 60 dB);
            None if there are not two such decays.
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
    """Measure a recording.

    Args:
        samples: float32 [time], 16 kHz, at least one frame of 512.
        speech: float32 [frames], probability of speech in every 512 samples.

    Raises:
        UsageError: it is shorter than a frame.
    """
    count = samples.size // _FRAME
    if not count:
        raise UsageError(f"{samples.size} samples are too few to measure; {_FRAME} are needed")
    frames = samples[: count * _FRAME].reshape(count, _FRAME).astype(np.float64)
    power = np.square(frames).mean(axis=1)
    spoken = speech[:count] >= _SPEECH
    loud = float(power[spoken].mean()) if spoken.any() else None
    # Frames beside speech hold its ends.
    apart = np.convolve(spoken, np.ones(3), "same") < 0.5
    quiet = float(power[apart].mean()) if apart.sum() >= 3 else None
    return Quality(
        samples.size / SAMPLE_RATE,
        float(spoken.mean()),
        _db(peak(samples) ** 2),
        None if loud is None else _db(loud),
        _snr_db(loud, quiet),
        clipped_share(samples),
        bandwidth_hz(samples),
        _dropouts(samples, spoken) / (samples.size / SAMPLE_RATE / 60),
        reverberation_s(samples, spoken),
    )


def clipped_share(samples: Samples) -> float:
    """Return the share of samples in runs of 3 or more at the largest magnitude (within 0.1 %)."""
    limit = peak(samples)
    if limit < 1e-3:
        return 0.0
    starts, ends = _runs(np.abs(samples) >= 0.999 * limit)
    lengths = ends - starts
    return float(lengths[lengths >= _CLIPPED_RUN].sum() / samples.size)


def bandwidth_hz(samples: Samples) -> float:
    """Return the frequency up to which the spectrum is within 50 dB of its loudest band."""
    hertz, power = welch(samples.astype(np.float64), SAMPLE_RATE, nperseg=min(1024, samples.size))
    level = 10 * np.log10(power + 1e-20)
    above = np.flatnonzero(level >= level.max() - _BAND_FLOOR_DB)
    return float(hertz[above[-1]])


def reverberation_s(samples: Samples, spoken: NDArray[np.bool_]) -> float | None:
    """Estimate RT60 from how the level falls where speech ends.

    Args:
        samples: float32 [time], 16 kHz.
        spoken: bool [frames of 512].
    """
    hop = 160
    power = np.square(samples[: samples.size // hop * hop].astype(np.float64))
    level = 10 * np.log10(power.reshape(-1, hop).mean(axis=1) + 1e-12)
    slopes = []
    _, ends = _runs(spoken)
    for end in ends:
        last = min(int(end) * _FRAME // hop, len(level) - 1)
        # The decay begins at the last loud frame, up to 0.3 s before the detector lets go.
        first = max(0, last - 30)
        near = level[first : last + 1]
        start = first + int(np.flatnonzero(near >= near.max() - 3.0)[-1])
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


def _dropouts(samples: Samples, spoken: NDArray[np.bool_]) -> int:
    """Count stretches of equal samples of 20 ms and more that lie within or beside speech."""
    starts, ends = _runs(np.diff(samples) == 0)
    long = (ends - starts) >= _DROPOUT_S * SAMPLE_RATE
    near = np.convolve(spoken, np.ones(7), "same") > 0
    frames = np.minimum(starts[long] // _FRAME, len(spoken) - 1)
    return int(near[frames].sum())


def _runs(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return edges[::2], edges[1::2]


def _snr_db(loud: float | None, quiet: float | None) -> float | None:
    if loud is None or quiet is None:
        return None
    return max(-20.0, _db(max(loud - quiet, 1e-12)) - _db(max(quiet, 1e-12)))


def _db(power: float) -> float:
    return 10 * math.log10(power) if power > 0 else -120.0


def advice(quality: Quality) -> list[str]:
    """Return what to do about a recording, in plain words; empty if nothing is wrong."""
    found = []
    if quality.speech_ratio < 0.02:
        found.append(
            "Hardly any speech is found in it: it is the wrong recording, or the speech is too "
            "degraded to be told from noise. mega-asr transcribe --no-vad hears all of it."
        )
    if quality.speech_dbfs is not None and quality.speech_dbfs < -45:
        found.append("The speech is very quiet: record nearer to the microphone, or louder.")
    if quality.clipped_share > 1e-4:
        found.append("It is overloaded (clipped): lower the recording level; gain cannot mend it.")
    if quality.snr_db is not None and quality.snr_db < 10:
        found.append(
            "There is much noise: take the robust branch. Denoising first usually makes "
            "recognition worse."
        )
    if quality.bandwidth_hz < 4200:
        found.append("It is narrow-band (telephone): use the original file if there is one.")
    if quality.dropouts_per_min > 2:
        found.append("Pieces are missing (dropouts): record locally instead of over the network.")
    if quality.reverberation_s is not None and quality.reverberation_s > 0.9:
        found.append("The room echoes: move nearer to the microphone, or use a close one.")
    return found
