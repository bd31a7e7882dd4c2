"""Every JSON that we write is JSON: no `Infinity`, no `NaN`, and our own readers read it."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megaasr import strict_json
from megaasr.cli.screen import Screen, StdoutContent
from megaasr.config import Recipe, load_recipe
from megaasr.errors import UsageError
from megaasr.records import Check, Segment, Transcript, Utterance, Word
from megaasr.records.utterances import read_manifest, write_manifest
from megaasr.transcribe.checks import CheckThresholds
from megaasr.transcribe.options import ReliabilityOptions, TranscribeOptions
from megaasr.transcribe.outputs import INDEX_NAME, AudioInput, OutputFolder

ROOT = Path(__file__).parents[2]
HOSTILE = (math.inf, -math.inf, math.nan)


def loads(text: str) -> Any:
    """Parse JSON as a strict reader does."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def writers(path: Path) -> Iterator[str]:
    """The calls in a file that write JSON without `strict_json`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "json":
            yield f"{path}:{node.lineno}: from json import …"
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        if node.value.id == "json" and node.attr in ("dump", "dumps", "JSONEncoder"):
            yield f"{path}:{node.lineno}: json.{node.attr}"


@pytest.mark.parametrize("folder", ["src", "benchmarks", "tools"])
def test_everything_that_writes_json_writes_strict_json(folder: str) -> None:
    files = [
        path for path in sorted((ROOT / folder).rglob("*.py")) if path.name != "strict_json.py"
    ]
    assert files
    calls = [call for path in files for call in writers(path)]
    assert calls == [], "write with megaasr.strict_json.dumps"


def test_the_search_finds_writers(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("import json\njson.dumps(1)\njson.loads('1')\njson.dump(1, f)\n")
    assert len(list(writers(path))) == 2


def test_numbers_that_are_not_finite_are_null() -> None:
    for value in HOSTILE:
        document = {"a": [1.5, value, {"b": (value, "x")}], "c": np.float64(value), "d": True}
        assert loads(strict_json.dumps(document)) == {
            "a": [1.5, None, {"b": [None, "x"]}],
            "c": None,
            "d": True,
        }
    assert strict_json.dumps({"b": 1, "a": "ä"}, sort_keys=True, ensure_ascii=False) == (
        '{"a": "ä", "b": 1}'
    )
    with pytest.raises(TypeError):
        strict_json.dumps({"path": Path()})


@pytest.mark.parametrize("value", HOSTILE)
def test_transcripts_of_any_numbers_are_json(
    value: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segment = Segment(
        0.0,
        1.0,
        "Hello.",
        "en",
        mean_logprob=value,
        words=(Word("Hello.", 0.0, 1.0, value),),
        checks=(Check("low_logprob", value, value),),
    )
    transcript = Transcript("Hello.", "en", 1.0, "fake", (segment,))
    document = loads(transcript.to_json())
    assert document["segments"][0]["checks"] == [
        {"flag": "low_logprob", "value": None, "threshold": None}
    ]
    assert transcript.to_dict() == document
    with Screen(StdoutContent.JSON, 1, bar=False) as screen:
        screen.transcripts("a.wav", [transcript])
    assert loads(capsys.readouterr().out) == document

    recording = tmp_path / "a.wav"
    recording.write_bytes(b"sound")
    folder = OutputFolder(tmp_path / "out", ("json",), {"threshold": value})
    folder.assign_names([AudioInput(str(recording))])
    folder.write(AudioInput(str(recording)), [transcript])
    for line in (tmp_path / "out" / INDEX_NAME).read_text().splitlines():
        loads(line)
    loads((tmp_path / "out" / "a.json").read_text())


def test_settings_with_disabled_checks_are_json_and_differ() -> None:
    def settings(*changes: str) -> str:
        thresholds = CheckThresholds().changed(changes)
        options = TranscribeOptions(reliability=ReliabilityOptions(thresholds=thresholds))
        text = strict_json.dumps(options.settings(), sort_keys=True)
        loads(text)
        return text

    texts = {settings(), settings("low_logprob=-inf"), settings("low_logprob=inf")}
    assert len(texts) == 3


def test_a_manifest_with_any_numbers_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write_manifest(path, [Utterance("a", "a.wav", "x", "en", {"snr_db": -math.inf, "rate": 1.5})])
    loads(path.read_text())
    (utterance,) = read_manifest(path)
    assert utterance.extra == {"snr_db": None, "rate": 1.5}


def test_a_recipe_has_no_infinite_numbers(tmp_path: Path) -> None:
    class Small(Recipe):
        rate: float

    path = tmp_path / "r.toml"
    for value in ("inf", "-inf", "nan"):
        path.write_text(f"rate = {value}\n")
        with pytest.raises(UsageError, match="rate"):
            load_recipe(Small, path)
