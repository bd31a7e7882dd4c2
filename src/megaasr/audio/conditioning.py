"""Remove hum and offset that are stronger than the speech.

An offset of the zero line (DC) and the hum of mains (50 or 60 Hz) lie below all speech, but hide
it from voice-activity detection and change what a model hears. Where the sound below 70 Hz is
stronger than all the rest, a linear-phase high-pass filter removes it: below 65 Hz by 70 dB and
more, above 100 Hz by nothing. All other sound is passed on unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from megaasr.audio.notes import AudioNotes
from megaasr.audio.pcm import recut
from megaasr.audio.waveform import SAMPLE_RATE, Samples

_WINDOW = 10 * SAMPLE_RATE  # what is judged at once; fixed, so that blocks do not matter
_STOP_HZ = 65.0
_PASS_HZ = 100.0
_ATTENUATION_DB = 70.0
_LOW_HZ = 70.0
_MIN_POWER = 1e-8  # -80 dBFS
_MIN_SAMPLES = SAMPLE_RATE // 10  # shorter sounds are low by chance


def without_low_frequencies(
    blocks: Iterator[Samples], notes: AudioNotes | None = None
) -> Iterator[Samples]:
    """Yield a recording without hum and offset where they are stronger than the rest.

    Args:
        blocks: consecutive parts of the recording, float32 [time], 16 kHz.
        notes: receives a note if something was removed; None for none.

    Yields:
        Windows of 10 s, the last one perhaps shorter; as many samples as came in.
    """
    taps = _taps()
    margin = len(taps) // 2
    windows = recut(blocks, _WINDOW)
    before = np.zeros(0, np.float32)
    current = next(windows, None)
    noted = False
    while current is not None:
        following = next(windows, None)
        if _is_hum(current):
            after = np.zeros(0, np.float32) if following is None else following[:margin]
            if notes is not None and not noted:
                notes.add(
                    "filtered",
                    "an offset or hum below 70 Hz is stronger than all other sound; it was removed",
                )
                noted = True
            yield _filtered(before, current, after, taps)
        else:
            yield current
        before = current[-margin:]
        current = following


def low_power_share(samples: Samples) -> float:
    """Return how much of the power of 16 kHz audio [time] lies below 70 Hz, 0..1."""
    spectrum = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    total = float(spectrum[1:].sum()) + float(spectrum[0]) / 2
    low = float(spectrum[1:][frequencies[1:] < _LOW_HZ].sum()) + float(spectrum[0]) / 2
    return low / total if total else 0.0


def _is_hum(samples: Samples) -> bool:
    """Return whether the sound below 70 Hz is stronger than the rest, and not silence."""
    if len(samples) < _MIN_SAMPLES:
        return False
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return power > _MIN_POWER and low_power_share(samples) > 0.5


def _filtered(
    before: Samples, current: Samples, after: Samples, taps: NDArray[np.float64]
) -> Samples:
    """Return the current window through the filter, with the sound around it as context."""
    margin = len(taps) // 2
    left = np.concatenate([np.full(margin - len(before), current[0]), before])
    right = np.concatenate([after, np.full(margin - len(after), current[-1])])
    padded = np.concatenate([left, current, right]).astype(np.float64)
    result: Samples = signal.oaconvolve(padded, taps, mode="valid").astype(np.float32)
    return result


def _taps() -> NDArray[np.float64]:
    """Return the impulse response of the filter, of odd length."""
    nyquist = SAMPLE_RATE / 2
    count, beta = signal.kaiserord(_ATTENUATION_DB, (_PASS_HZ - _STOP_HZ) / nyquist)
    taps: NDArray[np.float64] = signal.firwin(
        count | 1,
        (_STOP_HZ + _PASS_HZ) / 2,
        window=("kaiser", beta),
        pass_zero=False,
        fs=SAMPLE_RATE,
    )
    return taps
