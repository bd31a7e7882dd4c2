"""Features, batches and targets of the from-scratch stage."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3ASRFeatureExtractor

from audio_geometries import GEOMETRIES
from megaasr.audio import files
from megaasr.audio.waveform import Waveform
from megaasr.config import load_recipe
from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import IGNORE
from megaasr.records import Utterance, write_manifest
from megaasr.train.base.augment import add_noise, augment, mask
from megaasr.train.base.batches import BatchBuilder, plan_epoch, without_augmentation
from megaasr.train.base.feature_store import FeatureStore
from megaasr.train.base.recipe import BaseRecipe
from megaasr.train.log_mel import floor_and_scale, log_mel
from megaasr.train.tokenizer import train_tokenizer


@pytest.fixture(scope="module", params=list(GEOMETRIES))
def recipe(request: pytest.FixtureRequest) -> BaseRecipe:
    settings = [f"architecture.{k}={v}" for k, v in GEOMETRIES[request.param].items()]
    return load_recipe(BaseRecipe, "train-base-tiny", settings)


@pytest.fixture(scope="module")
def geometry(recipe: BaseRecipe) -> AudioGeometry:
    return recipe.architecture.geometry


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty clips of noise, every tenth without words."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    utterances = []
    for number in range(40):
        samples = (0.1 * rng.standard_normal(int(rng.integers(9_000, 60_000)))).astype(np.float32)
        files.write(folder / f"{number}.wav", Waveform(samples, 16_000))
        text = "" if number % 10 == 9 else f"Sentence with wondrous words {'a' * (number + 1)}."
        utterances.append(Utterance(f"u{number}", f"{number}.wav", text, "en" if text else None))
    write_manifest(folder / "train.jsonl", utterances)
    return folder


@pytest.fixture(scope="module")
def store(corpus: Path, geometry: AudioGeometry) -> FeatureStore:
    """Features of the corpus; those of both geometries are stored in one folder."""
    return FeatureStore.open(corpus / "train.jsonl", corpus / "features", geometry, workers=1)


@pytest.fixture
def builder(store: FeatureStore, recipe: BaseRecipe) -> BatchBuilder:
    tokenizer = train_tokenizer([c.utterance.text for c in store.clips], 340)
    phonemes = [[1, 2, 3] if c.utterance.text else [] for c in store.clips]
    return BatchBuilder(store, phonemes, tokenizer, recipe)


@pytest.mark.parametrize("length", [3_000, 8_000, 16_000, 47_999, 160_123, 480_000])
def test_features_equal_those_of_the_native_extractor(length: int, geometry: AudioGeometry) -> None:
    samples = (0.1 * np.random.default_rng(length).standard_normal(length)).astype(np.float32)
    extract = Qwen3ASRFeatureExtractor(hop_length=geometry.hop_samples)
    native = extract(samples, sampling_rate=16_000, padding=True, return_attention_mask=True)
    ours = floor_and_scale(log_mel(samples, geometry))
    frames = int(native["attention_mask"][0].sum())
    assert ours.shape == (frames, 128)
    assert frames == geometry.frames(length)
    difference = native["input_features"][0, :, :frames].numpy().T - ours
    assert np.abs(difference).max() < 1e-5


def test_stored_features_are_float16_log_powers(store: FeatureStore, corpus: Path) -> None:
    exact = log_mel(files.read(corpus / "3.wav").samples, store.geometry)
    assert store.features(3).shape == exact.shape
    assert np.abs(store.features(3) - exact).max() < 0.01


def test_a_feature_cache_is_reused_and_repaired(
    store: FeatureStore, corpus: Path, geometry: AudioGeometry, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(corpus, tmp_path / "corpus"))
    tag = {160: "", 40: "-40-400-128-8000"}[geometry.hop_samples]
    shard = folder / "features" / f"train{tag}-00000.npy"
    before = shard.stat().st_mtime_ns
    FeatureStore.open(folder / "train.jsonl", folder / "features", geometry, workers=1)
    assert shard.stat().st_mtime_ns == before
    # A kill between data and index leaves no index: the shard is made again.
    shard.with_suffix(".json").unlink()
    shard.write_bytes(b"half a shard")
    again = FeatureStore.open(folder / "train.jsonl", folder / "features", geometry, workers=1)
    assert np.array_equal(again.features(7), store.features(7))


def test_an_epoch_holds_every_clip_once(store: FeatureStore, recipe: BaseRecipe) -> None:
    joined = recipe.model_copy(
        update={"augment": recipe.augment.model_copy(update={"join_share": 0.6})}
    )
    batches = plan_epoch(store, joined, 0, short_only=False)
    examples = [example for batch in batches for example in batch]
    clips = sorted(clip for example in examples for clip in example.clips)
    assert clips == list(range(len(store)))
    assert any(len(example.clips) > 1 for example in examples)
    frames_per_s = store.geometry.frames_per_s
    assert all(example.frames <= 30 * frames_per_s for example in examples)
    for batch in batches:
        assert max(e.frames for e in batch) * len(batch) <= recipe.batch_s * frames_per_s
    assert batches != plan_epoch(store, joined, 1, short_only=False)
    assert batches == plan_epoch(store, joined, 0, short_only=False)


def test_the_first_steps_use_short_single_clips(store: FeatureStore, recipe: BaseRecipe) -> None:
    batches = plan_epoch(store, recipe, 0, short_only=True)
    for example in (e for batch in batches for e in batch):
        assert len(example.clips) == 1
        assert example.frames <= recipe.short_first_s * store.geometry.frames_per_s


def test_a_batch_depends_on_its_stream_only(
    store: FeatureStore, builder: BatchBuilder, recipe: BaseRecipe
) -> None:
    examples = plan_epoch(store, recipe, 0, short_only=False)[0]
    first = builder.build(examples, (5, 0))
    builder.build(examples, (6, 0))
    again = builder.build(examples, (5, 0))
    other = builder.build(examples, (5, 1))
    assert all(torch.equal(first.inputs[k], again.inputs[k]) for k in first.inputs)
    assert not torch.equal(first.inputs["input_features"], other.inputs["input_features"])


def test_only_the_transcript_has_labels(
    store: FeatureStore, builder: BatchBuilder, recipe: BaseRecipe
) -> None:
    tokenizer = builder._inputs._tokenizer
    for examples in plan_epoch(store, recipe, 0, short_only=False):
        batch = builder.build(examples, (0, 0))
        tokens = (batch.inputs["input_ids"] == builder._inputs._audio_pad_id).sum(dim=1)
        frames = batch.inputs["input_features_mask"].sum(dim=1)
        assert tokens.tolist() == [store.geometry.audio_tokens(int(n)) for n in frames]
        for row, example in enumerate(examples):
            labels = batch.inputs["labels"][row]
            target = tokenizer.decode(labels[labels != IGNORE])
            texts = [store.clips[c].utterance.text for c in example.clips]
            text = " ".join(filter(None, texts))
            name = "English" if text else "None"
            assert target == f"language {name}<asr_text>{text}<|im_end|>"


def test_noise_has_the_requested_snr(rng: np.random.Generator) -> None:
    features = np.full((400, 128), -1.0, dtype=np.float32)
    for snr_db in (0.0, 10.0, 20.0):
        noisy = add_noise(features, snr_db, rng)
        noise = np.power(10, noisy.astype(float)) - 0.1
        measured = 10 * np.log10(0.1 / noise.mean())
        assert measured == pytest.approx(snr_db, abs=0.3)


def test_augmentation_off_changes_nothing(recipe: BaseRecipe, rng: np.random.Generator) -> None:
    off = without_augmentation(recipe.augment)
    features = rng.uniform(-9, 1, size=(200, 128)).astype(np.float32)
    assert np.array_equal(augment(features, off, rng), features)
    assert np.array_equal(mask(features, off, rng, 100.0), features)


def test_time_masks_are_seconds_in_every_geometry(
    recipe: BaseRecipe, geometry: AudioGeometry, rng: np.random.Generator
) -> None:
    only = {"frequency_masks": 0, "time_masks_per_s": 1.0, "time_mask_s": 0.2}
    settings = without_augmentation(recipe.augment).model_copy(update=only)
    features = rng.uniform(-9, 1, size=(geometry.frames_in(10.0), 128)).astype(np.float32)
    widths = [
        (mask(features, settings, rng, geometry.frames_per_s) != features).any(axis=1).mean() * 10
        for _ in range(200)
    ]
    # Ten masks of 0.1 s on average, which overlap a little.
    assert float(np.mean(widths)) == pytest.approx(0.95, abs=0.1)
