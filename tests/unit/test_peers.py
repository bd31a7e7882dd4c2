"""Third-party recognisers: transformers' real pipeline on a random model."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from megaasr.audio import Waveform
from megaasr.audio.files import read
from megaasr.errors import UsageError
from megaasr.model.hub import find_model_parts
from megaasr.records import read_manifest
from megaasr.score.judge import FILES
from megaasr.score.peers import Peer, without_padding
from megaasr.score.systems import InferenceOptions, load_system, parse_systems
from megaasr.text.error_rate import count_errors, pooled

ROOT = Path(__file__).parents[2]
JUDGE = ROOT / "corpus" / "judge" / "whisper-base"
DEMO_CLIPS = ROOT / "src" / "megaasr" / "cli" / "demo_clips"


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
    vocabulary = {
        word: index for index, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"ab"])
    }
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
    predictions = peer.predict([Waveform(noise, 16_000), Waveform(noise[:8_000], 16_000)])
    assert [prediction.error for prediction in predictions] == [None, None]
    assert set(predictions[0].text) <= set("ab <unk/s>")
    repeated = peer.predict([Waveform(noise, 16_000)])
    assert repeated[0].text == predictions[0].text
    assert peer.settings == {"model": str(random_ctc), "language": None}
    peer.close()


@pytest.mark.parametrize(
    ("kind", "module"),
    [("pipeline", "transformers"), ("faster-whisper-greedy", "faster_whisper")],
)
def test_a_model_that_is_not_there_is_explained(
    kind: str, module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip(module)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    peer = Peer("theirs", kind, str(tmp_path / "none"), device="cpu")
    with pytest.raises(UsageError, match=r"--system .*none: .* cannot load the model: .*folder"):
        peer.predict([Waveform(np.zeros(8_000, np.float32), 16_000)])


def test_what_a_library_raises_is_the_clips_error(random_ctc: Path) -> None:
    peer = Peer("theirs", "pipeline", str(random_ctc), device="cpu")
    good = Waveform(np.zeros(8_000, np.float32), 16_000)
    too_short = Waveform(np.zeros(2, np.float32), 16_000)
    first, second = peer.predict([too_short, good])
    assert first.error is not None
    assert second.error is None


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        ("whisper", "whisper"),
        ("faster-whisper", "faster_whisper"),
        ("faster-whisper-short", "faster_whisper"),
    ],
)
def test_a_missing_library_is_named(kind: str, module: str) -> None:
    if find_spec(module):
        pytest.skip(f"{module} is installed")
    with pytest.raises(UsageError, match="pip install"):
        Peer("x", kind, "large-v3")


@pytest.mark.parametrize(
    ("sound", "kept"), [(0, 1000), (1, 1000), (899, 1000), (901, 1002), (1500, 1600), (3000, 3000)]
)
def test_the_short_window_keeps_the_sound_and_a_second(sound: int, kept: int) -> None:
    features = np.zeros((1, 80, 3000), np.float32)
    features[..., :sound] = np.random.default_rng(0).standard_normal((80, sound)) - 1
    cut = without_padding(features)
    assert cut.shape == (1, 80, kept)
    assert without_padding(features[0]).shape == (80, kept)
    assert np.array_equal(cut, features[..., :kept])


@pytest.mark.slow
def test_the_judge_transcribes_speech_with_both_windows() -> None:
    if not find_spec("faster_whisper") or not (JUDGE / "model.bin").is_file():
        pytest.skip("the judge is not installed: make judge")
    clips = list(read_manifest(DEMO_CLIPS / "clips.jsonl"))
    clean = [clip for clip in clips if clip.extra["scenario"] == "clean"]
    waveforms = [read(DEMO_CLIPS / clip.audio) for clip in clean]
    for kind in ("faster-whisper", "faster-whisper-short"):
        peer = Peer("judge", kind, str(JUDGE), language="en", device="cpu")
        assert peer.settings["model_sha256"] == FILES["model.bin"]
        assert ("window" in peer.settings) == (kind == "faster-whisper-short")
        predictions = peer.predict(waveforms)
        peer.close()
        assert [prediction.error for prediction in predictions] == [None] * len(clean)
        errors = pooled(
            count_errors(clip.text, prediction.text)
            for clip, prediction in zip(clean, predictions, strict=True)
        )
        assert errors.rate < 0.4  # voices of flite and espeak-ng; without the words it is 1


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
            "faster-whisper-short:corpus/judge/whisper-base/",
            "faster-whisper-short-whisper-base",
            "faster-whisper-short",
            "corpus/judge/whisper-base/",
        ),
        (
            "pipeline:openai/whisper-small",
            "pipeline-whisper-small",
            "pipeline",
            "openai/whisper-small",
        ),
    ],
)
def test_what_a_system_is_called(text: str, name: str, kind: str, model: str) -> None:
    (spec,) = parse_systems([text])
    assert (spec.name, spec.kind, spec.model) == (name, kind, model)


def test_a_system_may_have_another_adapter(tmp_path: Path) -> None:
    specs = parse_systems(["tiny+runs/sft-1/adapter@robust", "a=tiny+mine", "tiny+other"])
    assert [spec.name for spec in specs] == ["tiny+sft-1@robust", "a", "tiny+other"]
    assert [spec.adapter for spec in specs] == ["runs/sft-1/adapter", "mine", "other"]
    assert {spec.model for spec in specs} == {"tiny"}
    assert specs[0].route == "robust"
    folder = tmp_path / "c++"
    folder.mkdir()
    (plain,) = parse_systems([str(folder)])
    assert (plain.name, plain.model, plain.adapter) == ("c++", str(folder), None)
    with pytest.raises(UsageError, match="name a model"):
        parse_systems(["tiny+"])
    options = InferenceOptions(offline=True, batch_size=1)
    with pytest.raises(UsageError, match="nowhere holds no adapter"):
        load_system(parse_systems(["tiny+nowhere"])[0], options)
    shipped = find_model_parts("tiny").adapter
    system = load_system(parse_systems([f"tiny+{shipped}@robust"])[0], options)
    assert system.settings["adapter"] == str(shipped)
    assert len(str(system.settings["adapter_sha256"])) == 64
    (prediction,) = system.predict([Waveform(np.zeros(16_000, np.float32), 16_000)])
    assert prediction.error is None
