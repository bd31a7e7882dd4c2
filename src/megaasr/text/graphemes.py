"""Grapheme clusters: what readers see as one character, and how many columns it fills.

A letter with its vowel signs and accents, a Korean syllable of conjoining jamo, or an emoji of
several code points must never be divided, whatever is done to a text.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_ZERO_WIDTH = ("Mn", "Mc", "Me", "Cf")  # Unicode categories: combining marks and format characters
_EMOJI_STYLE = "\ufe0f"
_VIRAMA = 9  # canonical combining class of signs that join a consonant with the next one
_NO_JOINERS = "\u0e3a\u103a"  # of the same class, but they end a syllable
# Written before the consonant that they are spoken after: Thai and Lao.
_LEADING_VOWELS = "\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4"


def split_clusters(text: str) -> list[str]:
    """Return the extended grapheme clusters of a text (Unicode Standard Annex 29).

    Clusters that no line may be broken between stay together: Thai and Lao vowels with the
    consonant after them, consonants that are stacked (Khmer, Burmese), and Burmese final
    consonants with the syllable that they end.
    """
    if text.isascii():
        return list(text)
    import regex  # takes 30 ms, and ASCII needs none of it

    clusters: list[str] = []
    for cluster in regex.findall(r"\X", text):
        if clusters and _is_joined(clusters[-1], cluster):
            clusters[-1] += cluster
        else:
            clusters.append(cluster)
    return clusters


def columns(text: str) -> int:
    """Return the width of a text in columns of a fixed-width font.

    Combining marks have no width; Chinese, Japanese and Korean characters and emoji fill two
    columns, whatever they are composed of.
    """
    if text.isascii():
        return len(text)
    return sum(_cluster_columns(cluster) for cluster in split_clusters(text))


def is_wide(cluster: str) -> bool:
    """Return whether a character of a cluster fills two columns."""
    return any(unicodedata.east_asian_width(char) in "WF" for char in cluster)


@lru_cache(maxsize=4096)
def _cluster_columns(cluster: str) -> int:
    if len(cluster) > 1 and (is_wide(cluster) or _EMOJI_STYLE in cluster):
        return 2
    return sum(
        1 + is_wide(char) for char in cluster if unicodedata.category(char) not in _ZERO_WIDTH
    )


def _is_joined(previous: str, cluster: str) -> bool:
    """Return whether no line may be broken between two clusters."""
    last = previous[-1]
    if last in _LEADING_VOWELS:
        return not cluster.isspace()
    if unicodedata.combining(last) == _VIRAMA and last not in _NO_JOINERS:
        return cluster[0].isalpha()
    return cluster[0] in _BURMESE and "\u103a" in cluster  # a consonant that ends the syllable


_BURMESE = frozenset(map(chr, range(0x1000, 0x102B)))
