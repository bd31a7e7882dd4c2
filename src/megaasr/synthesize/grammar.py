"""The lexicon of the sentence generator, inflection, and numbers in words."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

_FILES = ("lexicon.toml", "frames.toml", "grammar.toml")
_SLOT = re.compile(r"\{([^}]*)\}")
_WEIGHT = re.compile(r"^([0-9]+)\* ?")
VERB_FORMS = ("base", "s3", "past", "part", "ing")

_SMALL_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_SMALL = _SMALL_WORDS.split()
_TENS_WORDS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = _TENS_WORDS.split()
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}

# Forms for the subject "I", a third person singular, and any other subject.
Forms = tuple[str, str, str]


class Subject(NamedTuple):
    """A subject and the words that agree with it.

    Attributes:
        text: the subject as it is printed.
        pronoun: its pronoun.
        possessive: its possessive.
        third: whether it is a third person singular.
    """

    text: str
    pronoun: str
    possessive: str
    third: bool


PRONOUNS = {
    "I": Subject("I", "I", "my", False),
    "you": Subject("you", "you", "your", False),
    "he": Subject("he", "he", "his", True),
    "she": Subject("she", "she", "her", True),
    "we": Subject("we", "we", "our", False),
    "they": Subject("they", "they", "their", False),
}

# Slots that set the subject without printing anything.
SILENT = {"imp": "you", "you": "you", "i": "I", "we": "we", "plural": "they"}
# Slots whose word agrees with the subject.
AGREEING: dict[str, Forms] = {
    "be": ("am", "is", "are"),
    "was": ("was", "was", "were"),
    "have": ("have", "has", "have"),
    "do": ("do", "does", "do"),
    "doesnt": ("don't", "doesn't", "don't"),
    "isnt": ("am not", "isn't", "aren't"),
    "hasnt": ("haven't", "hasn't", "haven't"),
}
FIXED: dict[str, tuple[str, ...]] = {
    "modal": ("can", "could", "may", "might", "must", "should", "would"),
    "modal_not": ("cannot", "couldn't", "may not", "might not", "mustn't", "shouldn't"),
    "already": ("already", "just", "finally", "recently", "always"),
    "have3": ("has",),
    "material_noun": (
        "brass",
        "cardboard",
        "copper",
        "cotton",
        "glass",
        "leather",
        "metal",
        "plastic",
    ),
}

# Literal text, name of the slot that follows it, and form of that slot; a slot may be "".
TemplatePart = tuple[str, str, str]
Template = tuple[TemplatePart, ...]


@dataclass(frozen=True)
class Alternatives:
    """Templates with their cumulative weights, for a fast weighted draw."""

    templates: tuple[Template, ...]
    cumulative: tuple[float, ...]


@dataclass(frozen=True)
class Frame:
    """Verbs with the complements that may follow them.

    Attributes:
        verbs: the verbs.
        all_forms: whether all forms of the verbs are used, rather than all but the rare ones.
        complements: templates of the complements.
    """

    verbs: tuple[str, ...]
    all_forms: bool
    complements: tuple[Template, ...]


@dataclass(frozen=True)
class WeightedFrames:
    """Frames with their cumulative weights."""

    frames: tuple[Frame, ...]
    cumulative: tuple[float, ...]


@dataclass(frozen=True)
class Lexicon:
    """The contents of the data files, prepared for drawing."""

    words: dict[str, tuple[str, ...]]
    verbs: dict[str, tuple[str, ...]]
    unions: dict[str, tuple[tuple[str, ...], tuple[float, ...]]]
    rules: dict[str, Alternatives]
    types: dict[str, Alternatives]
    type_names: tuple[str, ...]
    type_cumulative: tuple[float, ...]
    joinable: frozenset[str]
    frames: WeightedFrames
    common_frames: WeightedFrames
    plurals: dict[str, str]
    irregular: dict[str, tuple[str, str]]
    double: frozenset[str]


def agreeing(subject: Subject, forms: Forms) -> str:
    """Return the form that agrees with a subject."""
    if subject.text == "I":
        return forms[0]
    return forms[1] if subject.third else forms[2]


def cumulate(weights: list[float]) -> tuple[float, ...]:
    """Return the cumulative sums of weights."""
    return tuple(float(x) for x in np.cumsum(weights))


def parse(text: str) -> Template:
    """Parse the text of a template into literal texts and slots."""
    tokens = _SLOT.split(text)
    parts: list[TemplatePart] = []
    for index in range(0, len(tokens), 2):
        name, _, form = (tokens[index + 1] if index + 1 < len(tokens) else "").partition(".")
        parts.append((tokens[index], name, form))
    return tuple(parts)


def _alternatives(texts: list[str]) -> Alternatives:
    weights = []
    templates = []
    for text in texts:
        match = _WEIGHT.match(text)
        weights.append(float(match.group(1)) if match else 1.0)
        templates.append(parse(text[match.end() :] if match else text))
    return Alternatives(tuple(templates), cumulate(weights))


def _frames(text: str) -> tuple[Frame, ...]:
    frames = []
    for line in text.strip().splitlines():
        verbs, _, complements = line.partition(" : ")
        parsed = tuple(parse(part.strip()) for part in complements.split(" ; "))
        words = tuple(verbs.removeprefix("~").split())
        frames.append(Frame(words, not verbs.startswith("~"), parsed))
    return tuple(frames)


def _weighted(frames: tuple[Frame, ...]) -> WeightedFrames:
    # The probability of a verb should not depend on the number of verbs in its frame.
    return WeightedFrames(frames, cumulate([len(frame.verbs) + 0.5 for frame in frames]))


def _read() -> dict[str, dict[str, Any]]:
    """Merge the tables of all data files."""
    merged: dict[str, dict[str, Any]] = {}
    folder = files(__package__) / "data"
    for name in _FILES:
        for key, table in tomllib.loads((folder / name).read_text("utf-8")).items():
            merged.setdefault(key, {}).update(table if isinstance(table, dict) else {"": table})
    return merged


def _split(table: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(dict.fromkeys(text.split())) for key, text in table.items()}


@cache
def lexicon() -> Lexicon:
    """Return the lexicon, which is read once."""
    data = _read()
    words, verbs = _split(data["words"]), _split(data["verbs"])
    unions = {}
    for key, members in _split(data["unions"]).items():
        unions[key] = (members, cumulate([float(len(words[m])) for m in members]))
    frames = _frames(data["person"][""])
    names = tuple(data["types"])
    return Lexicon(
        words=words,
        verbs=verbs,
        unions=unions,
        rules={key: _alternatives(value) for key, value in data["rules"].items()},
        types={key: _alternatives(value) for key, value in data["types"].items()},
        type_names=names,
        type_cumulative=cumulate([float(data["weights"].get(name, 1.0)) for name in names]),
        joinable=frozenset(data["joinable"]["types"].split()),
        frames=_weighted(frames),
        common_frames=_weighted(tuple(frame for frame in frames if frame.all_forms)),
        plurals=data["plurals"],
        irregular={key: (v.split()[0], v.split()[1]) for key, v in data["irregular"].items()},
        double=frozenset(data["spelling"]["double"].split()),
    )


def plural(word: str) -> str:
    """Return the plural of a noun; in a compound, the last word is inflected."""
    head, joint, last = word.rpartition("_")
    return head + joint + _plural(last)


def _plural(word: str) -> str:
    irregular = lexicon().plurals.get(word)
    if irregular is not None:
        return irregular
    return _with_s(word)


def _with_s(word: str) -> str:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


@cache
def inflect(verb: str, form: str) -> str:
    """Return a form of a verb; in a phrasal verb ("pick_up"), the first word is inflected."""
    head, joint, particles = verb.partition("_")
    return _inflect(head, form) + joint + particles


def _inflect(verb: str, form: str) -> str:
    if form == "base":
        return verb
    if form == "s3":
        return verb + "es" if verb.endswith("o") else _with_s(verb)
    return _stem_ing(verb) + "ing" if form == "ing" else _past(verb, form)


def _past(verb: str, form: str) -> str:
    irregular = lexicon().irregular.get(verb)
    if irregular is not None:
        return irregular[0 if form == "past" else 1]
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    return (verb + verb[-1] if verb in lexicon().double else verb) + "ed"


def _stem_ing(verb: str) -> str:
    if verb.endswith("ie"):
        return verb[:-2] + "y"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return verb[:-1]
    return verb + verb[-1] if verb in lexicon().double else verb


def grade(adjective: str, form: str) -> str:
    """Return the comparative ("er") or superlative ("est") of a short adjective."""
    if adjective.endswith("e"):
        return adjective + form[1:]
    if adjective.endswith("y"):
        return adjective[:-1] + "i" + form
    double = adjective in {"big", "hot", "wet", "sad", "thin", "fit"}
    return adjective + (adjective[-1] if double else "") + form


def number(value: int) -> str:
    """Return a whole number below ten thousand in words."""
    if value < 20:
        return _SMALL[value]
    if value < 100:
        unit = f"-{_SMALL[value % 10]}" if value % 10 else ""
        return _TENS[value // 10] + unit
    size, name = (100, "hundred") if value < 1000 else (1000, "thousand")
    head, remainder = f"{number(value // size)} {name}", value % size
    if not remainder:
        return head
    return f"{head} {'and ' if remainder < 100 else ''}{number(remainder)}"


def ordinal(value: int) -> str:
    """Return an ordinal below one hundred in words."""
    words = number(value)
    cut = words.rfind("-") + 1
    last = words[cut:]
    if last in _ORDINALS:
        return words[:cut] + _ORDINALS[last]
    return words[:cut] + (last[:-1] + "ieth" if last.endswith("y") else last + "th")


def year(value: int) -> str:
    """Return a year from 1801 to 2039 as it is spoken."""
    if 2000 <= value < 2010:
        return number(value)
    century, remainder = divmod(value, 100)
    if not remainder:
        tail = "hundred"
    else:
        tail = f"oh {number(remainder)}" if remainder < 10 else number(remainder)
    return f"{number(century)} {tail}"
