"""Fits the convolutions of the encoder of `small` to the stem of Whisper-base.

Whisper's stem consists of two one-dimensional convolutions over 80 mel bands at 100 frames per
second; Qwen3-ASR's stem of three two-dimensional ones with stride 2 over 128 bands. With a hop of
40 samples the latter also gives 50 frames per second, at the same instants, so that Whisper's
transformer layers can use its output unchanged. Only the convolutions are trained, on clean and on
degraded speech.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from pydantic import Field
from torch import nn
from torch.nn import functional
from transformers import (
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from transformers.models.qwen3_asr.configuration_qwen3_asr import Qwen3ASREncoderConfig
from transformers.models.qwen3_asr.modeling_qwen3_asr import Qwen3ASREncoder

from megaasr.audio import files
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.errors import TrainingError
from megaasr.model.geometry import AudioGeometry
from megaasr.records import read_manifest
from megaasr.simulate.scenarios import scenario_names
from megaasr.train.input_check import InputCheck
from megaasr.train.processor import build_extractor
from megaasr.train.run import MetricsCallback, RunFolder, TrainingResult, ignore_metrics
from megaasr.train.small.degradation import Degradation
from megaasr.train.small.speed import MixedPrecision
from megaasr.train.small.whisper_teacher import WEIGHTS_FILE, copy_layers, load_whisper
from megaasr.train.step_loop import LoopRecipe, StepLoop

GEOMETRY = AudioGeometry(hop_samples=40, chunk_frames=12_800, window_frames=12_800)
"""400 mel frames and 50 tokens per second; a chunk of 32 s, which no clip of 30 s ever fills."""
_WHISPER_HOP_SAMPLES = 160


class StemRecipe(MixedPrecision, LoopRecipe):
    """Fits the convolutions of the encoder of `small` to Whisper's stem."""

    whisper: Path = Field(description="folder with Whisper-base's model.bin (make judge)")
    corpus: Path = Field(description="folder of synthesised speech")
    manifests: tuple[str, ...] = Field(min_length=1, description="training manifests in the corpus")
    dev: str = Field(description="manifest in the corpus for validation (R²)")
    conv_channels: int = Field(gt=0, description="channels of the three convolutions")
    steps: int = Field(gt=0, description="number of optimizer steps")
    batch_clips: int = Field(gt=0, description="crops in a batch, all processes together")
    crop_s: float = Field(gt=0, le=30, description="length of a crop, seconds")
    degraded_share: float = Field(ge=0, le=1, description="share of the crops that are degraded")
    max_severity: float = Field(ge=0, le=1, description="severities are drawn from 0 to this")


def build_encoder(
    whisper: WhisperForConditionalGeneration, conv_channels: int, seed: int
) -> Qwen3ASREncoder:
    """Return the native encoder: Whisper's transformer layers on new convolutions.

    Args:
        whisper: the teacher.
        conv_channels: channels of the three convolutions.
        seed: seed of the convolutions' weights.
    """
    sizes = whisper.config
    config: Any = Qwen3ASREncoderConfig(
        encoder_layers=sizes.encoder_layers,
        d_model=sizes.d_model,
        encoder_attention_heads=sizes.encoder_attention_heads,
        encoder_ffn_dim=sizes.encoder_ffn_dim,
        downsample_hidden_size=conv_channels,
        output_dim=sizes.d_model,  # later the width of the decoder
        n_window=GEOMETRY.chunk_frames // 2,
        n_window_infer=GEOMETRY.window_frames,
        max_position_embeddings=GEOMETRY.chunk_tokens,
    )
    config._attn_implementation = "sdpa"
    torch.manual_seed(seed)
    encoder = Qwen3ASREncoder(config)
    copy_layers(whisper, encoder)
    for convolution in (encoder.conv2d1, encoder.conv2d2, encoder.conv2d3):
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        assert convolution.bias is not None
        nn.init.zeros_(convolution.bias)
    nn.init.normal_(encoder.conv_out.weight, std=1 / math.sqrt(encoder.conv_out.in_features))
    return encoder


def _mel_filters(extractor: Any) -> torch.Tensor:
    return torch.from_numpy(extractor.mel_filters.T.astype(np.float32))


class StemObjective(nn.Module):
    """The mean squared error between the two stems, relative to the teacher's variance.

    Args:
        whisper: teacher, which is not trained.
        encoder: student, of which only the convolutions are trained.
        precision: precision of the student's products.
    """

    def __init__(
        self,
        whisper: WhisperForConditionalGeneration,
        encoder: Qwen3ASREncoder,
        precision: MixedPrecision,
    ) -> None:
        super().__init__()
        self._precision = precision
        names = ("conv2d1", "conv2d2", "conv2d3", "conv_out")
        self.student = nn.ModuleDict({name: getattr(encoder, name) for name in names})
        teacher: Any = whisper.model.encoder
        self._teacher = (teacher.conv1, teacher.conv2)  # a tuple keeps it out of the checkpoint
        make_extractor: Any = WhisperFeatureExtractor
        extractors = (
            make_extractor(feature_size=whisper.config.num_mel_bins),
            build_extractor(GEOMETRY),
        )
        self._filters = tuple(_mel_filters(extractor) for extractor in extractors)
        for parameter in self.student.parameters():
            if parameter.ndim == 4:  # 1.4 times as fast on a CPU
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the relative error (1 − R²) of a batch.

        Args:
            samples: audio, float32 of shape [batch, time], 16 kHz mono.
        """
        with torch.no_grad():
            target = self._teacher_output(samples)
            variance = target.var(dim=(0, 1), unbiased=False).mean()
        error: torch.Tensor = (self._student_output(samples) - target).square().mean() / variance
        return error

    def _teacher_output(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the output of Whisper's stem [batch, frames, width], without positions."""
        features = _features(samples, _WHISPER_HOP_SAMPLES, self._filters[0])
        for convolution in self._teacher:
            features = functional.gelu(convolution(features))
        return features.transpose(1, 2)

    def _student_output(self, samples: torch.Tensor) -> torch.Tensor:
        """Return the output of our stem [batch, frames, width], as in the native encoder."""
        hidden = _features(samples, GEOMETRY.hop_samples, self._filters[1]).unsqueeze(1)
        hidden = hidden.contiguous(memory_format=torch.channels_last)
        with self._precision.autocast(samples.device.type):
            for name in ("conv2d1", "conv2d2", "conv2d3"):
                hidden = functional.gelu(self.student[name](hidden))
            output: torch.Tensor = self.student["conv_out"](hidden.permute(0, 3, 1, 2).flatten(2))
        return output.float()


def _features(samples: torch.Tensor, hop: int, filters: torch.Tensor) -> torch.Tensor:
    """Return log-mel features [batch, bands, frames] as both native extractors compute them."""
    window = torch.hann_window(GEOMETRY.n_fft)
    spectrum = torch.stft(samples, GEOMETRY.n_fft, hop, window=window, return_complex=True)
    mel = (filters @ spectrum[..., :-1].abs().square()).clamp(min=1e-10).log10()
    floor = mel.amax(dim=(1, 2), keepdim=True) - 8.0
    return (torch.maximum(mel, floor) + 4.0) / 4.0


class CropSource:
    """Crops of speech, some degraded; crop `index` is the same in every run and process.

    Args:
        recipe: recipe with the corpus and the shares.
        manifests: names of the manifests in the corpus whose clips are used.

    Raises:
        TrainingError: the manifests have no clips.
    """

    def __init__(self, recipe: StemRecipe, manifests: Sequence[str]) -> None:
        self._recipe = recipe
        self._paths = [
            recipe.corpus / utterance.audio
            for name in manifests
            for utterance in read_manifest(recipe.corpus / name)
        ]
        if not self._paths:
            raise TrainingError(f"{recipe.corpus}: {', '.join(manifests)} hold no clips")
        self._scenarios = scenario_names()

    def batch(self, indices: Sequence[int]) -> torch.Tensor:
        """Return crops, float32 of shape [len(indices), time], 16 kHz mono."""
        return torch.from_numpy(np.stack([self._crop(index) for index in indices]))

    def _crop(self, index: int) -> Samples:
        rng = np.random.default_rng([self._recipe.seed, 1, index])
        samples = files.read(self._paths[int(rng.integers(len(self._paths)))]).samples
        length = round(self._recipe.crop_s * SAMPLE_RATE)
        start = int(rng.integers(max(1, samples.size - length)))
        crop = samples[start : start + length]
        gain = 10 ** (rng.uniform(-20.0, 6.0) / 20)
        if rng.random() < self._recipe.degraded_share:
            crop = self._degrade(crop, index, rng)
        padded = np.zeros(length, dtype=np.float32)
        padded[: crop.size] = np.clip(crop * gain, -1.0, 1.0)
        return padded

    def _degrade(self, crop: Samples, index: int, rng: np.random.Generator) -> Samples:
        scenario = self._scenarios[int(rng.integers(len(self._scenarios)))]
        severity = float(rng.uniform(0.0, self._recipe.max_severity))
        return Degradation(scenario, severity, self._recipe.seed).apply(crop, f"crop {index}")


class StemTrainer:
    """Fits the convolutions in a run folder; resumes the run if one exists.

    Args:
        recipe: teacher, data and schedule.
        run_dir: run folder; the encoder is written to `encoder/` in it.
        on_metrics: called with every row of the metrics.

    Raises:
        TrainingError: the corpus or Whisper's weights are missing, or the folder holds a run of
            another recipe or corpus.
        CheckpointError: Whisper's weights are damaged.
    """

    DEV_CROPS = 64

    def __init__(
        self, recipe: StemRecipe, run_dir: Path, on_metrics: MetricsCallback = ignore_metrics
    ) -> None:
        self.recipe = recipe
        _check_inputs(recipe)
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        whisper = load_whisper(recipe.whisper)
        self._crops = CropSource(recipe, recipe.manifests)
        self._dev_crops = CropSource(recipe, [recipe.dev])
        self.run = RunFolder(
            run_dir, recipe, main=self.accelerator.is_main_process, on_metrics=on_metrics
        )
        self.run.claim_data(*[recipe.corpus / name for name in recipe.manifests])
        set_seed(recipe.seed)
        self.encoder = build_encoder(whisper, recipe.conv_channels, recipe.seed)
        objective = StemObjective(whisper, self.encoder, recipe)
        optimizer = torch.optim.AdamW(
            objective.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.0
        )
        self._objective, optimizer = self.accelerator.prepare(objective, optimizer)
        self._loop = StepLoop(
            accelerator=self.accelerator,
            run=self.run,
            module=self._objective,
            optimizer=optimizer,
            recipe=recipe,
            steps=recipe.steps,
            losses=self._losses,
            evaluate=self._evaluate,
        )

    def train(self) -> TrainingResult:
        """Train up to the last step, then write the encoder and its feature extractor."""
        self._loop.train()
        folder = self.run.path / "encoder"
        if self.accelerator.is_main_process:
            self.encoder.save_pretrained(folder)
            build_extractor(GEOMETRY).save_pretrained(folder)
        self.accelerator.wait_for_everyone()
        return TrainingResult(folder, self.run.last_validation())

    def _losses(self, step: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        count = max(1, self.recipe.batch_clips // processes)
        first = (step * processes + rank) * count
        samples = self._crops.batch(range(first, first + count)).to(self.accelerator.device)
        loss = self._objective(samples)
        audio_s = count * self.recipe.crop_s
        return loss, {"weight": 1.0, "loss": float(loss.detach()), "audio_s": audio_s}

    @torch.inference_mode()
    def _evaluate(self) -> Mapping[str, float]:
        objective = self.accelerator.unwrap_model(self._objective)
        samples = self._dev_crops.batch(range(self.DEV_CROPS)).to(self.accelerator.device)
        return {"dev_r2": round(1.0 - float(objective(samples)), 4)}


def _check_inputs(recipe: StemRecipe) -> None:
    """Raise a TrainingError that names all missing inputs and the commands that make them."""
    check = InputCheck()
    for name in (*recipe.manifests, recipe.dev):
        command = f"mega-asr synthesize synthesize-small --output {recipe.corpus}"
        check.require_file(recipe.corpus, name, command)
    check.require_file(recipe.whisper, WEIGHTS_FILE, "make judge")
    check.finish()
