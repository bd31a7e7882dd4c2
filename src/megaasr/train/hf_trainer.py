"""Parts around transformers' Trainer: order of the clips, metrics, validation, memory."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from megaasr.train.run import MetricsCallback, read_json

_PARTS = ("data", "forward", "backward")
_WINDOW_STEPS = 32
"""Number of steps whose clips are drawn together and sorted by length."""


class LengthSampler(Sampler[int]):
    """A random order in which the clips of a step have similar lengths.

    The order is a function of the seed and the epoch.

    Args:
        lengths: lengths of the clips, in any unit.
        batch_size: clips in a step, all processes together.
        seed: seed of the order.
    """

    def __init__(self, lengths: Sequence[float], batch_size: int, seed: int) -> None:
        self._lengths, self._batch_size, self._seed = lengths, batch_size, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Select the order; the trainer does so before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self._seed, self._epoch])
        order = rng.permutation(len(self._lengths)).tolist()
        size, window_size = self._batch_size, self._batch_size * _WINDOW_STEPS
        for start in range(0, len(order), window_size):
            window = sorted(order[start : start + window_size], key=self._lengths.__getitem__)
            steps = [window[first : first + size] for first in range(0, len(window), size)]
            # A short step must come last, or all later ones would mix lengths.
            last_step = steps.pop() if len(steps[-1]) < size else []
            for index in rng.permutation(len(steps)).tolist():
                yield from steps[index]
            yield from last_step


class MetricsAndValidation(TrainerCallback):
    """Logs training metrics and validates between the steps of transformers' Trainer.

    Args:
        evaluate_steps: steps between validations; the last step is validated, too.
        validate: called with the number of finished steps.
        log: called with a row of metrics: what the Trainer logs, the throughput, the share of each
            part of a step, and the peak memory.
        audio_s: mean length of a clip in seconds, for the throughput.
        step_clips: clips in a step, all processes together.
        seconds: seconds of each part of the steps since the last row; the Trainer adds to it.
    """

    def __init__(
        self,
        evaluate_steps: int,
        validate: Callable[[int], None],
        log: MetricsCallback,
        *,
        audio_s: float,
        step_clips: int,
        seconds: dict[str, float] | None = None,
    ) -> None:
        self._evaluate_steps, self._validate, self._log = evaluate_steps, validate, log
        self._step_audio_s = audio_s * step_clips
        self._since: tuple[int, float] | None = None  # step and time of the last row
        self._seconds: dict[str, float] = {} if seconds is None else seconds

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock, after the workers of the loader have started."""
        if self._since is None:
            self._seconds.clear()
            self._since = state.global_step, time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Validate if it is time."""
        step = state.global_step
        if step % self._evaluate_steps == 0 or step == state.max_steps:
            started = time.monotonic()
            self._validate(step)
            if self._since is not None:  # the time of a validation is not training time
                self._since = self._since[0], self._since[1] + time.monotonic() - started

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Log a row of training metrics."""
        if not logs or "loss" not in logs or self._since is None:
            return
        seconds = time.monotonic() - self._since[1]
        steps = state.global_step - self._since[0]
        self._since = state.global_step, time.monotonic()
        timed_parts = _PARTS if self._seconds and seconds else ()
        shares = {part: self._seconds.get(part, 0.0) / seconds for part in timed_parts}
        self._seconds.clear()
        throughput = steps * self._step_audio_s / seconds if seconds else 0.0
        self._log(
            {
                "step": state.global_step,
                "steps": state.max_steps,
                "loss": round(float(logs["loss"]), 5),
                "gradient_norm": round(float(logs.get("grad_norm", 0.0)), 4),
                "learning_rate": logs.get("learning_rate"),
                "audio_s_per_s": round(throughput, 1),
                **{f"share_{part}": round(share, 3) for part, share in shares.items()},
                "peak_memory_mb": round(peak_memory_bytes() / 1e6),
            }
        )


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest complete checkpoint of transformers' Trainer; incomplete ones are deleted.

    Args:
        folder: output folder of the Trainer.
    """
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for checkpoint in reversed(checkpoints):
        # The Trainer writes this file last; a kill may have cut it off.
        if read_json(checkpoint / "trainer_state.json") is not None:
            return str(checkpoint)
        shutil.rmtree(checkpoint, ignore_errors=True)
    return None


def peak_memory_bytes() -> int:
    """Return this process's peak memory: GPU memory if there is a GPU, otherwise main memory.

    0 where the operating system does not report it.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux kB
