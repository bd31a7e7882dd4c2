"""Grading: bands, shards shared by processes, resume after any kill, Parquet and JSONL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from megaasr.audio import files
from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import Waveform
from megaasr.errors import RecordError, UsageError
from megaasr.grade.bands import grade
from megaasr.grade.grading import Grading
from megaasr.grade.shards import ShardAssignment, assignment_from_environment
from megaasr.grade.summary import draw, summarize
from megaasr.model.interface import Recognition, Request
from megaasr.records import Utterance, read_manifest, write_manifest
from megaasr.text.error_bands import band_of

WORDS = ["one two three four", "five six seven eight", "nine ten", ""]


class Counting:
    """Recognises a number of words that depends on the level of a clip; counts its clips."""

    name, has_robust_route = "counting", False

    def __init__(self) -> None:
        self.clips = 0

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        self.clips += len(requests)
        return [self._recognize_clip(request) for request in requests]

    def _recognize_clip(self, request: Request) -> Recognition:
        level = round(float(np.abs(request.samples).max()) * 10)
        text = " ".join(["one", "two", "three", "four"][:level])
        return Recognition(text, "en" if text else None, 3, False, text, -0.1)


def make_set(folder: Path, count: int = 7) -> Path:
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    utterances = []
    for number in range(count):
        level = (number % 5) / 10 + 0.04
        sound = rng.uniform(-1, 1, 1600).astype(np.float32)
        sound *= level / np.abs(sound).max()
        name = f"{number}.wav"
        files.write(folder / name, Waveform(sound, 16_000))
        extra = {"scenario": "noise" if number % 2 else "clean", "severity": number / count}
        utterances.append(Utterance(f"u{number}", name, WORDS[number % 4], "en", extra))
    write_manifest(folder / "m.jsonl", utterances)
    return folder / "m.jsonl"


def run(
    manifest: Path, output: Path, assignment: ShardAssignment | None = None, **options: object
) -> Counting:
    model = Counting()
    grading = Grading(
        manifest, output, model="counting", fingerprint="f", **{"shard_size": 2, **options}
    )
    grading.run(lambda: model, assignment or ShardAssignment(), lambda *_: None)
    return model


def test_bounds_are_strict() -> None:
    assert [band_of(rate) for rate in (0.0, 0.29, 0.3, 0.5, 0.69, 0.7, 3.0)] == [
        *["below_30"] * 2,
        *["below_50"],
        *["below_70"] * 2,
        *["above"] * 2,
    ]


def test_a_grade_counts_as_the_scorer_does() -> None:
    result = grade("one two three four", Recognition("one too", "en", 3, True, ""), "en")
    columns = result.columns("m")
    assert columns["base_error_rate"] == 0.75
    assert (columns["base_substitutions"], columns["base_deletions"]) == (1, 2)
    assert columns["base_band"] == "above"
    assert columns["base_flags"] == "truncated"


@pytest.mark.parametrize("container", ["parquet", "jsonl"])
def test_every_clip_once_with_its_columns_and_sound(tmp_path: Path, container: str) -> None:
    manifest = make_set(tmp_path / "in")
    run(manifest, tmp_path / "out", container=container)
    graded = list(read_manifest(tmp_path / "out" / "graded.jsonl"))
    assert [clip.id for clip in graded] == [f"u{n}" for n in range(7)]
    assert graded[1].extra["scenario"] == "noise"
    assert graded[1].extra["base_text"] in ("", "one")
    for clip, source in zip(graded, read_manifest(manifest), strict=True):
        graded_samples = read_clip(tmp_path / "out", clip.audio).samples
        assert np.array_equal(graded_samples, read_clip(manifest.parent, source.audio).samples)
    assert (tmp_path / "out" / "errors.jsonl").read_text() == ""


def test_datasets_reads_the_parquet_columns(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    run(make_set(tmp_path / "in"), tmp_path / "out")
    (first, *_) = sorted((tmp_path / "out").glob("*.parquet"))
    schema = pq.read_schema(first)
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["audio"]["_type"] == "Audio"
    assert features["base_error_rate"]["dtype"] == "float64"
    rates = pq.read_table(first, columns=["base_error_rate"])["base_error_rate"].to_pylist()
    assert len(rates) == 2


def test_shares_meet_in_one_folder_and_resume_does_nothing_twice(tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "in")
    first = run(manifest, tmp_path / "out", ShardAssignment(0, 2))
    assert not (tmp_path / "out" / "graded.jsonl").exists()
    again = run(manifest, tmp_path / "out", ShardAssignment(0, 2))
    second = run(manifest, tmp_path / "out", ShardAssignment(1, 2))
    assert (first.clips, again.clips, second.clips) == (4, 0, 3)
    listing = (tmp_path / "out" / "graded.jsonl").read_bytes()
    run(manifest, tmp_path / "alone")
    assert listing == (tmp_path / "alone" / "graded.jsonl").read_bytes()


def test_a_clip_that_cannot_be_read_costs_one_line(tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "in")
    (tmp_path / "in" / "2.wav").write_bytes(b"noise")
    (tmp_path / "in" / "5.wav").unlink()
    long = np.zeros(16_000 * 31, np.float32)
    files.write(tmp_path / "in" / "6.wav", Waveform(long, 16_000))
    run(manifest, tmp_path / "out")
    good = [clip.id for clip in read_manifest(tmp_path / "out" / "graded.jsonl")]
    assert good == ["u0", "u1", "u3", "u4"]
    lines = (tmp_path / "out" / "errors.jsonl").read_text().splitlines()
    errors = [json.loads(line) for line in lines]
    assert [clip["id"] for clip in errors] == ["u2", "u5", "u6"]
    assert "30 s" in errors[2]["error"]


def test_another_model_or_set_is_refused(tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "in")
    run(manifest, tmp_path / "out")
    with pytest.raises(UsageError, match="shard_size is 2 there and 3 now"):
        run(manifest, tmp_path / "out", shard_size=3)
    write_manifest(manifest, [*read_manifest(manifest), *read_manifest(manifest)])
    with pytest.raises(RecordError, match="u0 occurs twice"):
        run(manifest, tmp_path / "other")


def test_shares_of_torchrun_and_of_a_job_array() -> None:
    assert assignment_from_environment({"RANK": "3", "WORLD_SIZE": "8"}) == ShardAssignment(3, 8)
    slurm = {
        "SLURM_ARRAY_TASK_ID": "5",
        "SLURM_ARRAY_TASK_MIN": "1",
        "SLURM_ARRAY_TASK_COUNT": "10",
    }
    assert assignment_from_environment(slurm) == ShardAssignment(4, 10)
    assert assignment_from_environment({}) == ShardAssignment(0, 1)
    with pytest.raises(UsageError, match="count from 0"):
        ShardAssignment(4, 4)


def test_the_summary_and_its_picture(tmp_path: Path) -> None:
    run(make_set(tmp_path / "in"), tmp_path / "out")
    summary = summarize(tmp_path / "out" / "graded.jsonl")
    assert sum(summary.bands.values()) == 7
    assert set(summary.by_scenario) == {"noise", "clean"}
    assert len(summary.by_severity) == 3
    draw(summary, tmp_path / "grades.png")
    assert (tmp_path / "grades.png").stat().st_size > 10_000


_SLOW = """
import sys, time
sys.path.insert(0, {folder!r})
from pathlib import Path
import test_grade as tests
from megaasr.grade.grading import Grading
from megaasr.grade.shards import ShardAssignment
class Slow(tests.Counting):
    def recognize(self, requests):
        time.sleep(0.05)
        return super().recognize(requests)
print("ready", flush=True)
grading = Grading(Path(sys.argv[1]), Path(sys.argv[2]), model="counting", fingerprint="f",
                  shard_size=2)
grading.run(Slow, ShardAssignment(), lambda *_: None)
"""


def test_kill_nine_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    manifest = make_set(tmp_path / "in", count=30)
    program = _SLOW.format(folder=str(Path(__file__).parent))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for wait_s in (0.1, 0.2, 0.3):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(manifest), str(tmp_path / "out")],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(wait_s)
        child.kill()
        child.communicate()
    run(manifest, tmp_path / "out")
    run(manifest, tmp_path / "alone")
    interrupted, alone = (tmp_path / name / "graded.jsonl" for name in ("out", "alone"))
    assert interrupted.read_bytes() == alone.read_bytes()
