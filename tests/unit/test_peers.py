"""Other people's recognisers: transformers' pipeline for real, on a random model."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megaasr.audio import Waveform
from megaasr.cli.bench_systems import load_system, parse_systems
from megaasr.errors import UsageError
from megaasr.model.hub import find_model
from megaasr.model.parts import find_parts
from megaasr.score.peers import Peer


@pytest.fixture(scope="module")
def random_ctc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec2 of toy size with random weights, in a folder."""
    import torch
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

    folder = tmp_path_factory.mktemp("ctc")
    vocabulary = {word: at for at, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"ab"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    torch.manual_seed(0)
    sizes = Wav2Vec2Config(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    Wav2Vec2ForCTC(sizes).save_pretrained(folder)
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder


def test_a_pipeline_of_transformers(random_ctc: Path) -> None:
    peer = Peer("theirs", "pipeline", str(random_ctc), device="cpu")
    peer.prepare()
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) / 10
    said = peer.predict([Waveform(noise, 16_000), Waveform(noise[:8_000], 16_000)])
    assert [one.error for one in said] == [None, None]
    assert set(said[0].text) <= set("ab <unk/s>")
    again = peer.predict([Waveform(noise, 16_000)])
    assert again[0].text == said[0].text
    assert peer.settings == {"model": str(random_ctc), "language": None}
    peer.close()


def test_what_a_library_raises_is_the_clips_error(random_ctc: Path) -> None:
    peer = Peer("theirs", "pipeline", str(random_ctc), device="cpu")
    good = Waveform(np.zeros(8_000, np.float32), 16_000)
    too_short = Waveform(np.zeros(2, np.float32), 16_000)
    first, second = peer.predict([too_short, good])
    assert first.error is not None
    assert second.error is None


@pytest.mark.parametrize(
    ("kind", "module"), [("whisper", "whisper"), ("faster-whisper", "faster_whisper")]
)
def test_a_missing_library_is_named(kind: str, module: str) -> None:
    if find_spec(module):
        pytest.skip(f"{module} is installed")
    with pytest.raises(UsageError, match="pip install"):
        Peer("x", kind, "large-v3")


@pytest.mark.parametrize(
    ("text", "name", "kind", "model"),
    [
        ("tiny", "tiny", "megaasr", "tiny"),
        ("models/mine/", "mine", "megaasr", "models/mine/"),
        ("a=models/b=c", "a", "megaasr", "models/b=c"),
        ("models/b=c", "b=c", "megaasr", "models/b=c"),
        ("Qwen/Qwen3-ASR-1.7B-hf", "Qwen3-ASR-1.7B-hf", "megaasr", "Qwen/Qwen3-ASR-1.7B-hf"),
        ("predictions:out/theirs.jsonl", "theirs", "predictions", "out/theirs.jsonl"),
        ("whisper:large-v3", "whisper-large-v3", "whisper", "large-v3"),
        ("w=faster-whisper:tiny", "w", "faster-whisper", "tiny"),
        (
            "pipeline:openai/whisper-small",
            "pipeline-whisper-small",
            "pipeline",
            "openai/whisper-small",
        ),
    ],
)
def test_what_a_system_is_called(text: str, name: str, kind: str, model: str) -> None:
    (found,) = parse_systems([text])
    assert (found.name, found.kind, found.model) == (name, kind, model)


def test_a_system_may_have_another_adapter(tmp_path: Path) -> None:
    found = parse_systems(["tiny+runs/sft-1/adapter@robust", "a=tiny+mine", "tiny+other"])
    assert [one.name for one in found] == ["tiny+sft-1@robust", "a", "tiny+other"]
    assert [one.adapter for one in found] == ["runs/sft-1/adapter", "mine", "other"]
    assert {one.model for one in found} == {"tiny"}
    assert found[0].route == "robust"
    folder = tmp_path / "c++"
    folder.mkdir()
    (plain,) = parse_systems([str(folder)])
    assert (plain.name, plain.model, plain.adapter) == ("c++", str(folder), None)
    with pytest.raises(UsageError, match="name a model"):
        parse_systems(["tiny+"])
    settings: dict[str, Any] = {"device": None, "language": None, "offline": True, "batch_size": 1}
    with pytest.raises(UsageError, match="nowhere holds no adapter"):
        load_system(parse_systems(["tiny+nowhere"])[0], **settings)
    shipped = find_parts(find_model("tiny")).adapter
    system = load_system(parse_systems([f"tiny+{shipped}@robust"])[0], **settings)
    assert system.settings["adapter"] == str(shipped)
    assert len(str(system.settings["adapter_sha256"])) == 64
    (said,) = system.predict([Waveform(np.zeros(16_000, np.float32), 16_000)])
    assert said.error is None
