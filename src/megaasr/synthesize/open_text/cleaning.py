"""One written sentence into one that can be spoken, or into none.

What comes out has 3 to 30 words of ASCII letters, apostrophes and hyphens, the marks , . ? ! only,
a capital at the start and a mark at the end. A sentence that would need guessing is dropped.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from megaasr.synthesize.open_text.numbers import verbalize
from megaasr.synthesize.open_text.wordlist import WordList

MIN_WORDS, MAX_WORDS = 3, 30
_MAX_LETTERS = 18  # of a word; longer ones are compounds of chemistry or typing errors
_CHARACTERS = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "ʼ": "'",
        "`": "'",
        "´": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
        "–": " -- ",
        "—": " -- ",
        "−": "-",
        "‐": "-",
        "‑": "-",
        "\xad": "",
        "…": "...",
        "\xa0": " ",
        "æ": "ae",
        "œ": "oe",
        "\u200b": "",
    }
)
_EXPANSIONS = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"\bMr\.?(?=\s[A-Z])", "Mister"),
        (r"\bMrs\.?(?=\s[A-Z])", "Missus"),
        (r"\bMs\.?(?=\s[A-Z])", "Miss"),
        (r"\bDr\.?(?=\s[A-Z])", "Doctor"),
        (r"\bProf\.(?=\s[A-Z])", "Professor"),
        (r"\bSt\.(?=\s[A-Z])", "Saint"),
        (r"\bCol\.(?=\s[A-Z])", "Colonel"),
        (r"\bCapt\.(?=\s[A-Z])", "Captain"),
        (r"\bGen\.(?=\s[A-Z])", "General"),
        (r"\bSen\.(?=\s[A-Z])", "Senator"),
        (r"\bRev\.(?=\s[A-Z])", "Reverend"),
        (r"\be\.\s?g\.,?", "for example,"),
        (r"\bi\.\s?e\.,?", "that is,"),
        (r",? &?\betc\.?(?=$|[,.?!])", ", and so on"),
        (r"\bvs\.?(?=\s)", "versus"),
        (r"\b[Oo]\.?[Kk]\b\.?(?=[\s,.?!]|$)", "okay"),
        (r"\s&\s", " and "),
        (r"\s\+\s", " plus "),
        (r"(?<=[a-z])\s?/\s?(?=[a-z])", " or "),
    )
)
# Contractions that people type without the apostrophe, if nothing else is spelt so.
_CONTRACTIONS = {
    form.replace("'", ""): form
    for form in (
        "don't doesn't didn't can't isn't aren't wasn't weren't couldn't wouldn't shouldn't "
        "haven't hasn't hadn't i'm i've you're you've you'll they're they've they'll we've that's "
        "there's what's who's where's how's he's she's it'll that'll ain't"
    ).split()
}
_CONTRACTIONS |= {"theres": "there's", "alot": "a lot", "gonna": "going to", "wanna": "want to"}
_UNWANTED = re.compile(r"https?:|www\.|\.com\b|\.org\b|[<>{}\[\]|\\^~=_@#*()]|\w/|/\w|[;:]\S|\d\w?-\d")
_ALLOWED = re.compile(r"[A-Za-z',.?! -]+")
_WORD = re.compile(r"[A-Za-z'-]+")
_INNER_STOP = re.compile(r"[A-Za-z]\.(?=[\sA-Za-z,])|[?!](?=.*\w)")
_ASKING = re.compile(
    r"(?:(?:so|and|but|well|oh|wow|okay|cool|yeah|nice),? )*(?:(?:what|how|why|when|where|who|whose|which)\b"
    r"(?! (?:a|an|i|you|we|they|he|she|it|my|your|the|this|that|these|those|to|ever)\b)|what (?:a )?kind\b|"
    r"(?:do|does|did|are|is|was|were|have|has|can|could|will|would|should|am) "
    r"(?:you|i|we|they|he|she|it|there|your|the|that|this|any|anyone)\b)",
    re.IGNORECASE,
)
_SLURS = re.compile(
    r"\b(?:nigg\w*|negro\w*|kike\w*|fag|fags|faggot\w*|chinks?|gooks?|spics?|wetbacks?|dagos?|darkies|"
    r"coons?|trann(?:y|ies)|retards?|retarded|cunts?|whor(?:e|es|ing)|sluts?|fuck\w*|motherfuck\w*|"
    r"shit\w*|bullshit\w*|bitch\w*|bastards?|assholes?|cocks?|dicks?|pussy|pussies|tits?|wank\w*|"
    r"rape[ds]?|rapist\w*|raping|porn\w*|penis\w*|vagina\w*|masturbat\w*|orgasm\w*|sodom\w*|"
    r"harlots?|savages|squaws?|mulatto\w*|jew boy|gypped|cripples?|horny|boobs?|piss\w*|crap\w*|"
    r"damn\w*|goddam\w*|erotic\w*|naked|nude|sexual\w*|sex|sexy|suicid\w*|genocid\w*|nazis?|hitler)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class CleaningRules:
    """How the sentences of one source are cleaned.

    Attributes:
        words: the vocabulary; a sentence with a word that it lacks is dropped.
        names: more lower-cased names, such as those of a book.
        chat: the text was typed in haste: capitals, apostrophes and marks at the end are put in.
    """

    words: WordList
    names: frozenset[str] = field(default=frozenset())
    chat: bool = False


def clean_sentence(sentence: str, rules: CleaningRules) -> str | None:
    """Return the sentence as it can be spoken, or None if it is not wanted."""
    text = to_ascii(sentence)
    text = verbalize(_expand(text))
    if _UNWANTED.search(text) or any(character.isdecimal() for character in text):
        return None
    text = _mend_chat(text) if rules.chat else text
    text = _tidy_marks(text)
    if not text or not _ALLOWED.fullmatch(text) or text[-1] not in ".?!":
        return None
    if _INNER_STOP.search(text) or _SLURS.search(text):
        return None
    spelt = _spell(text, rules)
    if spelt is None or not MIN_WORDS <= len(spelt.split()) <= MAX_WORDS:
        return None
    return spelt[0].upper() + spelt[1:]


def to_ascii(text: str) -> str:
    """Return the text with typographic quotes and dashes made plain, and accents taken off."""
    text = text.translate(_CHARACTERS)
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _expand(text: str) -> str:
    for pattern, words in _EXPANSIONS:
        text = pattern.sub(words, text)
    return text


def _tidy_marks(text: str) -> str:
    """Leave only , . ? ! between words, each with a meaning for how the sentence is spoken."""
    text = text.replace('"', "")
    text = re.sub(r"\s*(?:--+|;|:|\s-\s)\s*", ", ", text)
    text = re.sub(r"\s*(?:\.\s?){2,}$", ".", text)
    text = re.sub(r"\s*(?:\.\s?){2,}", ", ", text)
    text = re.sub(r"[.?!]*\?[.?!]*", "?", text)
    text = re.sub(r"[.!]*![.!]*", "!", text)
    text = re.sub(r"\s+([,.?!])", r"\1", text)
    text = re.sub(r",(?:\s*,)+", ",", text)
    text = re.sub(r",\s*([.?!])", r"\1", text)
    text = re.sub(r"(?<=\s)'(?=[A-Za-z])(?!tis\b|twas\b|em\b)|^'(?=[A-Z])", "", text)
    text = re.sub(r"(?<=[a-rt-z.,?!])'(?=[\s,.?!]|$)", "", text)
    return " ".join(text.split()).strip(" ,-")


def _mend_chat(text: str) -> str:
    text = re.sub(r"\s*(?:[:;]-?[()DPp3/]|<3|\bx[Dd])(?=\s|$)", "", text.strip())
    if not text:
        return text
    words = [_CONTRACTIONS.get(word.lower(), word) for word in text.split(" ")]
    text = " ".join(words)
    text = re.sub(r"\bi(?=\b(?!\.)|')", "I", text)
    text = re.sub(r"^(?:(?:[Hh]a)+h?|[Ll]ol|[Hh]mm+|[Uu]mm*|[Uu]hh*)[,.!]*\s+", "", text)
    text = re.sub(r"[,.]?\s+(?:(?:[Hh]a)+h?|[Ll]ol)(?=[.?!]*$)", "", text)
    if text and text[-1] not in ".?!":
        text += "?" if _ASKING.match(text) else "."
    return text


def _spell(text: str, rules: CleaningRules) -> str | None:
    """Check every word against the vocabulary, and give names their capitals."""
    tokens = text.split(" ")
    for index, token in enumerate(tokens):
        match = _WORD.search(token)
        if match is None or match.start() != 0:
            return None
        word, tail = match[0], token[match.end() :]
        spelt = _spell_word(word, rules, first=index == 0)
        if spelt is None or len(tail) > 1:
            return None
        tokens[index] = spelt + tail
    lowered = [token.strip(",.?!").lower() for token in tokens]
    if any(a == b == c for a, b, c in zip(lowered, lowered[1:], lowered[2:], strict=False)):
        return None
    if not any(token[0].islower() for token in tokens):  # a title or a name
        return None
    return " ".join(tokens)


def _spell_word(word: str, rules: CleaningRules, *, first: bool) -> str | None:
    if word.lower() in ("i", "i'm", "i've", "i'd", "i'll"):
        return "I" + word[1:].lower()
    if len(word) > _MAX_LETTERS or word.startswith("-") or word.endswith("-"):
        return None
    parts = word.split("-")
    if len(parts) > 4 or any(_is_shouted(part) for part in parts):
        return None
    spelt = [_spell_part(part, rules, first=first and not index) for index, part in enumerate(parts)]
    return None if None in spelt else "-".join(part for part in spelt if part is not None)


def _is_shouted(part: str) -> bool:
    letters = part.replace("'", "").removesuffix("s")
    return len(letters) > 1 and letters.isupper()


def _spell_part(part: str, rules: CleaningRules, *, first: bool) -> str | None:
    key = part.lower()
    common = rules.words.has_common(key)
    name = rules.words.has_name(key) or key.removesuffix("'s") in rules.names
    if part != key and part != key.capitalize() and not part.startswith(("Mc", "Mac", "O'")):
        return None  # camel case
    if part == key:
        if common:
            return part
        return part.capitalize() if rules.chat and name else None
    if name:
        return part
    return part if common else None
