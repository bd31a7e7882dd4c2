"""Word errors against a plain edit distance, and what must hold for any two texts."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megaasr.text.cycles import find_cycle, repeats_of
from megaasr.text.error_rate import (
    ErrorCounts,
    align,
    count_errors,
    count_token_errors,
    pooled,
)
from megaasr.text.failures import find_failures
from megaasr.text.languages import unit
from megaasr.text.normalize import bench_words, scored_language, tokens

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


mixed = st.text(
    st.one_of(
        st.sampled_from("今天天气很好のカ漢ab cdEF,.!？。１２3 'ß"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)
languages = st.sampled_from(["en", "zh", "ja", "de", "th", None])
named = st.sampled_from(["bench", "basic", "whisper-en", "zh", "default"])


@settings(max_examples=300, deadline=None)
@given(mixed, languages, st.sampled_from(["bench", "basic"]))
def test_normalising_again_changes_nothing(
    text: str, language: str | None, normalizer: str
) -> None:
    once = tokens(text, language, normalizer)
    between = " " if unit(language) == "word" else ""
    assert tokens(between.join(once), language, normalizer) == once


@settings(max_examples=200, deadline=None)
@given(mixed, languages, named)
def test_a_text_has_no_errors_against_itself(
    text: str, language: str | None, normalizer: str
) -> None:
    counts = count_errors(text, text, language=language, normalizer=normalizer)
    assert counts.errors == 0
    assert find_failures(text, text, language=language, normalizer=normalizer) == ()


@settings(max_examples=300, deadline=None)
@given(mixed, mixed, languages, named)
def test_the_alignment_is_the_counts_and_replays(
    reference: str, hypothesis: str, language: str | None, normalizer: str
) -> None:
    options = {"language": language, "normalizer": normalizer}
    counts = count_errors(reference, hypothesis, **options)  # type: ignore[arg-type]
    steps = align(reference, hypothesis, **options)  # type: ignore[arg-type]
    kinds = [step.kind for step in steps]
    assert counts == ErrorCounts(
        kinds.count("hit"),
        kinds.count("substitution"),
        kinds.count("deletion"),
        kinds.count("insertion"),
    )
    scored = scored_language(language, reference, normalizer)
    said, heard = tokens(reference, scored, normalizer), tokens(hypothesis, scored, normalizer)
    assert tuple(s.reference for s in steps if s.reference is not None) == said
    assert tuple(s.hypothesis for s in steps if s.hypothesis is not None) == heard


few = st.lists(st.sampled_from("abcde"), max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(few, few), min_size=1, max_size=8))
def test_as_jiwer_counts(pairs: list[tuple[list[str], list[str]]]) -> None:
    jiwer = pytest.importorskip("jiwer")
    pairs = [(said, heard) for said, heard in pairs if said]  # jiwer refuses empty references
    ours = [count_token_errors(said, heard) for said, heard in pairs]
    for (said, heard), counts in zip(pairs, ours, strict=True):
        theirs = jiwer.process_words(" ".join(said), " ".join(heard))
        assert (counts.hits, counts.substitutions, counts.deletions, counts.insertions) == (
            theirs.hits,
            theirs.substitutions,
            theirs.deletions,
            theirs.insertions,
        )


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from("ab"), max_size=40))
def test_a_cycle_is_one_and_none_is_longer(text: list[str]) -> None:
    found = find_cycle(text)
    if found is not None:
        phrase = list(found.phrase(text))
        assert text[found.start : found.start + found.length] == phrase * found.repeats
        assert repeats_of(phrase, text) >= found.repeats
    # By brute force: the longest stretch that is a phrase often enough in a row.
    longest = max(
        (
            period * repeats
            for period in range(1, len(text) // 3 + 1)
            for start in range(len(text))
            for repeats in range(3, len(text) // period + 1)
            if repeats >= (5 if period == 1 else 4 if period <= 3 else 3)
            and text[start : start + period * repeats] == text[start : start + period] * repeats
        ),
        default=0,
    )
    assert (found.length if found else 0) == longest
