"""The language model inside `small`'s decoder: trained on text before it hears anything.

A sentence is `<asr_text>`, its tokens and the end of the assistant's turn, as in the output format
of Qwen3-ASR, so that the decoder later continues what it knows.
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
from megaasr.model.prompt import ASR_TEXT, TURN_END, token_id
from megaasr.synthesize.plan import split_of
from megaasr.train.run import RunFolder
from megaasr.train.small.batching import BatchSchedule
from megaasr.train.step_loop import (
    LoopRecipe,
    MetricsCallback,
    StepLoop,
    weight_decay_groups,
)
from megaasr.train.tokenizer import train_tokenizer

MODEL_FOLDER = "language-model"


class DecoderSizes(Recipe):
    """Sizes of `small`'s decoder (names as in transformers' configuration of Qwen3)."""

    vocabulary_size: int = Field(gt=300, description="entries of the BPE tokenizer")
    layers: int = Field(gt=0)
    width: int = Field(gt=0)
    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    head_size: int = Field(gt=0)
    ffn: int = Field(gt=0)


class LanguageModelRecipe(LoopRecipe):
    """Pre-trains the decoder of `small` on text."""

    sentences: Path = Field(description="sentences.jsonl; only the training split is learnt")
    steps: int = Field(gt=0)
    batch_tokens: int = Field(gt=0, description="tokens in a batch, all processes together")
    weight_decay: float = Field(ge=0)
    dropout: float = Field(ge=0, lt=1, description="of the attention weights")
    evaluate_sentences: int = Field(gt=0, description="dev sentences in each score")
    decoder: DecoderSizes


def text_config(sizes: DecoderSizes, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the configuration of the decoder, as `text_config` of the native model."""
    end, pad = token_id(tokenizer, TURN_END), token_id(tokenizer, "<|endoftext|>")
    return {
        "model_type": "qwen3",
        "vocab_size": len(tokenizer),
        "hidden_size": sizes.width,
        "intermediate_size": sizes.ffn,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_size,
        # 30 s are 1,500 audio tokens; the rest is for context and text.
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "eos_token_id": [end, pad],
        "pad_token_id": pad,
    }


def read_sentences(path: Path, split: str) -> list[str]:
    """Return the sentences of a split, which the hash of their words decides.

    Args:
        path: JSONL with a field `text`.
        split: `train`, `dev` or `test`.

    Raises:
        TrainingError: the file is missing.
    """
    if not path.is_file():
        raise TrainingError(f"there is no {path}; make it with: mega-asr text text-small")
    with path.open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines if line.strip()]
    return [text for text in texts if split_of(text) == split]


class TextObjective(nn.Module):
    """Cross-entropy of the next token.

    Args:
        model: the language model.
    """

    def __init__(self, model: Qwen3ForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the sum over all tokens, in nats.

        Args:
            ids: int64 [batch, time], padded on the right.
            lengths: int64 [batch], tokens of each row.
        """
        positions = torch.arange(ids.shape[1], device=ids.device)
        attention = (positions < lengths[:, None]).long()
        hidden = self.model.model(ids, attention_mask=attention, use_cache=False).last_hidden_state
        is_target = attention[:, 1:].bool()
        logits = self.model.lm_head(hidden[:, :-1][is_target])
        return functional.cross_entropy(logits, ids[:, 1:][is_target], reduction="sum")


class LanguageModelTraining:
    """One run in its folder; model and tokenizer end up in `language-model/`.

    Args:
        recipe: what to train.
        run_dir: the run folder; resumes the run if one exists.
        on_metrics: called with every line of the metrics file.

    Raises:
        TrainingError: the folder belongs to another recipe or text, or there is no text.
    """

    def __init__(
        self,
        recipe: LanguageModelRecipe,
        run_dir: Path,
        on_metrics: MetricsCallback = lambda row: None,
    ) -> None:
        self.recipe = recipe
        self.run_dir = run_dir
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        texts = read_sentences(recipe.sentences, "train")
        run = RunFolder(run_dir, recipe, main=self.accelerator.is_main_process)
        run.claim_data(recipe.sentences)
        set_seed(recipe.seed)
        self.tokenizer = train_tokenizer(sorted(texts), recipe.decoder.vocabulary_size)
        self._rows = self._encode(texts)
        dev = read_sentences(recipe.sentences, "dev")[: recipe.evaluate_sentences]
        self._dev_words = sum(len(text.split()) for text in dev)
        self._dev_rows = self._encode(dev)
        self._schedule = BatchSchedule(
            [len(row) for row in self._rows], recipe.batch_tokens, recipe.seed
        )
        objective = TextObjective(self._build())
        optimizer = torch.optim.AdamW(
            weight_decay_groups(objective, recipe.weight_decay), lr=0.0, betas=(0.9, 0.98)
        )
        self._objective, optimizer = self.accelerator.prepare(objective, optimizer)
        self._loop = StepLoop(
            accelerator=self.accelerator,
            run=run,
            module=self._objective,
            optimizer=optimizer,
            recipe=recipe,
            steps=recipe.steps,
            losses=self._losses,
            evaluate=self._dev_scores,
            on_metrics=on_metrics,
        )

    def train(self) -> Path:
        """Train to the last step; return the folder of the finished language model."""
        self._loop.train()
        folder = self.run_dir / MODEL_FOLDER
        if self.accelerator.is_main_process:
            self.accelerator.unwrap_model(self._objective).model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        self.accelerator.wait_for_everyone()
        return folder

    def _build(self) -> Qwen3ForCausalLM:
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
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        indices = self._schedule.batch(step)
        mine = indices[rank::world] or indices[:1]
        total = self._objective(*self._pad([self._rows[index] for index in mine]))
        tokens = sum(len(self._rows[index]) - 1 for index in mine)
        loss = total / tokens
        return loss, {"weight": tokens, "loss": float(total.detach())}

    def _pad(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
        lengths = torch.tensor([len(row) for row in rows])
        return ids.to(self.accelerator.device), lengths.to(self.accelerator.device)

    @torch.inference_mode()
    def _dev_scores(self) -> Mapping[str, float]:
        objective = self.accelerator.unwrap_model(self._objective)
        nats = 0.0
        order = np.argsort([len(row) for row in self._dev_rows], kind="stable")
        for start in range(0, len(order), 64):
            rows = [self._dev_rows[int(i)] for i in order[start : start + 64]]
            nats += float(objective(*self._pad(rows)))
        return {"dev_bits_per_word": round(nats / math.log(2) / max(1, self._dev_words), 4)}
