"""One written sentence into one that can be spoken, or into none.

What comes out has 3 to 30 words of ASCII letters, apostrophes and hyphens, the marks , . ? ! only,
a capital at the start and a mark at the end. A sentence that would need guessing is dropped.
"""

from __future__ import annotations

import re
import unicodedata

from megaasr.synthesize.open_text.numbers import verbalize
from megaasr.synthesize.open_text.spelling import Speller
from megaasr.synthesize.open_text.wordlist import WordList

MIN_WORDS, MAX_WORDS = 3, 30
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
_EXPANDABLE = re.compile(
    r"[&+/]|\b(?:M(?:rs?|s)|Dr|etc|vs|[Oo]\.?[Kk])\b|\b(?:Prof|St|Col|Capt|Gen|Sen|Rev|e|i)\."
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
_ITS = re.compile(
    r"\b([Ii])ts (?=(?:a|an|the|not|so|very|really|pretty|just|like|been|going|all|my|your|okay|good|"
    r"hard|easy|great|nice|cool|fun|funny|crazy|weird|kind|about|because|too|always|still|only|more|"
    r"better|also|what|how|in|on|at|for|to)\b)"
)
_CONTRACTIONS |= {"theres": "there's", "alot": "a lot", "gonna": "going to", "wanna": "want to"}
_UNWANTED = re.compile(
    r"https?:|www\.|\.com\b|\.org\b|[<>{}\[\]|\\^~=_@#*()]|\w/|/\w|[;:]\S|\d\w?-\d"
)
_ALLOWED = re.compile(r"[A-Za-z',.?! -]+")
_DIGIT = re.compile(r"\d")
# Riddles' "Q:" and "A:", and an answer like "a, b".
_LETTER_FIRST = re.compile(r"(?:Q|A|Ans),")
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


class SentenceCleaner:
    """Cleans the sentences of one source."""

    def __init__(
        self, words: WordList, names: frozenset[str] = frozenset(), *, chat: bool = False
    ) -> None:
        """Take the vocabulary.

        Args:
            words: a sentence with a word that it lacks is dropped.
            names: more lower-cased names, such as those of a book.
            chat: the text was typed in haste: capitals, apostrophes and marks at the end are put
                in.
        """
        self._speller = Speller(words, names, capitalize_names=chat)
        self._chat = chat

    def clean(self, sentence: str) -> str | None:
        """Return the sentence as it can be spoken, or None if it is not wanted."""
        if sentence.count(" ") > 2 * MAX_WORDS:
            return None
        text = verbalize(_expand(to_ascii(sentence)))
        if _UNWANTED.search(text) or _DIGIT.search(text):
            return None
        text = _tidy_marks(_mend_chat(text) if self._chat else text)
        if not text or not _ALLOWED.fullmatch(text) or text[-1] not in ".?!":
            return None
        if not MIN_WORDS <= text.count(" ") + 1 <= MAX_WORDS:
            return None
        if _LETTER_FIRST.match(text) or _INNER_STOP.search(text) or _SLURS.search(text):
            return None
        spelt = self._speller.spell(text.split(" "))
        if spelt is None or _is_title(spelt) or _stutters(spelt):
            return None
        return spelt[0][0].upper() + " ".join(spelt)[1:]


def _is_title(tokens: list[str]) -> bool:
    """Whether most words have a capital, as in a title or a list of names."""
    return 2 * sum(token[0].islower() for token in tokens) < len(tokens)


def _stutters(tokens: list[str]) -> bool:
    """Whether a word stands three times in a row."""
    words = [token.strip(",.?!").lower() for token in tokens]
    return any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False))


def to_ascii(text: str) -> str:
    """Return the text with typographic quotes and dashes made plain, and accents taken off."""
    if text.isascii():
        return text.replace("`", "'")
    text = text.translate(_CHARACTERS)
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _expand(text: str) -> str:
    if not _EXPANDABLE.search(text):
        return text
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
    text = _ITS.sub(r"\1t's ", " ".join(words))
    text = re.sub(r"\bi(?=\b(?!\.)|')", "I", text)
    text = re.sub(r"^(?:(?:[Hh]a)+h?|[Ll]ol|[Hh]mm+|[Uu]mm*|[Uu]hh*)[,.!]*\s+", "", text)
    text = re.sub(r"[,.]?\s+(?:(?:[Hh]a)+h?|[Ll]ol)(?=[.?!]*$)", "", text)
    if text and text[-1] not in ".?!":
        text += "?" if _ASKING.match(text) else "."
    return text
