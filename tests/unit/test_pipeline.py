"""Pipelines: the plan, what is done again and what not, what stays after a failure."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hanging import HANGING_S
from megaasr.audio import files
from megaasr.audio.waveform import Waveform
from megaasr.cli.main import main
from megaasr.config import load_recipe, shipped_recipes
from megaasr.errors import MegaASRError, UsageError
from megaasr.pipeline.recipe import PipelineRecipe, PlannedStep, plan
from megaasr.pipeline.running import CompletedStep, Pipeline, StepFailedError

TABLE = "filename,fold,category\n1.wav,1,rain\n"


def listing(source: str, target: str) -> dict[str, Any]:
    """A step that is quick: `mega-asr manifest` lists a corpus."""
    return {
        "name": Path(target).stem,
        "what": f"{source} listed",
        "run": ["manifest", "esc-50", source, "{flags}", "--output", target],
        "reads": [f"{source}/meta/esc50.csv"],
        "makes": [target],
    }


def recipe(**changes: Any) -> PipelineRecipe:
    values: dict[str, Any] = {
        "what": "a test",
        "sizes": {
            "small": {"what": "quick", "duration": "seconds", "values": {"flags": ""}},
            "large": {"what": "slow", "duration": "years", "values": {"flags": "-x\n{out}/y"}},
        },
        "steps": [listing("{out}/noise", "{out}/first.jsonl")],
    }
    return PipelineRecipe.model_validate({**values, **changes})


def test_names_are_filled_in_and_empty_arguments_left_out(tmp_path: Path) -> None:
    (small,) = plan(recipe(), "small", tmp_path)
    assert small.command(tmp_path) == (
        *("manifest", "esc-50", f"{tmp_path}/noise"),
        *("--output", f"{tmp_path}/first.jsonl"),
    )
    (large,) = plan(recipe(), "large", tmp_path)
    assert large.command(tmp_path)[3:5] == ("-x", f"{tmp_path}/y")
    assert large.reads == (tmp_path / "noise/meta/esc50.csv",)
    with pytest.raises(UsageError, match="no size huge, but small, large"):
        plan(recipe(), "huge", tmp_path)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([listing("{out}/a", "{out}/b")] * 2, "same name"),
        ([listing("{in}/a", "{out}/b")], "nothing says what in is"),
        ([{**listing("{out}/a", "{out}/b"), "sizes": ["medium"]}], "no size medium"),
    ],
)
def test_broken_pipelines_are_refused(steps: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(steps=steps)


@pytest.mark.parametrize(
    "name", [recipe for recipe in shipped_recipes() if recipe.startswith("pipeline-")]
)
def test_the_shipped_pipelines_hang_together(name: str, tmp_path: Path) -> None:
    """What a step reads was made by a step before it, in every size, or by another pipeline."""
    pipeline = load_recipe(PipelineRecipe, name)
    for size in pipeline.sizes:
        available = {
            path
            for step in plan(pipeline, size, tmp_path)
            for path in step.reads
            if path.parts[0] == "corpus" or path.parts[-3:-1] == ("a2s-1", "adapter")
        }
        for step in plan(pipeline, size, tmp_path):
            assert set(step.reads) <= available, step.name
            available.update(step.makes)
            for argument in step.command(tmp_path):
                assert not re.search(r"\{[a-z]+\}", argument)


def test_values_of_a_size_name_the_folder_only() -> None:
    size = {"what": "x", "duration": "x", "values": {"flags": "", "data": "{flags}/y"}}
    with pytest.raises(ValueError, match=r"data may name \{out\} only"):
        recipe(sizes={"small": size})


# Running, with real commands of the package


def steps(folder: Path) -> list[PlannedStep]:
    def step(name: str) -> PlannedStep:
        target = folder / f"{name}.jsonl"
        return PlannedStep(
            name=name,
            what=name,
            arguments=("manifest", "esc-50", "{out}/noise", "--output", f"{{out}}/{target.name}"),
            reads=(folder / "noise/meta/esc50.csv",),
            makes=(target,),
            processes=1,
        )

    return [step("one"), step("two")]


class Log:
    def __init__(self) -> None:
        self.started: list[str] = []

    def __call__(self, step: PlannedStep, completed: CompletedStep | None) -> None:
        if completed is None:
            self.started.append(step.name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    noise = tmp_path / "run" / "noise"
    (noise / "meta").mkdir(parents=True)
    (noise / "meta/esc50.csv").write_text(TABLE)
    (noise / "audio").mkdir()
    for name in ("1.wav", "2.wav"):
        waveform = Waveform(np.full(16_000, 0.1, np.float32), 16_000)
        files.write(noise / "audio" / name, waveform)
    return tmp_path / "run"


def run(folder: Path, own_steps: list[PlannedStep] | None = None) -> list[str]:
    log = Log()
    Pipeline(own_steps or steps(folder), folder, "0").run(log)
    return log.started


def stale_reasons(folder: Path) -> dict[str, str]:
    statuses = Pipeline(steps(folder), folder, "0").status()
    return {status.step.name: status.stale_reason for status in statuses}


def test_what_is_done_and_unchanged_is_not_done_again(folder: Path, tmp_path: Path) -> None:
    assert run(folder) == ["one", "two"]
    assert run(folder) == []
    state = json.loads((folder / "pipeline.json").read_text())["steps"]["one"]
    assert state["command"].startswith("mega-asr manifest")
    assert set(state["made"]) == {"{out}/one.jsonl"}
    # Moved as a whole, it still holds.
    shutil.move(folder, tmp_path / "elsewhere")
    assert run(tmp_path / "elsewhere") == []


def test_a_folder_may_have_any_name(folder: Path, tmp_path: Path) -> None:
    """Also one that is a part of an option, or a model's name."""
    shutil.move(folder, tmp_path / "output")
    assert run(tmp_path / "output") == ["one", "two"]
    shutil.move(tmp_path / "output", tmp_path / "o")
    assert run(tmp_path / "o") == []


def merging(folder: Path, name: str, *more: str) -> PlannedStep:
    """A step that writes into a folder of its own."""
    return PlannedStep(
        name=name,
        what=name,
        arguments=("pack", "--output", "{out}/model", *more),
        reads=(folder / "noise/meta/esc50.csv",),
        makes=(folder / "model/base/model.safetensors",),
        processes=1,
    )


class Quick(Pipeline):
    """Its steps make their files at once: what becomes of folders does not depend on commands."""

    def _execute(self, step: PlannedStep) -> str:
        for path in step.makes:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(path.name)
        return step.command_line(self.out)


def test_output_of_other_inputs_is_archived_and_restored(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "Pipeline", Quick)
    own = [merging(folder, "pack"), merging(folder, "again")]
    assert run(folder, own) == ["pack", "again"]
    (folder / "model/old").touch()
    (folder / "model/base/model.safetensors").unlink()
    assert run(folder, own) == ["pack"]  # of the same inputs: gone on in the same folder
    assert (folder / "model/old").exists()
    changed = [own[0], merging(folder, "again", "--dtype", "float32")]
    assert run(folder, changed) == ["again"]  # the folder is another step's
    assert (folder / "model/old").exists()
    (folder / "noise/meta/esc50.csv").write_text(TABLE + "2.wav,1,wind\n")
    assert run(folder, own) == ["pack", "again"]
    assert not (folder / "model/old").exists()
    assert (folder / "model.before/old").exists()
    # Wanted again, it comes back; nothing is run, and nothing is lost.
    (folder / "model/new").touch()
    (folder / "noise/meta/esc50.csv").write_text(TABLE)
    assert run(folder, own[:1]) == []
    assert (folder / "model/old").exists()
    assert not list((folder / "model").glob(".mega-asr*"))
    assert (folder / "model.before-2/new").exists()
    (folder / "model.before").mkdir()  # somebody's own
    (folder / "noise/meta/esc50.csv").write_text(TABLE + "2.wav,1,snow\n")
    assert run(folder, own[:1]) == ["pack"]
    assert (folder / "model.before-3/old").exists()
    assert not list((folder / "model.before").iterdir())


def test_a_command_that_ended_well_is_not_run_for_other_inputs(folder: Path) -> None:
    """It made what it should, but the recipe named another file: the next try goes on there."""
    right = merging(folder, "pack")
    with pytest.raises(StepFailedError, match="did not make"):
        run(folder, [right.model_copy(update={"makes": (folder / "model/typo",)})])
    (folder / "model/old").touch()
    assert run(folder, [right]) == ["pack"]
    assert (folder / "model/old").exists()


def test_output_begun_for_other_inputs_is_archived(folder: Path) -> None:
    """Also if it was killed with SIGKILL, which tells nobody."""
    broken = merging(folder, "pack", "--router", "nothing")
    with pytest.raises(StepFailedError, match="does not exist"):
        run(folder, [broken])
    (folder / "model").mkdir()
    (folder / "model/old").touch()
    assert run(folder, [merging(folder, "pack")]) == ["pack"]
    assert (folder / "model.before/old").exists()


def writer(pipe: Path, reading: subprocess.Popen[bytes]) -> io.FileIO:
    """Open a named pipe when a process has opened its other end, or fail if it never does."""
    deadline = time.monotonic() + HANGING_S
    while True:
        try:
            descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            assert reading.poll() is None, "it ended before it read"
            assert time.monotonic() < deadline, "it never read"
            time.sleep(0.01)
        else:
            os.set_blocking(descriptor, True)
            return io.FileIO(descriptor, "w")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_folder_is_for_one_run_and_its_step(folder: Path) -> None:
    """A step that outlives a run that was killed keeps the folder."""
    table = folder / "noise/meta/esc50.csv"
    content = table.read_text()
    table.unlink()
    os.mkfifo(table)
    script = (
        "import sys, pathlib; sys.path[:0] = [sys.argv[1]]; import test_pipeline as t; "
        "t.Pipeline([t.steps(pathlib.Path(sys.argv[2]))[0].model_copy(update={'reads': ()})], "
        "pathlib.Path(sys.argv[2]), '0').run(t.Log())"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with (
        subprocess.Popen(command, env=environment) as killed,
        writer(table, killed) as pipe,
    ):
        killed.kill()
        killed.wait()
        with pytest.raises(MegaASRError, match=r"another run is at work in .*process [0-9]+"):
            run(folder, steps(folder)[:1])
        pipe.write(content.encode())
    table.unlink()
    table.write_text(content)
    deadline = time.monotonic() + HANGING_S
    while True:
        try:
            assert run(folder, steps(folder)[:1]) == ["one"]
            break
        except MegaASRError:
            assert time.monotonic() < deadline, "the step never ended"
            time.sleep(0.1)


def test_a_new_base_makes_everything_after_it_new(tmp_path: Path) -> None:
    scratch = plan(load_recipe(PipelineRecipe, "pipeline-tiny"), "scratch", tmp_path)
    base = tmp_path / "base/model/model.safetensors"
    users = [
        step for step in scratch if str(tmp_path / "base/model") in " ".join(step.command(tmp_path))
    ]
    assert len(users) > 15
    assert all(base in step.reads for step in users)
    full = plan(load_recipe(PipelineRecipe, "pipeline-tiny"), "full", tmp_path)
    assert not any(base in step.reads for step in full)


def test_changes_are_noticed(folder: Path) -> None:
    run(folder)
    (folder / "two.jsonl").unlink()
    assert stale_reasons(folder) == {"one": "", "two": "{out}/two.jsonl is gone"}
    assert run(folder) == ["two"]
    (folder / "one.jsonl").write_text("{}")
    assert "changed by somebody" in stale_reasons(folder)["one"]
    assert run(folder) == ["one"]
    (folder / "noise/meta/esc50.csv").write_text(TABLE + "2.wav,1,wind\n")
    assert set(stale_reasons(folder).values()) == {"its command or what it reads has changed"}
    assert run(folder) == ["one", "two"]
    changed = [
        step.model_copy(update={"arguments": (*step.arguments, "--split", "1")})
        for step in steps(folder)[:1]
    ]
    assert run(folder, changed) == ["one"]


def test_a_failed_step_says_why_and_keeps_the_others(folder: Path) -> None:
    first, second = steps(folder)
    arguments = ("manifest", "esc-50", "{out}/nothing", "--output", "{out}/two.jsonl")
    broken = second.model_copy(update={"arguments": arguments})
    with pytest.raises(StepFailedError, match=r"step two failed .*two\.log") as failed:
        run(folder, [first, broken])
    assert "nothing is not a folder" in str(failed.value)
    assert stale_reasons(folder) == {"one": "", "two": "not done yet"}
    lazy = second.model_copy(update={"arguments": ("--version",)})
    with pytest.raises(StepFailedError, match="did not make"):
        run(folder, [first, lazy])
    assert run(folder) == ["two"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_ends_the_pipeline_ends_its_step(folder: Path) -> None:
    """The step hangs on a pipe that nobody writes to, until SIGTERM, sent to the pipeline alone."""
    table = folder / "noise/meta/esc50.csv"
    table.unlink()
    os.mkfifo(table)
    hanging = folder / "hanging.toml"
    hanging.write_text(
        'what = "a test"\n[sizes.full]\nwhat = "all"\nduration = "for ever"\nvalues = {}\n'
        '[[steps]]\nname = "one"\nwhat = "hangs"\nmakes = ["{out}/one.jsonl"]\n'
        f'run = ["manifest", "esc-50", "{folder}/noise", "--output", "{{out}}/one.jsonl"]\n'
    )
    command = [sys.executable, "-m", "megaasr", "recipe", str(hanging), "-o", str(folder)]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL) as pipeline,
        writer(table, pipeline) as pipe,
    ):
        pipeline.send_signal(signal.SIGTERM)
        assert pipeline.wait(HANGING_S) == 128 + signal.SIGTERM
        with pytest.raises(BrokenPipeError):  # nobody is there to read
            pipe.write(b"filename")
    assert (folder / "logs/one.seconds.json").is_file()


def test_a_step_after_a_changed_one_is_planned_too(folder: Path) -> None:
    first, second = steps(folder)
    after = second.model_copy(update={"reads": first.makes})
    run(folder, [first, after])
    (folder / "one.jsonl").unlink()
    statuses = Pipeline([first, after], folder, "0").status()
    assert [bool(status.stale_reason) for status in statuses] == [True, True]
    # It turns out to be the same again, so the second need not be run.
    assert run(folder, [first, after]) == ["one"]


def test_the_command_shows_its_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["recipe", "tiny", "--smoke", "--plan", "-o", str(tmp_path / "out")])
    assert not ended.value.code
    shown = capsys.readouterr().out
    assert "size smoke" in shown
    assert "torchrun --standalone --nproc-per-node 2 -m megaasr train rl rl-tiny" in shown
    assert "--made-from 'A2S-SFT, then DG-WGPO'" in shown
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit) as ended:
        main(["recipe", "huge", "-o", str(tmp_path / "out")])
    assert ended.value.code == 2
    shipped = "compare-adapters, compare-rl, compare-routers, compare-sft, small, tiny"
    assert shipped in capsys.readouterr().err


def test_what_the_steps_need_is_asked_for_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'what = "a test"\nmodules = ["json", "nobody_has_this", "nor.this"]\n'
        '[sizes.full]\nwhat = "all"\nduration = "none"\n[[steps]]\nname = "one"\nwhat = "x"\n'
        'run = ["--version"]\nmakes = ["{out}/x"]\nprograms = ["nor-that"]\n'
    )
    with pytest.raises(SystemExit) as ended:
        main(["recipe", str(mine), "-o", str(tmp_path / "out")])
    assert ended.value.code == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "need nobody_has_this, nor.this, nor-that, not installed" in message
    loaded = load_recipe(PipelineRecipe, str(mine))
    assert loaded.missing_requirements([]) == []  # where everything is done, nothing is needed


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("flite") and shutil.which("espeak-ng")), reason="no voices")
def test_every_step_of_the_shipped_pipeline_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "smoke"
    with pytest.raises(SystemExit) as ended:
        main(["recipe", "tiny", "--smoke", "-o", str(out)])
    assert not ended.value.code, capsys.readouterr().err
    assert (out / "report" / "index.html").is_file()
    result = json.loads((out / "bench" / "result.json").read_text())
    names = [system["name"] for system in result["systems"]]
    assert names == ["base", "robust", "routed", "plain", "a2s", "other-label", "oracle"]
    card = (out / "model" / "README.md").read_text()
    assert "## Robust adapter and router" in card
    assert "Made from A2S-SFT, then DG-WGPO" in card
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:  # nothing is left to do
        main(["recipe", "tiny", "--smoke", "-o", str(out)])
    assert not ended.value.code
    assert ": mega-asr" not in capsys.readouterr().out
