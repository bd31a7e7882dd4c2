"""Natural English text from packages with free licences, and from templates.

`collect_sentences` downloads packages by name, reads them, splits their text into sentences, keeps
what can be spoken, and writes the sentences with their source and kind.
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
