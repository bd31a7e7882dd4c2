"""Every row of a test set is read, or the error names it: never a traceback, nothing cut."""

from __future__ import annotations

import codecs
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from table_mutations import Mutation, TestSetFile, make_test_set, mutate

from megaasr.errors import MegaASRError
from megaasr.records.fields import TEXT_FIELDS
from megaasr.records.tables import read_rows, read_utterances
from megaasr.score.bench_scorer import read_answers, score_records
from megaasr.score.predictions import read_predictions_file
from megaasr.score.test_set import read_test_set

SEED = 19
FILE_LEVEL = ("has no clips", "holds no predictions", "have no prediction")
"""Messages about a file as a whole, which name no line."""


def read_texts(path: Path, form: str) -> list[str]:
    """Return the references of a file, by every reader that takes it; they must agree."""
    if form == "score":
        records = read_answers(path)
        scores = score_records(records, "default")
        assert scores["overall"]["count"] == len(records)
        assert scores["overall"]["errors"] >= 0
        predictions = read_predictions_file(path)
        assert set(predictions.values()) == {record["prediction"] for record in records}
        return [record["answer"] for record in records]
    clips = read_test_set(path).clips
    utterances = list(read_utterances(path))
    assert [(clip.id, clip.audio, clip.text) for clip in clips] == [
        (utterance.id, utterance.audio, utterance.text) for utterance in utterances
    ]
    return [clip.text for clip in clips]


def decoded(content: bytes) -> str:
    for mark, name in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32")):
        if content.startswith(mark):
            return content.decode(name)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    return content.decode()


def letters(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def require_nothing_cut(path: Path, test_set: TestSetFile, content: bytes) -> None:
    """Check against the file itself that all of it was read, by rules of its own."""
    text = decoded(content)
    rows = [row for _, row in read_rows(path)]
    if test_set.is_table:
        cells = [*rows[0], *(cell for row in rows for cell in row.values())]
        assert letters("".join(cells)) == letters(text)
        return
    lines = [line for line in re.split("\r\n|\r|\n", text) if line.strip()]
    assert [shown(row) for row in rows] == [shown(json.loads(line)) for line in lines]


def shown(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True).replace("NaN", "null")


def check(mutation: Mutation, test_set: TestSetFile, path: Path) -> str:
    """Read a mutated file, check what was made of it, and return `read` or `refused`."""
    path.write_bytes(mutation.content)
    try:
        texts = read_texts(path, test_set.form)
    except MegaASRError as error:
        message = str(error)
        assert mutation.expected != "same", message
        assert path.name in message
        named = re.search(r"line (\d+)", message)
        if named is None:
            assert mutation.line is None, message
            assert any(phrase in message for phrase in FILE_LEVEL), message
            return "refused"
        assert mutation.line in {None, int(named[1])}, message
        assert 1 <= int(named[1]) <= len(re.split(b"\r\n|\r|\n", mutation.content)), message
        assert len(message) < 1000, message
        return "refused"
    assert mutation.expected != "refused", texts
    if mutation.expected == "same":
        references = [row[test_set.reference] for row in test_set.rows]
        if mutation.name == "text-empty":
            references = [
                reference if text else "" for reference, text in zip(references, texts, strict=True)
            ]
        assert texts == references
    require_nothing_cut(path, test_set, mutation.content)
    return "read"


def fuzz(count: int, seed: int, folder: Path) -> Counter[str]:
    """Check mutated test sets; return how many were read and refused, by what was expected."""
    counts: Counter[str] = Counter()
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        test_set = make_test_set(rng)
        mutation = mutate(test_set, rng)
        path = folder / f"set{test_set.suffix}"
        try:
            outcome = check(mutation, test_set, path)
        except Exception as error:
            error.add_note(f"mutation {number} of seed {seed}: {test_set.form}, {mutation}")
            raise
        counts[f"{mutation.expected}: {outcome}"] += 1
        counts[test_set.form] += 1
    return counts


def test_a_sample(tmp_path: Path) -> None:
    counts = fuzz(100, SEED, tmp_path)
    assert counts["same: read"] > 10
    assert counts["refused: refused"] > 10


@pytest.mark.slow
def test_two_thousand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = fuzz(2000, SEED + 1, tmp_path)
    with capsys.disabled():
        print(f"\n2,000 mutated test sets: {dict(sorted(counts.items()))}")
    assert min(counts[form] for form in ("csv", "tsv", "manifest", "nemo", "bench", "score")) > 200
    assert counts["either: read"] > 50
    assert counts["either: refused"] > 200


def test_the_references_of_the_formats_are_in_the_table() -> None:
    rng = random.Random(1)
    assert {make_test_set(rng).reference for _ in range(50)} <= set(TEXT_FIELDS)
