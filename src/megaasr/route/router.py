"""From a waveform to a decision: which branch of the model shall hear it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import UsageError
from megaasr.model.hub import find_model
from megaasr.model.loading import choose_device
from megaasr.model.parts import find_parts
from megaasr.route.classifier import AudioQualityClassifier, read_classifier
from megaasr.route.decision import THRESHOLD, RouteDecision

WINDOW_S = 30.0
"""Longer audio is looked at in windows of at most this length, as in training."""
_SHORTEST = 400  # samples: one frame of the spectrogram

Samples = NDArray[np.float32]


class Router:
    """Tells clean from degraded audio.

    Args:
        classifier: the network, in evaluation mode.
        threshold: 0..1, see `RouteDecision`.

    Raises:
        UsageError: the threshold is not in 0..1.
    """

    def __init__(self, classifier: AudioQualityClassifier, threshold: float = THRESHOLD) -> None:
        if not 0.0 <= threshold <= 1.0:
            raise UsageError(f"threshold {threshold}: it must be from 0 to 1")
        self._classifier = classifier
        self.threshold = threshold

    @classmethod
    def load(
        cls, path: Path, *, threshold: float = THRESHOLD, device: str | torch.device = "cpu"
    ) -> Router:
        """Read a router from its safetensors file.

        Raises:
            CheckpointError: it is no router, or damaged.
        """
        return cls(read_classifier(path).to(device), threshold)

    def decide(self, samples: Samples) -> RouteDecision:
        """Decide about a stretch of audio.

        Args:
            samples: float32 [time], 16 kHz, any length.
        """
        windows = self.probabilities(samples)
        # By length: a second of noise at the end of a minute does not make the minute degraded.
        lengths = [end - start for start, end, _ in windows]
        probability = float(np.average([p for _, _, p in windows], weights=lengths))
        robust = probability >= self.threshold
        return RouteDecision(
            "robust" if robust else "base",
            round(probability, 6),
            self.threshold,
            f"degraded with probability {probability:.3f}, threshold {self.threshold:g}",
        )

    @torch.inference_mode()
    def probabilities(
        self, samples: Samples, window_s: float = WINDOW_S
    ) -> list[tuple[float, float, float]]:
        """Return (start, end, probability of being degraded) of windows one after the other.

        Args:
            samples: float32 [time], 16 kHz, at least one sample.
            window_s: seconds of a window; the last two share what is left evenly.
        """
        found = []
        for first, last in _windows(len(samples), round(window_s * SAMPLE_RATE)):
            window = np.ascontiguousarray(samples[first:last], dtype=np.float32)
            if len(window) < _SHORTEST:
                window = np.pad(window, (0, _SHORTEST - len(window)))
            device = next(self._classifier.parameters()).device
            logits = self._classifier(torch.from_numpy(window).to(device).unsqueeze(0))
            probability = float(logits.softmax(dim=-1)[0, 1])
            found.append((first / SAMPLE_RATE, last / SAMPLE_RATE, probability))
        return found


def _windows(length: int, longest: int) -> Sequence[tuple[int, int]]:
    """Cut a length into the fewest windows, all (but for rounding) of the same length."""
    if length < 1:
        raise UsageError("there is no audio to route: not a single sample")
    count = -(-length // longest)
    edges = np.linspace(0, length, count + 1).round().astype(int).tolist()
    return list(pairwise(edges))


def find_router(
    name: str | Path,
    *,
    threshold: float | None = None,
    device: str | None = None,
    offline: bool = False,
) -> Router | None:
    """Return the router of a model; None if it has none.

    Args:
        name: of the model, see `megaasr.model.hub.find_model`.
        threshold: 0..1; None for the released 0.5.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; None takes the best there is.
        offline: do not ask the hub.

    Raises:
        ModelError: there is no such model, or its router cannot be read.
        UsageError: the threshold is not in 0..1, or there is no such device.
    """
    path = find_parts(find_model(str(name), offline=offline)).router
    chosen = THRESHOLD if threshold is None else threshold
    return (
        None if path is None else Router.load(path, threshold=chosen, device=choose_device(device))
    )
