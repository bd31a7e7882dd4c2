"""What becomes of a written sentence: words for numbers, marks, spelling, or nothing."""

from __future__ import annotations

import pytest

from megaasr.synthesize.open_text.cleaning import SentenceCleaner
from megaasr.synthesize.open_text.numbers import cardinal, clock, digits, ordinal, verbalize, year
from megaasr.synthesize.open_text.splitting import split_sentences
from megaasr.synthesize.open_text.wordlist import WordList, build_word_list, frequent_names

COMMON_WORDS = """
    a i the we you he she it they was is are in on at of and or so to for by over five fifty dollars
    percent house dog bark loudly not don't can't what time that's said called came home
    very good cafe well known mother-in-law mother law up more than people here name means book
    example two hundred nineteen oh eight seven thirty evening morning going want okay on after
    doctor mister missus saint senator and like really his did do know have run that"""
COMMON = frozenset(COMMON_WORDS.split())
WORDS = WordList(COMMON, frozenset(["london", "john", "smith", "monday", "american"]))
CLEANER = SentenceCleaner(WORDS)
CHAT = SentenceCleaner(WORDS, chat=True)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety-nine"),
        (100, "one hundred"),
        (342, "three hundred forty-two"),
        (1001, "one thousand one"),
        (20_000_000, "twenty million"),
        (1_000_000_007, "one billion seven"),
    ],
)
def test_a_cardinal_is_written_in_words(value: int, words: str) -> None:
    assert cardinal(value) == words


@pytest.mark.parametrize("value", [-1, 10**12])
def test_a_cardinal_out_of_range_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match=str(value)):
        cardinal(value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1, "first"),
        (12, "twelfth"),
        (20, "twentieth"),
        (21, "twenty-first"),
        (33, "thirty-third"),
        (100, "one hundredth"),
        (1008, "one thousand eighth"),
    ],
)
def test_an_ordinal_changes_the_last_word_alone(value: int, words: str) -> None:
    assert ordinal(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1905, "nineteen oh five"),
        (1900, "nineteen hundred"),
        (1987, "nineteen eighty-seven"),
        (2000, "two thousand"),
        (2007, "two thousand seven"),
        (2026, "twenty twenty-six"),
        (1066, "one thousand sixty-six"),
    ],
)
def test_a_year_is_read_in_two_halves(value: int, words: str) -> None:
    assert year(value) == words


def test_times_and_digits() -> None:
    assert clock(7, 0) == "seven o'clock"
    assert clock(7, 5) == "seven oh five"
    assert clock(12, 45) == "twelve forty-five"
    assert digits("0 4-7") == "zero four seven"


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("in 1998 we", "in nineteen ninety-eight we"),
        ("12 eggs", "twelve eggs"),
        ("1,250 men", "one thousand two hundred fifty men"),
        ("the 21st of May", "the twenty-first of May"),
        ("at 7:30.", "at seven thirty."),
        ("at 7:30 p.m.", "at seven thirty in the evening"),
        ("at 9 am", "at nine in the morning"),
        ("at 12:15pm", "at twelve fifteen in the afternoon"),
        ("the 1960s", "the nineteen sixties"),
        ("the '80s", "the eighties"),
        ("$5", "five dollars"),
        ("$1", "one dollar"),
        ("$3.50", "three dollars and fifty cents"),
        ("£2.5 million", "two point five million pounds"),
        ("50% of", "fifty percent of"),
        ("3.14 is", "three point one four is"),
        ("5-10 minutes", "five to ten minutes"),
        ("it costs 20.", "it costs twenty."),
    ],
)
def test_numbers_with_one_reading_become_words(written: str, spoken: str) -> None:
    assert verbalize(written) == spoken


@pytest.mark.parametrize(
    "written",
    ["555-1234", "3/4", "25:10", "version 1.2.3", "0815", "a4", "12345", "13 pm", "2st", "#3"],
)
def test_what_has_no_clear_reading_keeps_a_digit(written: str) -> None:
    assert any(character.isdecimal() for character in verbalize(written))


def test_sentences_end_at_marks_and_not_at_abbreviations() -> None:
    paragraph = """Mr. Smith met J. R. Brown at 5 p.m.
    on Monday. "Who is it?" he said. So it was I. Then, e.g. Dr. Hill came! And"""
    assert list(split_sentences(paragraph)) == [
        "Mr. Smith met J. R. Brown at 5 p.m. on Monday.",
        '"Who is it?" he said.',
        "So it was I.",
        "Then, e.g. Dr. Hill came!",
        "And",
    ]


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("the dog\u2019s bark \u2014 it was loudly!!", "The dog's bark, it was loudly!"),
        ("\u201cI can\u2019t,\u201d said John; he came home.", "I can't, said John, he came home."),
        (
            "On Monday Mr. Smith was at home and so was I.",
            "On Monday Mister Smith was at home and so was I.",
        ),
        ("It is a café, i.e. a house.", "It is a cafe, that is, a house."),
        ("He came home at 7:30 and said OK.", "He came home at seven thirty and said okay."),
        ("What time is it?!", "What time is it?"),
        ("It was so good...", "It was so good."),
        ("The well-known mother-in-law came.", "The well-known mother-in-law came."),
        ("He said that on Monday.", "He said that on Monday."),
    ],
)
def test_a_sentence_is_made_speakable(written: str, spoken: str) -> None:
    assert CLEANER.clean(written) == spoken


@pytest.mark.parametrize(
    "written",
    [
        "Good dog.",  # too short
        "the " * 31 + "dog.",  # too long
        "The dog came home",  # no end
        "The dgo came home.",  # not a word
        "He was in london.",  # a name without its capital
        "THE DOG came home.",
        "The dog (not his) came home.",
        "See http://example.com for the book.",
        "The book is in /home and so on.",
        "He came home. She was not here.",
        "Call 555-1234 and come home.",
        "The bitch came home.",
        "It was the the the dog.",
        "John Smith American Monday London house.",  # a list
        "Он was not here.",
        "Q: What time is it?",
        "The iDog was very good.",
    ],
)
def test_a_sentence_that_needs_guessing_is_dropped(written: str) -> None:
    assert CLEANER.clean(written) is None


@pytest.mark.parametrize(
    ("typed", "spoken"),
    [
        ("i dont know what time it is", "I don't know what time it is."),
        ("what time did you run home", "What time did you run home?"),
        ("what the dog did was good", "What the dog did was good."),
        ("haha thats very good :)", "That's very good."),
        ("he came to london on monday lol", "He came to London on Monday."),
        ("its really good", "It's really good."),
        ("i wanna run home", "I want to run home."),
    ],
)
def test_chat_is_mended(typed: str, spoken: str) -> None:
    assert CHAT.clean(typed) == spoken


def test_what_is_mended_in_chat_is_dropped_elsewhere() -> None:
    assert CLEANER.clean("he came to london.") is None
    assert CLEANER.clean("he came home") is None


def test_names_of_a_book_are_accepted_when_they_are_frequent() -> None:
    texts = ["So Bingley said."] * 3 + ["So Wickham said."] * 2 + ["London said London."] * 5
    names = frequent_names(texts, WORDS, min_count=3)
    assert names == {"bingley"}
    assert CLEANER.clean("He said that Bingley's dog came.") is None
    assert SentenceCleaner(WORDS, names).clean("He said that Bingley's dog came.") is not None


def test_scowls_lists_are_read_up_to_a_size() -> None:
    lists = {
        "english-words.35": b"house\nna\xefve\nq\n",
        "english-words.70": b"abseil\n",
        "english-upper.35": b"Monday\n",
        "english-proper-names.50": b"house\nDarcy\n",
        "english-contractions.35": b"don't\n",
        "english-abbreviations.10": b"kg\n",
    }
    words = build_word_list(lists, max_size=60)
    assert words.has_common("house")
    assert words.has_common("house's")
    assert words.has_common("don't")
    assert words.has_name("darcy")
    assert not words.has_name("house")  # right in lower case, too
    for missing in ("abseil", "kg", "q", "nave", "monday"):
        assert not words.has_common(missing), missing
