"""Known cases of every normaliser."""

from __future__ import annotations

import sys

import pytest

from megaasr.errors import UsageError
from megaasr.text.languages import guess_unspaced, unit
from megaasr.text.normalize import (
    normalizer_names,
    normalizer_version,
    scored_language,
    tokens,
    versioned,
)


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Hello, World!", "en", "hello|world"),
        ("今天，天气很好。", "zh", "今|天|天|气|很|好"),
        ("打开 WiFi，１２", "zh", "打|开|W|i|F|i|1|2"),
        ("你好，世界", None, "你好|世界"),
        ("สวัสดี", "th", "ส|ว|ั|ส|ด|ี"),
        ("", "zh", ""),
    ],
)
def test_bench(text: str, language: str | None, expected: str) -> None:
    assert "|".join(tokens(text, language, "bench")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I won't pay $20 for twenty-five colours.", "i|will|not|pay|$20|for|25|colors"),
        ("Mr. Smith, um, said: [laughs] it's fine", "mister|smith|said|it|is|fine"),
        ("the third of may, 1999", "the|3rd|of|may|1999"),
        ("", ""),
    ],
)
def test_whisper_en(text: str, expected: str) -> None:
    assert "|".join(tokens(text, "en", "whisper-en")) == expected
    assert tokens(text, "en", "default") == tokens(text, "en", "whisper-en")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("他今年18岁。", "他|今|年|十|八|岁"),
        ("他今年十八岁", "他|今|年|十|八|岁"),
        ("价格是１２３元！", "价|格|是|一|百|二|十|三|元"),
        ("打开 WiFi，播放 ABBA 的歌", "打|开|wifi|播|放|abba|的|歌"),
        ("打开WiFi", "打|开|wifi"),
        ("30%的人", "百|分|之|三|十|的|人"),
        ("カタカナ と 漢字", "カ|タ|カ|ナ|と|漢|字"),
        ("", ""),
    ],
)
def test_zh(text: str, expected: str) -> None:
    assert "|".join(tokens(text, "zh", "zh")) == expected
    assert tokens(text, "yue", "default") == tokens(text, "zh", "zh")


def test_numbers_that_cannot_be_read_out_stay() -> None:
    long = "9" * 60
    assert "".join(tokens(f"号码{long}", "zh", "zh")).startswith("号码")
    assert tokens("2月31日", "zh", "zh")


def test_zh_simplified() -> None:
    pytest.importorskip("opencc")
    assert "".join(tokens("漢語說話", "zh", "zh-simplified")) == "汉语说话"


def test_zh_simplified_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from megaasr.text import normalize

    monkeypatch.setitem(sys.modules, "opencc", None)
    normalize._simplifier.cache_clear()
    with pytest.raises(UsageError, match=r"megaasr\[score\]"):
        tokens("別的文字", "zh", "zh-simplified")


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Straße; ÄRGER – ça va?", "de", "strasse|ärger|ça|va"),
        ("ﬁne ½", "fr", "fine|1|2"),
        ("5 € + $3", "es", "5|3"),
        ("東京に行く。", "ja", "東|京|に|行|く"),
    ],
)
def test_basic(text: str, language: str, expected: str) -> None:
    assert "|".join(tokens(text, language, "basic")) == expected
    assert tokens(text, language, "default") == tokens(text, language, "basic")


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", "word"),
        ("zh", "character"),
        ("zh-CN", "character"),
        ("zh_Hant", "character"),
        ("yue", "character"),
        ("ko", "word"),
        ("th", "character"),
        (None, "word"),
    ],
)
def test_unit(language: str | None, expected: str) -> None:
    assert unit(language) == expected


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("今天天气很好", "zh"),
        ("东京に行く", "ja"),
        ("打开 WiFi", None),  # more Latin letters than Chinese ones
        ("请打开我的 WiFi", "zh"),
        ("สวัสดีครับ", "th"),
        ("hello", None),
        ("", None),
        ("123", None),
    ],
)
def test_what_a_text_is_taken_for(text: str, language: str | None) -> None:
    assert guess_unspaced(text) == language
    assert scored_language(None, text, "default") == language
    assert scored_language(None, text, "bench") is None
    assert scored_language("en", text, "default") == "en"


def test_names_and_versions() -> None:
    assert {name: normalizer_version(name) for name in normalizer_names()} == {
        "bench": 2,
        "default": 2,
        "whisper-en": 2,
        "zh": 2,
        "zh-simplified": 2,
        "basic": 2,
    }
    with pytest.raises(UsageError, match="unknown normaliser huge; choose one of bench"):
        tokens("a", "en", "huge")


ALIKE = [
    ("don’t stop", "don't stop"),
    ("donʼt stop", "don't stop"),
    ("don＇t stop", "don't stop"),
    ("don´t stop", "don't stop"),
    ("co\u00adoperate", "cooperate"),
    ("می\u200cخواهم", "میخواهم"),
    ("क्\u200dष", "क्ष"),
    ("word\u2060joiner", "wordjoiner"),
    ("\ufeffhello", "hello"),
    ("left\u200eright", "leftright"),
    ("cafe\u0301", "café"),
    ("ｈｅｌｌｏ", "hello"),
    ("ﬁne", "fine"),
    ("İstanbul", "istanbul"),
    ("I\u0307stanbul", "istanbul"),
    ("i\u0307stanbul", "istanbul"),
    ("❤\ufe0f love", "❤ love"),
    ("ｶﾞ", "ガ"),
    ("한", "\u1112\u1161\u11ab"),
]


@pytest.mark.parametrize("name", ["bench", "default", "whisper-en", "zh", "basic"])
@pytest.mark.parametrize(("first", "second"), ALIKE)
def test_what_looks_or_sounds_alike_is_equal(name: str, first: str, second: str) -> None:
    for language in ("en", "fa", "tr", "zh", None):
        made_equal = tokens(first, language, name), tokens(second, language, name)
        if not (name == "bench" and language == "zh" and "İ" in first):  # its case counts
            assert made_equal[0] == made_equal[1], language


def test_turkish_letters() -> None:
    for name in ("bench", "default"):
        assert tokens("ISPARTA İZMİR", "tr", name) == ("ısparta", "izmir")
        assert tokens("ISPARTA", "az", name) == tokens("ısparta", "Azerbaijani", name)
        assert tokens("ISPARTA", "de", name) == ("isparta",)
        assert tokens("kız", "tr", name) != tokens("kiz", "tr", name)


@pytest.mark.parametrize(
    ("name", "text", "language", "expected"),
    [
        ("bench", "donʼt Ｈi co\u00adop", "en", "donʼt|ｈi|co\u00adop"),
        ("basic", "می\u200cخواهم", "fa", "می|خواهم"),
        ("whisper-en", "don’t", "en", "don|t"),
        ("zh", "打\u200d开 co\u00adop", "zh", "打|开|co|op"),
        ("default", "İzmir", "tr", "i\u0307zmir"),
    ],
)
def test_version_1_is_as_it_was(name: str, text: str, language: str, expected: str) -> None:
    assert "|".join(tokens(text, language, f"{name}@1")) == expected
    assert tokens(text, language, name) == tokens(text, language, f"{name}@2")
    assert tokens(text, language, f"{name}@2") != tokens(text, language, f"{name}@1")


def test_versions_are_selected_by_name() -> None:
    assert normalizer_version("bench@1") == 1
    assert versioned("bench") == "bench@2"
    assert versioned("bench", 1) == versioned("bench@1") == "bench@1"
    for name in ("bench@3", "bench@0", "bench@", "bench@x"):
        with pytest.raises(UsageError, match="choose one of bench@1, bench@2"):
            tokens("a", "en", name)
    with pytest.raises(UsageError, match="unknown normaliser huge@1"):
        versioned("huge@1")


def test_grades_and_rewards_state_their_normaliser() -> None:
    from megaasr.grade.bands import NORMALIZER
    from megaasr.text.dg_reward import DEFAULT_REWARD

    assert NORMALIZER == "bench@2"
    assert DEFAULT_REWARD.normalizer == "bench@2"
