"""Formats of texts, test lists that are kept out, frames, and the collection of it all."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from megaasr.config import load_recipe
from megaasr.errors import CorpusError, PackageError, RecordError, UsageError
from megaasr.synthesize.open_text import (
    ExcludedTexts,
    TextRecipe,
    TextSummary,
    collect_sentences,
    read_excluded,
)
from megaasr.synthesize.open_text.readers import READERS
from megaasr.synthesize.open_text.templates import (
    frame_counts,
    generate_from_templates,
    parse_frame,
)
from megaasr.synthesize.sentences import normalize


def paragraphs(reader: str, content: bytes, name: str = "file") -> list[str]:
    texts = (" ".join(text.split()) for text in READERS[reader]({name: content}))
    return [text for text in texts if text]


def r_database(*books: list[str]) -> bytes:
    """R's lazy-load data base, written after R's own description of the serialisation format."""
    out = b""
    for lines in books:
        record = b"X\n" + struct.pack(">iiii", 3, 0x40201, 0x30500, 5) + b"UTF-8"
        record += struct.pack(">ii", 16, len(lines))
        for line in lines:
            record += struct.pack(">ii", 0x40009, len(line)) + line.encode()
        out += struct.pack(">I", len(record)) + zlib.compress(record)
    return out


def test_fortunes_lose_their_authors_and_separators() -> None:
    content = (
        b"A bore talks\nabout himself.\n\t\t-- Somebody\n%\nTwo\n\nparagraphs.\n%\na\x08_b\n%\n"
    )
    assert paragraphs("fortunes", content) == ["A bore talks about himself.", "Two", "paragraphs."]


def test_wordnets_examples_are_taken_if_they_are_clauses() -> None:
    glosses = (
        '001 v 00 | a gloss; "She choked with emotion"; "a quick decision"; "is it raining?"\n'
        '002 v 00 | more; "he ran home"; "the war was over"; "a man who was here"; "hot water"\n'
        '  1 This software is "AS IS" text\n'
    )
    assert paragraphs("wordnet", glosses.encode()) == [
        "She choked with emotion.",
        "is it raining?",
        "he ran home.",
        "the war was over.",
    ]


def test_html_gives_paragraphs_without_code() -> None:
    page = (
        b"<h1>No</h1><p>One &amp; <b>two</b>.</p><p>Call <code>f</code>.</p><pre>x</pre><p>End.</p>"
    )
    assert paragraphs("html", page) == ["One & two.", "End."]


def test_pod_gives_paragraphs_without_code() -> None:
    pod = b"=head1 No\n\nIt is B<not> the L<manual|perl>.\n\n  code\n\nUse C<f>.\n"
    assert paragraphs("pod", pod) == ["It is not the manual."]


def test_dictionaries_lose_head_words() -> None:
    text = b"ABASEMENT, n.  A customary attitude.\n\n    [common] A {hack}. It works.\n"
    assert paragraphs("dictd", gzip.compress(text)) == [
        "A customary attitude.",
        "A hack. It works.",
    ]


def test_books_in_rs_data_base_are_joined_to_paragraphs() -> None:
    content = r_database(["EMMA", "", "She was", "rich."], ["", "He was _not_."])
    assert paragraphs("r-strings", content) == ["EMMA", "She was rich.", "He was not."]


def test_osis_loses_words_of_markup_and_notes() -> None:
    markup = b'<w lemma="x">In</w> the <note>or: a</note>beginning.<div eID="g1"/>He <l>came</l>.'
    block = zlib.compress(markup)
    files = {"nt.bzs": struct.pack("<III", 0, len(block), len(markup)), "nt.bzz": block}
    texts = [" ".join(text.split()) for text in READERS["sword"](files)]
    assert texts == ["In the beginning.", "He came."]


def test_conversations_are_read_in_order_and_other_layouts_refused() -> None:
    turns = [[{"text": "Hello"}, {"text": "there"}], [{"text": "Hi"}]]
    content = json.dumps({"id": {"messages": turns}}).encode()
    assert paragraphs("chat", content) == ["Hello", "there", "Hi"]
    with pytest.raises(CorpusError, match="file"):
        paragraphs("chat", b'{"id": {"turns": []}}')
    yaml = b"categories:\n- greetings\nconversations:\n- - Who is it?\n  - 'It is me.'\n"
    assert paragraphs("dialogue-yaml", yaml)[1:] == ["Who is it?", "It is me."]


def test_excluded_texts_and_long_runs_of_them_are_kept_out() -> None:
    excluded = ExcludedTexts(["Please leave your message after the tone.", "Thank you."])
    assert excluded.excludes("please leave your message, after the tone!")
    assert excluded.excludes("Now please leave your message after the beep.")
    assert excluded.excludes("Thank you!")
    assert not excluded.excludes("Leave your message after the beep.")
    assert not excluded.excludes("I said thank you to him.")
    assert not ExcludedTexts([]).excludes("Thank you.")


def test_hashes_keep_out_whole_texts_and_quotations_of_them(tmp_path: Path) -> None:
    text = "All of our circuits are busy now"
    digest = hashlib.sha256(normalize(text).encode()).hexdigest()
    path = tmp_path / "test.sha256"
    path.write_text(f"{digest}\n")
    texts, hashes = read_excluded([path])
    excluded = ExcludedTexts(texts, hashes)
    assert excluded.excludes("All of our circuits are busy now.")
    assert excluded.excludes("She said, all of our circuits are busy now, and hung up.")
    assert not excluded.excludes("All of our circuits are busy.")


def test_test_lists_are_read_by_their_suffix(tmp_path: Path) -> None:
    manifest, lines = tmp_path / "test.jsonl", tmp_path / "test.txt"
    manifest.write_text('{"text": "In the manifest."}\n')
    lines.write_text("In the list.\n\n")
    assert read_excluded([manifest, lines])[0] == {"In the manifest.", "In the list."}
    manifest.write_text('{"text": "good"}\n{"words": "bad"}\n')
    with pytest.raises(UsageError, match="line 2"):
        read_excluded([manifest])
    broken = tmp_path / "broken.sha256"
    broken.write_text("abc\n")
    with pytest.raises(RecordError, match="line 1"):
        read_excluded([broken])
    with pytest.raises(UsageError, match="missing"):
        read_excluded([tmp_path / "missing"])


def test_there_are_hundreds_of_frames_and_all_of_them_can_be_parsed() -> None:
    assert sum(frame_counts().values()) > 400
    assert len(frame_counts()) == 7


@pytest.mark.parametrize("frame", ["a [b", "a] b", "a|b", "{nothing_of_this_name}", "a { b"])
def test_a_broken_frame_is_refused(frame: str) -> None:
    with pytest.raises(UsageError, match="frame"):
        parse_frame(frame)


def test_templates_are_decided_by_the_seed_and_vary() -> None:
    first = list(itertools.islice(generate_from_templates(1), 500))
    assert first == list(itertools.islice(generate_from_templates(1), 500))
    assert first != list(itertools.islice(generate_from_templates(2), 500))
    assert len({sentence.text for sentence in first}) > 480
    assert all(sentence.text[-1] in ".?!" and sentence.text[0].isupper() for sentence in first)


def write_cache(cache: Path, words: str) -> None:
    for name, files in {
        "words": {"english-words.10": words, "english-upper.10": "Monday\n"},
        "books": {"book.txt": BOOK},
    }.items():
        folder = cache / "pypi" / f"{name}-1.0"
        folder.mkdir(parents=True)
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            for file, content in files.items():
                wheel.writestr(zipfile.ZipInfo(f"{name}/{file}"), content)


WORDS = "the dog ran home he was not there on who and then it barked for two or three hours"
BOOK = """The dog ran home. The dog ran home! Who was it? It barked for 2 or 3 hours.

The dog was not there and then it ran home on Monday. He was zzz there.

STOP HERE

The dog was there.
"""
RECIPE = {
    "seed": 3,
    "template_sentences": 1,
    "words": {
        "registry": "pypi",
        "package": "words",
        "version": "1.0",
        "licence": "MIT",
        "files": ["words/*"],
        "max_size": 60,
    },
    "sources": [
        {
            "name": "book",
            "registry": "pypi",
            "package": "books",
            "version": "1.0",
            "licence": "MIT",
            "reader": "plain",
            "files": ["books/*.txt"],
            "stop_at": "^STOP",
            "everyday": True,
        }
    ],
}


def collect(tmp_path: Path, name: str, *exclude: str, **changes: object) -> TextSummary:
    recipe = TextRecipe.model_validate(RECIPE | {"template_sentences": 0} | changes)
    if not (tmp_path / "cache").exists():
        write_cache(tmp_path / "cache", WORDS)
    return collect_sentences(recipe, tmp_path / name, frozenset(exclude), cache=tmp_path / "cache")


def written(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "sentences.jsonl").read_text().splitlines()]


def test_a_book_becomes_distinct_clean_sentences(tmp_path: Path) -> None:
    summary = collect(tmp_path, "out")
    records = {record["text"]: record for record in written(tmp_path / "out")}
    assert set(records) == {
        "The dog ran home.",
        "Who was it?",
        "It barked for two or three hours.",
        "The dog was not there and then it ran home on Monday.",
    }
    assert records["Who was it?"] == {"text": "Who was it?", "source": "book", "kind": "question"}
    assert records["It barked for two or three hours."]["kind"] == "number"
    assert summary.sentences == 4
    assert summary.words == 4 + 3 + 7 + 12
    assert summary.sources[0].dropped == 2  # the duplicate, and the word that is none
    listed = json.loads((tmp_path / "out/sources.json").read_text())
    package = tmp_path / "cache/pypi/books-1.0/books-1.0-py3-none-any.whl"
    assert listed["sources"][0]["sha256"] == hashlib.sha256(package.read_bytes()).hexdigest()
    assert listed["sources"][0]["version"] == "1.0"
    assert listed["sources"][0]["licence"] == "MIT"


def test_the_same_recipe_gives_the_same_bytes(tmp_path: Path) -> None:
    collect(tmp_path, "first")
    collect(tmp_path, "second")
    collect(tmp_path, "third", seed=4)
    first, second, third = (
        (tmp_path / name / "sentences.jsonl").read_bytes() for name in ("first", "second", "third")
    )
    assert first == second
    assert first != third
    assert sorted(first.splitlines()) == sorted(third.splitlines())


def test_excluded_texts_are_not_collected(tmp_path: Path) -> None:
    collect(tmp_path, "out", "the dog RAN home", "was not there and then it slept")
    assert {record["text"] for record in written(tmp_path / "out")} == {
        "Who was it?",
        "It barked for two or three hours.",
    }


def test_a_limit_draws_sentences_and_the_rest_may_come_from_another_source(tmp_path: Path) -> None:
    source = RECIPE["sources"][0]  # type: ignore[index]
    limited = [source | {"max_sentences": 1}, source | {"name": "again"}]
    summary = collect(tmp_path, "out", sources=limited)
    assert [source.sentences for source in summary.sources] == [1, 3, 0]


def test_the_beginning_of_the_file_is_a_fair_sample_of_limited_sources(tmp_path: Path) -> None:
    names = ["dog", "cat", "cow", "hen", "pig", "fox", "owl", "bee", "ant", "elk"]
    book = " ".join(f"The {a} saw the {b}." for a in names for b in names if a != b)
    unrelated = " ".join(f"A {a} saw a {b}." for a in names for b in names if a != b)
    cache = tmp_path / "cache" / "pypi"
    for package, files in {
        "words-1.0": {"words/english-words.10": f"the a saw {' '.join(names)}"},
        "books-1.0": {"books/one.txt": book, "books/two.txt": unrelated},
    }.items():
        (cache / package).mkdir(parents=True)
        with zipfile.ZipFile(cache / package / f"{package}-py3-none-any.whl", "w") as wheel:
            for file, content in files.items():
                wheel.writestr(file, content)
    source = RECIPE["sources"][0]  # type: ignore[index]
    limited = source | {"name": "limited", "files": ["books/one.txt"], "max_sentences": 20}
    collect(tmp_path, "out", sources=[limited, source | {"files": ["books/two.txt"]}])
    records = written(tmp_path / "out")
    assert len(records) == 110
    # 20 of 110: about 10 in the first 55, and not all of them.
    assert 4 <= sum(record["source"] == "limited" for record in records[:55]) <= 16


def test_another_package_than_the_recipes_is_refused(tmp_path: Path) -> None:
    source = RECIPE["sources"][0]  # type: ignore[index]
    with pytest.raises(PackageError, match="SHA-256"):
        collect(tmp_path, "out", sources=[source | {"sha256": "0" * 64}])


def test_too_many_templates_are_refused(tmp_path: Path) -> None:
    sentences = itertools.islice(generate_from_templates(3), 300)
    words = " ".join(normalize(sentence.text) for sentence in sentences)
    write_cache(tmp_path / "cache", f"{WORDS} {words}")
    assert collect(tmp_path, "half", template_sentences=4, max_template_share=0.5).sentences == 8
    with pytest.raises(CorpusError, match="templates"):
        collect(tmp_path, "out", template_sentences=4, max_template_share=0.0)


def test_the_shipped_recipe_pins_what_it_can() -> None:
    recipe = load_recipe(TextRecipe, "text-small")
    assert len({source.name for source in recipe.sources}) == len(recipe.sources)
    for source in recipe.sources:
        assert source.registry == "debian" or source.version, source.name


@pytest.mark.slow
def test_the_shipped_recipe_gives_what_small_needs(tmp_path: Path) -> None:
    """Fetches about 60 MB of packages; takes minutes."""
    recipe = load_recipe(TextRecipe, "text-small")
    excluded = "The dog barked at the mailman."
    summary = collect_sentences(recipe, tmp_path, frozenset([excluded]))
    assert summary.sentences >= 120_000
    assert summary.distinct_words >= 20_000
    assert summary.everyday_share >= 0.5
    texts = [record["text"] for record in written(tmp_path)]
    assert len({normalize(text) for text in texts}) == len(texts)
    assert normalize(excluded) not in {normalize(text) for text in texts}


def test_a_text_recipe_needs_sources_or_templates() -> None:
    """The smoke size of `recipe small` has templates alone."""
    templates = ["sources=[]", "template_sentences=400"]
    assert load_recipe(TextRecipe, "text-small", templates).sources == []
    with pytest.raises(UsageError, match="sources or template_sentences"):
        load_recipe(TextRecipe, "text-small", ["sources=[]", "template_sentences=0"])
