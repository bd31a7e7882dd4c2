"""Test sets that were scored wrongly without a word, and what the commands make of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import megaasr
from command_line import TINY, mega_asr
from megaasr.audio.files import read, write
from megaasr.audio.waveform import SAMPLE_RATE, Waveform
from megaasr.score.result import Result

DEMO = Path(megaasr.__file__).parent / "cli" / "demo_clips"


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
    return path


def bench(folder: Path, test_set: str, *more: str) -> subprocess.CompletedProcess[str]:
    return mega_asr(
        *("bench", test_set, "--system", "p=predictions:p.jsonl"),
        *("--output", f"out-{test_set}", "--replications", 100, *more),
        cwd=folder,
    )


def score(path: Path, *more: object) -> dict[str, Any]:
    done = mega_asr("score", path, "--json", *more, cwd=path.parent)
    assert done.returncode == 0, done.stderr
    scores: dict[str, Any] = json.loads(done.stdout)
    return scores


def test_quotes_of_common_voice(tmp_path: Path) -> None:
    sentences = ['"Hello there he said', "good morning", 'the end" of it', "see you soon"]
    rows = [f"clip{number}.mp3\t{text}\n" for number, text in enumerate(sentences)]
    (tmp_path / "cv.tsv").write_text("path\tsentence\n" + "".join(rows))
    lines(
        tmp_path / "p.jsonl",
        *(
            {"id": f"clip{number}.mp3", "prediction": text.replace('"', "")}
            for number, text in enumerate(sentences)
        ),
    )
    done = bench(tmp_path, "cv.tsv")
    assert done.returncode == 0, done.stderr
    assert "p: 0.00 % (bench version 2; 95 % interval: too few clips), 4 clips" in done.stdout


def test_an_unquoted_comma_is_refused_by_its_row(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("audio,text\na.wav,hello, big world\n")
    lines(tmp_path / "p.jsonl", {"id": "a.wav", "prediction": "hello world"})
    done = bench(tmp_path, "t.csv")
    assert done.returncode == 1
    assert "t.csv, line 2: 3 cells, but the header has 2" in done.stderr


@pytest.mark.parametrize("language", ["Chinese", "zh", "zho", "zh-Hans-CN", "中文"])
def test_every_name_of_chinese_is_scored_alike(language: str, tmp_path: Path) -> None:
    record = {"audio": "a.wav", "text": "今天天气很好 abc", "language": language}
    lines(tmp_path / "t.jsonl", record)
    lines(tmp_path / "p.jsonl", {"id": "a.wav", "prediction": "今天天气真好 abc"})
    assert "p: 11.11 % (bench" in bench(tmp_path, "t.jsonl").stdout
    scored = lines(tmp_path / "s.jsonl", record | {"hypothesis": "今天天气真好 abc"})
    assert score(scored)["bench"]["by_language"] == {"zh": score(scored)["bench"]["overall"]}
    assert score(scored)["bench"]["overall"]["error_rate"] == 11.11


@pytest.mark.parametrize(
    ("language", "answer", "prediction", "rates"),
    [
        ("ja", "今日はいい天気ですね", "今日はいい天気でした", (20.0, 20.0)),
        ("German", "Die schöne Straße für Bäcker", "Die schone Strasse fur Backer", (80.0, 60.0)),
        ("en", "don’t", "do not", (100.0, 0.0)),
        ("klingon", "twenty-five colours", "25 colors", (100.0, 100.0)),
        (None, "twenty-five colours", "25 colors", (100.0, 100.0)),
        ("fa", "می‌خواهم", "میخواهم", (0.0, 0.0)),
    ],
)
def test_the_language_of_a_record_decides(
    language: str | None, answer: str, prediction: str, rates: tuple[float, float], tmp_path: Path
) -> None:
    record = {"id": "1", "language": language, "answer": answer, "prediction": prediction}
    scores = score(lines(tmp_path / "s.jsonl", record))
    bench_rate, default_rate = (scores[name]["overall"] for name in ("bench", "normalized"))
    assert (bench_rate["error_rate"], default_rate["error_rate"]) == rates


def test_an_unknown_language_is_told(tmp_path: Path) -> None:
    path = lines(tmp_path / "s.jsonl", {"text": "a", "hyp": "a", "language": "Klingon"})
    done = mega_asr("score", path, cwd=tmp_path)
    assert "unknown language klingon: scored by rules for any language" in done.stderr


def test_hypotheses_are_read_and_none_is_an_error(tmp_path: Path) -> None:
    record = {"id": "1", "answer": "hello world again"}
    path = lines(tmp_path / "s.jsonl", record | {"hypothesis": "hello world again"})
    assert score(path)["bench"]["overall"]["error_rate"] == 0.0
    done = mega_asr("score", lines(path, record), cwd=tmp_path)
    assert done.returncode == 1
    assert "1 of 1 records have no prediction (1)" in done.stderr


def test_words_without_speech_are_counted(tmp_path: Path) -> None:
    silence = {"audio": "a.wav", "text": ""}
    lines(tmp_path / "t.jsonl", silence)
    lines(tmp_path / "p.jsonl", {"id": "a.wav", "prediction": "thank you"})
    done = bench(tmp_path, "t.jsonl")
    assert "p: n/a (bench version 2; the references have no words), 1 clips" in done.stdout
    assert "p: 2 words inserted in 1 clips without speech\n" in done.stdout
    assert "0.00 %" not in done.stdout
    done = mega_asr("report", "out-t.jsonl/result.json", "--output", "report", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "n/a, 2 inserted" in (tmp_path / "report" / "tables.md").read_text()

    path = lines(tmp_path / "s.jsonl", silence | {"prediction": "thank you"})
    assert score(path)["bench"]["overall"] == {
        "error_rate": None,
        "errors": 2,
        "reference_length": 0,
        "count": 1,
        "clips_without_speech": 1,
        "inserted_without_speech": 2,
    }
    lines(path, silence | {"prediction": "thank you"}, {"text": "a b c d", "prediction": "a b c d"})
    assert score(path)["bench"]["overall"]["error_rate"] == 50.0
    shown = mega_asr("score", path, cwd=tmp_path).stdout
    assert "2 words inserted in 1 clips without speech; the rates count them" in shown
    assert "n/a" not in shown


def test_clips_without_prediction_are_failures_that_are_named(tmp_path: Path) -> None:
    lines(
        tmp_path / "t.jsonl",
        *({"audio": f"{number}.wav", "text": "a"} for number in range(3)),
    )
    lines(tmp_path / "p.jsonl", {"id": "1.wav", "prediction": "a"})
    done = bench(tmp_path, "t.jsonl")
    assert done.returncode == 1
    assert "p: 2 of 3 clips failed and count as completely deleted (0.wav, 2.wav)" in done.stderr
    assert "p: 66.67 %" in done.stdout


def test_the_version_of_the_normalisers_is_selected_and_recorded(tmp_path: Path) -> None:
    record = {"audio": "a.wav", "text": "co\u00adoperate", "language": "en"}
    lines(tmp_path / "t.jsonl", record)
    lines(tmp_path / "p.jsonl", {"id": "a.wav", "prediction": "cooperate"})
    for version, rate in ((1, "100.00"), (2, "0.00")):
        done = bench(tmp_path, "t.jsonl", "--normalizer-version", str(version))
        assert f"p: {rate} % (bench version {version}; " in done.stdout, done.stderr
        result = Result.read(tmp_path / "out-t.jsonl" / "result.json")
        assert result.normalizers == {"bench": version, "default": version}
        path = lines(tmp_path / "s.jsonl", record | {"prediction": "cooperate"})
        scores = score(path, "--normalizer-version", version)
        assert scores["normalizers"] == {"bench": version, "default": version}
        assert f"{scores['bench']['overall']['error_rate']:.2f}" == rate
    done = mega_asr("score", path, "--normalizer-version", 3, cwd=tmp_path)
    assert done.returncode == 2
    assert "choose one of bench@1, bench@2" in done.stderr


@pytest.fixture
def segments(tmp_path: Path) -> Path:
    """A folder with a recording of two clips and silence, and a NeMo manifest of both clips."""
    records = [json.loads(line) for line in (DEMO / "clips.jsonl").read_text().splitlines()]
    clean = [record for record in records if "clean" in record["audio"]][:2]
    waveforms = [read(DEMO / record["audio"]).samples for record in clean]
    gap = np.zeros(SAMPLE_RATE // 2, np.float32)
    write(
        tmp_path / "long.wav",
        Waveform(np.concatenate([waveforms[0], gap, waveforms[1]]), SAMPLE_RATE),
    )
    starts = [0.0, (waveforms[0].size + gap.size) / SAMPLE_RATE]
    lines(
        tmp_path / "nemo.jsonl",
        *(
            {
                "audio_filepath": "long.wav",
                "offset": start,
                "duration": waveform.size / SAMPLE_RATE,
                "text": record["text"],
                "lang": "English",
            }
            for record, waveform, start in zip(clean, waveforms, starts, strict=True)
        ),
    )
    return tmp_path


def test_segments_of_one_recording_are_clips_of_their_own(segments: Path) -> None:
    done = mega_asr("bench", "nemo.jsonl", "--system", "tiny", "-o", "out", cwd=segments)
    assert done.returncode == 0, done.stderr
    result = Result.read(segments / "out" / "result.json")
    assert len({clip.id for clip in result.clips}) == 2
    assert result.overall.rates["tiny"]["default"].rate < 0.2
    assert result.overall.rates["tiny"]["default"].clips == 2
    # What bench wrote for a leaderboard is scored as it was, and matched with its segments.
    theirs = "out/open_asr_leaderboard/tiny.jsonl"
    rate = score(segments / theirs)["bench"]["overall"]["error_rate"]
    assert rate == round(100 * result.overall.rates["tiny"]["bench"].rate, 2)
    done = mega_asr(
        *("bench", "nemo.jsonl", "--system", f"again=predictions:{theirs}", "-o", "again"),
        cwd=segments,
    )
    assert done.returncode == 0, done.stderr
    assert f"again: {rate:.2f} % (bench" in done.stdout


def test_compare_and_grade_hear_the_segments(segments: Path) -> None:
    done = mega_asr("compare", "long.wav", "--references", "nemo.jsonl", cwd=segments)
    assert done.returncode == 0, done.stderr
    assert "long.wav#t=0," in done.stdout
    assert done.stdout.count("reference: ") == 2
    done = mega_asr("grade", "nemo.jsonl", "-o", "graded", "--container", "jsonl", cwd=segments)
    assert done.returncode == 0, done.stderr
    graded = [
        json.loads(line) for line in (segments / "graded/graded.jsonl").read_text().splitlines()
    ]
    assert [record["language"] for record in graded] == ["en", "en"]
    assert all(record["base_error_rate"] < 0.2 for record in graded)


def test_a_language_by_another_name_is_forced(segments: Path) -> None:
    clip = DEMO / "1-clean.flac"
    done = mega_asr("transcribe", *TINY, clip, "--language", "Ukrainian", cwd=segments)
    assert done.returncode == 2
    assert "Qwen3-ASR does not know Ukrainian (uk); it knows ar (Arabic), " in done.stderr
    texts = {
        mega_asr("transcribe", *TINY, clip, "--language", name, cwd=segments).stdout
        for name in ("en", "English", "eng", "en-GB", "auto")
    }
    assert len(texts) == 1
    assert texts.pop().strip()


@pytest.mark.skipif(sys.platform == "win32", reason="no POSIX shell")
def test_a_closed_standard_output_is_an_error(tmp_path: Path) -> None:
    path = lines(tmp_path / "s.jsonl", {"text": "a", "prediction": "a"})
    command = f'"{sys.executable}" -m megaasr score "{path}" >&-'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "mega-asr: error: standard output is closed" in done.stderr
    assert "Traceback" not in done.stderr
