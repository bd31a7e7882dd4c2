"""Voice-activity detection with a warm-up, so that the first frames are reliable.

The network, and torch with it, is loaded at the first call.
"""

from __future__ import annotations

import numpy as np

from megaasr.audio.waveform import Samples
from megaasr.transcribe.chunking import VAD_FRAME

WARM_UP_FRAMES = 32
"""Frames at the beginning, about one second, that the network is warmed up with."""


def detect_speech(samples: Samples) -> Samples:
    """Return the probability of speech in every frame of 32 ms, without the network's transient.

    At the beginning of any noise the network gives a small probability of speech (0.1 and more).
    To avoid that, it is warmed up with the first second in reverse.

    Args:
        samples: audio, float32 of shape [time], 16 kHz mono.

    Returns:
        Probabilities 0..1, float32 of shape [frames].

    Raises:
        ModelError: the weights are not installed.
    """
    from megaasr.transcribe.silero_vad import speech_probabilities  # imports torch

    warm_up = min(WARM_UP_FRAMES, samples.size // VAD_FRAME)
    extended = np.concatenate([samples[: warm_up * VAD_FRAME][::-1], samples])
    return speech_probabilities(extended)[warm_up:]
