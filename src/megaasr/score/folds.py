"""Folds of cross-validation, which never divide a block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def draw_folds(block_of_clip: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each clip, int64 of shape [clips], values from 0 to `folds - 1`.

    Args:
        block_of_clip: the block of each clip; clips of a block are in the same fold.
        folds: number of folds.
        seed: seed of the assignment.
    """
    blocks = sorted(set(block_of_clip))
    order = np.random.default_rng([seed, 11]).permutation(len(blocks)) % folds
    fold_of_block = dict(zip(blocks, order.tolist(), strict=True))
    return np.array([fold_of_block[block] for block in block_of_clip], dtype=np.int64)
