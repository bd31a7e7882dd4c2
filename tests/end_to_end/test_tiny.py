"""The shipped model as users run it: command line and wheel, without a network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import soundfile

import megaasr
from command_line import TINY, mega_asr
from hanging import HANGING_S
from megaasr.records import read_manifest
from megaasr.simulate.scenarios import SCENARIOS
from megaasr.text.error_rate import count_errors, pooled

CLIPS = Path(megaasr.__file__).parent / "cli" / "demo_clips"
ROOT = Path(__file__).parents[2]

# As sitecustomize.py on the path of a Python process, it makes any use of the network fail.
NO_NETWORK = """
import socket
def refuse(*args, **kwargs):
    raise OSError("the network is blocked in this test")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.create_connection = refuse
"""


def run(
    *arguments: str, cwd: Path, stdin: bytes | None = None, path: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-m", "megaasr", *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        env=environment,
        timeout=HANGING_S,
        check=False,
    )


def test_offline_in_a_fresh_process(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    clips = list(read_manifest(CLIPS / "clips.jsonl"))
    clean = [clip for clip in clips if clip.extra["scenario"] == "clean"]
    done = run(
        *("transcribe", *TINY, *[str(CLIPS / clip.audio) for clip in clean], "--json-lines"),
        cwd=tmp_path,
        path=tmp_path,
    )
    assert done.returncode == 0, done.stderr.decode()
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [d["language"] for d in documents] == ["en"] * 7
    counts = [count_errors(c.text, d["text"]) for c, d in zip(clean, documents, strict=True)]
    # 0.16 when the weights were frozen; half of the words are by held-out voices or writers.
    assert pooled(counts).rate < 0.25


def test_without_a_network_a_hub_model_fails_with_advice(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    clip = str(CLIPS / "1-clean.flac")
    os.environ.pop("HF_HOME", None)
    done = run("transcribe", clip, "--model", "Qwen/Qwen3-ASR-0.6B-hf", cwd=tmp_path, path=tmp_path)
    assert done.returncode == 1
    message = done.stderr.decode()
    assert "the shipped model small" in message
    assert "Traceback" not in message


def test_standard_input(tmp_path: Path) -> None:
    clip = (CLIPS / "3-clean.flac").read_bytes()
    done = mega_asr("transcribe", *TINY, "-", cwd=tmp_path, stdin=clip)
    assert done.returncode == 0, done.stderr
    assert count_errors(_reference("3-clean"), done.stdout).rate < 0.25


def test_a_hundred_files_with_five_broken(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(95):
        shutil.copy(CLIPS / "7-clean.flac", folder / f"{number:03d}.flac")
    (folder / "b-empty.wav").touch()
    (folder / "b-text.wav").write_text("this is no sound\n" * 100)
    (folder / "b-noise.mp3").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "b-cut.flac").write_bytes((CLIPS / "1-clean.flac").read_bytes()[:60])
    samples = np.full(16_000, np.nan, dtype=np.float32)
    soundfile.write(folder / "b-nan.wav", samples, 16_000, subtype="FLOAT")
    done = mega_asr("transcribe", *TINY, "in", "-o", "out", "-f", "json", cwd=tmp_path)
    assert done.returncode == 1
    errors = done.stderr
    assert "Traceback" not in errors
    for name in ("b-empty.wav", "b-text.wav", "b-noise.mp3", "b-cut.flac", "b-nan.wav"):
        assert errors.count(name) == 1, errors
    written = sorted((tmp_path / "out").glob("*.json"))
    assert [p.stem for p in written] == [f"{n:03d}" for n in range(95)]
    assert len({json.loads(p.read_text())["text"] for p in written}) == 1


def test_silence_and_noise_invent_no_words(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    soundfile.write(tmp_path / "silence.wav", np.zeros(48_000), 16_000)
    soundfile.write(tmp_path / "noise.wav", 0.05 * rng.standard_normal(64_000), 16_000)
    soundfile.write(tmp_path / "short.wav", rng.standard_normal(160), 16_000)
    soundfile.write(tmp_path / "one.wav", np.ones(1), 16_000)
    names = ["silence.wav", "noise.wav", "short.wav", "one.wav"]
    done = mega_asr("transcribe", *TINY, *names, "--json-lines", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        document = json.loads(line)
        assert document["text"] == "", document
        assert document["reason"]


def test_demo(tmp_path: Path) -> None:
    done = mega_asr("demo", "-o", "page/demo.html", cwd=tmp_path)
    shown = done.stdout
    assert done.returncode == 0, done.stderr
    for clip in read_manifest(CLIPS / "clips.jsonl"):
        assert clip.text.split()[0] in shown
    assert re.search(r"clean \(\d+ words\): base [\d.]+ %, robust [\d.]+ %, routed", shown)
    assert re.search(r"degraded \(\d+ words\): base", shown)
    assert "toy" in shown
    assert "--model zhifeixie/Mega-ASR" in shown
    page = (tmp_path / "page/demo.html").read_text()
    assert page.count("<audio") == len(list(read_manifest(CLIPS / "clips.jsonl")))


def test_demo_clips_are_held_out_and_small() -> None:
    from megaasr.synthesize.plan import handwritten_sentences, split_of

    clips = list(read_manifest(CLIPS / "clips.jsonl"))
    scenarios = {clip.extra["scenario"] for clip in clips}
    conditions = {scenario.name for scenario in SCENARIOS if len(scenario.conditions) == 1}
    assert {"clean", *conditions} < scenarios
    assert len([name for name in scenarios if "+" in name]) == 3
    for clip in clips:
        if clip.extra["source"] == "handwritten":
            assert clip.text in handwritten_sentences()
        else:
            assert split_of(clip.text) == "test"
    assert sum(p.stat().st_size for p in CLIPS.iterdir()) < 2_000_000


def test_the_shipped_model_is_small_and_documented() -> None:
    folder = Path(megaasr.__file__).parent / "model" / "shipped" / "tiny"
    assert sum(p.stat().st_size for p in folder.iterdir()) < 25_000_000
    card = (folder / "README.md").read_text()
    results = json.loads((folder / "results.json").read_text())
    import hashlib

    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert results["facts"]["weights_sha256"] == weights
    assert weights in card
    assert "toy" in card


def test_the_wheel_holds_everything(tmp_path: Path) -> None:
    wheel = _build_wheel(tmp_path)
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True, capture_output=True)
    check = "import megaasr, sys; sys.stdout.write(megaasr.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(target)}
    imported = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, env=environment, text=True, check=True
    )
    assert imported.stdout.startswith(str(target))
    done = run("transcribe", *TINY, str(CLIPS / "1-clean.flac"), cwd=tmp_path, path=target)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.strip()
    listed = run("synthesize", "synthesize-tiny", "-o", "x", "--dry-run", cwd=tmp_path, path=target)
    assert b'"seed"' in listed.stdout
    if shutil.which("cc") and Path(sysconfig.get_path("include"), "Python.h").is_file():
        loops = "from megaasr.simulate import kernels; print(kernels.name())"
        named = subprocess.run(
            [sys.executable, "-c", loops],
            capture_output=True,
            env=environment,
            text=True,
            check=True,
        )
        assert named.stdout == "compiled\n"


@pytest.mark.slow
def test_the_wheel_in_an_empty_environment(tmp_path: Path) -> None:
    wheel = _build_wheel(tmp_path)
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    # torch first, in the version that the project is tested with and in any build that pip offers.
    subprocess.run([*pip, "torch==2.13.0"], check=True, capture_output=True)
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    done = subprocess.run(
        [str(venv / "bin" / "mega-asr"), "demo"], capture_output=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"clean (" in done.stdout


def _build_wheel(folder: Path) -> Path:
    """Build from a copy: setuptools would pack remains of earlier builds in the folder `build`."""
    source = folder / "source"
    shutil.copytree(
        ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.so", "*.egg-info")
    )
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir"]
    subprocess.run([*command, str(folder / "dist"), str(source)], check=True, capture_output=True)
    return next((folder / "dist").glob("*.whl"))


def _reference(clip_id: str) -> str:
    return next(u.text for u in read_manifest(CLIPS / "clips.jsonl") if u.id == clip_id)
