"""`small`'s projector and decoder, trained on encoder frames that were computed once.

First the projector alone learns, by CTC, to point each frame at the embedding of the token that is
spoken there; then the decoder, which already knows the language, learns to read that. The CTC loss
stays beside the decoder's cross-entropy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
from megaasr.model.inputs import IGNORE
from megaasr.model.prompt import AUDIO_PAD, TURN_END, token_id
from megaasr.train.evaluate import dev_error_rate
from megaasr.train.processor import build_processor
from megaasr.train.run import RunFolder
from megaasr.train.small.decoder_recipe import DecoderRecipe
from megaasr.train.small.frame_batches import FRAMES_PER_S, BatchMaker, FrameBatch, PhaseData
from megaasr.train.small.stem import GEOMETRY
from megaasr.train.step_loop import MetricsCallback, StepLoop


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
        self.processor = build_processor(GEOMETRY, self.tokenizer)
        self._phases = self._open_phases()
        self._batches = BatchMaker(recipe, self.tokenizer, GEOMETRY)
        objective = DecoderObjective(self.model)
        self._objective, optimizer = self.accelerator.prepare(objective, self._optimizer(objective))
        self._loop = StepLoop(
            accelerator=self.accelerator,
            run=self.run,
            module=self._objective,
            optimizer=optimizer,
            recipe=recipe,
            steps=recipe.steps,
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
