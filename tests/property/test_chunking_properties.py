"""Cutting loses nothing, and never depends on how the stream was divided."""

from collections.abc import Iterator

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from megaasr.transcribe.chunking import split_into_chunks

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
    start, turn = 0, 0
    while start < len(samples):
        size = sizes[turn % len(sizes)]
        block = samples[start : start + size]
        # Another address in memory: sums must not depend on how an array is aligned.
        yield np.concatenate([np.zeros(turn % 5, np.float32), block])[turn % 5 :]
        start, turn = start + size, turn + 1


SIZES = st.lists(
    st.one_of(st.integers(0, 3_000), st.integers(3_000, 700_000)), min_size=1, max_size=6
).filter(lambda sizes: max(sizes) > 500)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), duration_s=st.floats(0, 130), sizes=SIZES)
def test_any_division_into_blocks_gives_the_same_chunks(
    seed: int, duration_s: float, sizes: list[int]
) -> None:
    samples = recording(seed, duration_s)
    expected = list(split_into_chunks([samples]))
    chunks = list(split_into_chunks(divided(samples, sizes)))
    assert [chunk.offset for chunk in chunks] == [chunk.offset for chunk in expected]
    for chunk, expected_chunk in zip(chunks, expected, strict=True):
        np.testing.assert_array_equal(chunk.samples, expected_chunk.samples)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), duration_s=st.floats(0, 130))
def test_chunks_joined_are_the_recording(seed: int, duration_s: float) -> None:
    samples = recording(seed, duration_s)
    chunks = list(split_into_chunks([samples]))
    np.testing.assert_array_equal(np.concatenate([chunk.samples for chunk in chunks]), samples)
    offset = 0
    for chunk in chunks:
        assert chunk.offset == offset
        assert (chunk.start_s, chunk.end_s) == (offset / RATE, (offset + len(chunk.samples)) / RATE)
        assert 0 < len(chunk.samples) <= 30 * RATE
        offset += len(chunk.samples)
    if len(chunks) > 1:
        assert min(len(chunk.samples) for chunk in chunks) >= RATE
        assert all(len(chunk.samples) >= 15 * RATE for chunk in chunks[:-1])
