"""A small data set built for real: equal bytes however it was built, and honest failures."""

from __future__ import annotations

import errno
import io
import json
import multiprocessing
import operator
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from hanging import HANGING_S

pq = pytest.importorskip("pyarrow.parquet", reason="pip install 'megaasr[simulate]'")

from megaasr import atomic  # noqa: E402
from megaasr.audio import files  # noqa: E402
from megaasr.audio.encoding import encode, pcm_16  # noqa: E402
from megaasr.audio.waveform import Waveform  # noqa: E402
from megaasr.cli.simulate_corpus import corpus, webdataset  # noqa: E402
from megaasr.config import load_recipe  # noqa: E402
from megaasr.errors import CorpusError, UsageError  # noqa: E402
from megaasr.records import read_manifest  # noqa: E402
from megaasr.simulate.corpus import build, summary, worker_processes  # noqa: E402
from megaasr.simulate.corpus.build import build_corpus  # noqa: E402
from megaasr.simulate.corpus.columns import find_columns  # noqa: E402
from megaasr.simulate.corpus.plan import file_stem, plan_corpus  # noqa: E402
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe  # noqa: E402
from megaasr.simulate.corpus.sources import open_sources  # noqa: E402
from megaasr.simulate.corpus.webdataset import export_webdataset  # noqa: E402
from megaasr.simulate.draw import Draw  # noqa: E402
from megaasr.simulate.mix import Mix  # noqa: E402
from megaasr.simulate.noise_pool import NoisePool  # noqa: E402
from megaasr.simulate.simulator import Simulator  # noqa: E402

RATE = 16_000
CLIPS = 23
RECIPE = load_recipe(
    SimulatedCorpusRecipe,
    "simulate-default",
    ["seed=3", f"num_clips={CLIPS}", "shard_size=5", "mix.clean=0.1", "speed_range=[0.8, 1.25]"],
)
SHARDS = [f"train-{number:05d}-of-00005.parquet" for number in range(5)]
_APP = typer.Typer()
_APP.command()(corpus)
_APP.command()(webdataset)


def speechlike(seed: int, duration_s: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    time_s = np.arange(round(duration_s * RATE)) / RATE
    bursts = np.clip(np.sin(2 * np.pi * 3 * time_s), 0, 1)
    noise = np.random.default_rng(seed).standard_normal(time_s.size)
    voice = np.sign(np.sin(2 * np.pi * (110 + 7 * seed) * time_s))
    return bursts * (0.02 * noise + 0.1 * voice)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight utterances; one cannot be decoded, one is cut off, one shorter than a syllable."""
    folder = tmp_path_factory.mktemp("clean")
    (folder / "audio").mkdir()
    records: list[dict[str, Any]] = []
    for number, duration_s in enumerate((1.2, 0.9, 1.5, 1.0, 0.8, 0.2)):
        audio = f"audio/{number}.wav"
        soundfile.write(folder / audio, speechlike(number, duration_s), RATE)
        record = {"id": f"spoken/{number}", "audio": audio, "text": f"Sätze {number}"}
        records.append({**record, "language": "de", "duration_s": duration_s, "take": number})
    (folder / "audio" / "broken.flac").write_bytes(b"fLaC, but nothing more")
    broken = {"id": "broken", "audio": "audio/broken.flac", "text": "lost", "take": "two"}
    encoded = (folder / "audio" / "0.wav").read_bytes()
    (folder / "audio" / "cut.wav").write_bytes(encoded[: len(encoded) // 2])
    cut = {"id": "cut", "audio": "audio/cut.wav", "text": "half", "speaker": {"age": 7}}
    records[2:2] = [broken]
    records[4:4] = [cut]
    path = folder / "clean.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def reference(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set built in one go; tests must not write into it."""
    folder = tmp_path_factory.mktemp("simulated")
    report = build_corpus(manifest, folder, RECIPE, workers=1)
    assert (report.shards, report.sources_broken) == (5, 2)
    return folder


@pytest.fixture
def copy(reference: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(reference, tmp_path / "copy"))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for shard in SHARDS for row in pq.read_table(folder / shard).to_pylist()]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def usable_places() -> list[int]:
    """Clip numbers whose source is sound; utterances 2 and 4 of the eight are not."""
    return [k for k in range(CLIPS) if k % 8 not in (2, 4)]


def test_the_folder_holds_what_it_should(reference: Path) -> None:
    documents = {"simulated.jsonl", "errors.jsonl", "recipe.json", "README.md", "summary.json"}
    assert set(content(reference)) == {*SHARDS, *documents, "summary.png"}
    assert content(reference)["summary.png"].startswith(b"\x89PNG")


def test_every_utterance_is_used_before_one_is_used_twice(reference: Path, manifest: Path) -> None:
    utterances = list(read_manifest(manifest))
    expected = [(utterances[k % 8].id, k // 8) for k in usable_places()]
    assert [(row["parent_id"], row["copy"]) for row in rows(reference)] == expected
    assert [row["id"] for row in rows(reference)] == [f"{p}-{c:03d}" for p, c in expected]


def test_the_columns_are_flat_and_typed(reference: Path) -> None:
    schema = pq.read_schema(reference / SHARDS[0])
    types = {name: str(schema.field(name).type) for name in schema.names}
    assert list(types)[:4] == ["id", "audio", "text", "language"]
    assert types["audio"] == "struct<bytes: binary, path: string>"
    assert types["duration_s"] == types["severity"] == types["output_lufs"] == "double"
    assert types["copy"] == types["seed"] == types["clipped_samples"] == "int64"
    # Whole numbers and a text: text. Nested: JSON.
    assert types["take"] == types["speaker"] == "string"
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    assert features["audio"] == {"sampling_rate": RATE, "_type": "Audio"}
    assert features["severity"] == {"dtype": "float64", "_type": "Value"}
    row = rows(reference)[0]
    assert (row["text"], row["language"], row["take"], row["speaker"]) == (
        "Sätze 0",
        "de",
        "0",
        None,
    )
    assert row["audio"]["path"] == "spoken=2F0-000.flac"


def test_the_draw_makes_the_same_samples_again(reference: Path, manifest: Path) -> None:
    simulator = Simulator()
    for row in rows(reference):
        samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="int16")
        assert rate == RATE
        draw = Draw.from_json(row["draw"])
        assert (draw.scenario, draw.severity, draw.seed, draw.copy_index, draw.speed) == tuple(
            row[name] for name in ("scenario", "severity", "seed", "copy", "speed")
        )
        again = simulator.apply(files.read(manifest.parent / row["parent_audio"]), draw)
        assert np.array_equal(pcm_16(again.waveform.samples), samples)
        assert row["clipped_samples"] == again.clipped_samples
        assert json.loads(row["notes"]) == list(again.measurements)
        assert row["duration_s"] == len(samples) / RATE
        assert (row["output_lufs"] is None) == (len(samples) < 0.4 * RATE)


def test_the_manifest_says_where_each_clip_is(reference: Path) -> None:
    records = lines(reference / "simulated.jsonl")
    assert [u.id for u in read_manifest(reference / "simulated.jsonl")] == [
        row["id"] for row in rows(reference)
    ]
    tables = {shard: pq.read_table(reference / shard).to_pylist() for shard in SHARDS}
    for record in records:
        row = tables[record["shard"]][record["row"]]
        assert record["audio"] == f"{record['shard']}#{record['row']}"
        assert {k: v for k, v in row.items() if k != "audio"} == {
            k: v for k, v in record.items() if k not in ("audio", "shard", "row")
        }


def test_broken_sources_cost_a_line_and_their_clips(reference: Path) -> None:
    broken, cut = lines(reference / "errors.jsonl")
    assert (broken["id"], broken["file"]) == ("broken", "audio/broken.flac")
    assert broken["reason"]
    assert (cut["id"], cut["file"]) == ("cut", "audio/cut.wav")
    assert "could be decoded" in cut["reason"]
    assert len(rows(reference)) == len(usable_places()) == 17


def test_the_summary_counts(reference: Path) -> None:
    summary_json = json.loads((reference / "summary.json").read_text())
    clips = rows(reference)
    assert (
        summary_json["clips"]
        == sum(summary_json["groups"].values())
        == sum(summary_json["scenarios"].values())
        == 17
    )
    assert (summary_json["clips_left_out"], summary_json["sources_broken"]) == (6, 2)
    assert summary_json["hours"] == pytest.approx(
        sum(r["duration_s"] for r in clips) / 3600, abs=1e-4
    )
    assert summary_json["groups"]["clean"] == sum(row["scenario"] == "clean" for row in clips) > 0
    assert sum(summary_json["severity_histogram"]) == 17 - summary_json["groups"]["clean"]
    assert summary_json["clipped_samples"] == sum(row["clipped_samples"] for row in clips)


def test_two_workers_make_the_same_bytes(reference: Path, manifest: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, float]] = []
    report = build_corpus(
        manifest, tmp_path, RECIPE, workers=2, on_progress=lambda *row: seen.append(row)
    )
    assert content(tmp_path) == content(reference)
    assert seen[0] == (0, CLIPS, 0)
    assert seen[-1][:2] == (CLIPS, CLIPS)
    assert seen[-1][2] == pytest.approx(report.audio_s)
    assert [row[0] for row in seen] == sorted(row[0] for row in seen)


def test_interrupted_work_is_taken_up_again(copy: Path, reference: Path, manifest: Path) -> None:
    (copy / SHARDS[1]).unlink()
    (copy / SHARDS[3]).write_bytes((copy / SHARDS[3]).read_bytes()[:-100])
    shutil.copy(copy / SHARDS[0], copy / SHARDS[4])  # whole, but of another place
    (copy / "errors.jsonl").write_text('{"id": "bro')
    (copy / f".{SHARDS[2]}.0badc0de.part").write_bytes(b"PAR1")
    untouched = (copy / SHARDS[2]).stat().st_mtime_ns
    seen: list[int] = []
    build_corpus(manifest, copy, RECIPE, workers=1, on_progress=lambda done, *_: seen.append(done))
    assert content(copy) == content(reference)
    assert (copy / SHARDS[2]).stat().st_mtime_ns == untouched
    assert (seen[0], seen[-1]) == (10, CLIPS)


def test_while_shards_are_missing_no_manifest_tells_of_them(
    copy: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / SHARDS[4]).unlink()

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "run_tasks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_corpus(manifest, copy, RECIPE, workers=1)
    assert not (copy / "simulated.jsonl").exists()
    assert len(lines(copy / "errors.jsonl")) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "seed is 3 there and 4 now"),
        ({"shard_size": 6}, "shard_size is 5 there and 6 now"),
        ({"noise": ("builtin:pink",)}, "noise.builtin is pool there and builtin:pink now"),
    ],
)
def test_another_recipe_in_the_same_folder_is_refused(
    copy: Path, reference: Path, manifest: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=rf"{message}.*recipe\.json.*another folder"):
        build_corpus(manifest, copy, RECIPE.model_copy(update=change), workers=1)
    assert content(copy) == content(reference)


def test_another_manifest_in_the_same_folder_is_refused(
    copy: Path, reference: Path, manifest: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "clean.jsonl"
    changed.write_text(
        manifest.read_text().replace("Sätze", "Worte").replace("S\\u00e4tze", "Worte")
    )
    with pytest.raises(UsageError, match=r"manifest\.sha256 is .* there and"):
        build_corpus(changed, copy, RECIPE, workers=1)
    assert content(copy) == content(reference)


def test_shards_without_a_recipe_are_not_touched(copy: Path, manifest: Path) -> None:
    (copy / "recipe.json").unlink()
    with pytest.raises(UsageError, match=r"no recipe\.json"):
        build_corpus(manifest, copy, RECIPE, workers=1)


def test_a_full_disk_is_explained_and_what_is_done_stays(
    copy: Path, reference: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shard in SHARDS[2:]:
        (copy / shard).unlink()

    done = sum((copy / shard).stat().st_size for shard in SHARDS[:2])
    per_clip = done / sum(pq.read_metadata(copy / shard).num_rows for shard in SHARDS[:2])
    with monkeypatch.context() as patched:
        # The recipe and the errors still fit: only shards are written through this name.
        patched.setattr("megaasr.simulate.corpus.shards.atomic_file", _FullDisk)
        with pytest.raises(CorpusError) as caught:
            build_corpus(manifest, copy, RECIPE, workers=1)
    message = str(caught.value)
    assert message.startswith(f"{copy}: the disk is full")
    assert "2 of 5 shards are done" in message
    assert f"about {per_clip * 13 / 1000:.1f} kB are still to be written" in message
    build_corpus(manifest, copy, RECIPE, workers=1)
    assert content(copy) == content(reference)


class _FullDisk:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __enter__(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __exit__(self, *_: object) -> None: ...


def test_a_file_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("before")

    def fail() -> None:
        with atomic.atomic_file(tmp_path / "a.txt") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert content(tmp_path) == {"a.txt": b"before"}


def test_two_builds_do_not_share_a_folder(copy: Path, manifest: Path) -> None:
    pytest.importorskip("fcntl")
    from megaasr.folder_claim import locked_folder

    with (
        locked_folder(copy, CorpusError),
        pytest.raises(CorpusError, match="another process is at work"),
    ):
        build_corpus(manifest, copy, RECIPE, workers=1)
    build_corpus(manifest, copy, RECIPE, workers=1)


def test_without_matplotlib_only_the_picture_is_missing(
    copy: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / summary.PICTURE_FILE).unlink()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    report = build_corpus(manifest, copy, RECIPE, workers=1)
    (remark,) = report.remarks
    assert "summary.png was not drawn: pip install matplotlib" in remark
    assert not (copy / summary.PICTURE_FILE).exists()


def test_clips_are_never_longer_than_allowed(manifest: Path, tmp_path: Path) -> None:
    limited = RECIPE.model_copy(update={"max_duration_s": 1.3})  # at speed 0.8: sources of 1.04 s
    plan = plan_corpus(limited, manifest)
    assert [utterance.id for utterance in plan.utterances] == [
        "spoken/1",
        "broken",
        "cut",
        "spoken/3",
        "spoken/4",
        "spoken/5",
    ]
    # Where the manifest does not state it, the audio does.
    longer = tmp_path / "clean.jsonl"
    shutil.copytree(manifest.parent / "audio", tmp_path / "audio")
    records = lines(manifest)
    longer.write_text(
        "".join(json.dumps({k: r[k] for k in ("id", "audio", "text")}) + "\n" for r in records)
    )
    small = limited.model_copy(update={"num_clips": 8})
    build_corpus(longer, tmp_path / "out", small, workers=1)
    records = lines(tmp_path / "out" / "simulated.jsonl")
    assert [row["parent_id"] for row in records] == [f"spoken/{n}" for n in (1, 3, 4, 5)]
    assert max(row["duration_s"] for row in records) <= 1.3
    errors = {
        utterance["id"]: utterance["reason"]
        for utterance in lines(tmp_path / "out" / "errors.jsonl")
    }
    assert "1.20 s, longer than the 1.04 s" in errors["spoken/0"]


def test_noises_and_rooms_come_from_folders_and_must_not_change(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for folder, name, seconds in (("noises/rain", "1", 3), ("rooms", "hall", 0.5)):
        (tmp_path / folder).mkdir(parents=True)
        decay = np.exp(-np.arange(round(seconds * RATE)) / RATE * (8 if name == "hall" else 0))
        sound = decay * np.random.default_rng(2).standard_normal(decay.size)
        soundfile.write(tmp_path / folder / f"{name}.wav", 0.1 * sound, RATE)
    (tmp_path / "noises" / "rain" / "bad.wav").write_bytes(b"RIFF")
    values = {
        **RECIPE.model_dump(),
        "noise": [str(tmp_path / "noises")],
        "room_responses": tmp_path / "rooms",
        "num_clips": 8,
        "mix": {"kind": "listed", "scenarios": ["echo+noise"]},
    }
    recipe = SimulatedCorpusRecipe.model_validate(values)
    report = build_corpus(manifest, tmp_path / "out", recipe, workers=1)
    assert [("noises/rain/bad.wav" in remark) for remark in report.remarks] == [True]
    simulator = open_sources(recipe).simulator
    for record in lines(tmp_path / "out" / "simulated.jsonl"):
        draw = Draw.from_json(record["draw"])
        used = {step.primitive: step for step in draw.steps}
        assert used["noise"].source == "noises/rain/1.wav"  # type: ignore[union-attr]
        assert "rooms/hall.wav" in record["draw"]
        again = simulator.apply(files.read(manifest.parent / record["parent_audio"]), draw)
        assert encode(again.waveform, "flac") == sound_of(tmp_path / "out", record)
    build_corpus(manifest, tmp_path / "out", recipe, workers=1)
    shutil.copy(tmp_path / "noises/rain/1.wav", tmp_path / "noises/rain/2.wav")
    with pytest.raises(UsageError, match=r"noise\.recordings is 1 there and 2 now"):
        build_corpus(manifest, tmp_path / "out", recipe, workers=1)


def sound_of(folder: Path, record: dict[str, Any]) -> bytes:
    table = pq.read_table(folder / record["shard"])
    sound: bytes = table["audio"][record["row"]].as_py()["bytes"]
    return sound


def test_a_grid_covers_every_cell(manifest: Path) -> None:
    grid = {"kind": "grid", "scenarios": ["noise", "echo"], "severities": [0.2, 0.8]}
    values = {**RECIPE.model_dump(), "mix": grid, "num_clips": 16}
    plan = plan_corpus(SimulatedCorpusRecipe.model_validate(values), manifest)
    cells = [(clip.scenario, clip.severity) for clip in map(plan.clip, range(16))]
    assert sorted(cells) == sorted(4 * [(s, m) for s in ("noise", "echo") for m in (0.2, 0.8)])
    with pytest.raises(UsageError, match="4 cells, more than the 3 clips"):
        plan_corpus(SimulatedCorpusRecipe.model_validate({**values, "num_clips": 3}), manifest)


def test_ids_must_be_unique_and_file_names_stay_so(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(2 * '{"id": "a", "audio": "a.wav", "text": ""}\n')
    with pytest.raises(UsageError, match="the id a occurs twice"):
        plan_corpus(RECIPE, path)
    ids = ["a/b.c", "a_b_c", "a=2Fb.c", "ä", "=C3=A4"]
    stems = [file_stem(clip_id) for clip_id in ids]
    assert len(set(stems)) == len(ids)
    assert stems[0] == "a=2Fb=2Ec"
    assert not set("./\\") & set("".join(stems))


def test_column_types_follow_the_values(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    extras: list[dict[str, Any]] = [
        {"n": 1, "x": 1, "yes": True, "word": "a", "mixed": True, "scenario": "old", "big": 2**70},
        {"n": None, "x": 0.5, "yes": False, "nothing": None, "mixed": 1, "nested": [1, {"a": "ä"}]},
    ]
    base = {"audio": "a.wav", "text": "", "language": None}
    path.write_text(
        "".join(json.dumps({"id": str(n), **base, **e}) + "\n" for n, e in enumerate(extras))
    )
    utterances = list(read_manifest(path))
    columns = find_columns(utterances)
    assert dict(columns.inherited) == {
        "n": "int64",
        "x": "float64",
        "yes": "bool",
        "word": "string",
        "mixed": "string",
        "big": "string",
        "nothing": "string",
        "nested": "string",
    }
    first, second = (columns.inherit(utterance) for utterance in utterances)
    assert (first["x"], first["mixed"], first["big"]) == (1.0, "true", str(2**70))
    assert (second["n"], second["mixed"], second["nested"]) == (None, "1", '[1, {"a": "ä"}]')


def test_encoding_is_that_of_files(tmp_path: Path) -> None:
    samples = np.random.default_rng(1).uniform(-1.2, 1.2, 5000).astype(np.float32)
    samples[:4] = [1.0, -1.0, 0.5 / 32768, 1.5 / 32768]
    for suffix in ("wav", "flac"):
        files.write(tmp_path / f"a.{suffix}", Waveform(samples, RATE))
        written, _ = soundfile.read(tmp_path / f"a.{suffix}", dtype="int16")
        encoded = encode(Waveform(samples, RATE), suffix)  # type: ignore[arg-type]
        read, _ = soundfile.read(io.BytesIO(encoded), dtype="int16")
        assert np.array_equal(read, written)
        assert encoded[:4] == {"wav": b"RIFF", "flac": b"fLaC"}[suffix]


def members(folder: Path) -> dict[str, list[tuple[str, bytes]]]:
    tar_members: dict[str, list[tuple[str, bytes]]] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
                file = tar.extractfile(member)
                assert file is not None
                tar_members.setdefault(path.name, []).append((member.name, file.read()))
    return tar_members


def test_the_export_holds_every_clip_once(reference: Path, tmp_path: Path) -> None:
    assert export_webdataset(reference, tmp_path / "w", shard_size=6) == 3
    tar_members = members(tmp_path / "w")
    assert [len(content_of_tar) for content_of_tar in tar_members.values()] == [12, 12, 10]
    assert list(tar_members) == ["train-000000.tar", "train-000001.tar", "train-000002.tar"]
    all_members = [member for content_of_tar in tar_members.values() for member in content_of_tar]
    for row, sound, record in zip(
        rows(reference), all_members[::2], all_members[1::2], strict=True
    ):
        assert sound == (row["audio"]["path"], row["audio"]["bytes"])
        assert record[0] == sound[0].replace(".flac", ".json")
        assert json.loads(record[1]) == {k: v for k, v in row.items() if k != "audio"}


def test_an_export_is_taken_up_again(reference: Path, tmp_path: Path) -> None:
    export_webdataset(reference, tmp_path, shard_size=6)
    before = content(tmp_path)
    untouched = (tmp_path / "train-000000.tar").stat().st_mtime_ns
    (tmp_path / "train-000001.tar").unlink()
    (tmp_path / ".train-000001.tar.0badc0de.part").write_bytes(b"half")
    export_webdataset(reference, tmp_path, shard_size=6)
    assert content(tmp_path) == before
    assert (tmp_path / "train-000000.tar").stat().st_mtime_ns == untouched
    with pytest.raises(UsageError, match="another shard_size"):
        export_webdataset(reference, tmp_path, shard_size=5)
    with pytest.raises(UsageError, match="not a finished data set"):
        export_webdataset(tmp_path, tmp_path / "other")


def test_the_commands(manifest: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    options = ["--num-clips", "6", "--workers", "1", "--shard-size", "4", "--seed", "9"]
    options += ["--mix", "echo+noise, dropout", "--severity", "0.5", "--format", "wav"]
    done = CliRunner().invoke(_APP, ["corpus", str(manifest), "-o", out, *options])
    assert done.exit_code == 1, done.output  # two sources are broken
    assert "4 clips" in done.stdout
    assert "2 sources failed" in done.stdout
    assert "6 of 6 clips" in done.stderr
    assert "clips/s, 0:00:00 left" in done.stderr
    records = lines(tmp_path / "out" / "simulated.jsonl")
    assert {row["severity"] for row in records} == {0.5}
    assert {row["scenario"] for row in records} <= {"echo+noise", "dropout"}
    row = pq.read_table(tmp_path / "out" / "train-00000-of-00002.parquet").to_pylist()[0]
    assert row["audio"]["bytes"][:4] == b"RIFF"
    done = CliRunner().invoke(_APP, ["webdataset", out, "-o", str(tmp_path / "w")])
    assert (done.exit_code, "1 tar files" in done.stdout) == (0, True), done.output


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        (["--mix", "single=1"], "mix.single", 1.0),
        (["--mix", "single=1"], "mix.rest", 0.0),
        (["--mix", "clean=0.5"], "mix.favoured", 0.24),
        (["--mix", "grid:0.2,0.8"], "mix.severities", [0.2, 0.8]),
        (["--mix", "grid"], "mix.kind", "grid"),
        (["--severity", "gaussian-mid"], "mapping", "gaussian-mid"),
        (["--seed", "4", "--set", "seed=5"], "seed", 5),
        (["--noise", "a", "--noise", "b c"], "noise", ["a", "b c"]),
        (["--room-responses", "rirs"], "room_responses", "rirs"),
    ],
)
def test_options_reach_the_recipe(options: list[str], field: str, value: object) -> None:
    done = CliRunner().invoke(_APP, ["corpus", "none.jsonl", "-o", "x", *options, "--dry-run"])
    assert done.exit_code == 0, done.output
    resolved: Any = json.loads(done.stdout)
    for part in field.split("."):
        resolved = resolved[part]
    assert resolved == value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mix", "singel=1"], "singel is none of"),
        (["--mix", "single=0.5"], "must add up to 1"),
        (["--mix", "echo+far_field"], "exclude each other"),
        (["--severity", "hard"], "sqrt-forward"),
        (["--severity", "1.5"], "--severity 1.5: a number from 0 to 1"),
        (["--severity", "nan"], "--severity nan: a number from 0 to 1"),
        (["--mix", "grid:easy"], "--mix grid:easy: the severities after the colon are numbers"),
        (["--severity", "0.5", "--mix", "grid"], "a grid has its own"),
        (["--set", "speed_range=[0.1, 1]"], "speed_range must be"),
        (["--noise", "builtin:pink", "--noise", "x"], "alone, or folders"),
        ([], "none.jsonl: No such file"),
    ],
)
def test_wrong_options_are_explained(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(_APP, ["corpus", "none.jsonl", "-o", "x", *options])
    assert isinstance(done.exception, UsageError)
    with pytest.raises(UsageError, match=message):
        raise done.exception
    assert not (tmp_path / "x").exists()


def test_a_process_that_dies_is_reported() -> None:
    def kill_one(_: object) -> None:
        multiprocessing.active_children()[0].kill()

    with pytest.raises(CorpusError, match=r"died \(exit code -?\d+\).*it continues"):
        worker_processes.run_tasks(
            operator.is_, range(10**9), workers=2, on_message=print, on_result=kill_one
        )
    assert not multiprocessing.active_children()


def test_an_error_in_a_process_comes_back_with_its_traceback() -> None:
    results: list[object] = []
    with pytest.raises(TypeError, match="unsupported operand") as caught:
        worker_processes.run_tasks(
            operator.add, range(10**9), workers=2, on_message=print, on_result=results.append
        )
    assert "Traceback" in caught.value.__notes__[0]
    assert not results
    assert not multiprocessing.active_children()


_PROGRAM = """
import signal, sys
# As on a terminal: a shell has programs that it starts in the background ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from megaasr.simulate.corpus.build import build_corpus
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe
manifest, output, recipe, workers = sys.argv[1:]
recipe = SimulatedCorpusRecipe.model_validate_json(recipe)
build_corpus(Path(manifest), Path(output), recipe, workers=int(workers))
assert "torch" not in sys.modules
"""


def start(manifest: Path, output: Path, recipe: SimulatedCorpusRecipe) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-c", _PROGRAM, str(manifest), str(output)]
    return subprocess.Popen(
        [*program, recipe.resolved_json(), "2"],
        start_new_session=True,
        stderr=subprocess.PIPE,
    )


def group_is_gone(group: int) -> bool:
    deadline = time.monotonic() + HANGING_S
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def wait_for_shards(output: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + HANGING_S
    while len(list(output.glob("train-*.parquet"))) < count and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_ctrl_c_ends_the_work_and_leaves_no_process(manifest: Path, tmp_path: Path) -> None:
    many = RECIPE.model_copy(update={"num_clips": 4000})
    process = start(manifest, tmp_path, many)
    wait_for_shards(tmp_path, 2, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everybody gets it
    _, error = process.communicate(timeout=HANGING_S)
    assert process.returncode != 0
    assert len(list(tmp_path.glob("train-*.parquet"))) < 400  # half of what was to be made
    assert error.count(b"KeyboardInterrupt") == 1  # the workers keep quiet
    assert group_is_gone(process.pid)
    assert not list(tmp_path.glob(".*"))
    assert not (tmp_path / "simulated.jsonl").exists()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_killed_at_ten_random_moments_the_bytes_are_the_same(
    manifest: Path, tmp_path: Path
) -> None:
    recipe = RECIPE.model_copy(update={"num_clips": 1500})
    complete, killed = tmp_path / "whole", tmp_path / "killed"
    build_corpus(manifest, complete, recipe, workers=1)
    rng = random.Random(11)
    done = []
    for round_ in range(10):
        process = start(manifest, killed, recipe)
        wait_for_shards(killed, (done[-1] if done else 0) + rng.randrange(1, 20), process)
        time.sleep(rng.random() * 0.05)
        assert process.poll() is None, "it ended before it could be killed"
        # The whole group as by a lost machine, or the parent alone as by an operator.
        (os.killpg if round_ % 2 else os.kill)(process.pid, signal.SIGKILL)
        process.communicate(timeout=HANGING_S)
        assert group_is_gone(process.pid), "a worker outlived its parent"
        done.append(len(list(killed.glob("train-*.parquet"))))
        assert not (killed / "simulated.jsonl").exists()
    assert done == sorted(done)
    assert 10 <= done[-1] < 300
    process = start(manifest, killed, recipe)
    _, error = process.communicate(timeout=HANGING_S)
    assert process.returncode == 0, error
    assert content(killed) == content(complete)


def test_only_the_utterances_that_are_wanted(manifest: Path) -> None:
    recipe = SimulatedCorpusRecipe(seed=1, where={"take": 3})
    assert [utterance.id for utterance in plan_corpus(recipe, manifest).utterances] == ["spoken/3"]
    named = SimulatedCorpusRecipe(seed=1, where={"language": "de", "take": 4})
    assert [utterance.id for utterance in plan_corpus(named, manifest).utterances] == ["spoken/4"]
    nobody = SimulatedCorpusRecipe(seed=1, where={"speaker": "nobody"})
    message = r"none of 8 utterances has speaker = 'nobody', .* --set where=\{\} takes all"
    with pytest.raises(UsageError, match=message):
        plan_corpus(nobody, manifest)
    mix = Mix(kind="grid", scenarios=("dropout",), severities=(0.5,), balanced_by="voice")
    with pytest.raises(UsageError, match=r"no utterance has the column voice, .* name another: "):
        plan_corpus(SimulatedCorpusRecipe(seed=1, num_clips=4, mix=mix), manifest)


def test_the_degraded_test_set_has_every_scenario_and_severity() -> None:
    recipe = load_recipe(SimulatedCorpusRecipe, "simulate-degraded-test")
    assert len({cell.scenario for cell in recipe.mix.cells}) == 55
    assert recipe.num_clips == 4 * len(recipe.mix.cells) == 1760


def test_noise_of_single_sounds_is_in_every_clip(manifest: Path, tmp_path: Path) -> None:
    """Half a second of sound in a minute of silence: 37 of 40 clips labelled noise were clean."""
    (tmp_path / "noises").mkdir()
    samples = np.zeros(60 * RATE)
    samples[: RATE // 2] = 0.3 * np.random.default_rng(1).standard_normal(RATE // 2)
    samples[-100:] = 0.1
    soundfile.write(tmp_path / "noises" / "bark.flac", samples, RATE)
    settings = [f"noise=['{tmp_path / 'noises'}']", "num_clips=24", "seed=1", "mix.kind='listed'"]
    settings += ["mix.scenarios=['noise', 'noise+echo']", "severity=0.5"]
    recipe = load_recipe(SimulatedCorpusRecipe, "simulate-default", settings)
    report = build_corpus(manifest, tmp_path / "out", recipe, workers=1)
    assert report.clips_without_effect == 0
    assert report.clips > 12
    numbers = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert numbers["clips_without_effect"] == 0
    notes = [u.extra["notes"] for u in read_manifest(tmp_path / "out" / "simulated.jsonl")]
    assert not any("silent" in note for note in notes)
    # A clip of 0.2 s is too short for a measure of loudness, which is counted.
    assert numbers["clips_with_skipped_steps"] == sum("skipped" in note for note in notes) < 5


def test_a_clip_whose_noise_is_silent_is_left_out_and_counted(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The net below the draw: clips that an offset in silence would leave clean."""
    (tmp_path / "noises").mkdir()
    samples = np.zeros(60 * RATE)
    samples[: RATE // 2] = 0.3 * np.random.default_rng(1).standard_normal(RATE // 2)
    samples[-100:] = 0.1
    soundfile.write(tmp_path / "noises" / "bark.flac", samples, RATE)
    monkeypatch.setattr(NoisePool, "sounding_offset", lambda pool, name, offset, rng: 10 * RATE)
    settings = [f"noise=['{tmp_path / 'noises'}']", "num_clips=16", "seed=1", "mix.kind='listed'"]
    settings += ["mix.scenarios=['noise', 'echo']", "severity=0.5"]
    recipe = load_recipe(SimulatedCorpusRecipe, "simulate-default", settings)
    report = build_corpus(manifest, tmp_path / "out", recipe, workers=1)
    lines = (tmp_path / "out" / "errors.jsonl").read_text().splitlines()
    silent = [row for line in lines if (row := json.loads(line))["reason"].startswith("no effect")]
    assert report.clips_without_effect == len(silent) > 2
    assert "is silent from sample 160000" in silent[0]["reason"]
    assert report.sources_broken == 2
    numbers = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert numbers["clips_without_effect"] == len(silent)
    assert set(numbers["scenarios"]) == {"echo"}
    again = build_corpus(manifest, tmp_path / "out", recipe, workers=1)
    assert again.clips_without_effect == report.clips_without_effect
