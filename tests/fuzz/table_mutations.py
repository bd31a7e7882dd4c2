"""Test sets in every accepted format, and what happens to them on their way from others.

Each mutation states what a reader must do with the file: read all rows as they were, refuse it and
name the row, or one of the two.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Expected = Literal["same", "refused", "either"]
FORMATS = ("csv", "tsv", "manifest", "nemo", "bench", "score")
_WORDS = (
    *("red", "boats", "don't", "don’t", "größer", "été", "co\u00adop", "می‌خواهم", "今天", "天気"),
    *("ｈｉ", "I'm", "naïve", "50", "İstanbul", "…", "—", "ok"),
)
_LANGUAGES = ("en", "English", "deu", "zh-Hans-CN", "auto", "", "fr_FR", "klingon")
_REFERENCES = {"csv": "text", "tsv": "sentence", "bench": "answer"}


@dataclass(frozen=True)
class TestSetFile:
    """A test set before anything happened to it.

    Attributes:
        form: one of `FORMATS`.
        rows: the rows in order; a table's values are strings.
    """

    __test__ = False

    form: str
    rows: list[dict[str, Any]]

    @property
    def suffix(self) -> str:
        return f".{self.form}" if self.is_table else ".jsonl"

    @property
    def is_table(self) -> bool:
        return self.form in {"csv", "tsv"}

    @property
    def reference(self) -> str:
        return _REFERENCES.get(self.form, "text")

    def lines(self) -> list[str]:
        """Return the lines of the file, without line ends; the first of a table is its header."""
        if not self.is_table:
            return [json.dumps(row, ensure_ascii=False) for row in self.rows]
        cells = [list(self.rows[0]), *(list(row.values()) for row in self.rows)]
        if self.form == "tsv":
            return ["\t".join(row) for row in cells]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(cells)
        return text.getvalue().splitlines()

    def line_of(self, index: int) -> int:
        """Return the number of a row's line, from 1."""
        return index + 1 + self.is_table


@dataclass(frozen=True)
class Mutation:
    """A test set after something happened to it.

    Attributes:
        name: what happened.
        content: bytes of the file.
        expected: what a reader must do.
        line: the line that an error must name; None if it may be any.
    """

    name: str
    content: bytes
    expected: Expected
    line: int | None = None


def make_test_set(rng: random.Random) -> TestSetFile:
    """Draw a test set; every row's text begins and ends with words that no other row has."""
    form = rng.choice(FORMATS)
    rows = []
    for index in range(rng.randint(2, 9)):
        words = rng.choices(_WORDS, k=rng.randint(0, 6))
        mark = ", " if form == "csv" else ' " ' if form == "tsv" else "\n " if index % 2 else " "
        text = mark.join([f"first{index}", *words, f"last{index}"])
        row: dict[str, Any] = {"id": f"clip{index}", "audio": f"clips/{index}.wav"}
        if form == "nemo":
            row = {"audio_filepath": "long.wav", "offset": index * 2.5, "duration": 2.0}
        if form == "bench":
            row = {"index": index, "audio_path": f"{index}.wav", "subset": "sim-en-noise"}
        row[_REFERENCES.get(form, "text")] = text
        if form == "score":
            row["hypothesis"] = " ".join(words)
        if form != "bench":
            row["language"] = rng.choice(_LANGUAGES)
        rows.append(row)
    return TestSetFile(form, rows)


def mutate(test_set: TestSetFile, rng: random.Random) -> Mutation:
    """Draw one thing that happens to a test set, and do it."""
    kinds = [_encode, _encode, _edit_line, _edit_line, _damage, _damage, _damage]
    if not test_set.is_table:
        kinds += [_change_value, _change_value, _change_value]
    return rng.choice(kinds)(test_set, rng)


def _encode(test_set: TestSetFile, rng: random.Random) -> Mutation:
    """Write the same text as other programs do: it must be read as it was."""
    lines = test_set.lines()
    name = rng.choice(
        ["plain", "utf-8-sig", "utf-16", "utf-32", "utf-16-be", "crlf", "cr", "blank", "no-end"]
    )
    text = "".join(f"{line}\n" for line in lines)
    if name == "utf-16-be":
        return Mutation(name, b"\xfe\xff" + text.encode(name), "same")
    if name.startswith("utf"):
        return Mutation(name, text.encode(name), "same")
    if name in {"crlf", "cr"}:
        return Mutation(
            name, text.replace("\n", "\r\n" if name == "crlf" else "\r").encode(), "same"
        )
    if name == "blank":
        blank = rng.choice(["\n", "  \n", "\r\n", "\n\n\n"])
        return Mutation(name, blank.join(f"{line}\n" for line in lines).encode(), "same")
    return Mutation(name, text.rstrip("\n" if name == "no-end" else "").encode(), "same")


def _edit_line(test_set: TestSetFile, rng: random.Random) -> Mutation:
    """Break one row: it must be refused by its line."""
    lines = [line.encode() for line in test_set.lines()]
    index = rng.randrange(len(test_set.rows))
    number = test_set.line_of(index)
    line = lines[number - 1]
    cut = rng.randrange(1, len(line) - 1)
    delimiter = b"\t" if test_set.form == "tsv" else b","
    edits: dict[str, Callable[[], bytes]] = {
        "nul": lambda: line[:cut] + b"\0" + line[cut:],
        "not-utf-8": lambda: line + b"\xff" if test_set.is_table else line[:-1] + b"\xff}",
    }
    if test_set.is_table:
        edits |= {
            "cell-too-many": lambda: line + delimiter + b"more",
            "cell-too-few": lambda: line.rpartition(delimiter)[0],
            "header-again": lambda: lines[0],
        }
        if test_set.form == "csv":
            edits["quote-opened"] = lambda: b'clip,"' + line.replace(b'"', b"")
    else:
        edits |= {
            "cut-short": lambda: line[:cut],
            "two-objects": lambda: line + line,
            "array": lambda: b"[" + line + b"]",
            "deep": lambda: b'{"a": ' + b"[" * 100_000,
            "half-a-character": lambda: line[:-1] + b', "x": "\\ud83d"}',
            "key-twice": lambda: line[:-1] + b', "language": "en", "language": "zh"}',
            "infinity": lambda: line[:-1] + b', "x": -Infinity}',
        }
    name = rng.choice(sorted(edits))
    lines[number - 1] = edits[name]()
    return Mutation(name, b"\n".join(lines) + b"\n", "refused", number)


def _change_value(test_set: TestSetFile, rng: random.Random) -> Mutation:
    """Give one field of a JSON row another value."""
    index = rng.randrange(len(test_set.rows))
    rows = [dict(row) for row in test_set.rows]
    row = rows[index]
    audio = next(name for name in row if name.startswith("audio"))
    wrong_length = rng.choice(["long", -1, [1], True, "1e999", "nan"])
    wrong = rng.choice([5, 1.5, True, [], ["a"], {"text": "a"}, 10**400])
    changes: dict[str, tuple[Expected, dict[str, Any]]] = {
        "text-type": ("refused", {test_set.reference: wrong}),
        "text-null": ("refused", {test_set.reference: None}),
        "text-nan": ("refused", {test_set.reference: float("nan")}),
        "text-empty": ("same", {test_set.reference: ""}),
        "language-type": ("refused", {"language": [wrong]}),
        "nested": ("same", {"extra": {"a": [1, {"b": None}], "offset": 5}}),
        "number-nan": ("same", {"snr": float("nan")}),
        "id-again": ("refused", {k: v for k, v in rows[index - 1].items() if k != "hypothesis"}),
    }
    if test_set.form != "score":
        changes |= {
            "audio-type": ("refused", {audio: wrong}),
            "audio-null": ("refused", {audio: None}),
            "audio-nul": ("refused", {audio: "a\0b.wav"}),
            "duration": (
                "refused",
                {"duration": wrong_length},
            ),
            "offset": ("refused", {"offset": rng.choice(["x", -0.1, {}, "inf"])}),
            "duration-text": ("same", {"duration": "2.0"}),
        }
    name = rng.choice(sorted(changes))
    expected, values = changes[name]
    rows[index] = {**row, **values}
    content = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()
    number = max(test_set.line_of(index), test_set.line_of(index - 1 if index else len(rows) - 1))
    line = number if name == "id-again" else test_set.line_of(index)
    return Mutation(name, content, expected, line if expected == "refused" else None)


def _damage(test_set: TestSetFile, rng: random.Random) -> Mutation:
    """Change bytes anywhere: whatever is read then, nothing may be lost."""
    content = bytearray("".join(f"{line}\n" for line in test_set.lines()).encode())
    name = rng.choice(["flip", "delete", "insert", "truncate", "repeat", "swap", "mark"])
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        start = rng.randrange(len(content))
        end = min(len(content), start + rng.randint(1, 30))
        if name == "flip":
            content[start] ^= 1 << rng.randrange(8)
        elif name == "delete":
            del content[start : rng.choice([start + 1, end])]
        elif name == "insert":
            content[start:start] = rng.randbytes(rng.randint(1, 3))
        elif name == "mark":
            content[start:start] = rng.choice([b'"', b",", b"\t", b"\n", b"\r", b";", b"'", b"\\"])
        elif name == "truncate":
            del content[start + 1 :]
        elif name == "repeat":
            content[start:start] = content[start:end]
        else:
            other = rng.randrange(len(content))
            content[start], content[other] = content[other], content[start]
        if not content:
            break
    return Mutation(name, bytes(content), "either")
