"""`python -m benchmarks` from end to end, quickly and on a random model; no time is asserted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.gpu_clips import audio_s, draw_clips, every
from benchmarks.released_loop import ReleasedLoop

from megaasr.adapter.peft_layout import LowRank
from megaasr.simulate import noise_generators
from megaasr.simulate.families.registry import CATEGORIES
from megaasr.simulate.scenarios import EXTRA_SCENARIOS

ROOT = Path(__file__).resolve().parents[2]
NAMES = [
    *["transcribe", "startup", "memory", "decode", "consensus", "simulator"],
    *["simulator_defaults", "scorer", "rewards", "routing", "released_size", "gpu", "streaming"],
]
FIELDS = {
    "transcribe": {"system", "batch_size", "length_s", "rtfx_wall", "rtfx_cpu", "times_peer_wall"},
    "startup": {"what", "wall_s", "cpu_s", "base", "times_base_wall", "times_base_cpu"},
    "memory": {"what", "audio_s", "peak_mb", "growth_mb", "growth_step_mb", "text_kb"},
    "decode": {"format", "reader", "wall_s", "times_peer_wall", "largest_difference"},
    "consensus": {"job", "cpu_s", "times_greedy_cpu", "times_peer_cpu"},
    "simulator": {"what", "system"},
    "simulator_defaults": {"what", "system", "rtfx_cpu", "defaults_times_this_cpu"},
    "gpu": {"what", "system"},
    "released_size": {"what", "wall_s"},
    "routing": {"what", "wall_s", "rtfx_wall"},
    "streaming": {"what", "wall_s"},
    "scorer": {"what", "system", "cpu_s", "per_second", "ours_times_this"},
    "rewards": {"what", "system", "cpu_s", "pairs_per_second", "ours_times_this"},
}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def entries(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["schema"] == 1
    return {entry["benchmark"]: entry for entry in document["entries"]}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "docs" / "benchmarks.md", tmp_path))


@pytest.mark.slow
def test_everything_runs_is_saved_and_rendered(
    random_checkpoint: Path, tmp_path: Path, page: Path
) -> None:
    output = tmp_path / "results.json"
    done = run(*NAMES, "--quick", "--model", random_checkpoint, "--output", output)
    assert done.returncode == 0, done.stderr
    saved = entries(output)
    assert list(saved) == NAMES
    for name, entry in saved.items():
        assert entry["command"].startswith("python -m benchmarks transcribe")
        assert entry["quick"] is True
        assert {"cpu", "cores", "memory_gb", "system", "busy_cores"} == set(entry["machine"])
        assert {"python", "megaasr", "torch", "transformers"} <= set(entry["versions"])
        model_free = {"decode", "released_size", "rewards", "routing", "scorer", "simulator"}
        model_free |= {"simulator_defaults", "streaming", "gpu"}
        assert (entry["model"] is None) == (name in model_free)
        for row in entry["rows"]:
            assert FIELDS[name] <= set(row)
    rows = saved["transcribe"]["rows"]
    assert {row["system"] for row in rows} == {"transformers", "megaasr"}
    assert all(row["rtfx_wall"] > 0 and row["rtfx_cpu"] > 0 for row in rows)
    assert all(row["peak_mb"] > 10 for row in saved["memory"]["rows"])
    assert [
        row["audio_s"] for row in saved["memory"]["rows"] if row["what"] == "transcribe, megaasr"
    ] == [60, 120, 240]

    before = page.read_text(encoding="utf-8")
    done = run("--write-docs", "--output", output, "--docs", page)
    assert done.returncode == 0, done.stderr
    after = page.read_text(encoding="utf-8")
    head, _, tail = after.partition("<!-- results:start -->")
    assert before.startswith(head)
    assert [line.split(":")[0] for line in tail.splitlines() if line.startswith("### ")] == [
        f"### {name}" for name in NAMES
    ]


def test_decode_gives_the_samples_of_its_peer_and_a_table(tmp_path: Path, page: Path) -> None:
    output = tmp_path / "results.json"
    done = run("decode", "--quick", "--output", output)
    assert done.returncode == 0, done.stderr
    rows = entries(output)["decode"]["rows"]
    assert {row["format"] for row in rows} == {"wav", "flac", "ogg", "mp3"}
    ours = [row for row in rows if row["reader"] == "megaasr"]
    assert all(row["largest_difference"] < 1e-4 and not row["extra_samples"] for row in ours)
    tables = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(tables) == 2 + len(rows)
    assert len({line.count("|") for line in tables}) == 1

    for _ in range(2):  # the page can be written again
        assert run("--write-docs", "--output", output, "--docs", page).returncode == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("### decode") == 1
    assert "`--quick`: shows that it works" in text
    assert "None yet" not in text
    assert text.endswith("<!-- results:end -->\n")


@pytest.mark.slow
def test_simulator_measures_every_scenario_with_what_is_installed(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    done = run("simulator", "--quick", "--output", output)
    assert done.returncode == 0, done.stderr
    entry = entries(output)["simulator"]
    absent = {name for name, packages in entry["settings"]["not_installed"].items() if packages}
    for name in ("reference", "audiomentations"):
        assert (f"{name} is left out, not installed" in done.stderr) == (name in absent)
    for system in {"megaasr", "reference", "audiomentations"} - absent:
        rows = [row for row in entry["rows"] if row["system"] == system]
        measured = [row["what"] for row in rows if row.get("conditions")]
        assert len(set(measured)) == len(measured) == (7 if system == "audiomentations" else 54)
        assert all(row["rtfx_cpu"] > 0 and row["cpu_s"] > 0 for row in rows if "cpu_s" in row)
        singles = [row["rtfx_cpu"] for row in rows if row.get("conditions") == 1]
        mean = next(row["rtfx_cpu"] for row in rows if row["what"] == "mean of the 7")
        assert mean == pytest.approx(sum(singles) / 7, abs=0.02)
    noises = [row for row in entry["rows"] if row["what"].startswith("built-in noise: ")]
    assert len(noises) == len(noise_generators.NAMES)
    assert "Built-in noises are made in" in done.stdout
    workers = [row["workers"] for row in entry["rows"] if "workers" in row]
    assert workers == [1, 2]
    tables = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(tables) == 2 + 7 + 6 + 1
    assert len({line.count("|") for line in tables}) == 1


@pytest.mark.slow
def test_simulator_defaults_measures_what_version_1_did_not_have(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    done = run("simulator_defaults", "--quick", "--output", output)
    assert done.returncode == 0, done.stderr
    rows = entries(output)["simulator_defaults"]["rows"]
    in_both = {row["what"] for row in rows if row["system"] == "version 1"}
    assert len(in_both) == 5
    new = {row["what"] for row in rows} - in_both
    assert len(new) == len(EXTRA_SCENARIOS) + len(CATEGORIES)
    tables = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(tables) == 2 + 5 + len(EXTRA_SCENARIOS)


@pytest.mark.slow
def test_gpu_forces_equal_tokens_and_names_what_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("MEGAASR_QWEN_ASR_PYTHON", "MEGAASR_VLLM_PYTHON"):
        monkeypatch.setenv(variable, str(tmp_path / "no-python"))
    output = tmp_path / "results.json"
    done = run("gpu", "--quick", "--output", output)
    assert done.returncode == 0, done.stderr
    entry = entries(output)["gpu"]
    assert entry["accelerator"] is None
    rows = entry["rows"]
    measured = [row for row in rows if "wall_s" in row]
    assert [(row["system"], row["batch_size"]) for row in measured] == [
        ("released", 1),
        ("ours", 2),
        ("ours", 3),
    ]
    for row in measured:  # the programs check that every clip has its number of tokens
        assert row["clips"] == 6
        assert row["rtfx_wall"] == pytest.approx(row["audio_s"] / row["wall_s"], rel=0.01)
        assert row["times_released"] == pytest.approx(
            row["rtfx_wall"] / measured[0]["rtfx_wall"], rel=0.01
        )
    absent = {row["system"]: row["absent"] for row in rows if "absent" in row}
    assert absent == {"qwen_asr": "not installed", "vllm": "not installed"}
    tables = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(tables) == 2 + len(rows)
    assert len({line.count("|") for line in tables}) == 1


@pytest.mark.slow
def test_gpu_names_a_failure_of_a_peer_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "qwen_asr"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('broken')\n")
    path = filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.delenv("MEGAASR_QWEN_ASR_PYTHON", raising=False)
    monkeypatch.setenv("MEGAASR_VLLM_PYTHON", str(tmp_path / "no-python"))
    done = run("gpu", "--quick")
    assert done.returncode == 0, done.stderr
    assert "qwen-asr, transformers failed: exit status 1" in done.stderr
    assert "| qwen-asr, transformers | – | failed |" in done.stdout


def test_clips_of_gpu_are_equal_everywhere_and_half_robust() -> None:
    clips, again = draw_clips(64, 30.0), draw_clips(64, 30.0)
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(clips, again, strict=True))
    assert sum(clip.route == "robust" for clip in clips) == 32
    assert all(2 <= clip.duration_s < 30 for clip in clips)
    assert len({clip.duration_s for clip in clips}) == 64
    assert all(abs(clip.tokens - 3.3 * clip.duration_s) <= 0.5 for clip in clips)
    part = every(clips, 8)
    assert sum(clip.route == "robust" for clip in part) == len(part) / 2 == 4
    assert audio_s(part) == pytest.approx(audio_s(clips) / 8, rel=0.1)


def test_the_released_loop_changes_weights_once_and_back() -> None:
    layer = torch.nn.Linear(3, 2, bias=False).double()
    model = torch.nn.ModuleDict({"layer": layer})
    change = LowRank(torch.ones(1, 3).double(), torch.ones(2, 1).double())
    before = layer.weight.detach().clone()
    decoded: list[int] = []

    def decode(number: int) -> list[int]:
        decoded.append(number)
        is_changed = torch.allclose(layer.weight, before + 1)
        return [number, int(is_changed)]

    outputs = ReleasedLoop(model, {"layer": change}).run(["robust", "base", "robust"], decode)
    assert decoded == [1, 0, 2]
    assert outputs == [[0, 1], [1, 0], [2, 1]]
    assert torch.allclose(layer.weight, before)


def test_results_of_other_benchmarks_stay_in_the_file(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    kept = {"benchmark": "startup", "rows": []}
    output.write_text(json.dumps({"schema": 1, "entries": [kept]}), encoding="utf-8")
    assert run("decode", "--quick", "--output", output).returncode == 0
    assert list(entries(output)) == ["startup", "decode"]
    assert entries(output)["startup"] == kept


def test_help_brings_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys, benchmarks.__main__ as b\n"
        "try: b.main(['--help'])\n"
        "except SystemExit: print({'torch', 'numpy', 'scipy', 'soundfile'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["speed"], 2, "no benchmark 'speed'; there are transcribe, startup, memory, decode, c"),
        (["decode", "--write-docs"], 2, "--write-docs runs no benchmark"),
        (["gpu"], 1, "gpu measures on a GPU: add --device cuda"),
        (["gpu", "--quick", "--device", "cuda:77"], 1, "device cuda:77: not available here"),
        (["transcribe", "--quick", "--model", "./nowhere"], 1, "no model ./nowhere"),
        (["--write-docs", "--output", "nowhere.json"], 1, "nowhere.json holds no results"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    arguments: list[str], status: int, message: str
) -> None:
    done = run(*arguments)
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    output = tmp_path / "notes.json"
    output.write_text('{"schema": 2, "entries": []}', encoding="utf-8")
    done = run("decode", "--quick", "--output", output)
    assert done.returncode == 1
    assert "has schema 2, not 1" in done.stderr
    assert output.read_text(encoding="utf-8") == '{"schema": 2, "entries": []}'
