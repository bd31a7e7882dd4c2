"""Phonemes from espeak-ng, and the cache of those already known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from megaasr.errors import SynthesisError
from megaasr.synthesize import ipa
from megaasr.train.base.phonemes import phonemize

pytestmark = pytest.mark.skipif(
    shutil.which("espeak-ng") is None,
    reason="espeak-ng is not installed (apt-get install espeak-ng)",
)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "phonemes.json"


@pytest.fixture
def no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("text", "sounds"),
    [
        ("cat", "k a t"),
        ("Dog.", "d 0 g"),
        ("sheep", "S i: p"),
        ("thing", "T I N"),
        ("knight", "n aI t"),
        ("judge", "dZ V dZ"),
        ("twenty-five", "t w E n t i f aI v"),
    ],
)
def test_known_words(cache: Path, text: str, sounds: str) -> None:
    assert phonemize([text], cache) == [sounds.split()]


def test_case_and_punctuation_do_not_matter(cache: Path) -> None:
    # Only a question's or a clause's intonation would differ, which the symbols leave out.
    phonemes, *others = phonemize(
        ["We met at noon and left", "We met at noon and left.", "we met at Noon and left!"], cache
    )
    assert others == [phonemes, phonemes]
    assert not any(mark in symbol for symbol in phonemes for mark in "',%=#_ ")


def test_homophones_sound_alike_and_others_do_not(cache: Path) -> None:
    write, right, light = phonemize(["write", "right", "light"], cache)
    assert write == right != light


def test_order_and_duplicates_are_kept(cache: Path) -> None:
    texts = ["dog", "", "cat", "dog", "cat", "cat", ""]
    phonemes = phonemize(texts, cache)
    assert ["".join(row) for row in phonemes] == ["d0g", "", "kat", "d0g", "kat", "kat", ""]
    phonemes[0].append("x")
    assert "".join(phonemize(["dog"], cache)[0]) == "d0g"


@pytest.mark.parametrize("text", ["", "   ", "...", "123", "'"])
def test_a_text_without_letters_has_no_phonemes(cache: Path, text: str) -> None:
    assert phonemize([text], cache) == [[]]


def test_many_texts_keep_their_own_phonemes(cache: Path, tmp_path: Path) -> None:
    # More than one call of the program, with a text that it prints on two lines.
    names = ["anna", "ben", "clara", "david", "emma", "fred", "greta", "henry"]
    texts = [f"{a} saw {b}, {c}" for a in names for b in names for c in names][:430]
    texts[415] = " ".join(["she went to the house of the old man and"] * 20)
    together = phonemize(texts, cache)
    for number in (0, 1, 229, 414, 415, 416, 429):
        alone = phonemize([texts[number]], tmp_path / f"{number}.json")
        assert together[number] == alone[0], texts[number]


def test_a_long_text_next_to_one_without_letters(cache: Path) -> None:
    # Once the two lines of the first were given to the two texts.
    long = " ".join(["she went to the house of the old man and"] * 20)
    phonemes = phonemize([long, "123", "cat"], cache)
    assert [len(row) for row in phonemes] == [520, 0, 3]


def test_known_texts_need_no_program(cache: Path, request: pytest.FixtureRequest) -> None:
    first = phonemize(["cat", "dog"], cache)
    before = cache.stat()
    request.getfixturevalue("no_programs")
    assert phonemize(["dog", "", "cat"], cache) == [first[1], [], first[0]]
    after = cache.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_cache_is_used_extended_and_replaced(cache: Path) -> None:
    cache.write_text(json.dumps({"cat": ["m", "j", "aU"], "old": ["x"]}))
    with cache.open() as reader:  # as another process would, in the middle of its work
        assert phonemize(["dog", "cat"], cache) == [["d", "0", "g"], ["m", "j", "aU"]]
        assert json.load(reader) == {"cat": ["m", "j", "aU"], "old": ["x"]}
    assert json.loads(cache.read_text()) == {
        "cat": ["m", "j", "aU"],
        "old": ["x"],
        "dog": ["d", "0", "g"],
    }
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


@pytest.mark.usefixtures("no_programs")
def test_a_missing_program_is_named_with_the_command_that_installs_it(cache: Path) -> None:
    cache.write_text('{"cat": ["k", "a", "t"]}')
    with pytest.raises(SynthesisError, match=r"espeak-ng is not installed.*apt-get install"):
        phonemize(["cat", "dog"], cache)
    assert cache.read_text() == '{"cat": ["k", "a", "t"]}'


def test_a_failing_program_is_an_error(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Silently empty phonemes would be cached, and training would go on without them.
    monkeypatch.setenv("ESPEAK_DATA_PATH", str(tmp_path))
    with pytest.raises(SynthesisError, match=r"espeak-ng failed on 2 texts: .*phontab"):
        phonemize(["cat", "dog"], cache)
    assert not cache.exists()


def test_a_program_that_hangs_is_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipa, "_TIMEOUT_S", 0.0005)
    with pytest.raises(SynthesisError, match=r"more than 0\.0005 s for 1 texts"):
        phonemize(["cat"], cache)
    assert not cache.exists()
