"""Systems over a test set: batches, failures, resuming, folders."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from megaasr.audio import Waveform, write
from megaasr.errors import RecordError, UsageError
from megaasr.score import running
from megaasr.score.from_file import match_predictions
from megaasr.score.predictions import UNUSABLE, Prediction, PredictionLog, read_predictions_file
from megaasr.score.test_set import TestSetFile, read_test_set


@dataclass
class Lengths:
    """A system whose text is the length of the clip in tenths of a second."""

    name: str = "lengths"
    kind: str = "made-up"
    settings: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    device: str | None = None
    transcribed: int = 0
    stop_after: int | None = None
    events: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        self.events.append("prepare")

    def close(self) -> None:
        self.events.append("close")

    def predict(self, waveforms: list[Waveform]) -> list[Prediction]:
        if self.stop_after is not None and self.transcribed >= self.stop_after:
            raise KeyboardInterrupt
        self.transcribed += len(waveforms)
        return [Prediction(str(round(w.duration_s * 10))) for w in waveforms]


@pytest.fixture
def test_set(tmp_path: Path) -> TestSetFile:
    for number in range(1, 8):
        write(tmp_path / f"{number}.wav", Waveform(np.full(1600 * number, 0.1, np.float32), 16_000))
    (tmp_path / "5.wav").write_bytes(b"no sound")
    rows = [
        {"audio": f"{number}.wav", "text": str(number)} for number in range(1, 9)
    ]  # there is no 8.wav
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_test_set(path)


def run(
    system: Lengths, test_set: TestSetFile, path: Path, save_every: int = running.SAVE_EVERY
) -> PredictionLog:
    log = PredictionLog(path)
    running.run_system(system, test_set, log, on_progress=lambda *_: None, save_every=save_every)
    return log


def test_one_broken_clip_stops_no_other(test_set: TestSetFile, tmp_path: Path) -> None:
    system = Lengths()
    log = run(system, test_set, tmp_path / "p.jsonl")
    predictions = {clip.id: log["lengths", clip.id] for clip in test_set.clips}
    assert [predictions[f"{number}.wav"].text for number in (1, 2, 3, 4, 6, 7)] == list("123467")
    for broken in ("5.wav", "8.wav"):
        assert predictions[broken].text == ""
        assert str(predictions[broken].error).startswith(UNUSABLE)
        assert broken in str(predictions[broken].error)
        assert predictions[broken].seconds is None
    assert predictions["7.wav"].duration_s == pytest.approx(0.7)
    assert system.events == ["prepare", "close"]


def test_a_killed_run_goes_on(test_set: TestSetFile, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(Lengths(stop_after=4), test_set, path, save_every=2)
    assert len(path.read_text().splitlines()) == 4
    with path.open("a") as log:  # what a kill leaves in the middle of a line
        log.write('{"system": "lengths", "id": "5.w')
    resumed = Lengths()
    run(resumed, test_set, path)
    assert resumed.transcribed == 2  # 6 and 7: 5 and 8 have no sound
    ids = [json.loads(line)["id"] for line in path.read_text().splitlines()]
    assert ids == [clip.id for clip in test_set.clips]
    repeated = Lengths()
    run(repeated, test_set, path)
    assert repeated.transcribed == 0
    assert repeated.events == ["close"]  # nothing is loaded when there is nothing to do


def test_a_folder_belongs_to_a_test_set_and_settings(test_set: TestSetFile, tmp_path: Path) -> None:
    out = tmp_path / "out"
    running.claim(out, test_set, [Lengths(settings={"model": "a"})])
    running.claim(out, test_set, [Lengths(settings={"model": "a"}), Lengths(name="other")])
    with pytest.raises(UsageError, match="other settings"):
        running.claim(out, test_set, [Lengths(settings={"model": "b"})])
    shortened = TestSetFile(test_set.path, test_set.audio_root, test_set.kind, test_set.clips[:3])
    with pytest.raises(UsageError, match="another test set"):
        running.claim(out, shortened, [])
    (out / running.RUN_FILE).write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        running.claim(out, test_set, [])


def test_predictions_of_others(test_set: TestSetFile, tmp_path: Path) -> None:
    path = tmp_path / "theirs.jsonl"
    rows = [
        {"audio_filepath": "1.wav", "pred_text": "one"},
        {"id": "2.wav", "prediction": "two"},
        {"audio_path": "3.wav", "prediction": ""},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    predictions = match_predictions(path, test_set.clips)
    assert [predictions[f"{number}.wav"].text for number in (1, 2, 3)] == ["one", "two", ""]
    assert predictions["3.wav"].error is None  # an empty prediction is a prediction
    assert predictions["4.wav"].error == "no prediction in the file"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "1.wav"}', "line 1: a prediction needs"),
        ('{"prediction": "a"}', "line 1: a prediction needs"),
        ('{"id": "x", "prediction": 3}', "line 1: prediction is 3, not a string"),
        ('{"id": "x", "prediction": "a"}\n{"id": "x", "prediction": "b"}', "line 2: a second"),
        ("nothing", "not JSON"),
    ],
)
def test_broken_predictions_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(RecordError, match=message):
        read_predictions_file(path)


def test_predictions_of_another_test_set_are_refused(test_set: TestSetFile, tmp_path: Path) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text('{"id": "elsewhere", "prediction": "a"}\n')
    with pytest.raises(UsageError, match="ids must agree"):
        match_predictions(path, test_set.clips)
