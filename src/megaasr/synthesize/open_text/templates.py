"""Generate sentences that are rare in packages: calls, commands, numbers, names, times.

A frame is a sentence with alternatives `[please|could you]`, which may be empty or nested, and
slots `{name}`, which are filled from a lexicon (data/open_words.toml) or by a drawn number, time or
price.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from megaasr.errors import UsageError
from megaasr.synthesize.grammar import plural
from megaasr.synthesize.open_text import numbers
from megaasr.synthesize.open_text.recipe import KINDS, SentenceKind

_WITH_PLURALS = ("job", "animal")  # these also have slots of plurals, such as "{jobs}"
_TOKEN = re.compile(r"\{(\w+)\}|\[|\]|\||[^{}\[\]|]+")
_AN = re.compile(r"\b([Aa]) (?=[aeio]|u(?!ni|se|su|ku)|hour|honest)")


@dataclass(frozen=True, slots=True)
class TemplateSentence:
    """A generated sentence, and its kind."""

    text: str
    kind: SentenceKind


@dataclass(frozen=True, slots=True)
class _Slot:
    name: str


@dataclass(frozen=True, slots=True)
class _Alternatives:
    alternatives: tuple[_Sequence, ...]


_Sequence = tuple["str | _Slot | _Alternatives", ...]


def parse_frame(frame: str) -> _Sequence:
    """Parse a frame.

    Raises:
        UsageError: a bracket or brace is not balanced, or the name of a slot is unknown.
    """
    tokens = [(match[0], match[1]) for match in _TOKEN.finditer(frame)]
    if "".join(token for token, _ in tokens) != frame:
        raise UsageError(f"frame {frame!r}: a brace is open")
    parts, position = _parse(tokens, 0, frame, inside=False)
    assert position == len(tokens)
    return parts[0]


def _parse(
    tokens: list[tuple[str, str | None]], position: int, frame: str, *, inside: bool
) -> tuple[list[_Sequence], int]:
    alternatives: list[list[str | _Slot | _Alternatives]] = [[]]
    while position < len(tokens):
        token, slot = tokens[position]
        position += 1
        if slot:
            if slot not in _HANDLERS and slot not in _words():
                raise UsageError(f"frame {frame!r}: no slot {slot}")
            alternatives[-1].append(_Slot(slot))
        elif token == "[":
            inner, position = _parse(tokens, position, frame, inside=True)
            alternatives[-1].append(_Alternatives(tuple(inner)))
        elif token == "]" and inside:
            return [tuple(parts) for parts in alternatives], position
        elif token == "|" and inside:
            alternatives.append([])
        elif token in "]|":
            raise UsageError(f"frame {frame!r}: {token} outside of brackets")
        else:
            alternatives[-1].append(token)
    if inside:
        raise UsageError(f"frame {frame!r}: a bracket is open")
    return [tuple(parts) for parts in alternatives], position


@cache
def _words() -> Mapping[str, tuple[str, ...]]:
    data = tomllib.loads(_read("open_words.toml"))
    words = {name: tuple(entry.strip() for entry in text.split(",")) for name, text in data.items()}
    plurals = {f"{name}s": tuple(plural(word) for word in words[name]) for name in _WITH_PLURALS}
    return words | plurals


@cache
def _frames() -> Mapping[SentenceKind, tuple[_Sequence, ...]]:
    data = tomllib.loads(_read("open_frames.toml"))
    unknown = sorted(set(data) - set(KINDS))
    if unknown:
        raise UsageError(f"open_frames.toml: no kind {unknown[0]}; kinds are {', '.join(KINDS)}")
    return {
        kind: tuple(parse_frame(frame) for frame in data[kind]) for kind in KINDS if kind in data
    }


def _read(name: str) -> str:
    return (resources.files("megaasr.synthesize") / "data" / name).read_text("utf-8")


def lexicon_names() -> frozenset[str]:
    """Return the capitalised words of the lexicon, in lower case."""
    entries = (entry for choices in _words().values() for entry in choices)
    words = (word for entry in entries for word in entry.split())
    return frozenset(word.lower() for word in words if word[0].isupper())


def frame_counts() -> dict[str, int]:
    """Return the number of frames by kind."""
    return {kind: len(frames) for kind, frames in _frames().items()}


class _FrameWriter:
    """Expands one frame; words are not repeated if that can be avoided."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._used: set[str] = set()

    def below(self, count: int) -> int:
        return int(self._rng.integers(count))

    def between(self, low: int, high: int) -> int:
        """Draw a whole number from `low` to `high`, inclusive."""
        return low + self.below(high - low + 1)

    def expand(self, sequence: _Sequence) -> str:
        out = []
        for part in sequence:
            if isinstance(part, str):
                out.append(part)
            elif isinstance(part, _Alternatives):
                out.append(self.expand(part.alternatives[self.below(len(part.alternatives))]))
            else:
                out.append(self._fill(part.name))
        return "".join(out)

    def _fill(self, name: str) -> str:
        choices = _words().get(name)
        if choices is None:
            return _HANDLERS[name](self)
        for _ in range(8):
            word = choices[self.below(len(choices))]
            if word not in self._used:
                break
        self._used.add(word)
        return word

    def clock(self) -> str:
        """Draw a time of day in its spoken form."""
        hour, draw = self.between(1, 12), self.below(12)
        spoken = numbers.cardinal(hour)
        if draw < 3:
            return f"{spoken} o'clock"
        if draw < 5:
            return f"half past {spoken}"
        if draw < 7:
            minutes = ("a quarter", "ten", "twenty", "five")[self.below(4)]
            return f"{minutes} {('past', 'to')[self.below(2)]} {spoken}"
        if draw < 9:
            return f"{spoken} in the {('morning', 'afternoon', 'evening')[self.below(3)]}"
        return numbers.clock(hour, 5 * self.between(1, 11))

    def price(self) -> str:
        """Draw an amount of money; small amounts are more frequent."""
        amount, draw = self.between(2, (20, 99, 400, 2500)[self.below(4)]), self.below(6)
        if draw == 0 and amount < 100:
            cents = numbers.cardinal(5 * self.between(1, 19))
            return f"{numbers.cardinal(amount)} dollars and {cents} cents"
        if draw == 1 and amount < 100:
            return f"{numbers.cardinal(amount)} ninety-nine"
        unit = ("dollars", "dollars", "dollars", "dollars", "pounds", "euros")[draw]
        return f"{numbers.cardinal(amount)} {unit}"

    def date(self) -> str:
        """Draw a day of the year."""
        day, month = numbers.ordinal(self.between(1, 31)), self._fill("month")
        return f"the {day} of {month}" if self.below(2) else f"{month} {day}"

    def score(self) -> str:
        """Draw the result of a game, in which the first number is at least one."""
        second = numbers.cardinal(self.below(9)).replace("zero", "nothing")
        return f"{numbers.cardinal(self.between(1, 9))} to {second}"

    def digit_groups(self) -> str:
        """Draw a telephone number of seven or ten digits, with zero usually read as oh."""
        text = "".join(str(self.below(10)) for _ in range((7, 10)[self.below(2)]))
        spoken = numbers.digits(text)
        return spoken.replace("zero", "oh") if self.below(3) else spoken

    def spelling(self) -> str:
        """Draw the three to five digits of a code or a room."""
        return numbers.digits("".join(str(self.below(10)) for _ in range(self.between(3, 5))))


_HANDLERS: dict[str, Callable[[_FrameWriter], str]] = {
    "time": _FrameWriter.clock,
    "price": _FrameWriter.price,
    "date": _FrameWriter.date,
    "phone": _FrameWriter.digit_groups,
    "code": _FrameWriter.spelling,
    "year": lambda writer: numbers.year(writer.between(1880, 2035)),
    "past_year": lambda writer: numbers.year(writer.between(1750, 2024)),
    "few": lambda writer: numbers.cardinal(writer.between(2, 12)),
    "teens": lambda writer: numbers.cardinal(writer.between(10, 60)),
    "two_digits": lambda writer: numbers.cardinal(writer.between(11, 99)),
    "three_digits": lambda writer: numbers.cardinal(writer.between(101, 999)),
    "hundreds": lambda writer: numbers.cardinal(50 * writer.between(2, 30)),
    "thousands": lambda writer: numbers.cardinal(writer.between(11, 999) * 100),
    "large": lambda writer: numbers.cardinal(writer.between(1_001, 999_999)),
    "tens": lambda writer: numbers.cardinal(10 * writer.between(1, 9)),
    "minutes": lambda writer: numbers.cardinal(
        (2, 3, 5, 10, 15, 20, 25, 30, 40, 45)[writer.below(10)]
    ),
    "nth": lambda writer: numbers.ordinal(writer.between(1, 31)),
    "century": lambda writer: numbers.ordinal(writer.between(12, 21)),
    "degrees": lambda writer: numbers.cardinal(writer.between(2, 99)),
    "decimal": lambda writer: (
        f"{numbers.cardinal(writer.below(20))} point {numbers.digits(str(writer.between(1, 99)))}"
    ),
    "score": _FrameWriter.score,
}
# Relative frequencies of the kinds.
_WEIGHTS: dict[SentenceKind, int] = {
    "statement": 15,
    "question": 18,
    "command": 20,
    "dialogue": 14,
    "number": 14,
    "name": 8,
    "call": 11,
}


def generate_from_templates(seed: int) -> Iterator[TemplateSentence]:
    """Yield an endless sequence of sentences with repetitions, which depends on the seed alone."""
    rng = np.random.default_rng(seed)
    frames = _frames()
    kinds = [kind for kind in KINDS if kind in frames]
    weights = np.cumsum([_WEIGHTS[kind] for kind in kinds])
    while True:
        kind = kinds[int(np.searchsorted(weights, rng.integers(weights[-1]), side="right"))]
        writer = _FrameWriter(rng)
        sequence = frames[kind][writer.below(len(frames[kind]))]
        yield TemplateSentence(_finish(writer.expand(sequence)), kind)


def _finish(text: str) -> str:
    """Clean up spaces, choose a or an, and capitalise the first word."""
    text = re.sub(r"\s+([,.?!])", r"\1", " ".join(text.split()))
    text = _AN.sub(r"\1n ", text)
    return text[0].upper() + text[1:]
