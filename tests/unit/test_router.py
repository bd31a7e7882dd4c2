"""The router: format and arithmetic of the released file, any length, decisions per chunk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from megaasr.errors import CheckpointError, UsageError
from megaasr.route.classifier import (
    AudioQualityClassifier,
    LogMel,
    RouterSizes,
    read_classifier,
    sinusoids,
    write_classifier,
)
from megaasr.route.router import Router
from megaasr.transcribe.options import ReliabilityOptions
from megaasr.transcribe.recognizer import MegaASR

SMALL = RouterSizes(n_mels=80, d_model=16, nhead=2, dim_feedforward=24, positions=60)
# Tensors of the released file, as its ports list them.
RELEASED = {
    "frontend.conv.0.weight",
    "frontend.conv.0.bias",
    *(f"frontend.conv.1.{n}" for n in ("weight", "bias", "running_mean", "running_var")),
    "frontend.conv.1.num_batches_tracked",
    "frontend.conv.4.weight",
    "frontend.conv.4.bias",
    *(f"frontend.conv.5.{n}" for n in ("weight", "bias", "running_mean", "running_var")),
    "frontend.conv.5.num_batches_tracked",
    "pos_encoder.pe",
    *(f"transformer.layers.0.self_attn.in_proj_{n}" for n in ("weight", "bias")),
    *(f"transformer.layers.0.self_attn.out_proj.{n}" for n in ("weight", "bias")),
    *(
        f"transformer.layers.0.{layer}.{n}"
        for layer in ("linear1", "linear2", "norm1", "norm2")
        for n in ("weight", "bias")
    ),
    "transformer.norm.weight",
    "transformer.norm.bias",
    "pooling.query.weight",
    "pooling.query.bias",
    *(f"classifier.{layer}.{n}" for layer in (0, 3) for n in ("weight", "bias")),
}


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = AudioQualityClassifier(SMALL)
    for name, value in model.state_dict().items():
        if "running_var" in name:
            value.uniform_(0.5, 2)
        elif "running_mean" in name:
            value.normal_()
    write_classifier(tmp_path / "router.safetensors", model)
    return tmp_path / "router.safetensors"


def test_the_released_sizes() -> None:
    model = AudioQualityClassifier(RouterSizes())
    assert set(model.state_dict()) == RELEASED
    assert len(RELEASED) == 35
    assert sum(tensor.numel() for tensor in model.state_dict().values()) == 1_172_229


def test_written_and_read(path: Path) -> None:
    model = read_classifier(path)
    assert model.sizes == SMALL
    assert not model.training
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["config"])["model"]["d_model"] == 16
    tensors = load_file(path)
    assert all(torch.equal(tensors[name], value) for name, value in model.state_dict().items())


def test_sizes_come_from_the_tensors_not_from_the_metadata(path: Path) -> None:
    config = {"model": {"d_model": 999, "nhead": 2, "num_layers": 4, "dim_feedforward": 7}}
    save_file(load_file(path), path, {"config": json.dumps(config)})
    assert read_classifier(path).sizes == SMALL


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("pooling.query.bias"), r"pooling\.query\.bias"),
        (lambda t: t.update({"surplus": torch.zeros(1)}), "surplus"),
        (lambda t: t.update({"transformer.norm.weight": torch.zeros(3)}), "transformer.norm"),
        (lambda t: t.pop("classifier.0.weight"), "no router of this architecture"),
    ],
)
def test_other_files_are_refused(path: Path, change: Any, message: str) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=message):
        read_classifier(path)
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_classifier(path)


def compute_logits(t: dict[str, torch.Tensor], mels: torch.Tensor) -> torch.Tensor:
    """Compute the network's logits for a clip from its description, with plain torch functions.

    Args:
        t: tensors of the router's file.
        mels: log-mel features, float32 of shape [frames, mels].
    """
    f = nn.functional
    x = mels.T.unsqueeze(0)
    for conv, norm in ((0, 1), (4, 5)):
        x = f.conv1d(x, t[f"frontend.conv.{conv}.weight"], t[f"frontend.conv.{conv}.bias"], 2, 1)
        mean, var = (t[f"frontend.conv.{norm}.running_{n}"] for n in ("mean", "var"))
        x = (x - mean[:, None]) / (var[:, None] + 1e-5).sqrt()
        weight, bias = (t[f"frontend.conv.{norm}.{n}"] for n in ("weight", "bias"))
        x = f.gelu(x * weight[:, None] + bias[:, None])
    x = x[0].T
    x = x + t["pos_encoder.pe"][0, : len(x)]
    layer = "transformer.layers.0"

    def norm_(x: torch.Tensor, name: str) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return centred / scale * t[f"{name}.weight"] + t[f"{name}.bias"]

    y = norm_(x, f"{layer}.norm1")
    qkv = y @ t[f"{layer}.self_attn.in_proj_weight"].T + t[f"{layer}.self_attn.in_proj_bias"]
    heads = []
    for q, k, v in zip(*(part.chunk(SMALL.nhead, -1) for part in qkv.chunk(3, -1)), strict=True):
        heads.append((q @ k.T / q.shape[-1] ** 0.5).softmax(-1) @ v)
    out = torch.cat(heads, -1) @ t[f"{layer}.self_attn.out_proj.weight"].T
    x = x + out + t[f"{layer}.self_attn.out_proj.bias"]
    y = norm_(x, f"{layer}.norm2")
    y = f.gelu(y @ t[f"{layer}.linear1.weight"].T + t[f"{layer}.linear1.bias"])
    x = x + y @ t[f"{layer}.linear2.weight"].T + t[f"{layer}.linear2.bias"]
    x = norm_(x, "transformer.norm")
    weights = (x @ t["pooling.query.weight"].T + t["pooling.query.bias"]).softmax(0)
    pooled = (weights * x).sum(0)
    hidden = f.gelu(t["classifier.0.weight"] @ pooled + t["classifier.0.bias"])
    return t["classifier.3.weight"] @ hidden + t["classifier.3.bias"]


@pytest.mark.parametrize("samples", [400, 16_000, 33_333])
def test_logits_equal_the_description(path: Path, samples: int) -> None:
    model = read_classifier(path)
    clip = torch.from_numpy(noise(samples)).unsqueeze(0)
    with torch.no_grad():
        logits = model(clip)[0]
        expected = compute_logits(load_file(path), model.log_mel(clip)[0])
    assert (logits - expected).abs().max() < 1e-5


def test_log_mel_equals_numpy() -> None:
    samples = noise(8_000)
    mels = LogMel(80)(torch.from_numpy(samples).unsqueeze(0))[0].numpy()
    padded = np.pad(samples.astype(np.float64), 200, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([padded[i : i + 400] for i in range(0, len(samples) + 1, 160)])
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    filters = LogMel(80).filters.numpy().astype(np.float64)
    expected = (np.log10(np.maximum(power @ filters.T, 1e-10)) + 4) / 4
    assert mels.shape == (51, 80)
    assert np.abs(mels - expected).max() < 1e-3
    # Slaney's bands: from 0 to 8 kHz, all with the same area.
    centres = filters.argmax(axis=1) * 40
    assert 20 < centres[0] < 80
    assert 7_500 < centres[-1] < 8_000


def test_any_length(path: Path) -> None:
    router = Router.load(path)
    for samples in (1, 150, 399, 400, 16_000, 480_000, 480_001, 1_600_000):
        windows = router.probabilities(noise(samples))
        assert windows[0][0] == 0
        assert windows[-1][1] == samples / 16_000
        assert all(0 <= p <= 1 for _, _, p in windows)
        assert all(end - start <= 30.001 for start, end, _ in windows)
    assert len(router.probabilities(noise(480_000))) == 1
    assert len(router.probabilities(noise(480_001))) == 2
    with pytest.raises(UsageError, match="not a single sample"):
        router.decide(noise(0))


def test_beyond_the_stored_positions(path: Path) -> None:
    """A file with encodings for 60 steps (2.4 s) gives the same result as one with more."""
    tensors = load_file(path)
    longer = tensors | {"pos_encoder.pe": sinusoids(900, 16).unsqueeze(0)}
    save_file(longer, path.with_name("longer.safetensors"), {"config": '{"model": {"nhead": 2}}'})
    clip = noise(160_000)
    short = Router.load(path).decide(clip).degraded_probability
    assert (
        short == Router.load(path.with_name("longer.safetensors")).decide(clip).degraded_probability
    )


def test_the_threshold_decides(path: Path) -> None:
    clip = noise(32_000)
    probability = Router.load(path).decide(clip).degraded_probability
    assert probability is not None
    above = Router.load(path, threshold=min(1.0, probability + 1e-3)).decide(clip)
    below = Router.load(path, threshold=probability - 1e-3).decide(clip)
    assert (above.route, below.route) == ("base", "robust")
    assert above.threshold == pytest.approx(probability + 1e-3)
    assert "threshold" in above.reason
    with pytest.raises(UsageError, match="from 0 to 1"):
        Router.load(path, threshold=1.5)


class LevelRouter:
    """A router with predictable decisions: loud audio is degraded."""

    def decide(self, samples: NDArray[np.float32]) -> Any:
        from megaasr.route.decision import RouteDecision

        loud = float(np.abs(samples).max()) > 0.3
        return RouteDecision("robust" if loud else "base", 0.9 if loud else 0.1, 0.5, "level")


@pytest.fixture
def released(tmp_path: Path, random_checkpoint: Path, path: Path) -> Path:
    """A folder with base, adapter and router, named as in the released repository."""
    from test_adapter import random_adapter, write

    from megaasr.model.loading import load_model

    folder = tmp_path / "Mega-ASR"
    shutil.copytree(random_checkpoint, folder / "Qwen3-ASR-1.7B")
    layers = random_adapter(load_model(random_checkpoint, device="cpu").model, rank=2).layers
    tensors = {}
    for name, layer in layers.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.a
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.b
    write(folder / "mega-asr-merged", tensors, r=2, lora_alpha=2)
    (folder / "audio_quality_router").mkdir()
    shutil.copy(path, folder / "audio_quality_router" / "best_acc_model.safetensors")
    return folder


# The texts of a random model are always unreliable, and would be decoded again.
NO_RETRY = ReliabilityOptions(vad=False, retry=False)


def test_only_the_middle_of_a_long_recording_is_degraded(released: Path) -> None:
    model = MegaASR.load(released, device="cpu").model
    asr = MegaASR(model, router=LevelRouter(), reliability=NO_RETRY)
    quiet, loud, end = 0.3 * noise(480_000), 2 * noise(480_000, 1), 0.3 * noise(160_000, 2)
    recording = np.concatenate([quiet, loud, end])
    transcript = asr.transcribe(recording, sample_rate=16_000)
    assert len(transcript.segments) >= 3
    for segment in transcript.segments:
        degraded = segment.start < 59.9 and segment.end > 30.1
        assert segment.route == ("robust" if degraded else "base"), segment
        assert segment.degraded_probability == (0.9 if degraded else 0.1)
    assert {segment.route for segment in transcript.segments} == {"base", "robust"}


def test_routes_of_the_released_layout(released: Path) -> None:
    clip = noise(32_000)
    results = {}
    for route in ("base", "robust", "auto"):
        asr = MegaASR.load(
            released,
            device="cpu",
            route=route,  # type: ignore[arg-type]
            threshold=0.0,
            reliability=NO_RETRY,
        )
        (segment,) = asr.transcribe(clip, sample_rate=16_000).segments
        results[route] = (segment.route, segment.degraded_probability is not None, segment.text)
    assert results["base"][:2] == ("base", False)
    assert results["robust"][:2] == ("robust", False)
    assert results["auto"] == ("robust", True, results["robust"][2])
    never = MegaASR.load(released, device="cpu", threshold=1.0, reliability=NO_RETRY)
    (segment,) = never.transcribe(clip, sample_rate=16_000).segments
    assert (segment.route, segment.text) == ("base", results["base"][2])


def test_errors_name_what_is_missing(released: Path, random_checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="no adapter"):
        MegaASR.load(random_checkpoint, device="cpu", route="robust")
    with pytest.raises(
        UsageError, match=r"unknown route .sideways.; choose one of auto, base, robust, both"
    ):
        MegaASR.load(random_checkpoint, device="cpu", route="sideways")  # type: ignore[arg-type]
    router = released / "audio_quality_router"
    (router / "best_acc_model.safetensors").rename(router / "best.pt")
    with pytest.raises(CheckpointError, match=r"best\.pt is refused: a pickle can run code"):
        MegaASR.load(released, device="cpu")
    shutil.rmtree(released / "Qwen3-ASR-1.7B")
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        MegaASR.load(released, device="cpu")
