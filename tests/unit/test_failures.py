"""Failures on made-up and real-looking outputs, English and Chinese."""

from __future__ import annotations

import pytest

from megaasr.text.cycles import Cycle, count_repeats, find_cycle, find_letter_cycle
from megaasr.text.failures import Failure, FailureKind, FailureThresholds, find_failures

REFERENCE = "we met at the station and then walked along the river to my mother's house for dinner"


def kinds(reference: str, hypothesis: str, **options: object) -> list[str]:
    return [failure.kind.value for failure in find_failures(reference, hypothesis, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hypothesis", "expected"),
    [
        (REFERENCE, []),
        (REFERENCE.upper() + "!", []),
        ("", ["empty"]),
        (" ... ", ["empty"]),
        ("we met at the station and then walked along a river to his mother house for dinner", []),
        ("we met at the station", ["omission"]),
        (REFERENCE + " thank you for watching please subscribe", ["hallucination"]),
        (REFERENCE + " thank you", []),
        ("thanks for watching see you next time", ["hallucination", "omission"]),
        (f"{REFERENCE} {'and then ' * 30}", ["hallucination", "repetition"]),
        ("we met at " + "the " * 40, ["hallucination", "repetition"]),
    ],
)
def test_english(hypothesis: str, expected: list[str]) -> None:
    assert kinds(REFERENCE, hypothesis, language="en") == expected


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("今天天气很好我们去公园吧", "今天天气很好，我们去公园吧。", []),
        ("今天天气很好我们去公园吧", "", ["empty"]),
        ("今天天气很好我们去公园吧", "今天", ["omission"]),
        ("今天天气很好", "今天天气很好" + "谢谢大家收看我们下期再见", ["hallucination"]),
        ("今天天气很好", "今天" + "天气" * 9, ["hallucination", "repetition"]),
        ("谢谢谢谢", "谢谢谢谢", []),
        ("今天天气很好我们去公园吧", "请不吝点赞订阅转发打赏支持", ["hallucination"]),
    ],
)
def test_chinese(reference: str, hypothesis: str, expected: list[str]) -> None:
    assert kinds(reference, hypothesis, language="zh") == expected


def test_any_word_where_nobody_speaks() -> None:
    assert kinds("", "thank you") == ["hallucination"]
    assert kinds("", "") == []
    assert kinds("...", "you") == ["hallucination"]


def test_truncated_is_told() -> None:
    assert kinds("one two", "one two", truncated=True) == ["truncated"]
    assert kinds("one two", "", truncated=True) == ["empty", "truncated"]


@pytest.mark.parametrize(
    "text",
    [
        "no no no",
        "no no no no I said",
        "very very very good",
        "ha ha ha",
        "one by one and two by two and three by three",
        "it was a long long time ago",
        "knock knock knock knock",
        "I know I know I know",
        "bye bye bye bye",
    ],
)
def test_people_repeat_themselves(text: str) -> None:
    assert find_cycle(text.split()) is None
    assert "repetition" not in kinds("something else was said here", text)


@pytest.mark.parametrize(
    ("text", "cycle"),
    [
        ("the the the the the", Cycle(0, 1, 5)),
        ("so I see you I see you I see you I see you", Cycle(1, 3, 4)),
        ("a b c d e f g h " * 3, Cycle(0, 8, 3)),
        ("x " + "a b c d " * 4 + "a b", Cycle(1, 4, 4)),
        ("a b " * 10 + "c " * 6, Cycle(0, 2, 10)),
    ],
)
def test_loops(text: str, cycle: Cycle) -> None:
    assert find_cycle(text.split()) == cycle
    assert find_failures("a different sentence", text)[-1].kind is FailureKind.REPETITION


def test_what_was_really_said_often_is_no_loop() -> None:
    chant = "go go go go go go go"
    assert kinds(chant, chant) == []
    assert kinds(chant, chant + " go") == []
    assert kinds(chant, "go " * 40) == ["hallucination", "repetition"]
    assert count_repeats(("go",), ["we", "go", "go", "go", "and", "go"]) == 3


@pytest.mark.parametrize(
    ("token", "has_cycle"),
    [
        ("hahahahahahahahaha", True),
        ("aaaaaaaaaaaa", True),
        ("hmmmm", False),
        ("mississippi", False),
        ("hahaha", False),
        ("", False),
    ],
)
def test_letters_in_a_word(token: str, has_cycle: bool) -> None:
    assert (find_letter_cycle(token) is not None) is has_cycle


def test_letters_count_unless_they_were_said() -> None:
    laugh = "ha" * 9
    assert "repetition" in kinds("that was fun", f"that was {laugh}")
    assert kinds(f"that was {laugh}", f"that was {laugh}") == []


def test_values_and_thresholds_are_told() -> None:
    (omission,) = find_failures("a b c d e f g h", "a b h")
    assert omission == Failure(FailureKind.OMISSION, 5, 5)
    (hallucination,) = find_failures("a b c d e", "v w x y z")
    assert hallucination == Failure(FailureKind.HALLUCINATION, 0.0, 0.1)


def test_thresholds_can_be_changed() -> None:
    strict = FailureThresholds(run_words=2)
    assert kinds("a b c d e", "a b e", thresholds=strict) == ["omission"]
    assert kinds("a b c d e", "a b e") == []
    assert kinds("a b c", "x y z") == []  # too short to say that nothing is in common
    assert kinds("a b c", "x y z", thresholds=FailureThresholds(common_least=3)) == [
        "hallucination"
    ]
