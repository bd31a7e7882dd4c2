"""The recipe of `mega-asr train decoder`: the projector and the decoder of `small`."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from megaasr.config import Recipe
from megaasr.model.interface import MAX_CHUNK_S
from megaasr.train.small.speed import CompiledLayers, MixedPrecision
from megaasr.train.step_loop import LoopRecipe


class DecoderPhase(Recipe):
    """A phase of the training on a part of the data."""

    manifests: tuple[str, ...] = Field(
        min_length=1, description="manifests whose encoder frames are used"
    )
    steps: int = Field(gt=0)
    max_s: float = Field(gt=0, le=30, description="longer examples are left out, seconds")
    ctc_only: bool = Field(
        default=False, description="train the projector alone, by CTC, without the decoder"
    )
    batch_s: float = Field(gt=0, description="seconds of audio in a batch, all processes together")
    text_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the steps on sentences of text whose frames are concatenated",
    )
    phoneme_frames: int = Field(
        default=8, gt=0, description="most frames of a phoneme in concatenated frames"
    )
    decoder_learning_rate_scale: float = Field(
        default=1.0, gt=0, description="factor on the learning rate of the decoder"
    )
    projector_learning_rate_scale: float = Field(
        default=1.0,
        ge=0,
        description="factor on the learning rate of projector and CTC head; 0 freezes them, and "
        "leaves CTC out",
    )


class GuidedHead(Recipe):
    """An attention head that is led to the frames of the token that is written."""

    layer: int = Field(ge=0)
    head: int = Field(ge=0)
    start: float = Field(default=0.0, ge=0, lt=1, description="start of the part of the frames")
    end: float = Field(default=1.0, gt=0, le=1, description="end of the part of the frames")


class DecoderRecipe(MixedPrecision, CompiledLayers, LoopRecipe):
    """Trains the projector and the decoder of `small` on encoder frames."""

    frames: Path = Field(description="folder of encoder frames (mega-asr train encode)")
    model: Path | None = Field(
        default=None,
        description="folder of a complete model to train further, instead of a new one of encoder "
        "and language model",
    )
    encoder: Path | None = Field(
        default=None, description="folder of the fitted encoder (mega-asr train stem)"
    )
    language_model: Path | None = Field(
        default=None,
        description="folder of the pre-trained language model (mega-asr train language-model)",
    )
    phoneme_head: Path | None = Field(
        default=None,
        description="folder of the phoneme classes of an earlier run, instead of new ones",
    )
    lexicon: Path = Field(description="pronunciations of all words (mega-asr train lexicon)")
    alignments: Path | None = Field(
        default=None, description="folder of aligned words (mega-asr train align), for text"
    )
    sentences: Path | None = Field(
        default=None, description="JSONL file of sentences (mega-asr text), for text"
    )
    word_share: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="share of the spoken words that are concatenated whole, not from phonemes",
    )
    dev: Path = Field(description="manifest for validation")
    max_chunk_s: float = Field(
        default=MAX_CHUNK_S,
        ge=2,
        le=MAX_CHUNK_S,
        description="longest chunk that the finished model should decode, seconds; recordings are "
        "split into such chunks",
    )
    phases: tuple[DecoderPhase, ...] = Field(min_length=1)
    context_share: float = Field(
        ge=0, le=1, description="share of the examples with text in the system turn"
    )
    time_masks_per_s: float = Field(ge=0, description="time masks per second of audio")
    time_mask_s: float = Field(ge=0, description="longest time mask, seconds")
    feature_dropout: float = Field(
        ge=0, lt=1, description="share of the dimensions of an example's frames set to zero"
    )
    ctc_weight: float = Field(
        ge=0, description="weight of the projector's CTC loss; 0 leaves it out"
    )
    attention_weight: float = Field(
        default=0.0,
        ge=0,
        description="weight of the loss that leads some heads to the frames of the word that is "
        "written; it needs alignments",
    )
    guided_heads: tuple[GuidedHead, ...] = Field(
        default=(),
        description="heads that are led; those that are led to different parts tell the decoder "
        "the order of the phonemes",
    )
    weight_decay: float = Field(ge=0)
    gradient_norm: float = Field(gt=0)
    evaluate_clips: int = Field(gt=0, description="dev clips in each validation")

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        parts = (self.encoder, self.language_model)
        if self.model is None and None in parts:
            raise ValueError("give encoder and language_model, or model")
        if self.model is not None and any(parts):
            raise ValueError("model replaces encoder and language_model; give one or the others")
        if any(phase.text_share for phase in self.phases) and None in (
            self.alignments,
            self.sentences,
        ):
            raise ValueError("text_share needs alignments and sentences")
        return self

    @property
    def steps(self) -> int:
        """Number of optimizer steps of all phases."""
        return sum(phase.steps for phase in self.phases)
