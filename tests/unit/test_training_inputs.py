"""Every `mega-asr train` command checks its inputs before it makes its output folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from command_line import mega_asr
from megaasr.audio import files
from megaasr.audio.waveform import Waveform
from megaasr.records import Utterance, write_manifest

pytestmark = pytest.mark.usefixtures("fresh_process_state")

TINY = "src/megaasr/model/shipped/tiny/mega-asr-merged"

# Command, missing inputs of its shipped recipe in an empty folder, commands that make them.
COMMANDS = {
    "base train-base-tiny": (
        ["corpus/tiny holds no train.jsonl", "corpus/tiny holds no dev.jsonl"],
        ["make corpus", "mega-asr synthesize synthesize-tiny --output corpus/tiny"],
    ),
    "sft sft-tiny": (
        [
            "corpus/graded-train does not exist (data)",
            "corpus/graded-train-compound does not exist (data)",
            "corpus/graded-train-nonspeech does not exist (data)",
            "corpus/graded-dev does not exist (dev)",
        ],
        [
            "mega-asr grade CLIPS --model tiny --output FOLDER",
            "mega-asr recipe tiny --output corpus",
        ],
    ),
    "sft sft-tiny-more --set adapter=runs/a2s-1/adapter": (
        ["corpus/graded-train does not exist (data)", "runs/a2s-1/adapter holds no adapter"],
        ["mega-asr grade", "mega-asr train sft"],
    ),
    "rl rl-tiny": (
        [
            "runs/graded-a2s-train does not exist (data)",
            "corpus/graded-dev-compound does not exist (dev)",
        ],
        ["mega-asr grade CLIPS --model tiny --adapter", "--output FOLDER"],
    ),
    "rl rl-tiny --set adapter=runs/a2s-more/adapter --probe": (
        [
            "runs/a2s-more/adapter has no adapter to start from",
            "corpus/graded-dev-compound does not exist (dev)",
        ],
        ["mega-asr train sft", "mega-asr grade"],
    ),
    "router router-tiny": (
        [
            "corpus/tiny/train.jsonl does not exist (clean)",
            "corpus/simulated-train does not exist (degraded)",
            "corpus/tiny/dev.jsonl does not exist (dev_clean)",
            "corpus/simulated-dev does not exist (dev_degraded)",
        ],
        ["mega-asr synthesize", "mega-asr simulate corpus MANIFEST --output FOLDER"],
    ),
    "router router-tiny --set label=better --set pairs=[{base='a',robust='b'}] "
    "--set dev_pairs=[{base='c',robust='d'}]": (
        ["a does not exist (pairs.base)", "d does not exist (dev_pairs.robust)"],
        ["mega-asr grade CLIPS --model MODEL --adapter ADAPTER --output FOLDER"],
    ),
    "stem train-stem-small": (
        [
            "corpus/small holds no train-000.jsonl",
            "corpus/small holds no dev.jsonl",
            "corpus/judge/whisper-base holds no model.bin",
        ],
        ["mega-asr synthesize synthesize-small --output corpus/small", "make judge"],
    ),
    "encode encode-small": (
        ["runs/small/stem/encoder holds no model", "corpus/small holds none of the manifests"],
        ["mega-asr train stem", "mega-asr synthesize synthesize-small"],
    ),
    "language-model train-lm-small": (
        ["corpus/text/sentences.jsonl does not exist"],
        ["mega-asr text text-small"],
    ),
    "decoder train-ctc-small": (
        [
            "runs/small/stem/encoder holds no model",
            "runs/small/lm/language-model holds no model",
            "corpus/small-frames holds no frames of train-000.jsonl",
            "runs/small/lexicon.json does not exist",
            "corpus/small/dev.jsonl does not exist (dev)",
        ],
        [
            "mega-asr train stem",
            "mega-asr train language-model",
            "mega-asr train encode",
            "mega-asr train lexicon",
            "mega-asr synthesize synthesize-small",
        ],
    ),
    "decoder train-decoder-small": (
        [
            "runs/small/ctc/model holds no model",
            "runs/small/ctc holds no phoneme classes",
            "corpus/small-frames holds no frames of train-000.jsonl",
            "runs/small/alignments holds no alignment of train-000.jsonl",
            "corpus/text/sentences.jsonl does not exist",
        ],
        ["mega-asr train decoder", "mega-asr train align", "mega-asr text text-small"],
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_missing_inputs_are_all_named_and_leave_no_folder(command: str, tmp_path: Path) -> None:
    if command.startswith("base") and shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed (apt-get install espeak-ng)")
    problems, makers = COMMANDS[command]
    result = mega_asr("train", *command.split(), "-o", "run", cwd=tmp_path)
    assert result.returncode == 1
    (line,) = [row for row in result.stderr.splitlines() if row.startswith("mega-asr: error:")]
    for part in (*problems, *makers):
        assert part in line
    assert not (tmp_path / "run").exists()


def test_check_stem_names_what_it_needs(tmp_path: Path) -> None:
    result = mega_asr("train", "check-stem", "encoder", "--data", "m.jsonl", cwd=tmp_path)
    assert result.returncode == 1
    for part in ("encoder holds no model", "holds no tokenizer.json", "m.jsonl does not exist"):
        assert part in result.stderr


def test_espeak_is_required_before_the_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "dev"):
        write_manifest(tmp_path / f"{split}.jsonl", [])
    monkeypatch.setenv("PATH", str(tmp_path))
    overrides = ("--set", "corpus=.")
    result = mega_asr("train", "base", "train-base-tiny", "-o", "run", *overrides, cwd=tmp_path)
    assert result.returncode == 1
    assert "espeak-ng is not installed" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.fixture
def ungraded(tmp_path: Path) -> Path:
    """A manifest of one clip that is not graded."""
    samples = (0.1 * np.random.default_rng(0).standard_normal(8_000)).astype(np.float32)
    files.write(tmp_path / "a.wav", Waveform(samples, 16_000))
    extra = {"duration_s": 0.5}
    write_manifest(tmp_path / "m.jsonl", [Utterance("a", "a.wav", "red boats", "en", extra)])
    return tmp_path / "m.jsonl"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (f"rl rl-tiny --set adapter={Path(TINY).resolve()}", "not graded"),
        ("sft sft-tiny", "not graded"),
        (
            "router router-tiny --set clean=['m.jsonl'] --set degraded=['m.jsonl'] "
            "--set dev_clean=['m.jsonl'] --set dev_degraded=['m.jsonl'] --set label=better "
            "--set pairs=[{base='m.jsonl',robust='m.jsonl'}] "
            "--set dev_pairs=[{base='m.jsonl',robust='m.jsonl'}]",
            "not graded",
        ),
        (
            "sft sft-tiny --set phases.1.stages=[0.5] --set data=['easy.jsonl']",
            "no clip has a base error rate below 0.3",
        ),
    ],
)
def test_unusable_inputs_leave_no_folder(
    command: str, message: str, ungraded: Path, tmp_path: Path
) -> None:
    extra = {"duration_s": 0.5, "base_error_rate": 0.9}
    write_manifest(tmp_path / "easy.jsonl", [Utterance("a", "a.wav", "red boats", "en", extra)])
    overrides = [f"--set={field}=['m.jsonl']" for field in ("data", "dev")]
    if command.startswith("router"):
        overrides = []
    command_line = ["train", *command.split()[:2], "-o", "run", *overrides, *command.split()[2:]]
    result = mega_asr(*command_line, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr
    assert not (tmp_path / "run").exists()


def test_tensorboard_makes_no_folder_either(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    result = mega_asr("train", "sft", "sft-tiny", "-o", "run", "--tensorboard", cwd=tmp_path)
    assert result.returncode == 1
    assert not (tmp_path / "run").exists()
