"""Keyed random streams: a key gives the same numbers in every process and in any order."""

from __future__ import annotations

import hashlib

import numpy as np


def stream_key(seed: int, utterance: str, copy: int, purpose: str) -> str:
    """Return the key of a random stream: 32 hexadecimal digits.

    Args:
        seed: seed of the data set or experiment.
        utterance: id of the clean clip.
        copy: number of the degraded copy of this clip, from 0.
        purpose: name of the decision; different decisions have independent streams.
    """
    # Each part is preceded by its length, so that different parts never give the same text.
    parts = [str(seed), utterance, str(copy), purpose]
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def stream(key: str) -> np.random.Generator:
    """Return the random stream of a key (the counter-based generator Philox)."""
    return np.random.Generator(np.random.Philox(key=int(key, 16)))
