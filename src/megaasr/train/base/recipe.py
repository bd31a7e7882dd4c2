"""The recipe of `mega-asr train base`: a model trained from scratch on synthesised speech."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from megaasr.config import Recipe
from megaasr.corpora.clip_check import MAX_LEFT_OUT
from megaasr.errors import CheckpointError
from megaasr.model.geometry import AudioGeometry


class ArchitectureRecipe(Recipe):
    """Sizes of a Qwen3-ASR model (names as in transformers' configuration) and its geometry."""

    vocabulary_size: int = Field(gt=300, description="entries of the BPE tokenizer")
    encoder_layers: int = Field(gt=0)
    encoder_width: int = Field(gt=0, description="d_model of the audio encoder")
    encoder_heads: int = Field(gt=0)
    encoder_ffn: int = Field(gt=0)
    conv_channels: int = Field(gt=0, description="channels of the three stride-2 convolutions")
    decoder_layers: int = Field(gt=0)
    decoder_width: int = Field(gt=0)
    decoder_heads: int = Field(gt=0)
    decoder_kv_heads: int = Field(gt=0)
    decoder_head_size: int = Field(gt=0)
    decoder_ffn: int = Field(gt=0)
    hop_samples: int = Field(default=160, gt=0, description="samples between two mel frames")
    n_fft: int = Field(default=400, gt=0, description="samples in the window of a mel frame")
    mel_bins: int = Field(default=128, gt=0)
    chunk_frames: int = Field(
        default=100, gt=0, multiple_of=2, description="mel frames of a chunk, 2 * n_window"
    )
    window_frames: int = Field(
        default=800, gt=0, description="mel frames that attend to each other, n_window_infer"
    )

    @property
    def geometry(self) -> AudioGeometry:
        """The audio geometry of the model."""
        return AudioGeometry(
            hop_samples=self.hop_samples,
            n_fft=self.n_fft,
            mel_bins=self.mel_bins,
            chunk_frames=self.chunk_frames,
            window_frames=self.window_frames,
        )

    @model_validator(mode="after")
    def _check_geometry(self) -> ArchitectureRecipe:
        try:
            _ = self.geometry
        except CheckpointError as error:
            raise ValueError(str(error)) from error
        return self


class AugmentRecipe(Recipe):
    """Augmentation of the features; every value is drawn for each example."""

    join_share: float = Field(ge=0, le=1, description="share of the examples that join clips")
    join_max_s: float = Field(gt=0, le=30, description="longest joined example, seconds")
    lead_s: float = Field(ge=0, description="longest silence before the speech, seconds")
    context_share: float = Field(
        ge=0, le=1, description="share of the examples with text in the system turn"
    )
    noise_share: float = Field(
        ge=0, le=1, description="share of the examples with stationary noise"
    )
    noise_snr_db: tuple[float, float] = Field(description="range of the noise's SNR, dB")
    gain_db: float = Field(ge=0, description="standard deviation of the level, dB")
    frequency_masks: int = Field(ge=0)
    frequency_mask_bins: int = Field(ge=0, description="widest frequency mask, mel bands")
    time_masks_per_s: float = Field(ge=0, description="time masks per second of audio")
    time_mask_s: float = Field(ge=0, description="longest time mask, seconds")


class OptimizerRecipe(Recipe):
    """Optimizer and loss. The learning rate rises, stays constant, and falls to zero.

    A run can be prolonged, because steps before the decay do not depend on the number of steps.
    """

    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    decay_steps: int = Field(ge=0, description="last steps: the learning rate falls to zero")
    weight_decay: float = Field(ge=0)
    beta2: float = Field(gt=0, lt=1)
    gradient_norm: float = Field(gt=0)
    ctc_weight: float = Field(ge=0, description="weight of the encoder's CTC loss at the start")
    ctc_weight_end: float = Field(ge=0, description="weight of it at the end (linear in between)")


class BaseRecipe(Recipe):
    """A model trained from scratch on a synthesised corpus."""

    seed: int = Field(ge=0, lt=2**32, description="seed of every random choice")
    corpus: Path = Field(description="folder with train.jsonl and dev.jsonl")
    steps: int = Field(gt=0, description="number of optimizer steps")
    batch_s: float = Field(gt=0, description="seconds of audio in a batch, all processes together")
    ctc_first_steps: int = Field(
        ge=0, description="first steps that train the encoder by CTC alone, without augmentation"
    )
    short_first_steps: int = Field(ge=0, description="first steps on short, single clips only")
    short_first_s: float = Field(gt=0, description="longest clip of those steps, seconds")
    evaluate_steps: int = Field(gt=0, description="steps between validations")
    evaluate_clips: int = Field(gt=0, description="dev clips in each validation")
    checkpoint_s: float = Field(gt=0, description="seconds between checkpoints")
    log_steps: int = Field(gt=0, description="steps between rows of training metrics")
    max_left_out: float = Field(
        default=MAX_LEFT_OUT,
        ge=0,
        le=1,
        description="largest share of the clips that may be left out because they cannot be used",
    )
    architecture: ArchitectureRecipe
    augment: AugmentRecipe
    optimizer: OptimizerRecipe
