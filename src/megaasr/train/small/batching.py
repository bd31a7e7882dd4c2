"""The batch of each step: a function of the seed and the step's number alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from megaasr.train.packing import pack_by_length


class BatchSchedule:
    """Batches of examples of similar length; an epoch has every example once.

    Args:
        lengths: lengths of all examples, in any unit.
        batch_length: maximum length of a batch in that unit, with padding.
        seed: seed of the order.

    Raises:
        ValueError: there are no examples.
    """

    JITTER = 0.05
    """Relative standard deviation of noise on the lengths, so that batches differ by epoch."""

    def __init__(self, lengths: Sequence[int], batch_length: float, seed: int) -> None:
        if not lengths:
            raise ValueError("there are no examples to batch")
        self._lengths = np.asarray(lengths, dtype=np.float64)
        self._batch_length = batch_length
        self._seed = seed
        self._epoch = -1
        self._batches: list[list[int]] = []
        self._first_steps = [0]

    def batch(self, step: int) -> list[int]:
        """Return the indices of the examples of a step, counted from 0 without end."""
        while step >= self._first_steps[-1]:
            epoch = len(self._first_steps) - 1
            self._first_steps.append(self._first_steps[-1] + len(self._plan(epoch)))
        epoch = int(np.searchsorted(self._first_steps, step, side="right")) - 1
        return self._plan(epoch)[step - self._first_steps[epoch]]

    def epoch(self, step: int) -> int:
        """Return the epoch that a step belongs to, from 0."""
        self.batch(step)
        return int(np.searchsorted(self._first_steps, step, side="right")) - 1

    def _plan(self, epoch: int) -> list[list[int]]:
        if epoch != self._epoch:
            rng = np.random.default_rng([self._seed, 3, epoch])
            noise = rng.normal(1.0, self.JITTER, self._lengths.size)
            order = np.argsort(self._lengths * noise, kind="stable").tolist()
            packed = pack_by_length(order, self._length, self._batch_length)
            self._batches = [packed[int(i)] for i in rng.permutation(len(packed))]
            self._epoch = epoch
        return self._batches

    def _length(self, index: int) -> float:
        return float(self._lengths[index])
