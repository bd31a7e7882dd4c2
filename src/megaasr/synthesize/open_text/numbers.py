"""Verbalise numbers: replace digits in written English by words.

Only numbers with one unambiguous reading are replaced; the caller drops sentences that still
contain digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_SMALL_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS_WORDS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL, _TENS = _SMALL_WORDS.split(), _TENS_WORDS.split()
_SCALES = ((1_000_000_000, "billion"), (1_000_000, "million"), (1000, "thousand"))
_IRREGULAR_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_CURRENCIES = {"$": ("dollar", "cent"), "£": ("pound", "pence"), "€": ("euro", "cent")}
_ORDINAL_ENDINGS = {1: "st", 2: "nd", 3: "rd"}
MAX_CARDINAL = 999_999_999_999
"""Largest number that `cardinal` accepts."""


def cardinal(value: int) -> str:
    """Return a whole number in words, without "and": `123` is "one hundred twenty-three".

    Args:
        value: 0 to `MAX_CARDINAL`.

    Raises:
        ValueError: the value is out of range.
    """
    if not 0 <= value <= MAX_CARDINAL:
        raise ValueError(f"{value} is not from 0 to {MAX_CARDINAL}")
    if value < 20:
        return _SMALL[value]
    if value < 100:
        tens, ones = divmod(value, 10)
        return _TENS[tens] + (f"-{_SMALL[ones]}" if ones else "")
    if value < 1000:
        hundreds, remainder = divmod(value, 100)
        return f"{_SMALL[hundreds]} hundred" + (f" {cardinal(remainder)}" if remainder else "")
    size, name = next(scale for scale in _SCALES if value >= scale[0])
    count, remainder = divmod(value, size)
    return f"{cardinal(count)} {name}" + (f" {cardinal(remainder)}" if remainder else "")


def ordinal(value: int) -> str:
    """Return an ordinal in words: `21` is "twenty-first"; the range is that of `cardinal`."""
    words = cardinal(value)
    cut = max(words.rfind(" "), words.rfind("-")) + 1
    head, last = words[:cut], words[cut:]
    if last in _IRREGULAR_ORDINALS:
        return head + _IRREGULAR_ORDINALS[last]
    return head + (last[:-1] + "ieth" if last.endswith("y") else last + "th")


def year(value: int) -> str:
    """Return a year as it is read: `1905` is "nineteen oh five", `2007` "two thousand seven".

    Args:
        value: 1000 to 2099.

    Raises:
        ValueError: the value is out of range.
    """
    if not 1000 <= value <= 2099:
        raise ValueError(f"{value} is not a year from 1000 to 2099")
    century, remainder = divmod(value, 100)
    if 2000 <= value <= 2009 or century == 10:
        return cardinal(value)
    if remainder == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if remainder < 10 else ''}{cardinal(remainder)}"


def clock(hour: int, minute: int) -> str:
    """Return a time of day: "seven o'clock", "seven oh five", "seven thirty"; hours 0 to 23."""
    if minute == 0:
        return f"{cardinal(hour)} o'clock"
    return f"{cardinal(hour)} {'oh ' if minute < 10 else ''}{cardinal(minute)}"


def digits(text: str) -> str:
    """Return each digit of a text as a word: "40" is "four zero"."""
    return " ".join(_SMALL[int(character)] for character in text if character.isdecimal())


def _plural(word: str, count: int) -> str:
    return word if count == 1 or word == "pence" else f"{word}s"


def _money(match: re.Match[str]) -> str:
    unit, part = _CURRENCIES[match["symbol"]]
    units, cents, scale = _integer(match["whole"]), match["cents"], match["scale"]
    if scale:
        amount = cardinal(units) + (f" point {digits(cents)}" if cents else "")
        return f"{amount} {scale.lower()} {_plural(unit, 2)}"
    if cents and len(cents) != 2:
        return match[0]
    spoken = f"{cardinal(units)} {_plural(unit, units)}"
    if not cents or cents == "00":
        return spoken
    return f"{spoken} and {cardinal(int(cents))} {_plural(part, int(cents))}"


def _integer(text: str) -> int:
    return int(text.replace(",", ""))


def _time(match: re.Match[str]) -> str:
    hour, minute = int(match["hour"]), int(match["minute"] or 0)
    half = (match["half"] or "").lower().replace(".", "").replace(" ", "")
    if hour > (12 if half else 23) or minute > 59 or (half and hour == 0):
        return match[0]
    if not half:
        return clock(hour, minute)
    spoken = cardinal(hour) if minute == 0 else clock(hour, minute)
    if half == "am":
        return f"{spoken} in the morning"
    # Noon is twelve in the afternoon, and the evening starts at about six.
    return f"{spoken} in the {'evening' if 6 <= hour <= 11 else 'afternoon'}"


def _decade(match: re.Match[str]) -> str:
    century, tens = match["century"], int(match["tens"])
    if tens < 2:
        return match[0]
    word = _TENS[tens][:-1] + "ies"
    return f"{cardinal(int(century))} {word}" if century else word


def _ordinal(match: re.Match[str]) -> str:
    value = int(match["number"])
    teen = 11 <= value % 100 <= 13
    ending = "th" if teen else _ORDINAL_ENDINGS.get(value % 10, "th")
    return ordinal(value) if match["ending"].lower() == ending else match[0]


def _fraction(match: re.Match[str]) -> str:
    return f"{cardinal(int(match['whole']))} point {digits(match['part'])}"


def _plain(match: re.Match[str]) -> str:
    text = match[0]
    grouped = "," in text
    if not grouped and len(text) == 4 and text[0] == "0":
        return text
    if not grouped and (len(text) > 4 or (len(text) > 1 and text[0] == "0")):
        return text  # a code or a telephone number, whose reading is uncertain
    value = _integer(text)
    if not grouped and 1100 <= value <= 2099:
        return year(value)
    return cardinal(value)


_HALF = r"(?:\s?(?P<half>[ap]\.?m\b\.?))"
# The order matters: patterns with more context come first.
_RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (
        re.compile(
            r"(?P<symbol>[$£€])(?P<whole>\d{1,3}(?:,\d{3}){1,3}|\d{1,6})(?:\.(?P<cents>\d{1,2}))?(?![\d,.]*\d)"
            r"(?:\s(?P<scale>million|billion|thousand|hundred)\b)?",
            re.IGNORECASE,
        ),
        _money,
    ),
    (
        re.compile(rf"\b(?P<hour>\d{{1,2}}):(?P<minute>\d\d)(?!:?\d){_HALF}?", re.IGNORECASE),
        _time,
    ),
    (
        re.compile(rf"(?<![\d:.,$])(?P<hour>\d{{1,2}})(?P<minute>){_HALF}", re.IGNORECASE),
        _time,
    ),
    (re.compile(r"(?<!\w)'?(?P<century>1[1-9]|20)?(?P<tens>\d)0'?s\b"), _decade),
    (re.compile(r"\b(?P<number>\d{1,4})(?P<ending>st|nd|rd|th)\b", re.IGNORECASE), _ordinal),
    (re.compile(r"(?<![\d.,])(?P<whole>\d{1,3})\.(?P<part>\d{1,3})(?![\d.]*\d)"), _fraction),
    (
        re.compile(
            r"(?<![\w.,/:#'-])(?:\d{1,3}(?:,\d{3}){1,3}|\d+)(?![\d/:]|[.,]\d|\w|'|-\d|\s[ap]\.?m\b)"
        ),
        _plain,
    ),
)
_DIGIT = re.compile(r"\d")
_PERCENT = re.compile(r"(?<=\d)\s?%")
_RANGE = re.compile(r"(?<![\w.,/:-])(\d{1,3})\s?-\s?(\d{1,3})(?![\w/:-]|[.,]\d)")


def verbalize(text: str) -> str:
    """Replace the numbers in a text that have one unambiguous reading by words.

    These are years, cardinals, ordinals, times, decades, amounts of money, percentages and
    decimals. All others (codes, telephone numbers, dates with slashes, units) are unchanged, so
    that the caller can detect the remaining digits.
    """
    if not _DIGIT.search(text):
        return text
    text = _PERCENT.sub(" percent", text)
    text = _RANGE.sub(r"\1 to \2", text)
    for pattern, spoken in _RULES:
        text = pattern.sub(spoken, text)
    return text
