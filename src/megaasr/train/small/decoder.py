"""`small`'s projector and decoder, trained on encoder frames that were computed once.

First the projector alone learns, by CTC, to point each frame at the embedding of the token that is
spoken there; then the decoder, which already knows the language, learns to read that. The CTC loss
stays beside the decoder's cross-entropy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.nn import functional
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
    Qwen3ASRConfig,
    Qwen3ASRForConditionalGeneration,
    Qwen3ForCausalLM,
)
from transformers.models.qwen3_asr.modeling_qwen3_asr import Qwen3ASREncoder

from megaasr.errors import TrainingError
from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import IGNORE, InputBuilder
from megaasr.model.prompt import AUDIO_PAD, TURN_END, token_id
from megaasr.train.architecture import processor_of
from megaasr.train.evaluate import dev_error_rate
from megaasr.train.prompt_context import draw_context
from megaasr.train.run import RunFolder
from megaasr.train.small.batching import BatchSchedule
from megaasr.train.small.decoder_recipe import DecoderPhase, DecoderRecipe
from megaasr.train.small.frames import FrameExample, FrameStore
from megaasr.train.small.stem import GEOMETRY
from megaasr.train.step_loop import Cadence, LearningRate, MetricsCallback, StepLoop

FRAMES_PER_S = GEOMETRY.tokens_per_s


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """What one forward pass needs.

    Attributes:
        frames: float32 [frames of all examples, width], packed.
        frame_counts: of each example.
        inputs: `input_ids`, `labels`, `attention_mask`, padded on the right.
        targets: CTC targets, all examples one after another.
        target_counts: of each example.
    """

    frames: torch.Tensor
    frame_counts: torch.Tensor
    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor
    target_counts: torch.Tensor

    def to(self, device: torch.device) -> FrameBatch:
        """Return the batch on a device."""
        return FrameBatch(
            self.frames.to(device),
            self.frame_counts.to(device),
            {name: tensor.to(device) for name, tensor in self.inputs.items()},
            self.targets.to(device),
            self.target_counts.to(device),
        )


def assemble(
    encoder: Path, language_model: Path, seed: int
) -> tuple[Qwen3ASRForConditionalGeneration, PreTrainedTokenizerBase]:
    """Return the native model made of a fitted encoder, a language model and a new projector.

    Args:
        encoder: folder that `mega-asr train stem` made.
        language_model: folder that `mega-asr train language-model` made.
        seed: of the projector.

    Raises:
        TrainingError: a folder is missing.
    """
    for folder, stage in ((encoder, "stem"), (language_model, "language-model")):
        if not (folder / "model.safetensors").is_file():
            raise TrainingError(f"{folder} holds no model; make it with: mega-asr train {stage}")
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(language_model)
    load_encoder: Any = Qwen3ASREncoder.from_pretrained
    load_decoder: Any = Qwen3ForCausalLM.from_pretrained
    tower, decoder = load_encoder(encoder), load_decoder(language_model, dtype=torch.float32)
    end, pad = token_id(tokenizer, TURN_END), token_id(tokenizer, "<|endoftext|>")
    config = Qwen3ASRConfig(
        audio_config={**_sizes(tower.config), "output_dim": decoder.config.hidden_size},
        text_config={**_sizes(decoder.config), "attention_dropout": 0.0},
        audio_token_id=token_id(tokenizer, AUDIO_PAD),
        timestamp_token_id=pad,  # only the forced aligner uses it
        pad_token_id=pad,
        eos_token_id=[end, pad],
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = Qwen3ASRForConditionalGeneration(config)
    model.model.audio_tower.load_state_dict(tower.state_dict())
    model.model.language_model.load_state_dict(decoder.model.state_dict())
    model.tie_weights()
    for linear in (
        model.model.multi_modal_projector.linear_1,
        model.model.multi_modal_projector.linear_2,
    ):
        nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
        nn.init.zeros_(linear.bias)
    settings = {"eos_token_id": [end, pad], "pad_token_id": pad, "do_sample": False}
    model.generation_config = GenerationConfig.from_dict(settings)
    return model, tokenizer


def _sizes(config: Any) -> dict[str, Any]:
    """A configuration as a table inside another one."""
    values: dict[str, Any] = config.to_dict()
    return {k: v for k, v in values.items() if k not in {"architectures", "dtype"}}


class DecoderObjective(nn.Module):
    """Cross-entropy of the transcript and CTC on the projector's output.

    CTC's classes are the tokens, told apart by the decoder's own embeddings: a frame that CTC
    assigns to a token looks like that token to the decoder.

    Args:
        model: the native model; its encoder is not used.
    """

    def __init__(self, model: Qwen3ASRForConditionalGeneration) -> None:
        super().__init__()
        self.projector = model.model.multi_modal_projector
        self.decoder = model.model.language_model
        width = self.decoder.config.hidden_size
        self.blank = nn.Linear(width, 1)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self._audio_token = int(model.config.audio_token_id)

    def forward(
        self, batch: FrameBatch, ctc_only: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (cross-entropy, CTC loss), each summed over tokens, in nats.

        Args:
            batch: of examples.
            ctc_only: leave the decoder out; its cross-entropy is then 0, with zero gradients.
        """
        audio = self.projector(batch.frames)
        ctc = self._ctc(audio, batch)
        if ctc_only:
            # Distributed training expects a gradient for every parameter in every step.
            return torch.stack([p.sum() * 0.0 for p in self.decoder.parameters()]).sum(), ctc
        ids, labels = batch.inputs["input_ids"], batch.inputs["labels"]
        embedded = self.decoder.get_input_embeddings()(ids)
        is_audio = (ids == self._audio_token).unsqueeze(-1).expand_as(embedded)
        hidden = self.decoder(
            inputs_embeds=embedded.masked_scatter(is_audio, audio),
            attention_mask=batch.inputs["attention_mask"],
            use_cache=False,
        ).last_hidden_state
        is_learnt = labels[:, 1:] != IGNORE
        embeddings = self.decoder.get_input_embeddings().weight
        logits = hidden[:, :-1][is_learnt] @ embeddings.T
        return functional.cross_entropy(logits, labels[:, 1:][is_learnt], reduction="sum"), ctc

    def ctc_log_probs(self, audio: torch.Tensor) -> torch.Tensor:
        """Return CTC's log-probabilities [frames, 1 + tokens] of projected frames; 0 is blank."""
        # The embeddings belong to the decoder: CTC does not move them.
        classes = self.decoder.get_input_embeddings().weight.detach()
        logits = torch.cat([self.blank(audio), self.scale * (audio @ classes.T)], dim=-1)
        return logits.log_softmax(-1)

    def _ctc(self, audio: torch.Tensor, batch: FrameBatch) -> torch.Tensor:
        log_probs = self.ctc_log_probs(audio)
        rows = torch.split(log_probs, batch.frame_counts.tolist())
        losses: torch.Tensor = functional.ctc_loss(
            nn.utils.rnn.pad_sequence(list(rows)),
            batch.targets,
            batch.frame_counts,
            batch.target_counts,
            blank=0,
            reduction="sum",
            zero_infinity=True,
        )
        return losses


class BatchMaker:
    """Turns examples into tensors; every random choice is keyed by the recipe's seed and the step.

    Args:
        recipe: shares and masks.
        tokenizer: of the decoder.
        geometry: of the encoder's audio.
    """

    def __init__(
        self, recipe: DecoderRecipe, tokenizer: PreTrainedTokenizerBase, geometry: AudioGeometry
    ) -> None:
        self._recipe = recipe
        self._tokenizer = tokenizer
        self._inputs = InputBuilder(tokenizer, geometry)
        self._mel_frames_per_token = geometry.chunk_frames // geometry.chunk_tokens

    def __call__(
        self, store: FrameStore, indices: Sequence[int], stream: Sequence[int]
    ) -> FrameBatch:
        """Return the batch of some examples.

        Args:
            store: holds them.
            indices: of the examples in the store.
            stream: keys the random choices.
        """
        rng = np.random.default_rng([self._recipe.seed, 4, *stream])
        examples = [store.examples[index] for index in indices]
        frames = [self._masked(store.frames(example), rng) for example in examples]
        rows = [self._tokens(example, store, rng) for example in examples]
        targets = [self._encode(example.text) if example.text else [] for example in examples]
        return FrameBatch(
            frames=torch.from_numpy(np.concatenate(frames)),
            frame_counts=torch.tensor([example.frames for example in examples]),
            inputs=self._inputs.pad_examples(rows),
            targets=torch.tensor([1 + token for row in targets for token in row], dtype=torch.long),
            target_counts=torch.tensor([len(row) for row in targets]),
        )

    def _masked(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A copy in float32 with stretches of time and some dimensions set to zero."""
        values = frames.astype(np.float32)
        recipe = self._recipe
        if recipe.feature_dropout:
            values[:, rng.random(values.shape[1]) < recipe.feature_dropout] = 0.0
        longest = round(recipe.time_mask_s * FRAMES_PER_S)
        for _ in range(int(rng.poisson(recipe.time_masks_per_s * len(values) / FRAMES_PER_S))):
            width = int(rng.integers(1, longest + 1))
            start = int(rng.integers(max(1, len(values) - width)))
            values[start : start + width] = 0.0
        return values

    def _tokens(
        self, example: FrameExample, store: FrameStore, rng: np.random.Generator
    ) -> tuple[list[int], list[int]]:
        """Input ids and labels; only the assistant's turn is learnt."""
        context = ""
        if rng.random() < self._recipe.context_share:
            other = store.examples[int(rng.integers(len(store.examples)))].text
            context = draw_context(example.text, other, rng)
        language = "en" if example.text else None
        mel_frames = example.frames * self._mel_frames_per_token
        return self._inputs.example(mel_frames, example.text, language, context)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text)["input_ids"])


class PhaseData:
    """The examples of a phase and the order in which they come.

    Args:
        phase: of the recipe.
        first_step: of the phase, counted from the start of the run.
        folder: of the encoder frames; read when the phase begins, so that a run may start while
            later parts are still being made.
        seed: of the order.
    """

    def __init__(self, phase: DecoderPhase, first_step: int, folder: Path, seed: int) -> None:
        self.phase = phase
        self.first_step = first_step
        self._folder = folder
        self._seed = seed

    def batch(self, step: int) -> list[int]:
        """Return the examples of a step, counted from the start of the run.

        Raises:
            TrainingError: frames of the phase are missing, or all are too long.
        """
        return [self._indices[i] for i in self._schedule.batch(step - self.first_step)]

    @cached_property
    def store(self) -> FrameStore:
        """All examples of the phase's manifests."""
        return FrameStore(self._folder, self.phase.manifests)

    @cached_property
    def _indices(self) -> list[int]:
        limit = self.phase.max_s * FRAMES_PER_S
        indices = [i for i, e in enumerate(self.store.examples) if e.frames <= limit]
        if not indices:
            raise TrainingError(f"{self._folder} holds no example of at most {self.phase.max_s} s")
        return indices

    @cached_property
    def _schedule(self) -> BatchSchedule:
        lengths = [self.store.examples[i].frames for i in self._indices]
        return BatchSchedule(lengths, self.phase.batch_s * FRAMES_PER_S, self._seed)


class DecoderTraining:
    """One run in its folder; the whole model ends up in `model/`.

    Args:
        recipe: what to train.
        run_dir: the run folder; resumes the run if one exists.
        on_metrics: called with every line of the metrics file.

    Raises:
        TrainingError: the folder belongs to another recipe, or frames or models are missing.
    """

    def __init__(
        self, recipe: DecoderRecipe, run_dir: Path, on_metrics: MetricsCallback = lambda row: None
    ) -> None:
        self.recipe = recipe
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.model, self.tokenizer = assemble(recipe.encoder, recipe.language_model, recipe.seed)
        self.run = RunFolder(run_dir, recipe, main=self.accelerator.is_main_process)
        set_seed(recipe.seed)
        self.processor = processor_of(GEOMETRY, self.tokenizer)
        self._phases = self._open_phases()
        self._batches = BatchMaker(recipe, self.tokenizer, GEOMETRY)
        objective = DecoderObjective(self.model)
        self._objective, optimizer = self.accelerator.prepare(objective, self._optimizer(objective))
        self._loop = StepLoop(
            accelerator=self.accelerator,
            run=self.run,
            module=self._objective,
            optimizer=optimizer,
            learning_rate=LearningRate(
                recipe.learning_rate, recipe.steps, recipe.warmup_steps, recipe.decay_steps
            ),
            cadence=Cadence(recipe.log_steps, recipe.evaluate_steps, recipe.checkpoint_s),
            losses=self._losses,
            evaluate=self._dev_scores,
            on_metrics=on_metrics,
            gradient_norm=recipe.gradient_norm,
        )

    def train(self) -> Path:
        """Train to the last step; return the folder of the finished model."""
        # CTC's gradients reach below the smallest normal float, where CPUs are very slow.
        torch.set_flush_denormal(True)
        try:
            self._loop.train()
        finally:  # the rest of the process keeps its arithmetic
            torch.set_flush_denormal(False)
        if self.accelerator.is_main_process:
            self.run.export(self.model, self.processor)
        self.accelerator.wait_for_everyone()
        return self.run.folder / "model"

    def _open_phases(self) -> list[PhaseData]:
        phases, first_step = [], 0
        for number, phase in enumerate(self.recipe.phases):
            seed = self.recipe.seed + number
            phases.append(PhaseData(phase, first_step, self.recipe.frames, seed))
            first_step += phase.steps
        return phases

    def _optimizer(self, objective: DecoderObjective) -> torch.optim.Optimizer:
        """AdamW: decay on matrices only, a learning rate of its own for what CTC trains."""
        recipe = self.recipe
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in objective.named_parameters():
            is_matrix = parameter.ndim >= 2 and "embed" not in name
            key = (name.startswith("decoder."), is_matrix)
            groups.setdefault(key, []).append(parameter)
        return torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "weight_decay": recipe.weight_decay if is_matrix else 0.0,
                    "lr_scale": 1.0 if in_decoder else recipe.ctc_learning_rate_scale,
                }
                for (in_decoder, is_matrix), parameters in groups.items()
            ],
            lr=0.0,
            betas=(0.9, 0.98),
            fused=True,
        )

    def _losses(self, step: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        data = next(p for p in reversed(self._phases) if step >= p.first_step)
        indices = data.batch(step)
        mine = indices[rank::world] or indices[:1]
        batch = self._batches(data.store, mine, (step, rank)).to(self.accelerator.device)
        cross_entropy, ctc = self._objective(batch, ctc_only=data.phase.ctc_only)
        tokens = max(1, int((batch.inputs["labels"] != IGNORE).sum()))
        spoken = max(1, int(batch.target_counts.sum()))
        weight = 1.0 if data.phase.ctc_only else self.recipe.ctc_weight
        loss = cross_entropy / tokens + weight * ctc / spoken
        return loss, {
            "weight": 1.0,
            "loss": float(cross_entropy.detach()) / tokens,
            "ctc": float(ctc.detach()) / spoken,
            "audio_s": int(batch.frame_counts.sum()) / FRAMES_PER_S,
        }

    def _dev_scores(self) -> Mapping[str, float]:
        self.model.train(False)
        return dev_error_rate(
            self.model, self.processor, self.recipe.dev, self.recipe.evaluate_clips
        )
