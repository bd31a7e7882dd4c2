"""Cutting loses nothing, and never depends on how the stream was divided."""

from collections.abc import Iterator

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from megaasr.transcribe.segment import cut

RATE = 16_000


def recording(seed: int, duration_s: float) -> NDArray[np.float32]:
    """Bursts of noise of random length and level, some of them silent."""
    rng = np.random.default_rng(seed)
    count = max(1, round(duration_s * RATE))
    levels = np.repeat(
        rng.choice([0.0, 1e-4, 0.01, 0.1, 0.5], size=count // 1000 + 1), 1000 * rng.integers(1, 5)
    )[:count]
    samples = np.random.default_rng(seed + 1).standard_normal(count) * np.resize(levels, count)
    return samples.astype(np.float32)


def divided(samples: NDArray[np.float32], sizes: list[int]) -> Iterator[NDArray[np.float32]]:
    at, turn = 0, 0
    while at < len(samples):
        size = sizes[turn % len(sizes)]
        # Another place in memory: sums must not depend on how an array is aligned.
        yield np.concatenate([np.zeros(turn % 5, np.float32), samples[at : at + size]])[turn % 5 :]
        at, turn = at + size, turn + 1


SIZES = st.lists(
    st.one_of(st.integers(0, 3_000), st.integers(3_000, 700_000)), min_size=1, max_size=6
).filter(lambda sizes: max(sizes) > 500)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), duration_s=st.floats(0, 130), sizes=SIZES)
def test_any_division_into_blocks_gives_the_same_pieces(
    seed: int, duration_s: float, sizes: list[int]
) -> None:
    samples = recording(seed, duration_s)
    whole = list(cut([samples]))
    parts = list(cut(divided(samples, sizes)))
    assert [piece.offset for piece in parts] == [piece.offset for piece in whole]
    for part, piece in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(part.samples, piece.samples)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), duration_s=st.floats(0, 130))
def test_pieces_joined_are_the_recording(seed: int, duration_s: float) -> None:
    samples = recording(seed, duration_s)
    pieces = list(cut([samples]))
    np.testing.assert_array_equal(np.concatenate([piece.samples for piece in pieces]), samples)
    at = 0
    for piece in pieces:
        assert piece.offset == at
        assert (piece.start_s, piece.end_s) == (at / RATE, (at + len(piece.samples)) / RATE)
        assert 0 < len(piece.samples) <= 30 * RATE
        at += len(piece.samples)
    if len(pieces) > 1:
        assert min(len(piece.samples) for piece in pieces) >= RATE
        assert all(len(piece.samples) >= 15 * RATE for piece in pieces[:-1])
