"""The stages that make `small`, from the teacher's weights to a model that loads, at toy size."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.example_results import example_result
from tests.small_whisper import LAYERS, WIDTH, write_ctranslate2, write_whisper
from transformers import Qwen3ASRForConditionalGeneration, WhisperFeatureExtractor
from transformers.models.qwen3_asr.modeling_qwen3_asr import Qwen3ASREncoder

import megaasr
from megaasr.audio import files
from megaasr.audio.waveform import SAMPLE_RATE, Waveform
from megaasr.cli.main import main
from megaasr.config import load_recipe
from megaasr.errors import CheckpointError, TrainingError
from megaasr.hashing import file_sha256
from megaasr.model.alignment_heads import HEADS_FILE
from megaasr.model.ctranslate2 import read_ctranslate2
from megaasr.model.interface import Request
from megaasr.model.loading import load_model
from megaasr.records import Utterance, read_manifest, write_manifest
from megaasr.report.small_card import small_facts
from megaasr.train.small.alignment import read_alignment
from megaasr.train.small.batching import BatchSchedule
from megaasr.train.small.decoder import DecoderTrainer
from megaasr.train.small.decoder_recipe import DecoderRecipe
from megaasr.train.small.frame_batches import FrameBatch
from megaasr.train.small.frames import (
    FramesRecipe,
    FrameStore,
    FrozenEncoder,
    encode_corpus,
    example_samples,
    plan_examples,
)
from megaasr.train.small.language_model import (
    LanguageModelRecipe,
    LanguageModelTrainer,
    read_sentences,
)
from megaasr.train.small.lexicon import PHONEMES, spoken_words
from megaasr.train.small.speed import MixedPrecision
from megaasr.train.small.stem import StemRecipe, StemTrainer, build_encoder
from megaasr.train.small.stem_check import check_stem
from megaasr.train.small.time_check import check_aligned_times, check_spoken_times
from megaasr.train.small.whisper_teacher import load_whisper
from megaasr.transcribe.confidence import Calibration, read_calibration
from megaasr.transcribe.time_errors import TimeErrors

TEXTS = ("Hello there, you.", "The door is open.", "Who called me?", "Turn left now.", "")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    write_whisper(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten clips of tones, half a second to two seconds, and their manifests."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(3)
    utterances = []
    for number in range(10):
        seconds = 0.6 + 0.15 * number
        time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        tone = 0.3 * np.sin(2 * np.pi * (200 + 40 * number) * time) + rng.normal(0, 0.01, time.size)
        samples = tone.astype(np.float32)
        files.write(folder / f"{number}.flac", Waveform(samples, SAMPLE_RATE))
        text = TEXTS[number % len(TEXTS)]
        utterances.append(
            Utterance(
                f"clip-{number}",
                f"{number}.flac",
                text,
                "en" if text else None,
                {"duration_s": round(seconds, 3)},
            )
        )
    write_manifest(folder / "train-000.jsonl", utterances)
    write_manifest(folder / "dev.jsonl", utterances[:4])
    return folder


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "sentences.jsonl"
    words = ["left", "right", "door", "open", "hello", "street", "morning", "call"]
    rng = np.random.default_rng(0)
    texts = {" ".join(rng.choice(words, 6)).capitalize() + "." for _ in range(400)}
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in sorted(texts)))
    return path


def stem_recipe(whisper: Path, corpus: Path, **changes: object) -> StemRecipe:
    values: dict[str, object] = {
        "whisper": str(whisper),
        "corpus": str(corpus),
        "conv_channels": 8,
        "steps": 6,
        "batch_clips": 2,
        "crop_s": 0.5,
        "decay_steps": 2,
        "warmup_steps": 1,
        "log_steps": 2,
        "evaluate_steps": 3,
        "checkpoint_s": 1000.0,
        **changes,
    }
    sets = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    return load_recipe(StemRecipe, "train-stem-small", sets)


@pytest.fixture(scope="module")
def encoder(whisper: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return StemTrainer(stem_recipe(whisper, corpus), tmp_path_factory.mktemp("stem")).train().path


def frames_recipe(encoder: Path, corpus: Path, **changes: object) -> FramesRecipe:
    values = {
        "encoder": str(encoder),
        "corpus": str(corpus),
        "manifests": ["train-000.jsonl"],
        "workers": 1,
        **changes,
    }
    sets = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    return load_recipe(FramesRecipe, "encode-small", sets)


@pytest.fixture(scope="module")
def frames(encoder: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    encode_corpus(frames_recipe(encoder, corpus, join_share=0.5), folder)
    return folder


def lm_recipe(sentences: Path, **changes: object) -> LanguageModelRecipe:
    values = {
        "sentences": str(sentences),
        "compiled": False,  # needs g++
        "steps": 6,
        "batch_tokens": 200,
        "log_steps": 2,
        "evaluate_steps": 3,
        "evaluate_sentences": 20,
        "warmup_steps": 1,
        "decay_steps": 2,
        "checkpoint_s": 1000.0,
        "decoder.vocabulary_size": 320,
        "decoder.layers": 2,
        "decoder.width": 32,
        "decoder.heads": 2,
        "decoder.kv_heads": 1,
        "decoder.head_size": 16,
        "decoder.ffn": 48,
        **changes,
    }
    sets = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    return load_recipe(LanguageModelRecipe, "train-lm-small", sets)


@pytest.fixture(scope="module")
def language_model(sentences: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return LanguageModelTrainer(lm_recipe(sentences), tmp_path_factory.mktemp("lm")).train().path


def spell_with_phonemes(word: str) -> str:
    """A pronunciation that needs no espeak-ng."""
    return "".join(letter for letter in word if letter in PHONEMES) or "ə"


def decoder_recipe(
    frames: Path, encoder: Path, language_model: Path, corpus: Path
) -> DecoderRecipe:
    lexicon = corpus / "lexicon.json"
    words = {word for text in TEXTS for word in spoken_words(text)}
    lexicon.write_text(json.dumps({word: spell_with_phonemes(word) for word in sorted(words)}))
    phase = {"manifests": ["train-000.jsonl"], "steps": 3, "max_s": 10.0, "batch_s": 4.0}
    values = {
        "frames": str(frames),
        "compiled": False,
        "encoder": str(encoder),
        "language_model": str(language_model),
        "lexicon": str(lexicon),
        "dev": str(corpus / "dev.jsonl"),
        "warmup_steps": 1,
        "decay_steps": 2,
        "evaluate_steps": 3,
        "evaluate_clips": 2,
        "log_steps": 1,
        "checkpoint_s": 1e-6,
    }
    shipped = load_recipe(
        DecoderRecipe, "train-ctc-small", [f"{k}={json.dumps(v)}" for k, v in values.items()]
    )
    return DecoderRecipe.model_validate(
        shipped.model_dump()
        | {
            "phases": [
                {**phase, "ctc_only": True},
                {**phase, "projector_learning_rate_scale": 0.0},
                phase,
            ]
        }
    )


# The teacher's weights.


def test_ctranslate2_arrays_come_back(tmp_path: Path) -> None:
    arrays = {
        "a/weight": np.arange(6, dtype=np.float16).reshape(2, 3),
        "b": np.array(8, np.int16),
        "c": np.arange(3, dtype=np.float32),
    }
    write_ctranslate2(tmp_path / "model.bin", arrays)
    read = read_ctranslate2(tmp_path / "model.bin")
    assert read.keys() == arrays.keys()
    for name, values in arrays.items():
        assert read[name].dtype == values.dtype
        np.testing.assert_array_equal(read[name], values)


def test_a_damaged_or_foreign_ctranslate2_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    write_ctranslate2(path, {"a": np.zeros(100, np.float32)})
    content = path.read_bytes()
    path.write_bytes(content[:200])
    with pytest.raises(CheckpointError, match=r"model\.bin is damaged"):
        read_ctranslate2(path)
    write_ctranslate2(path, {"a": np.zeros(100, np.float32)}, version=5)
    with pytest.raises(CheckpointError, match="version 5"):
        read_ctranslate2(path)


def test_whisper_is_loaded_with_every_weight_and_its_sizes(whisper: Path) -> None:
    model = load_whisper(whisper)
    arrays = read_ctranslate2(whisper / "model.bin")
    assert (model.config.d_model, model.config.encoder_layers) == (WIDTH, LAYERS)
    fused = arrays["decoder/layer_1/attention/linear_1/weight"]
    values = model.model.decoder.layers[1].encoder_attn.v_proj.weight.detach().numpy()
    np.testing.assert_array_equal(values, fused[WIDTH:].astype(np.float32))
    assert not model.training


def test_whisper_without_a_weight_is_refused(whisper: Path, tmp_path: Path) -> None:
    arrays = read_ctranslate2(whisper / "model.bin")
    del arrays["encoder/layer_1/ffn/linear_0/bias"]
    write_ctranslate2(tmp_path / "model.bin", arrays)
    with pytest.raises(CheckpointError, match="encoder/layer_1/ffn/linear_0/bias"):
        load_whisper(tmp_path)
    with pytest.raises(CheckpointError, match="make judge"):
        load_whisper(tmp_path / "nowhere")


def test_the_encoder_has_the_layers_of_whisper_above_the_stem(whisper: Path) -> None:
    """Whisper's layers in the native class, fed with Whisper's own stem, give Whisper's frames."""
    teacher = load_whisper(whisper)
    encoder = build_encoder(teacher, 8, 0).eval()
    samples = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    make: Any = WhisperFeatureExtractor
    features = make()([samples], sampling_rate=SAMPLE_RATE, return_tensors="pt")["input_features"]
    with torch.inference_mode():
        expected = teacher.model.encoder(features).last_hidden_state[0]
        hidden = torch.nn.functional.gelu(teacher.model.encoder.conv1(features))
        hidden = torch.nn.functional.gelu(teacher.model.encoder.conv2(hidden))[0].T
        hidden = hidden + teacher.model.encoder.embed_positions.weight
        for layer in encoder.layers:
            hidden = layer(hidden, torch.tensor([0, len(hidden)]))[0]
        ours = encoder.ln_post(hidden)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


# The stem.


def test_the_stem_learns(whisper: Path, corpus: Path, tmp_path: Path) -> None:
    recipe = stem_recipe(whisper, corpus, steps=60, evaluate_steps=30, decay_steps=10)
    rows: list[dict[str, Any]] = []
    StemTrainer(recipe, tmp_path, rows.append).train()
    scores = [row["dev_r2"] for row in rows if "dev_r2" in row]
    assert scores[-1] > max(0.1, 2 * scores[0])


def test_a_stem_that_was_stopped_continues_exactly(
    whisper: Path, corpus: Path, tmp_path: Path
) -> None:
    recipe = stem_recipe(whisper, corpus)
    straight = StemTrainer(recipe, tmp_path / "straight").train().path
    stopped = StemTrainer(recipe, tmp_path / "stopped")
    losses = stopped._loop.losses

    def stop(step: int) -> Any:
        if step == 4:
            raise KeyboardInterrupt
        return losses(step)

    stopped._loop.losses = stop
    often = {"checkpoint_s": 1e-6}  # a checkpoint at every step
    stopped._loop.recipe = stopped._loop.recipe.model_copy(update=often)
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    again = StemTrainer(recipe, tmp_path / "stopped").train().path
    name = "model.safetensors"
    assert (again / name).read_bytes() == (straight / name).read_bytes()


def test_check_stem_gives_both_rates(encoder: Path, whisper: Path, corpus: Path) -> None:
    check = check_stem(encoder, whisper, corpus / "dev.jsonl", limit=1)
    assert check.clips == 1
    assert check.whisper.reference_length == check.fitted.reference_length == 3
    assert check.ratio >= 0


# Encoder frames.


def test_the_trimmed_encoder_equals_the_whole_chunk(encoder: Path) -> None:
    trimmed = FrozenEncoder(encoder)
    rng = np.random.default_rng(5)
    clips = [rng.normal(0, 0.1, size).astype(np.float32) for size in (9_001, 24_017, 8_000)]
    together = trimmed(clips)
    native = Qwen3ASREncoder.from_pretrained(encoder).eval()
    assert type(native) is Qwen3ASREncoder
    for samples, frames in zip(clips, together, strict=True):
        features = trimmed._features(samples)
        padded = torch.zeros(1, 128, 12_800)
        padded[0, :, : len(features)] = torch.from_numpy(features.T)
        mask = (torch.arange(12_800) < len(features)).long()[None]
        with torch.inference_mode():
            expected = native(input_features=padded, input_features_mask=mask).last_hidden_state
        assert frames.shape == tuple(expected.shape)
        np.testing.assert_allclose(frames.astype(np.float32), expected.numpy(), atol=4e-3)


def test_every_clip_is_in_one_example(encoder: Path, corpus: Path) -> None:
    from megaasr.records import read_manifest

    recipe = frames_recipe(encoder, corpus, join_share=0.9)
    utterances = list(read_manifest(corpus / "train-000.jsonl"))
    planned = plan_examples(utterances, recipe, "train-000.jsonl")
    ids = [u.id for example in planned for u in example.utterances]
    assert sorted(ids) == sorted(u.id for u in utterances)
    assert any(len(example.utterances) > 1 for example in planned)
    assert planned == plan_examples(utterances, recipe, "train-000.jsonl")
    for example in planned:
        samples = example_samples(example, recipe, "train-000.jsonl")
        assert samples.size < 30 * SAMPLE_RATE
        assert np.abs(samples).max() <= 1.0


def test_frames_match_their_index_and_are_kept(frames: Path, encoder: Path, corpus: Path) -> None:
    store = FrameStore(frames, ["train-000.jsonl"])
    shard = np.load(frames / "train-000.npy")
    assert sum(example.frames for example in store.examples) == len(shard)
    assert store.frames(store.examples[1]).shape == (store.examples[1].frames, WIDTH)
    before = (frames / "train-000.npy").stat().st_mtime_ns
    encode_corpus(frames_recipe(encoder, corpus, join_share=0.5), frames)
    assert (frames / "train-000.npy").stat().st_mtime_ns == before
    with pytest.raises(TrainingError, match="another recipe"):
        encode_corpus(frames_recipe(encoder, corpus, join_share=0.1), frames)
    more = ["train-000.jsonl", "train-007.jsonl"]
    with pytest.raises(TrainingError, match=r"no train-007\.jsonl, so they were left out"):
        encode_corpus(frames_recipe(encoder, corpus, join_share=0.5, manifests=more), frames)
    with pytest.raises(TrainingError, match=r"train-007\.jsonl"):
        FrameStore(frames, ["train-007.jsonl"])


def test_a_missing_encoder_is_named_and_leaves_no_folder(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="mega-asr train stem"):
        encode_corpus(frames_recipe(tmp_path / "nowhere", corpus), tmp_path / "frames")
    with pytest.raises(TrainingError, match="longer than 30 s"):
        encode_corpus(
            frames_recipe(tmp_path / "nowhere", corpus, scenarios=["noise", "speed"]),
            tmp_path / "frames",
        )
    assert not (tmp_path / "frames").exists()


# The language model.


def test_splits_of_sentences_are_disjoint(sentences: Path) -> None:
    train, dev = read_sentences(sentences, "train"), read_sentences(sentences, "dev")
    assert train
    assert dev
    assert not set(train) & set(dev)
    with pytest.raises(TrainingError, match="mega-asr text"):
        read_sentences(sentences.with_name("no.jsonl"), "train")


def test_the_language_model_learns(sentences: Path, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    recipe = lm_recipe(sentences, steps=60, evaluate_steps=30, learning_rate=5e-3)
    LanguageModelTrainer(recipe, tmp_path, rows.append).train()
    bits = [row["dev_bits_per_word"] for row in rows if "dev_bits_per_word" in row]
    assert bits[-1] < bits[0]


# Batches.


def test_an_epoch_has_every_example_once() -> None:
    lengths = np.random.default_rng(0).integers(10, 200, 57).tolist()
    schedule = BatchSchedule(lengths, 500, 1)
    step, epochs = 0, []
    for epoch in range(2):
        indices = []
        while schedule.epoch(step) == epoch:
            batch = schedule.batch(step)
            assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 500
            indices += batch
            step += 1
        assert sorted(indices) == list(range(57))
        epochs.append(indices)
    assert epochs[0] != epochs[1]
    # Any step can be asked for first.
    assert BatchSchedule(lengths, 500, 1).batch(step - 1) == schedule.batch(step - 1)


# The decoder, and the model that comes out.


@pytest.fixture(scope="module")
def model_folder(
    frames: Path,
    encoder: Path,
    language_model: Path,
    corpus: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    recipe = decoder_recipe(frames, encoder, language_model, corpus)
    return DecoderTrainer(recipe, tmp_path_factory.mktemp("decoder")).train().path


def test_a_decoder_that_was_stopped_continues_exactly(
    model_folder: Path,
    frames: Path,
    encoder: Path,
    language_model: Path,
    corpus: Path,
    tmp_path: Path,
) -> None:
    recipe = decoder_recipe(frames, encoder, language_model, corpus)
    trainer = DecoderTrainer(recipe, tmp_path)
    losses = trainer._loop.losses

    def stop(step: int) -> Any:
        if step == 4:
            raise KeyboardInterrupt
        return losses(step)

    trainer._loop.losses = stop
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    again = DecoderTrainer(recipe, tmp_path).train().path
    expected = (model_folder / "model.safetensors").read_bytes()
    assert (again / "model.safetensors").read_bytes() == expected


def test_phases_warm_up_anew_and_a_frozen_projector_stays(
    frames: Path, encoder: Path, language_model: Path, corpus: Path, tmp_path: Path
) -> None:
    recipe = decoder_recipe(frames, encoder, language_model, corpus)
    trainer = DecoderTrainer(recipe.model_copy(update={"warmup_steps": 2}), tmp_path)
    trainer.train()
    projector, decoder = ({"in_decoder": value} for value in (False, True))
    assert [trainer._lr_scale(step, decoder) for step in range(7)] == [0.5, 1, 1, 0.5, 1, 1, 0.5]
    assert [trainer._lr_scale(step, projector) for step in range(2, 8)] == [1, 0, 0, 0, 0.5, 1]
    states = [
        torch.load(tmp_path / f"checkpoint-{step}.pt", weights_only=True)["module"]
        for step in (3, 6)
    ]
    for name, before in states[0].items():
        changed = not torch.equal(before, states[1][name])
        assert changed == name.startswith("decoder."), name


def test_a_decoder_learns_from_text_with_concatenated_frames(
    frames: Path,
    encoder: Path,
    language_model: Path,
    corpus: Path,
    model_folder: Path,
    sentences: Path,
    tmp_path: Path,
) -> None:
    """Aligned with the phoneme classes of a first run, as the pipeline does it."""
    recipe = decoder_recipe(frames, encoder, language_model, corpus)
    options = ["--frames", str(frames), "--lexicon", str(recipe.lexicon)]
    arguments = ["train", "align", str(model_folder.parent), *options, "-o", str(tmp_path / "a")]
    with pytest.raises(SystemExit) as status:
        main(arguments)
    assert status.value.code in {0, None}
    rows = read_alignment(tmp_path / "a", "train-000.jsonl")
    texts = [example.text for example in FrameStore(frames, ["train-000.jsonl"]).examples]
    assert [word.text for row in rows for word in row] == [
        word for text in texts for word in spoken_words(text)
    ]
    # Sentences of words that were spoken, and of a word whose phonemes were.
    text = tmp_path / "sentences.jsonl"
    lines = [f"You left the {word}, now." for word in ("door", "hello", "rood", "open", "leh")]
    text.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    lexicon = json.loads(recipe.lexicon.read_text())
    lexicon |= {word: spell_with_phonemes(word) for word in ("rood", "leh")}
    (tmp_path / "lexicon.json").write_text(json.dumps(lexicon))
    phase = recipe.phases[-1].model_copy(update={"text_share": 0.5, "steps": 6})
    changes = {
        "model": model_folder,
        "encoder": None,
        "language_model": None,
        "phoneme_head": model_folder.parent,
        "alignments": tmp_path / "a",
        "sentences": text,
        "lexicon": tmp_path / "lexicon.json",
        "phases": [phase],
        "attention_weight": 0.5,
        "guided_heads": [
            {"layer": 0, "head": 1},
            {"layer": 1, "head": 0, "start": 0.0, "end": 0.5},
        ],
    }
    with pytest.raises(ValueError, match="alignments"):
        DecoderRecipe.model_validate(recipe.model_dump() | changes | {"sentences": None})
    from_text = DecoderRecipe.model_validate(recipe.model_dump() | changes)
    trainer = DecoderTrainer(from_text, tmp_path / "run")
    sources = [type(trainer._phases[0].batch(step)[0]).__name__ for step in range(4)]
    assert sources == ["SpeechExamples", "TextExamples"] * 2
    for step in (0, 1):
        source, indices = trainer._phases[0].batch(step)
        batch = trainer._batches.build(source, indices, (step, 0))
        assert_positions_are_those_of_the_words(batch, [source.text(i) for i in indices], trainer)
    before = trainer._losses(1)[1]["attention"]
    folder = trainer.train().path
    assert 0 < trainer._losses(1)[1]["attention"] < before
    # The model names the heads that were led, and loads with them.
    heads = json.loads((folder / HEADS_FILE).read_text())
    assert heads == {"heads": [[0, 1], [1, 0]], "delay_s": 0.0}
    samples = np.random.default_rng(1).normal(0, 0.1, 30_000).astype(np.float32)
    load_model(str(folder), device="cpu").recognize([Request(samples)])


def assert_positions_are_those_of_the_words(
    batch: FrameBatch, texts: list[str], trainer: DecoderTrainer
) -> None:
    audio_token = trainer.model.config.audio_token_id
    for example, text in enumerate(texts):
        ids = batch.inputs["input_ids"][example]
        rows = batch.token_frames[batch.token_frames[:, 0] == example]
        written = trainer.tokenizer.decode(ids[rows[:, 1] + 1])
        assert written.split() == text.split()
        starts = rows[:, 2].tolist()
        assert starts == sorted(starts)
        for first, end in rows[:, 2:].tolist():
            assert (ids[first:end] == audio_token).all()
        # The first word starts within the audio, after at most a pause.
        audio = (ids == audio_token).nonzero().flatten()
        assert audio[0] <= starts[0] < audio[-1]


def test_bfloat16_gives_nearly_the_same_losses(
    frames: Path, encoder: Path, language_model: Path, corpus: Path, tmp_path: Path
) -> None:
    recipe = decoder_recipe(frames, encoder, language_model, corpus)
    values = {}
    for precision in ("float32", "bfloat16"):
        changed = recipe.model_copy(update={"precision": precision})
        trainer = DecoderTrainer(changed, tmp_path / precision)
        # Step 3 is the first one with the decoder.
        values[precision] = trainer._losses(3)[1]
        assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    for name in ("loss", "ctc"):
        # Not the same: otherwise the setting would have no effect.
        exact, reduced = values["float32"][name], values["bfloat16"][name]
        assert reduced != exact or exact == 0
        assert reduced == pytest.approx(exact, rel=0.02)
    assert values["float32"]["loss"] > 0


def test_a_complete_model_is_trained_further(
    frames: Path,
    encoder: Path,
    language_model: Path,
    corpus: Path,
    model_folder: Path,
    tmp_path: Path,
) -> None:
    recipe = decoder_recipe(frames, encoder, language_model, corpus)
    start = {"model": model_folder, "encoder": None, "language_model": None}
    further = DecoderTrainer(recipe.model_copy(update=start), tmp_path / "further")
    fresh = DecoderTrainer(recipe, tmp_path / "fresh")
    assert further._losses(3)[1]["loss"] < fresh._losses(3)[1]["loss"]
    assert further.train().path.is_dir()
    # Its encoder gives the frames that it was trained on.
    clip = np.random.default_rng(2).normal(0, 0.1, 24_000).astype(np.float32)
    (expected,), (frames_of_model,) = (
        FrozenEncoder(folder)([clip]) for folder in (encoder, model_folder)
    )
    np.testing.assert_allclose(frames_of_model, expected, atol=0.02)


@pytest.mark.parametrize(
    "fields", [{"model": "m"}, {"encoder": None, "language_model": None}, {"language_model": None}]
)
def test_a_model_is_named_once(
    frames: Path, encoder: Path, language_model: Path, corpus: Path, fields: dict[str, Any]
) -> None:
    values = decoder_recipe(frames, encoder, language_model, corpus).model_dump()
    with pytest.raises(ValueError, match="encoder and language_model"):
        DecoderRecipe.model_validate(values | fields)


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs g++")
@pytest.mark.slow  # a compiler runs for a quarter of a minute
def test_compiled_layers_give_the_same() -> None:
    # In a process of its own: in one where another test imported distutils, setuptools, which
    # looks for the compiler, refuses to replace it.
    program = (
        "import torch\n"
        "from megaasr.train.small.speed import CompiledLayers, uncompiled\n"
        "class Layer(torch.nn.Module):\n"
        "    def forward(self, x): return 2 * torch.sin(x) + x\n"
        "model, layer = torch.nn.Module(), Layer()\n"
        "model.layers = torch.nn.ModuleList([layer])\n"
        "x = torch.randn(3, 4)\n"
        "expected = layer(x)\n"
        "CompiledLayers(compiled=True).compile_layers(model)\n"
        "calls = torch._dynamo.utils.counters['stats']\n"
        "with uncompiled(): torch.testing.assert_close(layer(x), expected)\n"
        "assert not calls['unique_graphs']\n"
        "torch.testing.assert_close(layer(x), expected)\n"
        "assert calls['unique_graphs'] == 1\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_bfloat16_frames_are_close_and_not_the_same(encoder: Path) -> None:
    clip = np.random.default_rng(2).normal(0, 0.1, 24_000).astype(np.float32)
    (exact,), (reduced,) = (
        FrozenEncoder(encoder, MixedPrecision(precision=precision))([clip])
        for precision in ("float32", "bfloat16")
    )
    assert exact.dtype == reduced.dtype == np.float16
    difference = np.abs(exact.astype(float) - reduced).mean()
    assert 0 < difference < 0.02 * np.abs(exact.astype(float)).mean()


def test_the_model_gives_the_same_in_transformers(model_folder: Path) -> None:
    ours = load_model(str(model_folder), device="cpu")
    native = Qwen3ASRForConditionalGeneration.from_pretrained(model_folder, dtype=torch.float32)
    samples = np.random.default_rng(1).normal(0, 0.1, 30_000).astype(np.float32)
    (recognition,) = ours.recognize([Request(samples)])
    assert recognition.tokens > 0
    inputs = ours.inputs([Request(samples)])
    native.train(False)
    with torch.inference_mode():
        expected = native(**inputs).logits
        logits = ours.model(**inputs).logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    assert inputs["input_features"].shape[-1] == 12_800  # what ours trims inside
    assert type(ours.model.model.audio_tower) is not type(native.model.audio_tower)


def test_the_encoder_of_the_model_is_the_fitted_one(model_folder: Path, encoder: Path) -> None:
    model = load_file(model_folder / "model.safetensors")
    fitted = load_file(encoder / "model.safetensors")
    for name, values in fitted.items():
        half = values.to(torch.float16)
        torch.testing.assert_close(model[f"model.audio_tower.{name}"], half, atol=0, rtol=0)


def test_check_phonemes_gives_the_rate(
    model_folder: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    utterances = list(read_manifest(corpus / "dev.jsonl"))
    words = spoken_words(utterances[0].text)
    lexicon = {word: spell_with_phonemes(word) for word in words}
    (tmp_path / "lexicon.json").write_text(json.dumps(lexicon))
    pronounced = [u for u in utterances if set(spoken_words(u.text)) <= set(words)]
    options = ["--data", corpus / "dev.jsonl", "--lexicon", tmp_path / "lexicon.json"]
    with pytest.raises(SystemExit) as status:
        main(["train", "check-phonemes", str(model_folder.parent), *map(str, options)])
    assert status.value.code in {0, None}
    shown = capsys.readouterr()
    count = sum(len(lexicon[word]) for u in pronounced for word in spoken_words(u.text))
    assert re.match(rf"{len(pronounced)} clips: [\d.]+ % of {count} phonemes", shown.out)
    assert f"left out: {len(utterances) - len(pronounced)} clips" in shown.err


def test_check_times_compares_words_that_both_have() -> None:
    errors = TimeErrors()
    reference = [("the", 0.0, 0.2), ("cat", 0.2, 0.5), ("sat", 0.6, 1.0)]
    errors.add(reference, [("the", 0.1, 0.2), ("bat", 0.2, 0.5), ("sat", 0.5, 1.2), ("so", 2, 3)])
    assert errors.starts == pytest.approx([0.1, -0.1])
    assert errors.ends == pytest.approx([0.0, 0.2])
    assert (errors.words, errors.without_duration, errors.in_silence) == (4, 0, 1)
    errors.add([], [("um", 1.0, 1.0)])
    assert (errors.words, errors.without_duration, errors.in_silence) == (5, 1, 2)


def test_check_times_knows_the_words_of_synthesised_records(corpus: Path, tmp_path: Path) -> None:
    flac = shutil.copy(
        Path(megaasr.__file__).parent / "cli" / "demo_clips" / "1-clean.flac", tmp_path
    )
    words = [{"text": "There", "start": 0.1, "end": 0.3}, {"text": "are", "start": 0.3, "end": 0.5}]
    record = {"id": "a", "audio": Path(flac).name, "text": "There are", "words": words}
    manifest = tmp_path / "timed.jsonl"
    manifest.write_text(json.dumps(record) + "\n")
    errors = check_spoken_times("tiny", manifest)
    assert len(errors["off"].starts) == 2
    with pytest.raises(TrainingError, match="no record lists its words with times"):
        check_spoken_times("tiny", corpus / "dev.jsonl")


def test_check_times_runs_on_a_trained_model(model_folder: Path, corpus: Path) -> None:
    data, lexicon = corpus / "dev.jsonl", corpus / "lexicon.json"
    errors = check_aligned_times(model_folder.parent, data, lexicon, limit=2)
    assert set(errors) == {"model", "off"}
    # A model of a few steps recognizes no word that is right.
    assert all(len(e.starts) == len(e.ends) for e in errors.values())


# The model card.


@pytest.fixture
def run_folder(
    tmp_path: Path, model_folder: Path, encoder: Path, language_model: Path, corpus: Path
) -> Path:
    """A folder like that of `mega-asr recipe small`, composed of the runs above."""
    run = tmp_path / "small"
    runs = {"decoder": model_folder, "ctc": model_folder, "stem": encoder, "lm": language_model}
    for name, product in runs.items():
        shutil.copytree(product.parent, run / name)
    shutil.copytree(corpus, run / "speech")
    (run / "text").mkdir()
    (run / "text" / "sentences.jsonl").write_text('{"text": "Hello there."}\n')
    sources = [{"name": "austen", "sentences": 12, "licence": "public domain"}]
    summary = {"sentences": 12, "distinct_words": 40, "sources": sources}
    (run / "text" / "sources.json").write_text(json.dumps(summary))
    (run / "bench-human").mkdir()
    result = example_result(tmp_path, clips=24, sounds=0)
    (run / "bench-human" / "result.json").write_text(result.to_json())
    return run


def test_publish_writes_model_and_card(run_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "published"
    (run_folder / "confidence").mkdir()
    (run_folder / "confidence" / "confidence.json").write_text(Calibration(0.5, -0.1).to_json())
    with pytest.raises(SystemExit) as status:
        main(["publish", str(run_folder), "--output", str(output)])
    assert status.value.code in {0, None}
    card = (output / "README.md").read_text()
    assert "Whisper-base (MIT licence), unchanged" in card
    assert "Copyright (c) 2022 OpenAI" in (output / "LICENSE.whisper").read_text()
    assert "austen (12, public domain)" in card
    assert "one chunk of 32 s" in card
    results = json.loads((output / "results.json").read_text())
    (table,) = results["lists"].values()
    for row in table["rows"]:
        assert f"| {row['group']} | {row['system']} | {row['clips']} |" in card
    assert results["facts"]["weights_sha256"] == file_sha256(output / "model.safetensors")
    load_model(str(output), device="cpu")
    assert read_calibration(output) == Calibration(0.5, -0.1)


def test_the_card_says_if_the_training_went_on_from_earlier_weights(
    run_folder: Path, model_folder: Path
) -> None:
    assert small_facts(run_folder, model_folder)["start"] == ""
    path = run_folder / "ctc" / "recipe.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model": "earlier"}))
    assert "weights of earlier runs" in small_facts(run_folder, model_folder)["start"]


def test_publish_says_what_is_missing(run_folder: Path, tmp_path: Path) -> None:
    (run_folder / "bench-human" / "result.json").unlink()
    with pytest.raises(SystemExit) as status:
        main(["publish", str(run_folder), "--output", str(tmp_path / "out")])
    assert status.value.code == 1
    assert not (tmp_path / "out").exists()
