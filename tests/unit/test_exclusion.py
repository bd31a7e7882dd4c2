"""Sentences that must not be trained on: hashes of their words, and what they match."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from megaasr.errors import RecordError
from megaasr.synthesize.sentences import normalize
from megaasr.text.exclusion import Exclusion, sentence_hash, sentence_hashes, write_hashes

CANOE = "The birch canoe slid on the smooth planks."


def test_the_hash_is_of_the_words_as_the_synthesiser_compares_them() -> None:
    text = '"It\'s  easy," she said: re-enter 2 words!'
    assert normalize(text) == "it's easy she said re enter words"
    assert sentence_hash(text) == hashlib.sha256(normalize(text).encode()).hexdigest()
    assert sentence_hash(CANOE) == sentence_hash("the birch canoe, slid on the SMOOTH planks")


def test_long_sentences_of_a_text_count_on_their_own() -> None:
    hashes = sentence_hashes(["Thank you. Please hold the line now.", "go on", "..."])
    assert hashes == {
        sentence_hash("thank you please hold the line now"),
        sentence_hash("please hold the line now"),
        sentence_hash("go on"),
    }


def test_what_matches(tmp_path: Path) -> None:
    path = tmp_path / "excluded.sha256"
    write_hashes(path, sentence_hashes([CANOE, "Five five", "It's easy to tell the depth"]))
    excluded = Exclusion.read(path)
    assert excluded.matches("the birch canoe slid on the smooth planks")
    assert excluded.matches("He read: the birch canoe slid on the smooth planks and on the grass.")
    assert excluded.matches("Look! The birch canoe slid on the smooth planks. It was blue.")
    assert excluded.matches("It’s easy to tell the depth")
    assert excluded.matches("five, five")
    assert not excluded.matches("Count: five five six")  # too short to be looked for inside
    assert not excluded.matches("The birch canoe slid on the smooth plank.")
    assert not excluded.matches("")


def test_files_are_the_same_for_the_same_set_and_join(tmp_path: Path) -> None:
    texts = ["one two three four", "a b c d", "this is the third text"]
    first, second = tmp_path / "first", tmp_path / "second"
    write_hashes(first, sentence_hashes(texts))
    write_hashes(second, [*sentence_hashes(reversed(texts)), sentence_hash(texts[0])])
    assert first.read_bytes() == second.read_bytes()
    write_hashes(second, [sentence_hash("of another list")])
    assert len(Exclusion.read(first, second).hashes) == 4


def test_a_line_that_is_no_hash_is_named(tmp_path: Path) -> None:
    path = tmp_path / "excluded.sha256"
    path.write_text(f"{sentence_hash('a')}\nthe birch canoe\n")
    with pytest.raises(RecordError, match=r"excluded\.sha256, line 2"):
        Exclusion.read(path)
