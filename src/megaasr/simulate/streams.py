"""Random streams by key: the same key gives the same numbers, in any process and any order."""

from __future__ import annotations

import hashlib

import numpy as np


def stream_key(seed: int, utterance: str, copy: int, purpose: str) -> str:
    """Return the key of a random stream: 32 hexadecimal digits.

    Args:
        seed: the user's.
        utterance: id of the utterance that is being degraded.
        copy: which degraded copy of it, from 0.
        purpose: what the stream decides; different decisions have independent streams.
    """
    # Lengths first, so that no two different tuples are written alike.
    parts = [str(seed), utterance, str(copy), purpose]
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def stream(key: str) -> np.random.Generator:
    """Return the random stream of a key (Philox, counter-based)."""
    return np.random.Generator(np.random.Philox(key=int(key, 16)))
