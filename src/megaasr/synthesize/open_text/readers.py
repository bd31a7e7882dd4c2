"""Readers of the formats of English text in packages; each yields paragraphs."""

from __future__ import annotations

import gzip
import html
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping

from megaasr.errors import CorpusError

Files = Mapping[str, bytes]
"""Contents of files by path."""

Reader = Callable[[Files], Iterator[str]]

_BLANK_LINES = re.compile(r"\n\s*\n")


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_plain(files: Files) -> Iterator[str]:
    """Read plain text, in which blank lines separate paragraphs and headings."""
    for content in files.values():
        yield from _BLANK_LINES.split(_text(content).replace("\r", "").replace("_", ""))


def read_fortunes(files: Files) -> Iterator[str]:
    """Read files of `fortune`: entries end with a line `%`, quotations with `-- author`."""
    for content in files.values():
        for entry in re.split(r"^%\s*$", _text(content), flags=re.MULTILINE):
            # Letters and dialogues in columns, and overstruck words, are not running text.
            if "\x08" in entry or entry.count("\t") > 6:
                continue
            quotation = re.split(r"^\s*--\s?", entry, maxsplit=1, flags=re.MULTILINE)[0]
            yield from _BLANK_LINES.split(quotation.replace("_", ""))


# Examples without an initial capital are clauses if they start with a pronoun or have an auxiliary
# outside relative clauses; all others are phrases ("a quick decision").
_CLAUSE = re.compile(
    r"(?:he|she|they|we|you|I|it)(?:'\w+)? [a-z]+ \w+|(?:this|that|there|who|what|where|how) "
    r"(?:is|was|are|were|will|has|had|did|does|can) \w+|(?:can|could|will|would|do|did|does) "
    r"(?:you|he|she|they|we|I|it) \w+|(?!.*\b(?:who|that|which|whose|as|than|when|where|if)\b)"
    r"(?:the|a|an|his|her|my|our|their|your|all|many|some|these|those|this|that) "
    r"(?:[\w'-]+ ){1,4}(?:is|was|are|were|has|had|will|would|can|could|must|did|should) [\w'-]+"
)


def read_wordnet(files: Files) -> Iterator[str]:
    """Read WordNet's data files: the quoted examples in glosses that are complete sentences."""
    for content in files.values():
        for line in _text(content).splitlines():
            if line.startswith("  "):
                continue
            for example in re.findall(r'"([^"]+)"', line.partition(" | ")[2]):
                ended = example.rstrip().endswith((".", "?", "!"))
                if ended or example[:1].isupper() or _CLAUSE.match(example):
                    stop = "" if ended else "."
                    yield example.strip() + stop


def read_dictd(files: Files) -> Iterator[str]:
    """Read dictionaries of `dictd` (.dict.dz), without headwords and braces of references."""
    for content in files.values():
        for paragraph in _BLANK_LINES.split(_text(gzip.decompress(content))):
            text = re.sub(r"[{}]", "", paragraph)
            text = re.sub(r"^\s*[A-Z][A-Z' -]+, (?:n|adj|v|adv)\.(?:[a-z]+\.)*\s+", "", text)
            text = re.sub(r"^\s*(?:\d+\.|n\.|vt\.|adj\.|\[[^\]]*\]|:)+\s*", "", text)
            if not re.match(r"\s{4,}\S.*\n\s{8,}\S", text) or text.count("\n") > 3:
                yield text


def read_html(files: Files) -> Iterator[str]:
    """Read HTML pages: paragraphs of running text, except those that contain code."""
    for content in files.values():
        page = re.sub(r"(?is)<(script|style|pre|table class)\b.*?</\1>", " ", _text(content))
        for paragraph in re.findall(r"(?is)<p\b[^>]*>(.*?)(?=</p>|<p\b|</td>|</div>)", page):
            if re.search(r"(?i)<(code|tt|kbd|samp)\b", paragraph):
                continue
            for part in re.split(r"(?i)<br\s*/?>", paragraph):
                yield html.unescape(re.sub(r"<[^>]+>", "", part))


def read_pod(files: Files) -> Iterator[str]:
    """Read Perl's documentation: paragraphs of running text, except those that contain code."""
    for content in files.values():
        for paragraph in _BLANK_LINES.split(_text(content)):
            if paragraph.startswith((" ", "\t", "=")) or re.search(r"[CF]<", paragraph):
                continue
            yield re.sub(r"[BILSXZE]<+\s?([^<>|]*)(?:\|[^<>]*)?\s?>+", r"\1", paragraph)


def read_chat(files: Files) -> Iterator[str]:
    """Read the messages of conversations in JSON, `{id: {"messages": [[{"text": …}, …], …]}}`."""
    for name, content in files.items():
        try:
            conversations = json.loads(content)
            for conversation in conversations.values():
                for turn in conversation["messages"]:
                    for message in turn:
                        yield message["text"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(
                f"{name}: does not have the layout of chitchat-dataset ({error})"
            ) from error


def read_dialogue_yaml(files: Files) -> Iterator[str]:
    """Read ChatterBot's corpora: YAML lines `- - question` and `  - answer`."""
    for content in files.values():
        for line in _text(content).splitlines():
            match = re.match(r"\s*-\s+(?:-\s+)?(\S.*)$", line)
            if match:
                yield match[1].strip().strip("\"'")


def read_r_strings(files: Files) -> Iterator[str]:
    """Read R's lazy-load database (.rdb) of character vectors that contain books line by line.

    A record is a big-endian length and a zlib stream of R's serialisation (version 3), in which a
    string is `00 04 00 09` (or other flags with the type 9), a length, and the bytes.
    """
    for name, content in files.items():
        position = 0
        while position + 4 < len(content):
            stream = zlib.decompressobj()
            try:
                record = stream.decompress(content[position + 4 :])
            except zlib.error as error:
                raise CorpusError(f"{name}: is not a lazy-load database of R ({error})") from error
            position = len(content) - len(stream.unused_data)
            yield from _BLANK_LINES.split("\n".join(_r_strings(record)).replace("_", ""))


def _r_strings(record: bytes) -> Iterator[str]:
    """Yield the strings of a serialised character vector."""
    encoding_bytes = struct.unpack(">i", record[14:18])[0]
    position = 18 + encoding_bytes
    kind, count = struct.unpack(">ii", record[position : position + 8])
    if kind & 0xFF != 16:
        raise CorpusError(f"an R object of type {kind & 0xFF} instead of a character vector (16)")
    position += 8
    for _ in range(count):
        size = struct.unpack(">i", record[position + 4 : position + 8])[0]
        position += 8
        yield _text(record[position : position + max(size, 0)])
        position += max(size, 0)


def read_sword(files: Files) -> Iterator[str]:
    """Read SWORD's compressed texts in OSIS (zText: .bzs index, .bzz data)."""
    for name, index in files.items():
        if not name.endswith(".bzs"):
            continue
        data = files.get(f"{name.removesuffix('.bzs')}.bzz")
        if data is None:
            raise CorpusError(f"{name}: the .bzz file beside it is missing")
        for offset, size, _ in struct.iter_unpack("<III", index):
            if size:
                yield from _osis_paragraphs(_text(zlib.decompress(data[offset : offset + size])))


def _osis_paragraphs(markup: str) -> Iterator[str]:
    markup = re.sub(r"(?s)<(note|title|figure)\b[^>]*>.*?</\1>", " ", markup)
    markup = re.sub(r"<(?:div|chapter|lg|l|milestone)\b[^>]*\beID=[^>]*>", "\n\n", markup)
    markup = re.sub(r"<[^>]+>", "", markup)
    yield from _BLANK_LINES.split(html.unescape(markup))


READERS: dict[str, Reader] = {
    "plain": read_plain,
    "fortunes": read_fortunes,
    "wordnet": read_wordnet,
    "dictd": read_dictd,
    "html": read_html,
    "pod": read_pod,
    "chat": read_chat,
    "dialogue-yaml": read_dialogue_yaml,
    "r-strings": read_r_strings,
    "sword": read_sword,
}
"""Readers by the names that recipes use."""
