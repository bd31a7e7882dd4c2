"""A model and all that belongs to it, loaded when the first piece of audio is to be heard."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from megaasr.errors import UsageError
from megaasr.model.hub import find_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from megaasr.model.interface import Recognition, Request, Samples
    from megaasr.model.layout import EncoderAttention
    from megaasr.model.qwen3_asr import Qwen3ASR
    from megaasr.route.decision import RouteChoice, RouteDecision
    from megaasr.route.router import Router


@dataclass(frozen=True, slots=True)
class Branch:
    """Which branch of the model hears what, see `MegaASR.load`."""

    route: RouteChoice
    threshold: float | None
    adapter: Path | None
    encoder_attention: EncoderAttention


@dataclass
class ModelWhenNeeded:
    """A speech model and its router, loaded when the first piece of audio is to be heard.

    So a wrong path, or a folder where everything is done, costs no seconds of loading.
    """

    name: str
    device: str | None
    offline: bool
    batch_size: int
    threads: int | None
    branch: Branch
    loading_s: float = 0.0
    _model: Qwen3ASR | None = None
    _router: Router | None = None
    _calibration: Callable[[float], float] = float

    @property
    def has_robust_route(self) -> bool:
        """Whether the model has an adapter."""
        return self._loaded().has_robust_route

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        """Transcribe pieces of audio; the answers come in the order of the requests."""
        return self._loaded().recognize(requests)

    def decide(self, samples: Samples) -> RouteDecision:
        """Choose the branch that hears a piece, as the router says if there is one."""
        from megaasr.route.decision import NO_ROUTER

        self._loaded()
        return NO_ROUTER if self._router is None else self._router.decide(samples)

    def detect(self, samples: Samples) -> NDArray[np.float32]:
        """Return the probability of speech in every 32 ms."""
        from megaasr.transcribe.speech_activity import detect_speech

        return detect_speech(samples)

    def confidence(self, probability: float) -> float:
        """Return how sure a word is that the model gives this probability."""
        self._loaded()
        return self._calibration(probability)

    def _loaded(self) -> Qwen3ASR:
        if self._model is None:
            began = time.monotonic()
            from megaasr.model.loading import load_model
            from megaasr.model.parts import find_parts
            from megaasr.route.router import find_router
            from megaasr.transcribe.confidence import read_calibration

            if self.threads is not None:
                import torch

                torch.set_num_threads(self.threads)
            self._model = load_model(
                self.name,
                device=self.device,
                offline=self.offline,
                batch_size=self.batch_size,
                encoder_attention=self.branch.encoder_attention,
                adapter=self.branch.adapter,
            )
            base = find_parts(find_model(self.name, offline=self.offline)).base
            self._calibration = read_calibration(base)
            if self.branch.route in ("robust", "both") and not self._model.has_robust_route:
                raise UsageError(f"{self.name} has no adapter, so there is no robust route")
            if self.branch.route in ("auto", "both") and self._model.has_robust_route:
                self._router = find_router(
                    self.name,
                    threshold=self.branch.threshold,
                    device=self.device,
                    offline=self.offline,
                )
            self.loading_s = time.monotonic() - began
        return self._model
