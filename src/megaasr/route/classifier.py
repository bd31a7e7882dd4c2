"""The router's network: log-mel, two convolutions, a Transformer layer and attention pooling.

Architecture and module names are those of the released weights
(`audio_quality_router/best_acc_model.safetensors`), so that files are interchangeable. Sizes are
derived from the shapes of the tensors, because what the metadata of released files says about the
layers is not always true. Only the number of attention heads is taken from the metadata, since no
shape depends on it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from megaasr import strict_json
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import CheckpointError

N_FFT, HOP = 400, 160
STRIDE = 4
"""Mel frames per step of the Transformer."""


@dataclass(frozen=True, slots=True)
class RouterSizes:
    """Sizes of the network.

    Attributes:
        n_mels: number of mel bands.
        d_model: width of the Transformer.
        nhead: number of attention heads.
        dim_feedforward: width of the Transformer's feed-forward layer.
        positions: number of steps that positional encodings are stored for.
    """

    n_mels: int = 80
    d_model: int = 256
    nhead: int = 4
    dim_feedforward: int = 1024
    positions: int = 850


class LogMel(nn.Module):
    """Log-mel features: (log10(max(mel, 1e-10)) + 4) / 4, with Slaney's mel bands over the power
    spectrogram.

    Args:
        n_mels: number of mel bands.
    """

    window: torch.Tensor
    filters: torch.Tensor

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        from transformers.audio_utils import mel_filter_bank

        filters = mel_filter_bank(
            num_frequency_bins=N_FFT // 2 + 1,
            num_mel_filters=n_mels,
            min_frequency=0.0,
            max_frequency=SAMPLE_RATE / 2,
            sampling_rate=SAMPLE_RATE,
            norm="slaney",
            mel_scale="slaney",
        )
        # Not persistent: the released weights do not contain them.
        self.register_buffer("filters", torch.from_numpy(filters).float().T, persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the features, float32 of shape [batch, frames, mels].

        Args:
            samples: audio, float32 of shape [batch, time], 16 kHz mono, at least 201 samples.
        """
        spectrum = torch.stft(
            samples,
            N_FFT,
            HOP,
            window=self.window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        mel = self.filters @ spectrum.abs().square()
        return ((mel.clamp(min=1e-10).log10() + 4.0) / 4.0).transpose(1, 2)


class _Frontend(nn.Module):
    def __init__(self, n_mels: int, d_model: int, dropout: float) -> None:
        super().__init__()
        half = d_model // 2
        self.conv = nn.Sequential(
            nn.Conv1d(n_mels, half, kernel_size=3, stride=2, padding=1),
            nn.BatchNorm1d(half),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Conv1d(half, d_model, kernel_size=3, stride=2, padding=1),
            nn.BatchNorm1d(d_model),
            nn.GELU(),
            nn.Dropout(dropout),
        )

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.conv(mels.transpose(1, 2))
        return features.transpose(1, 2)


class _Positions(nn.Module):
    pe: torch.Tensor

    def __init__(self, d_model: int, positions: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoids(positions, d_model).unsqueeze(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] <= self.pe.shape[1]:
            return x + self.pe[:, : x.shape[1]]
        # Longer than the stored encodings (34 s): the same formula, continued.
        return x + sinusoids(x.shape[1], x.shape[2]).to(x)


class _Pooling(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights: torch.Tensor = self.query(x).softmax(dim=1)
        return (weights * x).sum(dim=1)


class AudioQualityClassifier(nn.Module):
    """Classifies clips as clean or degraded.

    Args:
        sizes: sizes of the network.
        dropout: dropout probability during training.
    """

    def __init__(self, sizes: RouterSizes, dropout: float = 0.1) -> None:
        super().__init__()
        d_model = sizes.d_model
        self.sizes = sizes
        self.log_mel = LogMel(sizes.n_mels)
        self.frontend = _Frontend(sizes.n_mels, d_model, dropout)
        self.pos_encoder = _Positions(d_model, sizes.positions)
        layer = nn.TransformerEncoderLayer(
            d_model,
            sizes.nhead,
            sizes.dim_feedforward,
            dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(
            layer, num_layers=1, norm=nn.LayerNorm(d_model), enable_nested_tensor=False
        )
        self.pooling = _Pooling(d_model)
        self.classifier = nn.Sequential(
            nn.Linear(d_model, d_model // 2),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(d_model // 2, 2),
        )

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the logits of "clean" and "degraded", float32 of shape [batch, 2].

        Args:
            samples: audio, float32 of shape [batch, time], 16 kHz mono, at least 201 samples.
        """
        x = self.pos_encoder(self.frontend(self.log_mel(samples)))
        logits: torch.Tensor = self.classifier(self.pooling(self.transformer(x)))
        return logits


def sinusoids(positions: int, width: int) -> torch.Tensor:
    """Return positional encodings, float32 of shape [positions, width]: sines in even columns,
    cosines in odd ones."""
    position = torch.arange(positions, dtype=torch.float).unsqueeze(1)
    frequency = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10_000.0) / width))
    encodings = torch.zeros(positions, width)
    encodings[:, 0::2] = torch.sin(position * frequency)
    encodings[:, 1::2] = torch.cos(position * frequency)
    return encodings


def read_classifier(path: Path) -> AudioQualityClassifier:
    """Read the network from a safetensors file, in evaluation mode.

    Raises:
        CheckpointError: the file is damaged, or tensors are missing, unexpected or mis-shaped.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as a router: {error}") from error
    model = AudioQualityClassifier(_sizes(tensors, metadata, path))
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    actual = {name: tuple(value.shape) for name, value in tensors.items()}
    wrong = sorted(
        {name for name in {*expected, *actual} if expected.get(name) != actual.get(name)}
        # Counters of batch normalisation: irrelevant here, and missing in some files.
        - {name for name in expected if name.endswith("num_batches_tracked")}
    )
    if wrong:
        raise CheckpointError(
            f"{path} is no router of this architecture: {', '.join(wrong[:5])}"
            + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        )
    model.load_state_dict({name: tensors[name] for name in tensors if name in expected}, False)
    return model.eval()


def write_classifier(path: Path, model: AudioQualityClassifier) -> None:
    """Write a network in the format of the released file: tensors, and sizes in the metadata."""
    from safetensors.torch import save_file

    sizes = model.sizes
    config = {
        "model": {
            "n_mels": sizes.n_mels,
            "d_model": sizes.d_model,
            "nhead": sizes.nhead,
            "dim_feedforward": sizes.dim_feedforward,
            "num_layers": 1,
            "num_classes": 2,
            "pooling": "attention",
        }
    }
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    # One entry of metadata only: several would be written in random order.
    save_file(tensors, path, {"config": strict_json.dumps(config)})


def _sizes(
    tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str], path: Path
) -> RouterSizes:
    """Return the sizes of a network from the shapes of its tensors and from its metadata.

    Raises:
        CheckpointError: a tensor is missing, or the metadata is damaged or does not fit.
    """
    try:
        config: Any = json.loads(metadata.get("config", "{}"))
        sizes = RouterSizes(
            n_mels=int(tensors["frontend.conv.0.weight"].shape[1]),
            d_model=int(tensors["classifier.0.weight"].shape[1]),
            nhead=int(config.get("model", {}).get("nhead", 4)),
            dim_feedforward=int(tensors["transformer.layers.0.linear1.weight"].shape[0]),
            positions=int(tensors["pos_encoder.pe"].shape[1]),
        )
    except (KeyError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{path} is no router of this architecture: {error}") from error
    if sizes.nhead < 1 or sizes.d_model % sizes.nhead:
        raise CheckpointError(
            f"{path}: {sizes.nhead} attention heads do not divide a width of {sizes.d_model}"
        )
    return sizes
