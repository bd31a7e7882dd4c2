"""Trains the projector and the decoder of `small` on encoder frames that were computed once.

First the projector alone learns, by CTC, to hear phonemes. Then the decoder, which was trained as a
language model, learns to read them, from speech and from text whose frames are concatenated; the
CTC loss stays beside its cross-entropy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Qwen3ASRConfig,
    Qwen3ASRForConditionalGeneration,
    Qwen3ForCausalLM,
)
from transformers.models.qwen3_asr.modeling_qwen3_asr import Qwen3ASREncoder

from megaasr.model.alignment_heads import AlignmentHead, AlignmentHeads, write_heads
from megaasr.model.chunk_length import write_max_chunk_s
from megaasr.model.inputs import IGNORE
from megaasr.model.prompt import AUDIO_PAD, TEXT_END, TURN_END, token_id
from megaasr.train.evaluate import dev_error_rate
from megaasr.train.input_check import InputCheck
from megaasr.train.modes import flushed_denormals
from megaasr.train.processes import own_share
from megaasr.train.processor import build_processor, greedy_generation
from megaasr.train.run import MetricsCallback, RunFolder, TrainingResult, ignore_metrics
from megaasr.train.small.alignment import alignment_file
from megaasr.train.small.decoder_recipe import DecoderPhase, DecoderRecipe
from megaasr.train.small.example_sources import PhaseData, SharedInputs
from megaasr.train.small.frame_batches import FRAMES_PER_S, FrameBatchBuilder
from megaasr.train.small.objective import DecoderObjective, Losses
from megaasr.train.small.phoneme_ctc import HEAD_FILE
from megaasr.train.small.speed import uncompiled
from megaasr.train.small.stem import GEOMETRY
from megaasr.train.step_loop import StepLoop, is_matrix


def assemble(
    encoder: Path, language_model: Path, seed: int
) -> tuple[Qwen3ASRForConditionalGeneration, PreTrainedTokenizerBase]:
    """Return the native model made of a fitted encoder, a language model and a new projector.

    Args:
        encoder: folder of the encoder, made by `mega-asr train stem`.
        language_model: folder of the decoder, made by `mega-asr train language-model`.
        seed: seed of the projector's weights.
    """
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(language_model)
    load_encoder: Any = Qwen3ASREncoder.from_pretrained
    load_decoder: Any = Qwen3ForCausalLM.from_pretrained
    tower, decoder = load_encoder(encoder), load_decoder(language_model, dtype=torch.float32)
    end, pad = token_id(tokenizer, TURN_END), token_id(tokenizer, TEXT_END)
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
    model.generation_config = greedy_generation(end, pad)
    return model, tokenizer


def _initial_model(
    recipe: DecoderRecipe,
) -> tuple[Qwen3ASRForConditionalGeneration, PreTrainedTokenizerBase]:
    """Return the model that is trained: a complete one, or a new one of its parts."""
    if recipe.model is None:
        assert recipe.encoder is not None
        assert recipe.language_model is not None
        return assemble(recipe.encoder, recipe.language_model, recipe.seed)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(recipe.model)
    load: Any = Qwen3ASRForConditionalGeneration.from_pretrained
    model: Qwen3ASRForConditionalGeneration = load(recipe.model, dtype=torch.float32)
    return model, tokenizer


def _sizes(config: Any) -> dict[str, Any]:
    """Return a configuration as a table of another configuration."""
    values: dict[str, Any] = config.to_dict()
    left_out = {"architectures", "dtype", "_name_or_path"}  # the last one is a path of this machine
    return {name: value for name, value in values.items() if name not in left_out}


class DecoderTrainer:
    """Trains projector and decoder in a run folder; resumes the run if one exists.

    Args:
        recipe: phases, data, and the models to start from.
        run_dir: run folder; the complete model is written to `model/` in it.
        on_metrics: called with every row of the metrics.

    Raises:
        TrainingError: frames of the first phase or models are missing, or the folder holds a run
            of another recipe.
    """

    def __init__(
        self, recipe: DecoderRecipe, run_dir: Path, on_metrics: MetricsCallback = ignore_metrics
    ) -> None:
        self.recipe = recipe
        _check_inputs(recipe)
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.model, self.tokenizer = _initial_model(recipe)
        on_cpu = not torch.cuda.is_available()
        if recipe.attention_weight or (recipe.precision == "bfloat16" and on_cpu):
            # Fused attention returns no weights, and on CPUs it takes twice the time in bfloat16.
            self.model.model.language_model.set_attn_implementation("eager")
        recipe.compile_layers(self.model.model.language_model)
        self.run = RunFolder(
            run_dir, recipe, main=self.accelerator.is_main_process, on_metrics=on_metrics
        )
        set_seed(recipe.seed)
        self.processor = build_processor(GEOMETRY, self.tokenizer)
        self._phases = self._open_phases()
        self._batches = FrameBatchBuilder(recipe, self.tokenizer, GEOMETRY)
        heads = recipe.guided_heads if recipe.attention_weight else ()
        objective = DecoderObjective(self.model, heads)
        if recipe.phoneme_head is not None:
            objective.ctc.load_head(recipe.phoneme_head)
        self._objective, optimizer = self.accelerator.prepare(objective, self._optimizer(objective))
        self._loop = StepLoop(
            accelerator=self.accelerator,
            run=self.run,
            module=self._objective,
            optimizer=optimizer,
            recipe=recipe,
            steps=recipe.steps,
            losses=self._losses,
            evaluate=self._evaluate,
            gradient_norm=recipe.gradient_norm,
            lr_scale=self._lr_scale,
            milestones=frozenset(data.first_step for data in self._phases),
        )

    def train(self) -> TrainingResult:
        """Train up to the last step, then write the model.

        Raises:
            TrainingError: frames of a later phase are missing; the run can be resumed when they
                have been made.
        """
        with flushed_denormals():
            self._loop.train()
        if self.accelerator.is_main_process:
            folder = self.run.export(self.model, self.processor)
            if self.recipe.attention_weight:
                guided = tuple(AlignmentHead(g.layer, g.head) for g in self.recipe.guided_heads)
                write_heads(folder, AlignmentHeads(guided))
            write_max_chunk_s(folder, self.recipe.max_chunk_s)
            self.accelerator.unwrap_model(self._objective).ctc.save_head(self.run.path)
        self.accelerator.wait_for_everyone()
        return TrainingResult(self.run.path / "model", self.run.last_validation())

    def _open_phases(self) -> list[PhaseData]:
        phases, first_step, inputs = [], 0, SharedInputs(self.recipe)
        for number, phase in enumerate(self.recipe.phases):
            seed = self.recipe.seed + number
            phases.append(PhaseData(phase, first_step, inputs, seed))
            first_step += phase.steps
        return phases

    def _optimizer(self, objective: DecoderObjective) -> torch.optim.Optimizer:
        """Return AdamW: decay on matrices only, and an own learning rate for what CTC trains."""
        recipe = self.recipe
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in objective.named_parameters():
            key = (name.startswith("decoder."), is_matrix(name, parameter))
            groups.setdefault(key, []).append(parameter)
        return torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "weight_decay": recipe.weight_decay if has_decay else 0.0,
                    "in_decoder": in_decoder,
                }
                for (in_decoder, has_decay), parameters in groups.items()
            ],
            lr=0.0,
            betas=(0.9, 0.98),
            fused=True,
        )

    def _losses(self, step: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        data = self._phase_of(step)
        source, indices = data.batch(step)
        own = own_share(indices, rank, processes)
        batch = self._batches.build(source, own, (step, rank)).to(self.accelerator.device)
        with self.recipe.autocast(self.accelerator.device.type):
            cross_entropy, ctc, attention = self._objective(batch, self._losses_of(data.phase))
        tokens = max(1, int((batch.inputs["labels"] != IGNORE).sum()))
        targets = max(1, int(batch.target_counts.sum()))
        ctc_weight = 1.0 if data.phase.ctc_only else self.recipe.ctc_weight
        loss = cross_entropy / tokens + ctc_weight * ctc / targets
        loss = loss + self.recipe.attention_weight * attention
        return loss, {
            "weight": 1.0,
            "loss": float(cross_entropy.detach()) / tokens,
            "ctc": float(ctc.detach()) / targets,
            "attention": float(attention.detach()),
            "audio_s": int(batch.frame_counts.sum()) / FRAMES_PER_S,
        }

    def _losses_of(self, phase: DecoderPhase) -> Losses:
        learns = bool(phase.projector_learning_rate_scale)
        weighted = phase.ctc_only or bool(self.recipe.ctc_weight)
        return Losses(not phase.ctc_only, learns and weighted, learns)

    def _lr_scale(self, step: int, group: Mapping[str, Any]) -> float:
        """Return the factor of a parameter group, which rises anew in each phase."""
        data = self._phase_of(step)
        warmup = min(1.0, (step - data.first_step + 1) / max(1, self.recipe.warmup_steps))
        if group["in_decoder"]:
            return warmup * data.phase.decoder_learning_rate_scale
        return warmup * data.phase.projector_learning_rate_scale

    def _phase_of(self, step: int) -> PhaseData:
        return next(data for data in reversed(self._phases) if step >= data.first_step)

    def _evaluate(self) -> Mapping[str, float]:
        self.model.train(False)
        with uncompiled():
            return dev_error_rate(
                self.model, self.processor, self.recipe.dev, self.recipe.evaluate_clips
            )


def _check_inputs(recipe: DecoderRecipe) -> None:
    """Raise a TrainingError that names all missing inputs and the commands that make them."""
    check = InputCheck()
    starts = {
        "decoder": recipe.model,
        "stem": recipe.encoder,
        "language-model": recipe.language_model,
    }
    for stage, folder in starts.items():
        if folder is not None:
            is_model = (folder / "model.safetensors").is_file()
            check.require(is_model, f"{folder} holds no model", f"mega-asr train {stage}")
    for name in recipe.phases[0].manifests:
        index = f"{Path(name).stem}.json"
        problem = f"{recipe.frames} holds no frames of {name}"
        check.require((recipe.frames / index).is_file(), problem, "mega-asr train encode")
    problem = f"{recipe.lexicon} does not exist"
    check.require(recipe.lexicon.is_file(), problem, "mega-asr train lexicon")
    if recipe.phoneme_head is not None:
        problem = f"{recipe.phoneme_head} holds no phoneme classes"
        has_head = (recipe.phoneme_head / HEAD_FILE).is_file()
        check.require(has_head, problem, "mega-asr train decoder")
    if recipe.alignments is not None and recipe.sentences is not None:
        for name in recipe.phases[0].manifests:
            problem = f"{recipe.alignments} holds no alignment of {name}"
            is_aligned = alignment_file(recipe.alignments, name).is_file()
            check.require(is_aligned, problem, "mega-asr train align")
        problem = f"{recipe.sentences} does not exist"
        check.require(recipe.sentences.is_file(), problem, "mega-asr text text-small")
    command = "mega-asr synthesize synthesize-small"
    check.require(recipe.dev.is_file(), f"{recipe.dev} does not exist (dev)", command)
    check.finish()
