"""Word errors against a plain edit distance, and what must hold for any two texts."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megaasr.text.cycles import count_repeats, find_cycle
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


def plain_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """The textbook table of edit distances, one row at a time."""
    above = list(range(len(hypothesis) + 1))
    for i, reference_word in enumerate(reference, 1):
        row = [i]
        for j, word in enumerate(hypothesis, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (reference_word != word)))
        above = row
    return above[-1]


@settings(deadline=None)
@given(reference=TEXTS, hypothesis=TEXTS)
def test_counts_are_minimal_and_complete(reference: str, hypothesis: str) -> None:
    reference_tokens, hypothesis_tokens = bench_words(reference), bench_words(hypothesis)
    counts = count_errors(reference, hypothesis, normalizer="bench@1")
    assert counts.errors == plain_distance(reference_tokens, hypothesis_tokens)
    assert counts.hits + counts.substitutions + counts.deletions == len(reference_tokens)
    assert counts.hits + counts.substitutions + counts.insertions == len(hypothesis_tokens)
    assert min(counts.hits, counts.substitutions, counts.deletions, counts.insertions) >= 0
    assert counts.hits <= (Counter(reference_tokens) & Counter(hypothesis_tokens)).total()


@settings(deadline=None)
@given(first=TEXTS, second=TEXTS)
def test_swapping_the_texts_keeps_the_errors(first: str, second: str) -> None:
    # Minimal alignments may split the errors into kinds differently when the texts are swapped;
    # the number of errors and the difference in length may not change.
    forward, backward = count_errors(first, second), count_errors(second, first)
    assert forward.errors == backward.errors
    assert forward.deletions - forward.insertions == backward.insertions - backward.deletions


@settings(deadline=None)
@given(reference=TEXTS, hypothesis=TEXTS)
def test_the_alignment_is_what_was_counted(reference: str, hypothesis: str) -> None:
    steps = align(reference, hypothesis, normalizer="bench@1")
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
    counts = count_errors(reference, hypothesis, normalizer="bench@1")
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
    assert count_errors(text, " ".join(words), normalizer="bench@1").errors == 0


mixed = st.text(
    st.one_of(
        st.sampled_from(
            "今天天气很好のカ漢ab cdEFIİı,.!？。１２3 'ß’ʼ\u00ad\u200c\u200d\u2060\u0301\u0307"
        ),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)
languages = st.sampled_from(["en", "zh", "ja", "de", "th", "tr", None])
named = st.sampled_from(
    [
        f"{name}@{version}"
        for name in ("bench", "basic", "whisper-en", "zh", "default")
        for version in (1, 2)
    ]
)


@settings(max_examples=300, deadline=None)
@given(mixed, languages, st.sampled_from(["bench@1", "bench@2", "basic@1", "basic@2"]))
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
    reference_tokens, hypothesis_tokens = (
        tokens(reference, scored, normalizer),
        tokens(hypothesis, scored, normalizer),
    )
    assert tuple(s.reference for s in steps if s.reference is not None) == reference_tokens
    assert tuple(s.hypothesis for s in steps if s.hypothesis is not None) == hypothesis_tokens


few = st.lists(st.sampled_from("abcde"), max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(few, few), min_size=1, max_size=8))
def test_as_jiwer_counts(pairs: list[tuple[list[str], list[str]]]) -> None:
    jiwer = pytest.importorskip("jiwer")
    pairs = [
        (reference, hypothesis) for reference, hypothesis in pairs if reference
    ]  # jiwer refuses empty references
    ours = [count_token_errors(reference, hypothesis) for reference, hypothesis in pairs]
    for (reference, hypothesis), counts in zip(pairs, ours, strict=True):
        theirs = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
        assert (counts.hits, counts.substitutions, counts.deletions, counts.insertions) == (
            theirs.hits,
            theirs.substitutions,
            theirs.deletions,
            theirs.insertions,
        )


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from("ab"), max_size=40))
def test_a_cycle_is_one_and_none_is_longer(text: list[str]) -> None:
    cycle = find_cycle(text)
    if cycle is not None:
        phrase = list(cycle.phrase(text))
        assert text[cycle.start : cycle.start + cycle.length] == phrase * cycle.repeats
        assert count_repeats(phrase, text) >= cycle.repeats
    # By brute force: the longest run of tokens that repeats a phrase often enough.
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
    assert (cycle.length if cycle else 0) == longest


INVISIBLE = st.sampled_from("\u00ad\u200c\u200d\u2060\ufeff\u200e\u202c")
latest = st.sampled_from(["bench", "basic", "whisper-en", "zh", "default"])
spoken = st.text(
    st.one_of(
        st.sampled_from("今天好ガ한ab cdEFIıçéñßüकष'می .,!?12"),
        st.characters(categories=["L", "N", "Zs"], max_codepoint=0xFFFF),
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(spoken, languages, latest, st.lists(st.tuples(st.integers(0, 30), INVISIBLE), max_size=5))
def test_what_cannot_be_seen_changes_nothing(
    text: str, language: str | None, normalizer: str, inserted: list[tuple[int, str]]
) -> None:
    changed = text
    for position, character in inserted:
        changed = changed[:position] + character + changed[position:]
    assert tokens(changed, language, normalizer) == tokens(text, language, normalizer)


@settings(max_examples=300, deadline=None)
@given(spoken, languages, latest, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_the_form_of_letters_changes_nothing(
    text: str, language: str | None, normalizer: str, form: Any
) -> None:
    changed = unicodedata.normalize(form, text)
    assert tokens(changed, language, normalizer) == tokens(text, language, normalizer)


@settings(max_examples=200, deadline=None)
@given(spoken, languages, latest, st.sampled_from("’‘ʼʻ＇′`´"))
def test_every_apostrophe_is_an_apostrophe(
    text: str, language: str | None, normalizer: str, apostrophe: str
) -> None:
    changed = text.replace("'", apostrophe)
    assert tokens(changed, language, normalizer) == tokens(text, language, normalizer)
