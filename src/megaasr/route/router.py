"""From audio to a routing decision: which branch of the model decodes it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.errors import UsageError
from megaasr.model.loading import choose_device
from megaasr.model.parts import ModelParts
from megaasr.route.classifier import AudioQualityClassifier, read_classifier
from megaasr.route.decision import THRESHOLD, RouteDecision

WINDOW_S = 30.0
"""Longer audio is classified in windows of at most this length, as in training."""
_MIN_SAMPLES = 400  # one frame of the spectrogram


class Router:
    """Classifies audio as clean or degraded, and selects the branch.

    Args:
        classifier: the network in evaluation mode.
        threshold: probability of degraded audio, 0..1, from which the robust branch is selected.

    Raises:
        UsageError: the threshold is out of range.
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
            CheckpointError: the file is not a router, or is damaged.
        """
        return cls(read_classifier(path).to(device), threshold)

    def with_threshold(self, threshold: float) -> Router:
        """Return a router with the same network and another threshold.

        Raises:
            UsageError: the threshold is out of range.
        """
        return Router(self._classifier, threshold)

    def decide(self, samples: Samples) -> RouteDecision:
        """Return the decision for audio of any length.

        Args:
            samples: audio, float32 of shape [time], 16 kHz mono, at least one sample.
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
        """Return (start, end, probability of degraded audio) of consecutive windows.

        Args:
            samples: audio, float32 of shape [time], 16 kHz mono, at least one sample.
            window_s: longest window in seconds; all windows have the same length.
        """
        results = []
        for first, last in _windows(len(samples), round(window_s * SAMPLE_RATE)):
            window = np.ascontiguousarray(samples[first:last], dtype=np.float32)
            if len(window) < _MIN_SAMPLES:
                window = np.pad(window, (0, _MIN_SAMPLES - len(window)))
            device = next(self._classifier.parameters()).device
            logits = self._classifier(torch.from_numpy(window).to(device).unsqueeze(0))
            probability = float(logits.softmax(dim=-1)[0, 1])
            results.append((first / SAMPLE_RATE, last / SAMPLE_RATE, probability))
        return results


def _windows(length: int, max_length: int) -> Sequence[tuple[int, int]]:
    """Split a length into the fewest windows, all (but for rounding) of the same length."""
    if length < 1:
        raise UsageError("there is no audio to route: not a single sample")
    count = -(-length // max_length)
    edges = np.linspace(0, length, count + 1).round().astype(int).tolist()
    return list(pairwise(edges))


def find_router(
    parts: ModelParts, *, threshold: float | None = None, device: str | None = None
) -> Router | None:
    """Load the router of a model; None if the model has no router.

    Args:
        parts: paths of the model's parts.
        threshold: probability of degraded audio, 0..1, from which the robust branch is selected;
            None for the released 0.5.
        device: `cpu`, `cuda`, `cuda:1` or `mps`; None selects the best available.

    Raises:
        CheckpointError: the router cannot be read.
        UsageError: the threshold is out of range, or the device does not exist.
    """
    if parts.router is None:
        return None
    threshold = THRESHOLD if threshold is None else threshold
    return Router.load(parts.router, threshold=threshold, device=choose_device(device))
