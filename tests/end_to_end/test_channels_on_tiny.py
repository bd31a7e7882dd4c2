"""`transcribe --channels` and `--track` on recordings of the shipped model's voices."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rapidfuzz import fuzz

from command_line import TINY, mega_asr
from megaasr.audio import files

RATE = 16_000
CLIPS = sorted((Path(files.__file__).parents[1] / "cli" / "demo_clips").glob("*-clean.flac"))


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers in turns, each on a channel, and 20 dB below on the other's."""
    first, second = (files.read(clip, sample_rate=RATE).samples for clip in CLIPS[:2])
    pause = np.zeros(RATE // 2, np.float32)
    left = np.concatenate([first, pause, 0 * second])
    right = np.concatenate([0 * first, pause, second])
    path = tmp_path_factory.mktemp("call") / "call.wav"
    soundfile.write(path, np.stack([left + 0.1 * right, right + 0.1 * left], axis=1), RATE)
    return path


def words_of(clip: Path, folder: Path) -> str:
    done = mega_asr("transcribe", *TINY, clip, "--json-lines", cwd=folder)
    return str(json.loads(done.stdout)["text"])


def test_each_channel_has_its_own_transcript(call: Path, tmp_path: Path) -> None:
    expected = [words_of(clip, tmp_path) for clip in CLIPS[:2]]
    done = mega_asr("transcribe", *TINY, call, "--channels", "each", "--json-lines", cwd=tmp_path)
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [document["channel"] for document in documents] == ["left", "right"]
    for document, text in zip(documents, expected, strict=True):
        assert fuzz.ratio(document["text"], text) > 90  # a tenth of the other voice remains
    arguments = ("transcribe", *TINY, call, "--channels", "each", "-o", ".", "-f", "srt")
    assert mega_asr(*arguments, cwd=tmp_path).returncode == 0
    assert sorted(p.name for p in tmp_path.glob("*.srt")) == ["call.left.srt", "call.right.srt"]
    assert "1 already done" in mega_asr(*arguments, "--resume", cwd=tmp_path).stderr


def test_a_recording_without_the_channel_costs_only_itself(call: Path, tmp_path: Path) -> None:
    done = mega_asr("transcribe", *TINY, CLIPS[0], call, "--channels", "right", cwd=tmp_path)
    assert done.returncode == 1
    assert "has 1 channel, there is no channel 'right'" in done.stderr
    assert "2 files: 1 transcribed, 1 failed" in done.stderr
