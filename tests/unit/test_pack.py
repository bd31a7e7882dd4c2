"""A model of base, adapters and router in one folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from megaasr.adapter.peft_layout import read_adapter
from megaasr.adapter.write import write_adapter
from megaasr.audio import files
from megaasr.audio.waveform import Waveform
from megaasr.cli.main import main
from megaasr.errors import CheckpointError
from megaasr.model.hub import find_model_parts
from megaasr.model.int8_checkpoint import write_int8
from megaasr.model.loading import load_model
from megaasr.model.parts import find_parts, fingerprint
from megaasr.records import Utterance, write_manifest
from megaasr.transcribe.confidence import Calibration, read_calibration
from megaasr.transcribe.recognizer import MegaASR

TINY = find_model_parts("tiny")


def pack(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["pack", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_a_packed_model_says_what_its_parts_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert pack("-o", out, "--adapter", TINY.adapter, "--router", TINY.router) == 0
    assert "base, adapter, router" in capsys.readouterr().out
    parts = find_parts(out)
    assert parts.adapter is not None
    umask = os.umask(0)
    os.umask(umask)
    for file in parts.adapter.iterdir():  # others on the machine may read it, as far as we let them
        assert file.stat().st_mode & 0o777 == 0o666 & ~umask
    assert fingerprint(parts.base) == fingerprint(TINY.base)
    samples = (0.1 * np.random.default_rng(0).standard_normal(32_000)).astype(np.float32)
    for route in ("auto", "robust"):
        transcripts = [
            MegaASR.load(model, route=route).transcribe(samples, sample_rate=16_000)  # type: ignore[arg-type]
            for model in ("tiny", out)
        ]
        assert transcripts[0].text == transcripts[1].text
        assert [segment.degraded_probability for segment in transcripts[0].segments] == [
            segment.degraded_probability for segment in transcripts[1].segments
        ]
    # Packed again into itself, with the adapter twice: the sum of both.
    assert TINY.adapter is not None
    twice = ["--adapter", TINY.adapter, "--adapter", TINY.adapter]
    assert pack("-o", out, "--base", out, *twice, "--dtype", "float32") == 0
    single, double = read_adapter(TINY.adapter), read_adapter(find_parts(out).adapter or out)
    for name, layer in single.layers.items():
        assert torch.allclose(double.layers[name].delta(), 2 * layer.delta(), atol=1e-5)
    assert find_parts(out).router is not None


def test_what_does_not_belong_together_is_refused(
    tmp_path: Path, random_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert TINY.adapter is not None
    out = tmp_path / "out"
    assert pack("-o", out, "--base", random_checkpoint, "--adapter", TINY.adapter) == 1
    assert "trained on other weights" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert pack("-o", out, "--adapter", tmp_path / "empty") == 2
    assert "holds no adapter" in capsys.readouterr().err
    broken = tmp_path / "router.safetensors"
    broken.write_bytes(b"no router")
    assert pack("-o", out, "--router", broken) == 1
    assert not out.exists()


def test_a_used_folder_keeps_nothing_of_another_base(
    tmp_path: Path, random_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert pack("-o", out, "--base", random_checkpoint) == 0
    (out / "base/model-00002-of-00002.safetensors").write_bytes(b"a shard of the old one")
    assert pack("-o", out, "--adapter", TINY.adapter) == 0
    assert fingerprint(find_parts(out).base) == fingerprint(TINY.base)
    (tmp_path / "x.safetensors").write_bytes(b"a page that says no such file")
    with pytest.raises(CheckpointError, match=r"x\.safetensors is damaged"):
        fingerprint(tmp_path)
    (out / "base/confidence.json").write_text(Calibration(0.5, -1.0).to_json())
    left = shutil.ignore_patterns("*/", "confidence*")
    shutil.copytree(TINY.base, tmp_path / "bare", ignore=left)
    assert pack("-o", out, "--base", tmp_path / "bare") == 0  # the same weights
    assert read_calibration(out / "base") == Calibration(0.5, -1.0)
    capsys.readouterr()
    assert pack("-o", out, "--base", random_checkpoint) == 1  # the adapter there is tiny's
    assert "trained on other weights" in capsys.readouterr().err
    assert fingerprint(find_parts(out).base) == fingerprint(TINY.base)
    for option in ("--router", "--measured", "--confidence"):
        assert pack("-o", out, option, tmp_path) == 2


def test_a_base_with_8_bit_weights_keeps_its_adapter(tmp_path: Path) -> None:
    assert write_int8(TINY, tmp_path / "int8")
    out = tmp_path / "model"
    adapter = tmp_path / "int8/mega-asr-merged"
    assert pack("-o", out, "--base", tmp_path / "int8", "--adapter", adapter) == 0
    assert load_model(out, device="cpu").has_robust_route
    assert not list(out.rglob("mega_asr_int8.json"))


def test_the_longest_chunk_of_another_base_is_not_kept(tmp_path: Path) -> None:
    assert pack("-o", tmp_path / "model", "--base", "small") == 0
    assert pack("-o", tmp_path / "model", "--base", "tiny") == 0
    assert not (tmp_path / "model/base/chunking.json").exists()


def test_a_damaged_base_is_not_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(TINY.base, tmp_path / "b", ignore=shutil.ignore_patterns("*/"))
    (weights,) = (tmp_path / "b").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:3_000_000])
    assert pack("-o", tmp_path / "m", "--base", tmp_path / "b") == 1
    assert "is damaged: it should have" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_an_adapter_of_an_unnamed_base_is_taken(tmp_path: Path) -> None:
    assert TINY.adapter is not None
    adapter = read_adapter(TINY.adapter)
    write_adapter(
        adapter, tmp_path / "a", base="", fingerprint=fingerprint(TINY.base), dtype=torch.float32
    )
    shutil.copytree(TINY.base, tmp_path / "b", ignore=shutil.ignore_patterns("*/"))
    assert pack("-o", tmp_path / "m", "--base", tmp_path / "b", "--adapter", tmp_path / "a") == 0


def test_the_card_tells_what_the_parts_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    utterances = []
    for number, scenario in enumerate(("clean", "noise")):
        samples = (0.1 * np.random.default_rng(number).standard_normal(16_000)).astype(np.float32)
        files.write(tmp_path / f"{number}.wav", Waveform(samples, 16_000))
        extra = {"scenario": scenario, "severity": 0.5 * number, "duration_s": 1.0}
        utterances.append(Utterance(f"u{number}", f"{number}.wav", "red boats", "en", extra))
    write_manifest(tmp_path / "test.jsonl", utterances)
    out, bench = tmp_path / "model", tmp_path / "bench"
    parts = ["--adapter", TINY.adapter, "--router", TINY.router]
    assert pack("-o", out, *parts) == 0
    roles = (("base", "@base"), ("robust", "@robust"), ("routed", ""))
    systems = [f"--system={role}={out}{branch}" for role, branch in roles]
    command = ["bench", str(tmp_path / "test.jsonl"), "-o", str(bench), *systems]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert not ended.value.code
    capsys.readouterr()
    assert "Robust adapter" not in (out / "base/README.md").read_text()  # the parts stay behind
    confidence = tmp_path / "confidence.json"
    confidence.write_text(Calibration(0.5, -1.0).to_json())
    options = [
        "--measured",
        bench / "result.json",
        "--made-from",
        "a test",
        "--confidence",
        confidence,
    ]
    assert pack("-o", out, *options) == 0
    assert find_parts(out).adapter is not None
    assert read_calibration(find_parts(out).base) == Calibration(0.5, -1.0)
    card = (out / "README.md").read_text()
    assert "Made from a test" in card
    assert "| clean | 1 |" in card
    assert "(2 clips, of which\n1 are not degraded)" in card
    facts = json.loads((out / "parts.json").read_text())
    assert facts["adapter"]["layers"] > 40
    assert facts["measured"]["rates"]["all"]["base"][0] == 1.0
    # Another router: what was measured with the old one says nothing of it.
    assert pack("-o", tmp_path / "copy", *parts) == 0
    shutil.copy(out / "parts.json", tmp_path / "copy")
    shutil.copy(out / "README.md", tmp_path / "copy")
    assert pack("-o", tmp_path / "copy", "--router", TINY.router) == 0
    assert not (tmp_path / "copy/parts.json").exists()
    assert not (tmp_path / "copy/README.md").exists()
    with pytest.raises(SystemExit):
        main([*command[:4], *systems[:2]])
    assert pack("-o", out, *parts, "--measured", bench / "result.json") == 2
    assert "a card needs" in capsys.readouterr().err
    confidence.write_text('{"slope": "steep"}')
    assert pack("-o", tmp_path / "new", "--confidence", confidence) == 1
    assert "confidence.json is damaged" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
