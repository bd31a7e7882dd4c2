"""Known cases of normalisation and of the word errors between two texts."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from megaasr.text.error_rate import AlignedWord, ErrorCounts, align, count_errors, pooled
from megaasr.text.normalize import bench_words


def test_every_punctuation_character_separates_words() -> None:
    marks = [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)).startswith("P")
    ]
    assert len(marks) > 800
    assert [mark for mark in marks if bench_words(f"a{mark}b") != ["a", "b"]] == []
    assert bench_words("".join(marks)) == []


def test_no_other_character_separates_words_but_white_space() -> None:
    # All of the scripts of Latin, Greek, Arabic, Indic, ...; symbols such as $ + < | stay too.
    for code in range(0x3000):
        character = chr(code)
        if not unicodedata.category(character).startswith("P"):
            expected = 2 if character.isspace() else 1
            assert len(bench_words(f"a{character}b")) == expected, hex(code)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n ", []),
        ("... !?", []),
        ("Hello,world", ["hello", "world"]),
        ("twenty-five", ["twenty", "five"]),
        ("well\u2014then\u2013so\u2010on", ["well", "then", "so", "on"]),
        ("don't o\u2019clock 'tis", ["don", "t", "o", "clock", "tis"]),
        ("snake_case U.S.A. 3.5%", ["snake", "case", "u", "s", "a", "3", "5"]),
        ("$5 + 3<4", ["$5", "+", "3<4"]),
        ("ÄRGER Straße ΣΟΦΌΣ", ["ärger", "straße", "σοφός"]),
        ("你好，世界。", ["你好", "世界"]),
        ("a\u00a0b\u3000c", ["a", "b", "c"]),
    ],
)
def test_bench_words(text: str, words: list[str]) -> None:
    assert bench_words(text) == words


@pytest.mark.parametrize(
    ("reference", "hypothesis", "counts", "rate"),
    [
        ("", "", (0, 0, 0, 0), 0.0),
        ("", "one two three", (0, 0, 0, 3), 3.0),
        ("one two three", "", (0, 0, 3, 0), 1.0),
        ("One, two; three!", "one TWO three", (3, 0, 0, 0), 0.0),
        ("the cat sat", "the bat sat", (2, 1, 0, 0), 1 / 3),
        ("the cat sat", "the cat", (2, 0, 1, 0), 1 / 3),
        ("the cat sat", "the the cat sat", (3, 0, 0, 1), 1 / 3),
        ("a b c d", "b c d e", (3, 0, 1, 1), 0.5),
        ("yes", "no no no", (0, 1, 0, 2), 3.0),
        ("twenty-five", "twenty five", (2, 0, 0, 0), 0.0),
        ("...", "hm", (0, 0, 0, 1), 1.0),
    ],
)
def test_known_counts(
    reference: str, hypothesis: str, counts: tuple[int, int, int, int], rate: float
) -> None:
    counted = count_errors(reference, hypothesis)
    assert (counted.hits, counted.substitutions, counted.deletions, counted.insertions) == counts
    assert counted.errors == sum(counts[1:])
    assert counted.reference_length == sum(counts[:3])
    assert counted.rate == pytest.approx(rate)


def test_counts_of_clips_add_up_to_the_corpus() -> None:
    first = count_errors("a b c d", "a x c")
    second = count_errors("e", "f g")
    total = first + second
    assert total == ErrorCounts(hits=2, substitutions=2, deletions=1, insertions=1)
    assert total.rate == pytest.approx(4 / 5)  # pooled words, not the mean of two rates
    assert pooled(iter([first, second])) == total
    assert pooled([]) == ErrorCounts()
    assert pooled([]).rate == 0.0


def test_alignment_in_order() -> None:
    assert align("The cat sat down.", "A cat, sat right down") == [
        AlignedWord("substitution", "the", "a"),
        AlignedWord("hit", "cat", "cat"),
        AlignedWord("hit", "sat", "sat"),
        AlignedWord("insertion", None, "right"),
        AlignedWord("hit", "down", "down"),
    ]
    assert align("gone now", "") == [
        AlignedWord("deletion", "gone", None),
        AlignedWord("deletion", "now", None),
    ]
    assert align("", "") == []
