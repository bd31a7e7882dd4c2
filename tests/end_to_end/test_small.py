"""The shipped model `small`: the default, by our recognizer and by plain transformers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import Qwen3ASRForConditionalGeneration, Qwen3ASRProcessor

import megaasr
from command_line import mega_asr
from megaasr import MegaASR
from megaasr.model.hub import DEFAULT_MODEL
from megaasr.model.interface import Request
from megaasr.model.loading import load_model
from megaasr.model.request_checks import token_budget
from megaasr.records import read_manifest
from megaasr.text.error_rate import count_errors, pooled

PACKAGE = Path(megaasr.__file__).parent
FOLDER = PACKAGE / "model" / "shipped" / "small"
CLIPS = PACKAGE / "cli" / "demo_clips"


def clean_clips() -> list[tuple[Path, str]]:
    """Return the demo clips that are not degraded, and their texts."""
    clips = read_manifest(CLIPS / "clips.jsonl")
    return [(CLIPS / c.audio, c.text) for c in clips if c.extra["scenario"] == "clean"]


def test_it_is_the_default() -> None:
    assert DEFAULT_MODEL == "small"
    silence = np.zeros(16_000, dtype=np.float32)
    assert MegaASR.from_pretrained().transcribe(silence, sample_rate=16_000).model == "small"


def test_the_command_uses_it_and_says_so(tmp_path: Path) -> None:
    clips = clean_clips()
    done = mega_asr("transcribe", *[path for path, _ in clips], "--json-lines", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "without --model this is small" in done.stderr
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [document["model"] for document in documents] == ["small"] * len(clips)
    counts = [count_errors(text, d["text"]) for (_, text), d in zip(clips, documents, strict=True)]
    assert pooled(counts).rate < 0.7


def test_silence_and_noise_invent_no_words(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    soundfile.write(tmp_path / "silence.wav", np.zeros(48_000), 16_000)
    soundfile.write(tmp_path / "noise.wav", 0.05 * rng.standard_normal(64_000), 16_000)
    done = mega_asr(
        *("transcribe", "--model", "small", "silence.wav", "noise.wav", "--json-lines"),
        *("--no-vad",),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["", ""]


@pytest.mark.parametrize("encoder_attention", ["windowed", "global"])
def test_plain_transformers_write_the_same_tokens(encoder_attention: Any) -> None:
    """The encoder hears in one chunk, so its attention is the same in both ways."""
    path, _ = clean_clips()[0]
    samples, _ = soundfile.read(path, dtype="float32")
    ours = load_model("small", encoder_attention=encoder_attention)
    recognition = ours.recognize([Request(samples)])[0]
    native: Any = Qwen3ASRForConditionalGeneration.from_pretrained(FOLDER, dtype=torch.float32)
    processor = Qwen3ASRProcessor.from_pretrained(FOLDER)
    window = {"n_window": processor.feature_extractor.n_window}
    inputs = processor.apply_transcription_request(audio=samples, audio_kwargs=window)
    budget = token_budget(len(samples) / 16_000)
    with torch.inference_mode():
        tokens = native.eval().generate(**inputs, do_sample=False, max_new_tokens=budget)
    written = processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert recognition.raw == written


def test_the_card_and_the_licence_of_the_encoder_are_beside_the_weights() -> None:
    assert sum(p.stat().st_size for p in FOLDER.rglob("*") if p.is_file()) < 80_000_000
    card = (FOLDER / "README.md").read_text()
    facts = json.loads((FOLDER / "results.json").read_text())["facts"]
    weights = hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest()
    assert facts["weights_sha256"] == weights
    assert weights in card
    assert "Whisper-base" in card
    assert "_name_or_path" not in (FOLDER / "config.json").read_text()
    assert "OpenAI" in (FOLDER / "LICENSE.whisper").read_text()
