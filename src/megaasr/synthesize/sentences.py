"""Generate everyday English sentences for synthesised speech from a seed.

Sentence types are templates with typed slots (data/grammar.toml) over a lexicon (data/lexicon.toml)
and verb frames (data/frames.toml). Sentences consist of letters, apostrophes, hyphens and , . ? !
"""

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from megaasr.synthesize import grammar
from megaasr.synthesize.grammar import (
    AGREEING,
    FIXED,
    PRONOUNS,
    SILENT,
    Alternatives,
    Forms,
    Subject,
    Template,
    agreeing,
    inflect,
    lexicon,
    number,
)
from megaasr.text.exclusion import sentence_words

MIN_WORDS, MAX_WORDS = 3, 20
_MAX_TRIES = 10_000
# Percentages of the joinable statements that are joined to a second one, or preceded by a prefix.
_JOINED, _PREFIXED = 40, 20
_LOWERED_WORDS = "the my it there this that these a we in your what how today all two chapter at"
_LOWERED = frozenset(_LOWERED_WORDS.split())
_SPACES = re.compile(r"\s+")
_SPACE_BEFORE_MARK = re.compile(r"\s+([,.?!])")
_AN = re.compile(r"\b([Aa]) (?=[aeio]|u(?!ni|se|su|ku)|hour|honest)")


_PRONOUN_LIST = tuple(PRONOUNS.values())
_NUMBER_WORDS = (
    "a and half quarter past to noon midnight o'clock in the morning evening of hundred "
    "thousand oh dollars euros pounds cents"
)
_HOUR_ENDINGS = ("o'clock", "thirty", "fifteen", "forty-five", "in the morning", "in the evening")


_CONTRACTIONS: dict[str, Forms] = {
    "pro_be": ("'m", "'s", "'re"),
    "pro_will": ("'ll", "'ll", "'ll"),
    "pro_have": ("'ve", "'s", "'ve"),
}


@dataclass(frozen=True)
class Sentence:
    """A generated sentence, and the type of its template."""

    kind: str
    text: str


class _Writer:
    """Expands one template, and keeps track of its subject and of the words already used."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._subject = PRONOUNS["I"]
        self._used: set[str] = set()

    def below(self, count: int) -> int:
        """Draw a whole number from 0 up to, but not including, `count`."""
        return int(self._rng.integers(count))

    def weighted(self, cumulative: tuple[float, ...]) -> int:
        """Draw an index by cumulative weights."""
        return bisect_right(cumulative, float(self._rng.random()) * cumulative[-1])

    def pick(self, words: tuple[str, ...]) -> str:
        """Draw a word, preferably one that the sentence does not contain yet."""
        for _ in range(8):
            word = words[self.below(len(words))]
            if word not in self._used:
                break
        self._used.add(word)
        return word

    def alternative(self, alternatives: Alternatives) -> str:
        """Draw and expand one of several alternatives."""
        return self.expand(alternatives.templates[self.weighted(alternatives.cumulative)])

    def expand(self, template: Template) -> str:
        """Return the text of a template, with its slots filled from left to right."""
        out = []
        for literal, name, form in template:
            out.append(literal)
            if name:
                out.append(self._slot(name, form))
        return "".join(out)

    def _slot(self, name: str, form: str) -> str:
        if name in _HANDLERS:
            return _HANDLERS[name](self)
        if name in SILENT:
            self._subject = PRONOUNS[SILENT[name]]
            return ""
        if name in AGREEING:
            return agreeing(self._subject, AGREEING[name])
        if name == "vp":
            return self._verb_phrase(form)
        return self._from_lexicon(name, form)

    def _from_lexicon(self, name: str, form: str) -> str:
        data = lexicon()
        if name in data.rules:
            return self.alternative(data.rules[name])
        if name in data.unions:
            members, cumulative = data.unions[name]
            return self._slot(members[self.weighted(cumulative)], form)
        if name in data.verbs:
            return self._verb(self.pick(data.verbs[name]), form)
        return _form(self.pick(FIXED.get(name) or data.words[name]), form)

    def _verb(self, verb: str, form: str) -> str:
        if form == "pres":
            form = "s3" if self._subject.third else "base"
        return inflect(verb, form)

    def _verb_phrase(self, form: str) -> str:
        rare_form = form == "ing" or (form == "pres" and self._subject.third)
        weighted_frames = lexicon().common_frames if rare_form else lexicon().frames
        frame = weighted_frames.frames[self.weighted(weighted_frames.cumulative)]
        verb = self._verb(self.pick(frame.verbs), form)
        return f"{verb} {self.expand(frame.complements[self.below(len(frame.complements))])}"

    def _word(self, name: str) -> str:
        return self.pick(lexicon().words[name])

    def set_third(self) -> str:
        """Choose a third person singular as subject without printing it."""
        self._subject = PRONOUNS["he" if self.below(2) else "she"]
        return ""

    def set_subject(self) -> str:
        """Choose a subject of any kind without printing it."""
        draw = self.below(100)
        if draw < 40:
            self._subject = _PRONOUN_LIST[self.below(len(_PRONOUN_LIST))]
        elif draw < 82:
            self.single()
        else:
            self._set_plural(draw)
        return ""

    def _set_plural(self, draw: int) -> None:
        if draw < 88:
            text = f"{self._word('male_name')} and {self._word('female_name')}"
        elif draw < 94:
            text = f"the {grammar.plural(self._word('job' if draw < 91 else 'person'))}"
        else:
            text = f"my {self._word('kin_plural')}"
        self._subject = Subject(text, "they", "their", False)

    def single(self) -> str:
        """Choose and print a person: a name, a relative, or a job."""
        draw = self.below(100)
        if draw < 45:
            return self.named()
        male = bool(self.below(2))
        if draw < 65:
            kinds = ("male_kin" if male else "female_kin", "kin")
            text = f"my {self._word(kinds[draw % 2])}"
        else:
            text = f"the {self._word('job')}"
        return self._set_single(text, male)

    def named(self) -> str:
        """Choose and print a person by first name."""
        male = bool(self.below(2))
        return self._set_single(self._word("male_name" if male else "female_name"), male)

    def _set_single(self, text: str, male: bool) -> str:
        pronoun = "he" if male else "she"
        self._subject = Subject(text, pronoun, PRONOUNS[pronoun].possessive, True)
        return text

    def subject(self) -> str:
        """Choose and print a subject."""
        self.set_subject()
        return self._subject.text

    def who(self) -> str:
        """Return the current subject."""
        return self._subject.text

    def pronoun(self) -> str:
        """Return the pronoun of the current subject."""
        return self._subject.pronoun

    def possessive(self) -> str:
        """Return the possessive of the current subject."""
        return self._subject.possessive

    def contraction(self, endings: Forms) -> str:
        """Choose a pronoun as subject, and print it contracted with an auxiliary."""
        self._subject = _PRONOUN_LIST[self.below(len(_PRONOUN_LIST))]
        return self._subject.text + agreeing(self._subject, endings)

    def clock(self) -> str:
        """Draw a time of day."""
        hour, draw = number(1 + self.below(12)), self.below(12)
        if draw < 6:
            return f"{hour} {_HOUR_ENDINGS[self.below(len(_HOUR_ENDINGS))]}"
        if draw < 11:
            part = ("half", "a quarter", "ten", "twenty", "five")[draw - 6]
            return f"{part} {'past' if draw == 6 or self.below(2) else 'to'} {hour}"
        return ("noon", "midnight")[self.below(2)]

    def date(self) -> str:
        """Draw a day of the year."""
        day, month = grammar.ordinal(1 + self.below(31)), self._word("month")
        return f"the {day} of {month}" if self.below(2) else f"{month} the {day}"

    def year(self) -> str:
        """Draw a year."""
        return grammar.year(1850 + self.below(180))

    def number(self) -> str:
        """Draw a number from two to 999; small numbers are more frequent."""
        top = (20, 100, 100, 1000)[self.below(4)]
        return number(2 + self.below(top - 2))

    def price(self) -> str:
        """Draw an amount of money."""
        amount, draw = 2 + self.below((30, 100, 1000, 9000)[self.below(4)]), self.below(4)
        if draw == 0 and amount < 100:
            return f"{number(amount)} dollars and {number(5 + 5 * self.below(19))} cents"
        unit = ("dollars", "dollars", "euros", "pounds")[draw]
        return f"{number(amount)} {unit}"

    def digits(self) -> str:
        """Draw three to eight digits that are read one by one."""
        return " ".join(number(self.below(10)) for _ in range(3 + self.below(6)))


_HANDLERS: dict[str, Callable[[_Writer], str]] = {
    "pick": _Writer.set_subject,
    "subj": _Writer.subject,
    "single": _Writer.single,
    "single_name": _Writer.named,
    "third": _Writer.set_third,
    "who": _Writer.who,
    "pron": _Writer.pronoun,
    "my": _Writer.possessive,
    "pro_be": lambda w: w.contraction(_CONTRACTIONS["pro_be"]),
    "pro_will": lambda w: w.contraction(_CONTRACTIONS["pro_will"]),
    "pro_have": lambda w: w.contraction(_CONTRACTIONS["pro_have"]),
    "time": _Writer.clock,
    "date": _Writer.date,
    "year": _Writer.year,
    "price": _Writer.price,
    "digits": _Writer.digits,
    "num_any": _Writer.number,
    "num_few": lambda w: number(2 + w.below(11)),
    "ordinal": lambda w: grammar.ordinal(1 + w.below(31)),
}


def _form(word: str, form: str) -> str:
    if form == "s":
        return grammar.plural(word)
    return grammar.grade(word, form) if form else word


def _finish(text: str) -> str:
    """Join compounds, clean up spaces, choose a or an, and capitalise the first word."""
    text = _SPACES.sub(" ", text.replace("_", " ")).strip()
    text = _SPACE_BEFORE_MARK.sub(r"\1", text)
    text = _AN.sub(r"\1n ", text)
    return text[0].upper() + text[1:]


def normalize(text: str) -> str:
    """Return the lower-case words of a text without punctuation, for comparing sentences."""
    return " ".join(sentence_words(text))


@cache
def vocabulary() -> frozenset[str]:
    """Return all lower-case word forms that the generator can emit, and a few that it cannot."""
    data = lexicon()
    texts: set[str] = set()
    for alternatives in (*data.rules.values(), *data.types.values()):
        for template in alternatives.templates:
            texts |= _template_words(template)
    for frame in data.frames.frames:
        forms = grammar.VERB_FORMS if frame.all_forms else ("base", "past", "part")
        texts |= {inflect(verb, form) for verb in frame.verbs for form in forms}
        for template in frame.complements:
            texts |= _template_words(template)
    for name in ("male_name", "female_name", "male_kin", "female_kin", "kin", "kin_plural"):
        texts |= set(data.words[name])
    texts |= {grammar.plural(word) for name in ("job", "person") for word in data.words[name]}
    texts |= {word for forms in AGREEING.values() for word in forms}
    texts |= {word for words in FIXED.values() for word in words}
    texts |= set(_NUMBER_WORDS.split()) | {number(n) for n in range(100)}
    texts |= {grammar.ordinal(n) for n in range(1, 32)}
    for slot in ("pro_be", "pro_will", "pro_have"):
        texts |= {p.text + agreeing(p, _CONTRACTIONS[slot]) for p in _PRONOUN_LIST}
    texts |= {"an", *PRONOUNS, *(subject.possessive for subject in _PRONOUN_LIST)}
    return frozenset(word for text in texts for word in normalize(text.replace("_", " ")).split())


def _template_words(template: Template) -> set[str]:
    """Return the literal texts of a template and the words that its slots draw from."""
    data = lexicon()
    texts = {literal.removeprefix("'s") for literal, _, _ in template}
    # The word of a slot forms one token with an ending that follows it, as in "{kin_few}'s".
    endings = [literal.split(" ")[0] for literal, _, _ in template[1:]] + [""]
    for (_, name, form), ending in zip(template, endings, strict=True):
        tail = ending if ending.startswith("'") else ""
        members = data.unions[name][0] if name in data.unions else (name,)
        if name in _HANDLERS or name in data.rules:
            continue
        for member in members:
            texts |= {_form(word, form) + tail for word in data.words.get(member, ())}
        forms = ("base", "s3") if form == "pres" else (form,)
        texts |= {inflect(verb, f) for verb in data.verbs.get(name, ()) for f in forms}
    return texts


def sentence_types() -> tuple[str, ...]:
    """Return the names of all sentence types."""
    return lexicon().type_names


def _lengthen(writer: _Writer, kind: str, text: str) -> str:
    """Join some statements to another of their type, or add a prefix such as "I think that"."""
    data = lexicon()
    draw = writer.below(100)
    if kind not in data.joinable or not _is_plain(text) or draw >= _JOINED + _PREFIXED:
        return text
    if draw >= _JOINED:
        return writer.alternative(data.rules["prefix"]) + _uncapitalize(text)
    second = writer.alternative(data.types[kind])
    if not _is_plain(second):
        return text
    return text[:-1] + writer.alternative(data.rules["joiner"]) + _uncapitalize(second)


def _is_plain(text: str) -> bool:
    """Return whether a text is a statement without an initial adverb ("Perhaps, ...")."""
    return text.endswith(".") and not text.split(" ", 1)[0].endswith(",")


def _uncapitalize(text: str) -> str:
    """Lower-case the first word if it is capitalised only because it starts the sentence."""
    first, _, remainder = text.partition(" ")
    return f"{first.lower()} {remainder}" if first.lower() in _LOWERED else text


def generate_typed(rng: np.random.Generator) -> Sentence:
    """Generate a sentence of three to twenty words, with its type."""
    data = lexicon()
    for _ in range(_MAX_TRIES):
        writer = _Writer(rng)
        kind = data.type_names[writer.weighted(data.type_cumulative)]
        text = _finish(_lengthen(writer, kind, writer.alternative(data.types[kind])))
        if MIN_WORDS <= len(normalize(text).split()) <= MAX_WORDS:
            return Sentence(kind, text)
    raise RuntimeError("the grammar yields no sentence of the required length")


def generate_sentence(rng: np.random.Generator) -> str:
    """Generate a sentence of three to twenty words."""
    return generate_typed(rng).text


def generate_sentences(count: int, seed: int) -> list[str]:
    """Generate distinct sentences; a smaller count gives the beginning of the same list."""
    rng = np.random.default_rng(seed)
    seen: set[str] = set()
    sentences: list[str] = []
    for _ in range(count):
        for _ in range(_MAX_TRIES):
            text = generate_sentence(rng)
            key = normalize(text)
            if key not in seen:
                break
        else:
            raise RuntimeError("the grammar has run out of new sentences")
        seen.add(key)
        sentences.append(text)
    return sentences
