"""What must hold for every number, and for whatever text a package may hold."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megaasr.synthesize.open_text.cleaning import SentenceCleaner
from megaasr.synthesize.open_text.exclusion import ExcludedTexts
from megaasr.synthesize.open_text.numbers import MAX_CARDINAL, cardinal, ordinal, verbalize, year
from megaasr.synthesize.open_text.splitting import split_sentences
from megaasr.synthesize.open_text.templates import generate_from_templates, lexicon_names
from megaasr.synthesize.open_text.wordlist import WordList

UNITS = {
    word: value
    for value, word in enumerate(
        [
            *["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
            *["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"],
            *["seventeen", "eighteen", "nineteen"],
        ]
    )
}
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
UNITS |= {word: 10 * value for value, word in enumerate(TENS, start=2)}
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
VOCABULARY = [
    "the",
    "dog",
    "ran",
    "home",
    "london",
    "John",
    "12",
    "at",
    "7:30",
    "--",
    '"',
    ":)",
    "$5",
]
CLEANER = SentenceCleaner(
    WordList(frozenset(VOCABULARY[:4]) | {"at", *UNITS, "dollars"}, frozenset(["london", "john"]))
)
SPEAKABLE = re.compile(r"[A-Z](?:[A-Za-z',-]| (?! ))*[.?!]")


def value_of(words: str) -> int:
    """Read a cardinal back, the other way round than it was written."""
    total, group = 0, 0
    for word in re.split(r"[ -]", words):
        if word in SCALES:
            total, group = total + group * SCALES[word], 0
        elif word == "hundred":
            group *= 100
        else:
            group += UNITS[word]
    return total + group


@given(st.integers(0, MAX_CARDINAL))
def test_a_cardinal_can_be_read_back(value: int) -> None:
    assert value_of(cardinal(value)) == value


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_ordinals_differ_as_their_numbers_do(first: int, second: int) -> None:
    assert (ordinal(first) == ordinal(second)) == (first == second)


def test_every_year_has_a_reading_of_its_own() -> None:
    readings = [year(value) for value in range(1000, 2100)]
    assert len(set(readings)) == len(readings)


@given(st.integers(0, 999))
def test_small_numbers_in_text_become_their_words(value: int) -> None:
    assert verbalize(f"about {value} of them") == f"about {cardinal(value)} of them"


@given(st.text(alphabet="0123456789:.,$%-/ apm'stnd", max_size=25))
def test_no_text_breaks_the_verbalisation(text: str) -> None:
    assert verbalize(verbalize(text)) == verbalize(text) or any(c.isdigit() for c in text)


@given(st.text(max_size=200))
def test_splitting_loses_nothing_but_blanks(text: str) -> None:
    joined = "".join(split_sentences(text))
    assert "".join(joined.split()) == "".join(text.split())


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(VOCABULARY), max_size=34),
    st.sampled_from(["", ".", "?!", "...", '."', "!"]),
)
def test_what_is_cleaned_can_be_spoken_and_stays_as_it_is(words: list[str], end: str) -> None:
    text = CLEANER.clean(" ".join(words) + end)
    if text is not None:
        assert SPEAKABLE.fullmatch(text), text
        assert 3 <= len(text.split()) <= 30
        assert CLEANER.clean(text) == text


@given(st.text(max_size=80))
def test_no_text_breaks_the_cleaning(text: str) -> None:
    cleaned = CLEANER.clean(text)
    assert cleaned is None or SPEAKABLE.fullmatch(cleaned)


RUNS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=12)


@given(RUNS, RUNS)
def test_exclusion_is_by_equal_texts_or_runs_of_six(sentence: list[str], text: list[str]) -> None:
    joined = f" {' '.join(sentence)} "
    runs = [f" {' '.join(text[start : start + 6])} " for start in range(len(text) - 5)]
    expected = sentence == text or any(run in joined for run in runs)
    assert ExcludedTexts([" ".join(text)]).excludes(" ".join(sentence)) == expected


@pytest.mark.parametrize("seed", [1, 2])
def test_templates_give_sentences_that_cleaning_would_not_change(seed: int) -> None:
    sentences = list(itertools.islice(generate_from_templates(seed), 3000))
    words = {word for s in sentences for word in re.findall(r"[a-z']+", s.text.lower())}
    cleaner = SentenceCleaner(WordList(frozenset(words), frozenset()), lexicon_names())
    changed = [s.text for s in sentences if cleaner.clean(s.text) not in (s.text, None)]
    kept = [s.text for s in sentences if cleaner.clean(s.text) == s.text]
    assert not changed
    assert len(kept) > 2900
