"""Trains the decoder of `small` as a language model on text, before it sees any audio.

A sentence is `<asr_text>`, its tokens and the end of the assistant's turn, as in the output format
of Qwen3-ASR, so that the decoder can later continue from what it has learnt.
"""

from __future__ import annotations

import json
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
from transformers import PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from megaasr.config import Recipe
from megaasr.errors import TrainingError
from megaasr.model.inputs import pad_right
from megaasr.model.prompt import ASR_TEXT, TEXT_END, TURN_END, token_id
from megaasr.synthesize.plan import split_of
from megaasr.train.input_check import InputCheck
from megaasr.train.processes import own_share
from megaasr.train.run import MetricsCallback, RunFolder, TrainingResult, ignore_metrics
from megaasr.train.small.batching import BatchSchedule
from megaasr.train.small.speed import CompiledLayers, MixedPrecision, uncompiled
from megaasr.train.step_loop import LoopRecipe, StepLoop, weight_decay_groups
from megaasr.train.tokenizer import train_tokenizer

MODEL_FOLDER = "language-model"
_EVALUATION_BATCH = 64


class DecoderSizes(Recipe):
    """Sizes of the decoder of `small`, a Qwen3."""

    vocabulary_size: int = Field(gt=300, description="entries of the BPE tokenizer")
    layers: int = Field(gt=0)
    width: int = Field(gt=0)
    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    head_size: int = Field(gt=0)
    ffn: int = Field(gt=0)


class LanguageModelRecipe(MixedPrecision, CompiledLayers, LoopRecipe):
    """Pre-trains the decoder of `small` on text."""

    sentences: Path = Field(description="sentences.jsonl; only its training split is learnt")
    steps: int = Field(gt=0, description="number of optimizer steps")
    batch_tokens: int = Field(gt=0, description="tokens in a batch, all processes together")
    weight_decay: float = Field(ge=0)
    dropout: float = Field(ge=0, lt=1, description="dropout of the attention weights")
    evaluate_sentences: int = Field(gt=0, description="dev sentences in each validation")
    decoder: DecoderSizes


def text_config(sizes: DecoderSizes, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the configuration of the decoder, in the form of the native model's `text_config`."""
    end, pad = token_id(tokenizer, TURN_END), token_id(tokenizer, TEXT_END)
    return {
        "model_type": "qwen3",
        "vocab_size": len(tokenizer),
        "hidden_size": sizes.width,
        "intermediate_size": sizes.ffn,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_size,
        # 30 s are 1,500 audio tokens; the others are for context and text.
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "eos_token_id": [end, pad],
        "pad_token_id": pad,
    }


def read_sentences(path: Path, split: str) -> list[str]:
    """Return the sentences of a split; the hash of its words decides the split of a sentence.

    Args:
        path: JSONL file with a field `text`.
        split: `train`, `dev` or `test`.

    Raises:
        TrainingError: the file is missing.
    """
    check = InputCheck()
    check.require(path.is_file(), f"{path} does not exist", "mega-asr text text-small")
    check.finish()
    with path.open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines if line.strip()]
    return [text for text in texts if split_of(text) == split]


class TextObjective(nn.Module):
    """The cross-entropy of the next token.

    Args:
        model: language model.
    """

    def __init__(self, model: Qwen3ForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the sum of the cross-entropy over all tokens, in nats.

        Args:
            ids: token ids, int64 of shape [batch, tokens], padded on the right.
            lengths: number of tokens of each row, int64 of shape [batch].
        """
        positions = torch.arange(ids.shape[1], device=ids.device)
        attention = (positions < lengths[:, None]).long()
        hidden = self.model.model(ids, attention_mask=attention, use_cache=False).last_hidden_state
        is_target = attention[:, 1:].bool()
        logits = self.model.lm_head(hidden[:, :-1][is_target]).float()
        return functional.cross_entropy(logits, ids[:, 1:][is_target], reduction="sum")


class LanguageModelTrainer:
    """Trains the language model in a run folder; resumes the run if one exists.

    Args:
        recipe: text, sizes and schedule.
        run_dir: run folder; model and tokenizer are written to `language-model/` in it.
        on_metrics: called with every row of the metrics.

    Raises:
        TrainingError: there is no text, or the folder holds a run of another recipe or text.
    """

    def __init__(
        self,
        recipe: LanguageModelRecipe,
        run_dir: Path,
        on_metrics: MetricsCallback = ignore_metrics,
    ) -> None:
        self.recipe = recipe
        texts = read_sentences(recipe.sentences, "train")
        dev_texts = read_sentences(recipe.sentences, "dev")[: recipe.evaluate_sentences]
        if not texts:
            raise TrainingError(f"{recipe.sentences} holds no sentence of the training split")
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.run = RunFolder(
            run_dir, recipe, main=self.accelerator.is_main_process, on_metrics=on_metrics
        )
        self.run.claim_data(recipe.sentences)
        set_seed(recipe.seed)
        self.tokenizer = train_tokenizer(sorted(texts), recipe.decoder.vocabulary_size)
        self._rows = self._encode(texts)
        self._dev_words = sum(len(text.split()) for text in dev_texts)
        self._dev_rows = self._encode(dev_texts)
        self._schedule = BatchSchedule(
            [len(row) for row in self._rows], recipe.batch_tokens, recipe.seed
        )
        model = self._build_model()
        recipe.compile_layers(model.model)
        objective = TextObjective(model)
        optimizer = torch.optim.AdamW(
            weight_decay_groups(objective, recipe.weight_decay), lr=0.0, betas=(0.9, 0.98)
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
        """Train up to the last step, then write the language model."""
        self._loop.train()
        folder = self.run.path / MODEL_FOLDER
        if self.accelerator.is_main_process:
            self.accelerator.unwrap_model(self._objective).model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        self.accelerator.wait_for_everyone()
        return TrainingResult(folder, self.run.last_validation())

    def _build_model(self) -> Qwen3ForCausalLM:
        values = text_config(self.recipe.decoder, self.tokenizer)
        values.pop("model_type")
        config = Qwen3Config(**values, attention_dropout=self.recipe.dropout)
        config._attn_implementation = "sdpa"
        return Qwen3ForCausalLM(config)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        start, end = token_id(self.tokenizer, ASR_TEXT), token_id(self.tokenizer, TURN_END)
        encoded: Any = self.tokenizer(list(texts))["input_ids"] if texts else []
        return [[start, *ids, end] for ids in encoded]

    def _losses(self, step: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        own = own_share(self._schedule.batch(step), rank, processes)
        with self.recipe.autocast(self.accelerator.device.type):
            total = self._objective(*self._pad([self._rows[index] for index in own]))
        tokens = sum(len(self._rows[index]) - 1 for index in own)
        loss = total / tokens
        return loss, {"weight": tokens, "loss": float(total.detach())}

    def _pad(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return token ids [rows, tokens], padded on the right, and the length of each row."""
        padding: Any = self.tokenizer.pad_token_id
        ids, mask = pad_right(rows, int(padding))
        device = self.accelerator.device
        return ids.to(device), mask.sum(dim=1).to(device)

    @torch.inference_mode()
    def _evaluate(self) -> Mapping[str, float]:
        objective = self.accelerator.unwrap_model(self._objective)
        nats = 0.0
        order = np.argsort([len(row) for row in self._dev_rows], kind="stable")
        with uncompiled():
            for start in range(0, len(order), _EVALUATION_BATCH):
                batch = order[start : start + _EVALUATION_BATCH]
                nats += float(objective(*self._pad([self._dev_rows[int(i)] for i in batch])))
        return {"dev_bits_per_word": round(nats / math.log(2) / max(1, self._dev_words), 4)}
