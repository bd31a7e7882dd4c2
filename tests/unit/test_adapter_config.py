"""The allow-list of adapter_config.json, with adapters that PEFT itself made."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from megaasr.adapter.peft_config import _KEYS
from megaasr.adapter.peft_layout import read_adapter
from megaasr.errors import CheckpointError
from megaasr.model.interface import Request
from megaasr.model.loading import load_model

peft = pytest.importorskip("peft")
TARGETS = r".*(q_proj|fc1|conv_out|linear_1|down_proj)"


def make(checkpoint: Path, **config: Any) -> Any:
    """Return a PEFT model of the checkpoint whose factors are random, as after training."""
    config = {"r": 4, "lora_alpha": 6, "target_modules": TARGETS} | config
    model = peft.get_peft_model(
        load_model(checkpoint, device="cpu").model, peft.LoraConfig(**config)
    )
    train(model)
    return model


def train(model: Any) -> None:
    rng = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=rng)


def difference(checkpoint: Path, adapter: Path, theirs: Any) -> tuple[float, float]:
    """Return the largest differences of PEFT's logits to ours, and to those of the base."""
    ours = load_model(checkpoint, device="cpu", adapter=adapter)
    rng = np.random.default_rng(1)
    samples = [0.1 * rng.standard_normal(n).astype(np.float32) for n in (16_000, 43_210)]
    requests = [Request(clip, route="robust") for clip in samples]
    inputs = ours.inputs(requests)
    with torch.no_grad():
        expected = theirs(**inputs).logits
        base = ours.model(**inputs).logits  # type: ignore[operator]
        with ours.routed(requests, inputs):
            logits = ours.model(**inputs).logits  # type: ignore[operator]
    return float((logits - expected).abs().max()), float((base - expected).abs().max())


ACCEPTED: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "float alpha": {"lora_alpha": 2.5},
    "patterns": {
        "rank_pattern": {"fc1": 2, r"^model\.language_model.*q_proj": 3},
        "alpha_pattern": {"layers.1.mlp.down_proj": 20},
    },
    "rslora with patterns": {"use_rslora": True, "rank_pattern": {"fc1": 2}},
    "gaussian": {"init_lora_weights": "gaussian"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "random": {"init_lora_weights": False},
    "mica": {"init_lora_weights": "mica"},
    "eva": {"init_lora_weights": "eva", "eva_config": peft.EvaConfig()},
    "dropout": {"lora_dropout": 0.3},
    "fan_in_fan_out": {"fan_in_fan_out": True},
    "layers_to_transform": {"target_modules": ["q_proj"], "layers_to_transform": [1]},
    "exclude_modules": {"exclude_modules": r".*audio_tower.*"},
    "task_type": {"task_type": "CAUSAL_LM"},
}


@pytest.mark.parametrize("variant", ACCEPTED)
def test_logits_of_accepted_variants_equal_pefts(
    random_checkpoint: Path, tmp_path: Path, variant: str
) -> None:
    theirs = make(random_checkpoint, **ACCEPTED[variant]).eval()
    theirs.save_pretrained(tmp_path / "adapter")
    error, effect = difference(random_checkpoint, tmp_path / "adapter", theirs)
    assert error < 2e-5
    assert effect > 0.01


INITIALISATIONS = ("pissa", "pissa_niter_4", "olora")


@pytest.mark.parametrize("name", INITIALISATIONS)
def test_initialisations_that_are_not_plain_are_refused(
    random_checkpoint: Path, tmp_path: Path, name: str
) -> None:
    make(random_checkpoint, init_lora_weights=name).save_pretrained(tmp_path / "adapter")
    with pytest.raises(CheckpointError) as error:
        read_adapter(tmp_path / "adapter")
    assert f"adapter_config.json: init_lora_weights is '{name}'" in str(error.value)
    assert "path_initial_model_for_weight_conversion" in str(error.value)


@pytest.mark.parametrize("name", ["pissa", "olora"])
@pytest.mark.parametrize("rslora", [False, True])
def test_converted_adapters_are_plain(
    random_checkpoint: Path, tmp_path: Path, name: str, rslora: bool
) -> None:
    theirs = peft.get_peft_model(
        load_model(random_checkpoint, device="cpu").model,
        peft.LoraConfig(
            r=4, lora_alpha=6, target_modules=TARGETS, init_lora_weights=name, use_rslora=rslora
        ),
    )
    theirs.peft_config["default"].init_lora_weights = True
    theirs.save_pretrained(tmp_path / "start")
    theirs.peft_config["default"].init_lora_weights = name
    train(theirs)
    theirs.eval()
    theirs.save_pretrained(
        tmp_path / "adapter", path_initial_model_for_weight_conversion=tmp_path / "start"
    )
    theirs.set_adapter("default")
    error, effect = difference(random_checkpoint, tmp_path / "adapter", theirs)
    assert error < 1e-4
    assert effect > 0.01


REFUSED: dict[str, Any] = {
    "init_lora_weights": ["corda", "loftq", "lora_ga", "pissa_niter_16", "unheard of"],
    "peft_type": ["LOHA", "ADALORA", "IA3"],
    "bias": ["all", "lora_only"],
    "use_dora": [True],
    "lora_bias": [True],
    "modules_to_save": [["lm_head"]],
    "trainable_token_indices": [[1, 2], {"embed_tokens": [3]}],
    "layer_replication": [[[0, 2], [1, 3]]],
    "target_parameters": [["experts.gate_up_proj"]],
    "alora_invocation_tokens": [[1, 2]],
    "use_qalora": [True],
    "use_bdlora": [{"nblocks": 2}],
    "arrow_config": [{"top_k": 1}],
    "kasa_config": [{"beta": 1}],
    "monteclora_config": [{"samples": 3}],
    "velora_config": [{"scale": 2}],
    "megatron_config": [{"tp": 2}],
    "ensure_weight_tying": [True],
    "lora_alpha": ["16", None, True],
    "r": [0, 2.5, "4", None],
    "rank_pattern": [{"q_proj": "4"}, ["q_proj"]],
    "a_key_of_tomorrow": [True, "on", 3, {"scale": 2}],
}
"""Values that are not understood, by key."""


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in REFUSED.items() for value in values]
)
def test_other_values_are_refused(tmp_path: Path, key: str, value: Any) -> None:
    folder = bare_adapter(tmp_path, {key: value})
    with pytest.raises(CheckpointError, match=rf"adapter_config\.json: {key} is ") as error:
        read_adapter(folder)
    assert ";" in str(error.value)  # and what to do


def bare_adapter(folder: Path, config: dict[str, Any]) -> Path:
    defaults = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}
    (folder / "adapter_config.json").write_text(json.dumps(defaults | config))
    layer = "model.language_model.layers.0.self_attn.q_proj"
    tensors = {
        f"{layer}.lora_A.weight": torch.ones(4, 6),
        f"{layer}.lora_B.weight": torch.ones(5, 4),
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def test_pefts_defaults_pass_and_every_field_is_decided(tmp_path: Path) -> None:
    defaults = json.loads(json.dumps(peft.LoraConfig(r=4).to_dict(), default=str))
    assert read_adapter(bare_adapter(tmp_path, defaults | {"peft_type": "LORA"})).layers
    assert {field.name for field in fields(peft.LoraConfig)} <= set(_KEYS)


@pytest.mark.parametrize("value", [None, False, [], {}, "", 0])
def test_unknown_keys_that_are_off_pass(tmp_path: Path, value: Any) -> None:
    assert read_adapter(bare_adapter(tmp_path, {"a_key_of_tomorrow": value})).layers
