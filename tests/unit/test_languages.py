"""Every usual name of a language means the same language."""

from __future__ import annotations

import pytest

from megaasr.errors import RecordError, UsageError
from megaasr.model.prompt import LANGUAGE_NAMES, language_name
from megaasr.records.fields import language_of
from megaasr.text.error_rate import count_errors
from megaasr.text.language_table import TABLE
from megaasr.text.languages import canonical_language, english_name, fold_name, is_named, unit
from megaasr.text.normalize import tokens
from megaasr.transcribe.options import DecodeOptions


@pytest.mark.parametrize(
    ("code", "names"),
    [
        (
            "zh",
            "zh ZH zho chi cmn cn Chinese CHINESE Mandarin zh-CN zh_TW zh-Hans-CN zh-cmn 中文",
        ),
        ("yue", "yue Cantonese zh-yue yue-HK 粤语 廣東話"),
        ("nan", "nan nan-tw zh-min-nan Hokkien"),
        ("en", "en eng English en_US en-GB en_US.UTF-8"),
        ("de", "de deu ger German Deutsch de-AT de_DE.UTF-8@euro"),
        ("fr", "fr fra fre French Français Francais fr-CA"),
        ("ja", "ja jpn jp Japanese 日本語 ja-JP"),
        ("fa", "fa fas per Persian Farsi فارسی"),
        ("fil", "fil tl tgl Filipino Tagalog"),
        ("he", "he heb iw Hebrew עברית"),
        ("id", "id ind in Indonesian"),
        ("ms", "ms msa may zsm Malay"),
        ("nl", "nl nld dut Dutch Flemish"),
        ("cs", "cs ces cze Czech čeština"),
        ("tr", "tr tur Turkish Türkçe Turkce"),
        ("uz", "uz uzb Uzbek O‘zbek Oʻzbek o'zbek"),
        ("tlh", "tlh tlh-Latn"),  # not in the table: still one language
    ],
)
def test_names_of_a_language(code: str, names: str) -> None:
    assert {canonical_language(name) for name in names.split()} == {code}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("English (United States)", "en"),
        ("Portuguese (Brazil)", "pt"),
        ("Chinese (Simplified)", "zh"),
        ("Chinese, Mandarin", "zh"),
        ("en,de", "en,de"),  # two languages are none
        ("English / German", "english / german"),
        ("  simplified   chinese ", "zh"),
        ("Norwegian Bokmål", "nb"),
        ("Haitian Creole", "ht"),
        ("Klingon", "klingon"),
    ],
)
def test_names_of_several_words(name: str, code: str) -> None:
    assert canonical_language(name) == code


@pytest.mark.parametrize(
    "name", [None, "", " ", "auto", "Auto", "unknown", "und", "None", "und-Latn"]
)
def test_what_stands_for_no_language(name: str | None) -> None:
    assert canonical_language(name) is None


def test_the_table_is_consistent() -> None:
    codes: dict[str, str] = {}
    names: dict[str, str] = {}
    for line in TABLE.strip().splitlines():
        left, _, right = line.partition(":")
        code = left.split()[0]
        for other in left.split():
            assert codes.setdefault(other, code) == code
            assert other.isascii()
            assert len(other) in {2, 3}
        for name in right.split(","):
            assert names.setdefault(fold_name(name), code) == code, name
            assert canonical_language(name) == code
        assert canonical_language(code) == code
        assert is_named(code)
    assert len(codes) > 400
    assert sum(len(code) == 2 for code in set(codes.values())) >= 180  # all of ISO 639-1


def test_the_languages_of_the_model_have_its_names() -> None:
    for code, name in LANGUAGE_NAMES.items():
        assert canonical_language(name) == code
        assert english_name(code) == name
        assert language_name(name.upper()) == name
    assert language_name("zho-Hans") == "Chinese"
    with pytest.raises(UsageError, match=r"does not know Ukrainian \(uk\); .* de \(German\), el"):
        language_name("Ukrainian")
    with pytest.raises(UsageError, match=r"unknown language 'Klingon'; .* de \(German\), el"):
        language_name("Klingon")


def test_equal_names_are_scored_equally() -> None:
    texts = ("今天天气很好 abc", "今天天气真好 abc")
    for normalizer in ("bench", "default"):
        expected = count_errors(*texts, language="zh", normalizer=normalizer)
        assert expected.errors == 1
        for name in ("Chinese", "cmn", "zh-Hant-TW", "中文"):
            assert count_errors(*texts, language=name, normalizer=normalizer) == expected
    assert unit("Japanese") == unit("tha") == "character"
    assert unit("German") == unit("klingon") == unit(None) == "word"


def test_unknown_languages_are_not_scored_as_english() -> None:
    for language in (None, "klingon", "Swahili"):
        assert tokens("twenty-five colours, don't", language, "default") == (
            *("twenty", "five", "colours", "don", "t"),
        )
    assert tokens("twenty-five colours, don't", "eng", "default") == ("25", "colors", "do", "not")
    # A language that nobody knows is written as its script is.
    assert len(tokens("你好吗", "zh", "default")) == 3
    assert count_errors("ສະບາຍດີ", "ສະບາຍດີ", language="klingon", normalizer="basic").hits == 7


def test_the_language_of_a_record() -> None:
    assert language_of({"language": "auto", "lang": "", "locale": "pt_BR"}) == "pt"
    assert language_of({"lang": "Deutsch"}) == "de"
    assert language_of({}) is None
    with pytest.raises(RecordError, match="language is 5, not the name of a language"):
        language_of({"language": 5})


def test_a_forced_language_may_have_any_name() -> None:
    assert DecodeOptions("Chinese") == DecodeOptions("zh-CN") == DecodeOptions("zh")
    assert DecodeOptions("auto") == DecodeOptions()
