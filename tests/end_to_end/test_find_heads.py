"""The heads that follow the speech, found in the shipped model on speech of flite."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from command_line import mega_asr
from megaasr.model.alignment_heads import read_heads
from megaasr.model.hub import find_model
from megaasr.synthesize.corpus import synthesize_corpus
from megaasr.synthesize.plan import CorpusRecipe

WITHOUT = shutil.which("flite") is None or shutil.which("espeak-ng") is None


@pytest.mark.skipif(WITHOUT, reason="flite and espeak-ng are not installed")
def test_heads_of_tiny_are_found_and_time_its_words(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("train", "test_held_out", "joined"), 0)
    silent = dict.fromkeys(("nonspeech_train", "nonspeech_dev", "nonspeech_test"), 0)
    recipe = CorpusRecipe(seed=2, dev=16, test=0, handwritten=False, **nothing, **silent)
    assert synthesize_corpus(recipe, tmp_path / "corpus") == []
    data = tmp_path / "corpus" / "dev.jsonl"
    command = ("train", "find-heads", "tiny", "--data", data)
    searched = mega_asr(*command, "-o", tmp_path / "heads", cwd=tmp_path)
    assert searched.returncode == 0, searched.stderr
    assert "the best 1: words are off by" in searched.stdout
    (head,) = read_heads(find_model("tiny"), 99, 99).heads
    assert [head.layer, head.head] in json.loads(
        (tmp_path / "heads" / "alignment_heads.json").read_text()
    )["heads"]
    checked = mega_asr("train", "check-times", "tiny", "--data", data, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    starts = {
        line.split(":")[0]: int(line.split("median error ")[1].split(" ms")[0])
        for line in checked.stdout.splitlines()
        if "starts" in line
    }
    assert starts["--align model"] < 60 < starts["--align off"]


def test_records_without_times_are_refused(tmp_path: Path) -> None:
    (tmp_path / "plain.jsonl").write_text('{"id": "a", "audio": "a.wav", "text": "no"}\n')
    command = ("train", "find-heads", "tiny", "--data", tmp_path / "plain.jsonl")
    refused = mega_asr(*command, "-o", tmp_path, cwd=tmp_path)
    assert refused.returncode
    assert "no record lists its words with times" in refused.stderr
