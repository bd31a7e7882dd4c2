"""What the stages on transformers' Trainer share: batches of clips of similar length, metrics, and
validation between steps."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_PARTS = ("data", "forward", "backward")
_WINDOW = 32
"""So many steps' clips are drawn together, and sorted by length."""


class LengthSampler(Sampler[int]):
    """A random order in which the clips of a step have like lengths: a function of seed and epoch.

    Args:
        lengths: of the clips, in any unit.
        batch_size: clips in a step, all processes together.
        seed: of the order.
    """

    def __init__(self, lengths: Sequence[float], batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed = lengths, batch_size, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; the trainer does so before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self._seed, self._epoch])
        order = rng.permutation(len(self._lengths)).tolist()
        window = self._batch_size * _WINDOW
        for start in range(0, len(order), window):
            drawn = sorted(order[start : start + window], key=self._lengths.__getitem__)
            steps = [
                drawn[at : at + self._batch_size] for at in range(0, len(drawn), self._batch_size)
            ]
            last = [steps.pop()] if len(steps[-1]) < self._batch_size else []
            # A short step must come last, or all later ones would mix lengths.
            for at in rng.permutation(len(steps)).tolist():
                yield from steps[at]
            for step in last:
                yield from step


class BetweenSteps(TrainerCallback):
    """Calls back with the metrics of training, and when it is time to validate.

    Args:
        every: steps between validations; the last step is one too.
        validate: called with the step.
        log: called with what the trainer logs; throughput, the share of each part of a step and
            the peak of memory added.
        audio_s: mean seconds of a clip, for the throughput.
        step_clips: clips in a step.
        seconds: of the parts of a step, as the trainer counts them.
    """

    def __init__(
        self,
        every: int,
        validate: Callable[[int], None],
        log: Callable[[dict[str, Any]], None],
        *,
        audio_s: float,
        step_clips: int,
        seconds: dict[str, float] | None = None,
    ) -> None:
        self._every, self._validate, self._log = every, validate, log
        self._step_audio_s = audio_s * step_clips
        self._since: tuple[int, float] | None = None
        self._seconds: dict[str, float] = {} if seconds is None else seconds

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock; the first data waited for the loader's workers to start."""
        if self._since is None:
            self._seconds.clear()
            self._since = state.global_step, time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Validate if it is time."""
        step = state.global_step
        if step % self._every == 0 or step == state.max_steps:
            began = time.monotonic()
            self._validate(step)
            if self._since is not None:  # validation is not training
                self._since = self._since[0], self._since[1] + time.monotonic() - began

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Pass the metrics on."""
        if not logs or "loss" not in logs or self._since is None:
            return
        seconds = time.monotonic() - self._since[1]
        steps = state.global_step - self._since[0]
        self._since = state.global_step, time.monotonic()
        known = _PARTS if self._seconds and seconds else ()
        parts = {part: self._seconds.get(part, 0.0) / seconds for part in known}
        self._seconds.clear()
        rate = steps * self._step_audio_s / seconds if seconds else 0.0
        self._log(
            {
                "step": state.global_step,
                "steps": state.max_steps,
                "loss": round(float(logs["loss"]), 5),
                "gradient_norm": round(float(logs.get("grad_norm", 0.0)), 4),
                "learning_rate": logs.get("learning_rate"),
                "audio_s_per_s": round(rate, 1),
                **{f"share_{part}": round(share, 3) for part, share in parts.items()},
                "peak_memory_mb": round(peak_memory_bytes() / 1e6),
            }
        )


def peak_memory_bytes() -> int:
    """Return the most that this process has held so far: of the GPU if there is one, else in all.

    0 where the system does not tell.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kB
