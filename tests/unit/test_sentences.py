"""The generator of training sentences: shape, variety, agreement and reproducibility."""

import re
from collections import Counter
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megaasr.synthesize import grammar, sentences
from megaasr.synthesize.sentences import generate_sentence, generate_sentences, normalize

ALPHABET = re.compile(r"[A-Za-z'\- ,.?!]+")


@pytest.fixture(scope="module")
def many() -> list[str]:
    return generate_sentences(30_000, seed=11)


def handwritten() -> list[str]:
    folder = files("megaasr.synthesize") / "data"
    return (folder / "handwritten.txt").read_text("utf-8").splitlines()


def test_sentences_have_three_to_twenty_words(many: list[str]) -> None:
    lengths = Counter(len(normalize(text).split()) for text in many)
    assert set(lengths) == set(range(3, 21))
    assert 8 <= sum(n * count for n, count in lengths.items()) / len(many) <= 10


def test_alphabet_capital_and_final_mark(many: list[str]) -> None:
    for text in many:
        assert ALPHABET.fullmatch(text), text
        assert text[0].isupper(), text
        assert text[-1] in ".?!", text
        assert not re.search(r"  | [,.?!]|[,.?!]{2}|,\S", text), text


def test_sentences_are_distinct(many: list[str]) -> None:
    assert len({normalize(text) for text in many}) == len(many)


def test_vocabulary_is_large_and_declared(many: list[str]) -> None:
    emitted = {word for text in many for word in normalize(text).split()}
    assert len(emitted) >= 2_500
    assert emitted <= sentences.vocabulary()


def test_most_word_forms_are_seen_several_times(many: list[str]) -> None:
    counts = Counter(word for text in many for word in normalize(text).split())
    assert sum(count < 5 for count in counts.values()) < 0.05 * len(counts)


def test_article_fits_the_next_word(many: list[str]) -> None:
    for text in many:
        assert not re.search(r"\b[Aa] (?:[aeio]|un(?!i))", text), text
        assert not re.search(r"\b[Aa]n (?:uni|use)", text), text


def test_every_sentence_type_appears() -> None:
    rng = np.random.default_rng(3)
    seen = {sentences.generate_typed(rng).kind for _ in range(5_000)}
    assert seen == set(sentences.sentence_types())
    assert len(seen) >= 40


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 40), more=st.integers(0, 40))
def test_same_seed_same_list_and_shorter_is_prefix(seed: int, count: int, more: int) -> None:
    longer = generate_sentences(count + more, seed)
    assert generate_sentences(count, seed) == longer[:count]


def test_another_seed_gives_other_sentences() -> None:
    assert generate_sentences(20, seed=1) != generate_sentences(20, seed=2)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_one_sentence_for_any_seed(seed: int) -> None:
    text = generate_sentence(np.random.default_rng(seed))
    assert 3 <= len(normalize(text).split()) <= 20
    assert text == generate_sentence(np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        ("carry", "carry carries carried carried carrying"),
        ("stop", "stop stops stopped stopped stopping"),
        ("choose", "choose chooses chose chosen choosing"),
        ("pick_up", "pick_up picks_up picked_up picked_up picking_up"),
        ("lie_down", "lie_down lies_down lay_down lain_down lying_down"),
        ("watch", "watch watches watched watched watching"),
        ("go", "go goes went gone going"),
    ],
)
def test_verb_forms(verb: str, forms: str) -> None:
    assert [grammar.inflect(verb, form) for form in grammar.VERB_FORMS] == forms.split()


def test_noun_and_adjective_forms() -> None:
    nouns = ["city", "box", "knife", "hot_dog", "toothbrush", "monkey", "child"]
    plurals = ["cities", "boxes", "knives", "hot_dogs", "toothbrushes", "monkeys", "children"]
    assert [grammar.plural(noun) for noun in nouns] == plurals
    assert [grammar.grade(word, "er") for word in ("easy", "large", "big")] == [
        "easier",
        "larger",
        "bigger",
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "zero"),
        (21, "twenty-one"),
        (210, "two hundred and ten"),
        (4000, "four thousand"),
        (8_315, "eight thousand three hundred and fifteen"),
    ],
)
def test_numbers_in_words(value: int, words: str) -> None:
    assert grammar.number(value) == words


def test_ordinals_and_years_in_words() -> None:
    assert [grammar.ordinal(n) for n in (1, 12, 20, 23)] == [
        "first",
        "twelfth",
        "twentieth",
        "twenty-third",
    ]
    years = [grammar.year(n) for n in (1900, 1905, 1984, 2003, 2024)]
    assert years == [
        "nineteen hundred",
        "nineteen oh five",
        "nineteen eighty-four",
        "two thousand and three",
        "twenty twenty-four",
    ]


def test_handwritten_sentences_are_outside_the_grammar(many: list[str]) -> None:
    lines = handwritten()
    assert len({normalize(line) for line in lines}) == len(lines) >= 100
    assert not {normalize(line) for line in lines} & {normalize(text) for text in many}
    for line in lines:
        assert ALPHABET.fullmatch(line), line
        assert line[0].isupper(), line
        assert line[-1] in ".?!", line
        assert 4 <= len(normalize(line).split()) <= 18, line
