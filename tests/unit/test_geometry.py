"""Audio geometries: which are supported and refused, and that two of them work end to end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen3ASRForConditionalGeneration, Qwen3ASRProcessor

from megaasr.config import load_recipe
from megaasr.errors import CheckpointError, ModelError, UsageError
from megaasr.model.geometry import AudioGeometry
from megaasr.model.interface import Request
from megaasr.model.loading import load_model
from megaasr.train.base.objective import labels_per_token
from megaasr.train.base.recipe import BaseRecipe

ORIGINAL = Path(__file__).parents[1] / "golden" / "original_layout"
SMALL = AudioGeometry(hop_samples=40, chunk_frames=12_800, window_frames=12_800)


def edited(folder: Path, target: Path, file: str, *path: str, **values: Any) -> Path:
    """Copy a checkpoint, with other values in a table of one of its JSON files."""
    shutil.copytree(folder, target)
    document = json.loads((target / file).read_text())
    table = document
    for name in path:
        table = table[name]
    table.update(values)
    (target / file).write_text(json.dumps(document))
    return target


def test_a_checkpoint_states_its_geometry(random_checkpoint: Path, small_checkpoint: Path) -> None:
    assert AudioGeometry.from_folder(random_checkpoint) == AudioGeometry()
    assert AudioGeometry.from_folder(ORIGINAL) == AudioGeometry()
    assert AudioGeometry.from_folder(small_checkpoint) == SMALL
    audio = json.loads((small_checkpoint / "config.json").read_text())["audio_config"]
    assert (audio["n_window"], audio["n_window_infer"]) == (6_400, 12_800)
    assert (audio["max_position_embeddings"], audio["num_mel_bins"]) == (1_600, 128)
    file = json.loads((small_checkpoint / "processor_config.json").read_text())
    assert file["feature_extractor"]["hop_length"] == 40
    assert file["feature_extractor"]["n_window"] == 6_400
    model = load_model(small_checkpoint, device="cpu")
    assert model.geometry == SMALL


@pytest.mark.parametrize(
    ("values", "message"),
    [
        # Exactly 30 s: a clip of 30 s would fill the chunk, and transformers would count 13 tokens.
        (
            {"n_window": 6_000, "n_window_infer": 12_000, "max_position_embeddings": 1_500},
            r"12000 mel frames and would fill a whole encoder chunk of 12000 .* 1500 .* counts 13",
        ),
        (
            {"n_window": 100, "n_window_infer": 800, "max_position_embeddings": 25},
            r"use n_window 50, or one above 6000",
        ),
        ({"max_position_embeddings": 1_500}, r"1500 positions .* needs 1600"),
        ({"n_window_infer": 6_400}, r"n_window_infer is 6400, .* multiple of 2 \* n_window"),
        ({"n_window_infer": 20_000}, r"n_window_infer is 20000"),
        ({"num_mel_bins": 80}, r"128 mel bins, and its encoder takes 80"),
    ],
)
def test_geometries_that_transformers_cannot_run_are_refused(
    small_checkpoint: Path, tmp_path: Path, values: dict[str, int], message: str
) -> None:
    folder = edited(small_checkpoint, tmp_path / "c", "config.json", "audio_config", **values)
    with pytest.raises(CheckpointError, match=message) as raised:
        AudioGeometry.from_folder(folder)
    assert str(folder) in str(raised.value)


def test_loading_refuses_them_too(small_checkpoint: Path, tmp_path: Path) -> None:
    values = {"n_window": 6_000, "n_window_infer": 12_000}
    folder = edited(small_checkpoint, tmp_path / "c", "config.json", "audio_config", **values)
    with pytest.raises(ModelError, match=rf"{folder} cannot be used: a clip of 30 s has 12000"):
        load_model(folder, device="cpu")


def test_transformers_fails_where_loading_refuses(small_checkpoint: Path, tmp_path: Path) -> None:
    """The reason for the refusal: once this test fails, the refusal can be removed."""
    values = {"n_window": 6_000, "n_window_infer": 12_000}
    folder = edited(small_checkpoint, tmp_path / "c", "config.json", "audio_config", **values)
    model = Qwen3ASRForConditionalGeneration.from_pretrained(folder).eval()
    features, mask = torch.zeros(1, 128, 12_000), torch.ones(1, 12_000, dtype=torch.long)
    with pytest.raises(RuntimeError), torch.inference_mode():
        model.get_audio_features(features, mask)


def test_another_sample_rate_is_refused(small_checkpoint: Path, tmp_path: Path) -> None:
    extractor = ("processor_config.json", "feature_extractor")
    folder = edited(small_checkpoint, tmp_path / "c", *extractor, sampling_rate=8_000)
    with pytest.raises(CheckpointError, match="works at 8000 Hz"):
        load_model(folder, device="cpu")


def test_a_damaged_feature_extractor_file_is_named(small_checkpoint: Path, tmp_path: Path) -> None:
    native = Path(shutil.copytree(small_checkpoint, tmp_path / "native"))
    (native / "processor_config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"feature extractor of .*native cannot be read"):
        AudioGeometry.from_folder(native)
    original = Path(shutil.copytree(ORIGINAL, tmp_path / "original"))
    (original / "preprocessor_config.json").write_text('{"hop_length": "short"}')
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json is damaged"):
        load_model(original, device="cpu")


def test_an_original_checkpoint_states_its_geometry_too(tmp_path: Path) -> None:
    audio = ("thinker_config", "audio_config")
    folder = edited(
        ORIGINAL, tmp_path / "c", "config.json", *audio, n_window=6_400, n_window_infer=12_800
    )
    (folder / "preprocessor_config.json").write_text('{"hop_length": 40, "feature_size": 128}')
    assert AudioGeometry.from_folder(folder) == SMALL
    (result,) = load_model(folder, device="cpu").recognize([Request(np.ones(16_000, np.float32))])
    assert result.tokens > 0


def test_plain_transformers_needs_the_window_in_the_call(small_checkpoint: Path) -> None:
    """Its processor uses `n_window` 50 by default, whatever the checkpoint states."""
    clip = (0.1 * np.random.default_rng(0).standard_normal(52_800)).astype(np.float32)
    processor = Qwen3ASRProcessor.from_pretrained(small_checkpoint)
    model: Any = Qwen3ASRForConditionalGeneration.from_pretrained(small_checkpoint).eval()
    ours = load_model(small_checkpoint, device="cpu")
    our_inputs = ours.inputs([Request(clip)])
    turns = [
        {"role": "system", "content": [{"type": "text", "text": ""}]},
        {"role": "user", "content": [{"type": "audio", "audio": clip}]},
    ]
    prompt = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    call: dict[str, Any] = {"text": [prompt], "audio": [clip], "sampling_rate": 16_000}
    with pytest.raises(ValueError, match="multiple of"):
        model(**processor(**call))
    inputs = processor(**call, audio_kwargs={"n_window": 6_400})
    assert torch.equal(inputs["input_ids"], our_inputs["input_ids"])
    assert torch.equal(inputs["input_features_mask"], our_inputs["input_features_mask"])
    with torch.inference_mode():
        assert torch.equal(model(**inputs).logits, ours.model(**our_inputs).logits)


def test_windowed_and_global_attention(small_checkpoint: Path, random_checkpoint: Path) -> None:
    """In `small` a clip lies in one window, so that both are the same; in Qwen3-ASR they differ."""
    clip = (0.1 * np.random.default_rng(3).standard_normal(16_000 * 20)).astype(np.float32)
    differences = []
    for folder in (small_checkpoint, random_checkpoint):
        logits = []
        for attention in ("windowed", "global"):
            model: Any = load_model(folder, device="cpu", encoder_attention=attention)  # type: ignore[arg-type]
            with torch.inference_mode():
                logits.append(model.model(**model.inputs([Request(clip)])).logits)
        differences.append(float((logits[0] - logits[1]).abs().max()))
    assert differences[0] == 0
    assert differences[1] > 1e-4


def test_recipes_of_impossible_geometries_are_refused() -> None:
    overrides = [
        "architecture.hop_samples=40",
        "architecture.chunk_frames=12000",
        "architecture.window_frames=12000",
    ]
    with pytest.raises(UsageError, match="would fill a whole encoder chunk of 12000 frames"):
        load_recipe(BaseRecipe, "train-base-tiny", overrides)


def test_ctc_has_about_fifty_labels_per_second() -> None:
    assert labels_per_token(AudioGeometry()) == 4
    assert labels_per_token(SMALL) == 1
