"""Natural English text from public-domain and permissive packages, and from templates.

`collect_sentences` is the way in: packages are fetched by name, read, split into sentences, cleaned
(only what can be spoken is kept), and written with their source and kind.
"""

from megaasr.synthesize.open_text.collection import (
    SENTENCES_FILE,
    SOURCES_FILE,
    SourceSummary,
    TextSentence,
    TextSummary,
    collect_sentences,
)
from megaasr.synthesize.open_text.exclusion import ExcludedTexts, read_excluded
from megaasr.synthesize.open_text.recipe import SourceRecipe, TextRecipe, WordListRecipe

__all__ = [
    "SENTENCES_FILE",
    "SOURCES_FILE",
    "ExcludedTexts",
    "SourceRecipe",
    "SourceSummary",
    "TextRecipe",
    "TextSentence",
    "TextSummary",
    "WordListRecipe",
    "collect_sentences",
    "read_excluded",
]
