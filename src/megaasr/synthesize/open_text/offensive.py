"""Detect slurs, obscenities and the like, which are kept out of the training text."""

from __future__ import annotations

import re

# A word followed by * stands for all words that start with it.
_WORDS = """
    nigg* negro* kike* fag fags faggot* chink chinks gook gooks spic spics wetback* dago dagos
    darkies coon coons tranny trannies retard retards retarded cunt cunts whore* whoring slut*
    fuck* motherfuck* shit* bullshit* bitch* bastard* asshole* cock cocks dick dicks pussy
    pussies tit tits wank* rape raped rapes rapist* raping porn* penis* vagina* masturbat*
    orgasm* sodom* harlot* savages squaw* mulatto* gypped cripple cripples horny boob boobs
    piss* crap crappy damn* goddam* erotic* naked nude sexual* sex sexy suicid* genocid* nazi*
    hitler
"""
_PATTERN = re.compile(
    r"\b(?:" + "|".join(word.replace("*", r"\w*") for word in _WORDS.split()) + r")\b",
    re.IGNORECASE,
)


def is_offensive(text: str) -> bool:
    """Return whether a text contains an offensive word."""
    return _PATTERN.search(text) is not None
