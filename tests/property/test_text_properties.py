"""Word errors against a plain edit distance, and what must hold for any two texts."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from megaasr.text.error_rate import align, count_errors, pooled
from megaasr.text.normalize import bench_words

# Few different words, so that repetitions and shifted matches are common.
WORDS = st.lists(st.sampled_from(["a", "b", "c", "Dee", "e's", "f-g"]), max_size=9)
TEXTS = st.one_of(WORDS.map(" ".join), st.text(max_size=30))


def plain_distance(said: Sequence[str], heard: Sequence[str]) -> int:
    """The textbook table of edit distances, one row at a time."""
    above = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        row = [i]
        for j, other in enumerate(heard, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (word != other)))
        above = row
    return above[-1]


@settings(deadline=None)
@given(reference=TEXTS, hypothesis=TEXTS)
def test_counts_are_minimal_and_complete(reference: str, hypothesis: str) -> None:
    said, heard = bench_words(reference), bench_words(hypothesis)
    counts = count_errors(reference, hypothesis)
    assert counts.errors == plain_distance(said, heard)
    assert counts.hits + counts.substitutions + counts.deletions == len(said)
    assert counts.hits + counts.substitutions + counts.insertions == len(heard)
    assert min(counts.hits, counts.substitutions, counts.deletions, counts.insertions) >= 0
    assert counts.hits <= (Counter(said) & Counter(heard)).total()


@settings(deadline=None)
@given(one=TEXTS, other=TEXTS)
def test_swapping_the_texts_keeps_the_errors(one: str, other: str) -> None:
    # Among minimal alignments the split into kinds is a tie that may fall otherwise when
    # swapped; the number of errors, and how many words one text has more, may not.
    forth, back = count_errors(one, other), count_errors(other, one)
    assert forth.errors == back.errors
    assert forth.deletions - forth.insertions == back.insertions - back.deletions


@settings(deadline=None)
@given(reference=TEXTS, hypothesis=TEXTS)
def test_the_alignment_is_what_was_counted(reference: str, hypothesis: str) -> None:
    steps = align(reference, hypothesis)
    assert [s.reference for s in steps if s.reference is not None] == bench_words(reference)
    assert [s.hypothesis for s in steps if s.hypothesis is not None] == bench_words(hypothesis)
    for step in steps:
        assert (
            step.kind
            == {
                (True, True, True): "hit",
                (True, True, False): "substitution",
                (True, False, False): "deletion",
                (False, True, False): "insertion",
            }[
                step.reference is not None,
                step.hypothesis is not None,
                step.reference == step.hypothesis,
            ]
        )
    kinds = Counter(step.kind for step in steps)
    counts = count_errors(reference, hypothesis)
    assert kinds["hit"] == counts.hits
    assert kinds["substitution"] == counts.substitutions
    assert kinds["deletion"] == counts.deletions
    assert kinds["insertion"] == counts.insertions


@settings(deadline=None)
@given(pairs=st.lists(st.tuples(WORDS.map(" ".join), WORDS.map(" ".join)), max_size=5))
def test_pooling_is_addition(pairs: list[tuple[str, str]]) -> None:
    counts = [count_errors(*pair) for pair in pairs]
    total = pooled(counts)
    assert total.errors == sum(c.errors for c in counts)
    assert total.reference_length == sum(c.reference_length for c in counts)
    assert total == pooled(reversed(counts))


@settings(deadline=None)
@given(text=st.text())
def test_words_hold_no_punctuation_and_normalising_twice_is_once(text: str) -> None:
    words = bench_words(text)
    assert not any(unicodedata.category(c).startswith("P") for word in words for c in word)
    assert all(word and not any(c.isspace() for c in word) for word in words)
    assert bench_words(" ".join(words)) == words
    assert count_errors(text, " ".join(words)).errors == 0
