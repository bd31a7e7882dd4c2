"""The commands `mega-asr bench`, `report` and `score`, with the shipped model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import megaasr
from command_line import mega_asr
from megaasr.score.result import Result

DEMO = Path(megaasr.__file__).parent / "cli" / "demo_clips"
# Beside the checkout, not in it, because the clips are not part of this project.
EXAMPLES = Path(__file__).parents[3] / "shared" / "data" / "voices_in_the_wild_examples"
GOLDEN = Path(__file__).parents[1] / "golden" / "voices_in_the_wild_examples.jsonl"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four demo clips, a broken one, and the predictions of another system."""
    folder = tmp_path_factory.mktemp("clips")
    records = [json.loads(line) for line in (DEMO / "clips.jsonl").read_text().splitlines()][:4]
    for record in records:
        shutil.copy(DEMO / record["audio"], folder)
    (folder / "broken.flac").write_bytes(b"fLaC and no more")
    records.append({"id": "broken", "audio": "broken.flac", "text": "lost words", "language": "en"})
    lines = [json.dumps(record) + "\n" for record in records]
    (folder / "clips.jsonl").write_text("".join(lines))
    predictions = [{"id": r["id"], "prediction": r["text"]} for r in records[:4]]
    lines = [json.dumps(prediction) + "\n" for prediction in predictions]
    (folder / "predictions.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def bench(clips: Path) -> Path:
    done = mega_asr(
        *(
            "bench",
            "clips.jsonl",
            "--system",
            "tiny",
            "--system",
            "other=predictions:predictions.txt",
        ),
        *("--system", "oracle:tiny,other", "--output", "out", "--replications", 500),
        cwd=clips,
    )
    assert done.returncode == 1  # a clip failed
    assert "tiny: " in done.stdout
    assert "other: " in done.stdout
    assert "other against tiny (bench): " in done.stdout
    assert "tiny: 1 of 5 clips failed and count as completely deleted (broken): " in done.stderr
    assert "other: 1 of 5 clips failed" in done.stderr
    assert "(broken): no prediction in the file" in done.stderr
    return clips / "out"


def test_the_result_file(bench: Path) -> None:
    result = Result.read(bench / "result.json")
    assert [system.name for system in result.systems] == ["tiny", "other", "oracle"]
    assert result.test_set.unusable == {
        "broken": result.clips[4]
        .hypotheses["tiny"]
        .error.removeprefix(  # type: ignore[union-attr]
            "the audio cannot be used: "
        )
    }
    assert "broken.flac" in result.test_set.unusable["broken"]
    rates = result.groups_by("overall")[0].rates
    assert rates["other"]["bench"].counts[2] == 2  # the two words of the clip without prediction
    assert rates["oracle"]["bench"].rate <= min(
        rates[system]["bench"].rate for system in ("tiny", "other")
    )
    assert result.systems[0].rtfx is not None
    assert result.clips[0].hypotheses["tiny"].errors("bench").rate < 0.5
    assert (bench / "open_asr_leaderboard" / "tiny.jsonl").is_file()
    assert not (bench / "bench_submission").exists()


def test_a_second_run_transcribes_nothing_again(bench: Path, clips: Path) -> None:
    before = (bench / "predictions.jsonl").read_bytes()
    done = mega_asr(
        *("bench", "clips.jsonl", "--system", "tiny", "--output", "out", "--replications", 500),
        cwd=clips,
    )
    assert done.returncode == 1, done.stderr
    assert (bench / "predictions.jsonl").read_bytes() == before


def test_the_report_page(bench: Path, clips: Path) -> None:
    done = mega_asr("report", "out/result.json", "--output", "out/report", cwd=clips)
    assert done.returncode == 0, done.stderr
    page = (bench / "report" / "index.html").read_text()
    assert page.count("data:audio/flac;base64,") >= 2
    assert "The sound was not found" in page  # of the broken clip
    assert "| tiny |" in (bench / "report" / "tables.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl", "--system", "tiny"], "there is no test set nowhere.jsonl"),
        (["clips.jsonl", "--system", "a=tiny", "--system", "a=tiny"], "two systems are called a"),
        (["clips.jsonl", "--system", "tiny", "--baseline", "x"], "the systems are tiny"),
        (["clips.jsonl", "--system", "oracle:tiny,b", "--system", "tiny"], "no system b, tiny was"),
        (["clips.jsonl", "--system", "no-such-model"], "no model no-such-model"),
        (["clips.jsonl", "--system", "predictions:nowhere"], "nowhere: No such file"),
        (["clips.jsonl", "--system", "tiny", "--audio-root", "elsewhere"], "--audio-root"),
        (["clips.jsonl", "--system", "tiny", "--blocks", "room"], "no field room"),
    ],
)
def test_errors_are_one_line(clips: Path, arguments: list[str], message: str) -> None:
    done = mega_asr("bench", *arguments, "--output", "other", cwd=clips)
    assert done.returncode in {1, 2}
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in done.stderr


def test_score_prints_the_published_numbers(tmp_path: Path) -> None:
    predictions = {
        1755: "i usually take the QUIETER road home, because main street gets crowded after work",
        1758: "I need to return these shoes because the size feels fine standing-up but terrible",
        1808: "",
        1753: "My sister is bringing dinner over later. So we do not need to cook tonight!",
    }
    records = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    lines = [json.dumps(r | {"prediction": predictions[r["index"]]}) + "\n" for r in records]
    (tmp_path / "p.jsonl").write_text("".join(lines))
    done = mega_asr("score", "p.jsonl", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert scores["bench"]["overall"]["error_rate"] == 29.03
    assert scores["bench"]["breakdown"]["strong_echo"]["sim"]["errors"] == 2
    assert scores["normalized"]["overall"]["errors"] == 18
    shown = mega_asr("score", "p.jsonl", cwd=tmp_path)
    assert "29.03" in shown.stdout
    assert "dropout / sim" in shown.stdout
    broken = mega_asr("score", "nowhere.jsonl", cwd=tmp_path)
    assert broken.returncode == 1
    assert "nowhere.jsonl: No such file" in broken.stderr


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the published example clips are not here")
def test_the_published_clips(tmp_path: Path) -> None:
    done = mega_asr(
        *("bench", EXAMPLES / "examples.jsonl", "--system", "tiny", "--output", "out"),
        *("--replications", 200),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    result = Result.read(tmp_path / "out" / "result.json")
    assert result.test_set.kind == "bench"
    assert [clip.category for clip in result.clips] == ["noise", "echo", "dropout", "mixed"]
    assert all(clip.duration_s > 1 for clip in result.clips)
    lines = (tmp_path / "out" / "bench_submission" / "tiny.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["index"] == 1755
