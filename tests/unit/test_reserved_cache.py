"""The cache with reserved room: the same keys and values as transformers' own, at any use."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache
from transformers.cache_utils import Cache

from megaasr.model.reserved_cache import reserved_cache

STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 7)),
    st.tuples(st.just("crop"), st.integers(1, 4)),
    st.tuples(st.just("repeat"), st.integers(1, 2)),
    st.tuples(st.just("select"), st.integers(0, 5)),
    st.tuples(st.just("reset"), st.just(0)),
)


def apply(cache: Cache, step: str, number: int, states: torch.Tensor) -> None:
    length = cache.get_seq_length()
    if step == "add":
        for layer in range(2):
            cache.update(states + layer, states - layer, layer)
    elif step == "crop" and length > number:
        cache.crop(-number)
    elif step == "repeat" and length:
        cache.batch_repeat_interleave(number)
    elif step == "select" and length:
        rows = cache.layers[0].keys.shape[0]
        cache.batch_select_indices(torch.tensor([number % rows, 0]))
    elif step == "reset":
        cache.reset()


@settings(max_examples=200)
@given(room=st.integers(0, 9), steps=st.lists(STEPS, max_size=12), seed=st.integers(0, 99))
def test_it_behaves_as_the_cache_of_transformers(
    room: int, steps: list[tuple[str, int]], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    own, other = reserved_cache(room), DynamicCache()
    for step, number in [("add", 3), *steps]:
        length = other.get_seq_length()
        rows = other.layers[0].keys.shape[0] if length else 2
        states = torch.randn(rows, 3, number, 4, generator=generator)
        for cache in (own, other):
            apply(cache, step, number, states)
        assert own.get_seq_length() == other.get_seq_length()
        if other.get_seq_length():
            for mine, theirs in zip(own.layers, other.layers, strict=True):
                assert torch.equal(mine.keys, theirs.keys)
                assert torch.equal(mine.values, theirs.values)


def test_tokens_within_the_room_are_not_copied() -> None:
    cache = reserved_cache(20)
    cache.update(torch.ones(1, 2, 30, 4), torch.ones(1, 2, 30, 4), 0)
    first = cache.layers[0].keys.data_ptr()
    for _ in range(20):
        cache.update(torch.zeros(1, 2, 1, 4), torch.zeros(1, 2, 1, 4), 0)
    assert cache.layers[0].keys.data_ptr() == first
    assert cache.layers[0].keys.sum() == 30 * 2 * 4
    cache.update(torch.zeros(1, 2, 1, 4), torch.zeros(1, 2, 1, 4), 0)
    assert cache.layers[0].keys.data_ptr() != first
    assert cache.get_seq_length() == 51
