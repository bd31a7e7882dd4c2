"""Qwen3-ASR through transformers' native classes: features, batches, greedy decoding.

Together with `geometry`, `inputs` and `prompt` this is all that knows how the model is driven.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from transformers import (
    LogitsProcessorList,
    Qwen3ASRForConditionalGeneration,
    Qwen3ASRProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)

from megaasr.adapter.gated import attach, routed
from megaasr.adapter.peft_layout import Adapter
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import ModelError, UsageError
from megaasr.model.geometry import MAX_CHUNK_SAMPLES, AudioGeometry
from megaasr.model.inputs import Features, InputBuilder, end_tokens
from megaasr.model.interface import MAX_CHUNK_S, Recognition, Request
from megaasr.model.prompt import parse_output
from megaasr.model.token_scores import TokenScores, words_of

# Fast speech has about 6 words a second; a small tokenizer spends up to 3 tokens on a word.
TOKENS_PER_S = 15
TOKENS_AT_LEAST = 32
_LONGEST_CHARACTER = 4  # tokens; a character has at most four bytes


def token_budget(duration_s: float) -> int:
    """Return how many tokens may be spent on a piece of audio of this length."""
    return TOKENS_AT_LEAST + round(TOKENS_PER_S * duration_s)


class Qwen3ASR:
    """A loaded Qwen3-ASR model; implements `SpeechModel`.

    Args:
        name: what the model was asked for by.
        model: the native model, on its device, in evaluation mode.
        processor: its native processor (feature extractor and tokenizer).
        batch_size: most pieces in one forward pass; halved when memory runs out.
        adapter: what the route `robust` adds to the weights; None if there is no such route.

    Raises:
        CheckpointError: the adapter does not fit the model, or the model's feature extractor and
            encoder do not fit together.
    """

    def __init__(
        self,
        name: str,
        model: Qwen3ASRForConditionalGeneration,
        processor: Qwen3ASRProcessor,
        batch_size: int = 8,
        adapter: Adapter | None = None,
    ) -> None:
        if adapter is not None:
            attach(model, adapter)
        self.adapter = adapter
        self.name = name
        self.model = model
        self.processor = processor
        self.batch_size = batch_size
        config: Any = model.config
        self.builder = InputBuilder.of_model(model, processor)
        self._positions = int(config.text_config.max_position_embeddings)

    @property
    def geometry(self) -> AudioGeometry:
        """How the model's audio is counted."""
        return self.builder.geometry

    @property
    def has_robust_route(self) -> bool:
        """Whether there is an adapter."""
        return self.adapter is not None

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        """Transcribe pieces of audio, batched by length; answers in the order of requests.

        Raises:
            UsageError: a piece is empty or longer than 30 s, a language is unknown, or a context
                does not fit into the model.
            ModelError: the device has no memory left for a single piece.
        """
        for request in requests:
            if not 0 < request.samples.size <= MAX_CHUNK_SAMPLES:
                seconds = request.samples.size / SAMPLE_RATE
                raise UsageError(
                    f"a piece of {seconds:.3f} s; the model takes 0 to {MAX_CHUNK_S:g} s"
                )
            if request.route == "robust" and not self.has_robust_route:
                raise UsageError(f"{self.name} has no adapter, so there is no robust route")
        order = sorted(range(len(requests)), key=lambda i: requests[i].samples.size)
        answers: dict[int, Recognition] = {}
        while order:
            # What is drawn comes alone, so that it does not depend on what else is heard.
            alone = requests[order[0]].temperature > 0
            batch = order[:1] if alone else [i for i in order if not requests[i].temperature]
            # Clips of one route side by side: then the side branch sees a slice of the rows.
            batch = sorted(batch[: self.batch_size], key=lambda i: requests[i].route)
            try:
                found = self._recognize_batch([requests[i] for i in batch])
            except (torch.OutOfMemoryError, RuntimeError) as error:
                self._shrink(error)
                continue
            answers.update(zip(batch, found, strict=True))
            order = [i for i in order if i not in answers]
        return [answers[i] for i in range(len(requests))]

    def inputs(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        """Return the native model's inputs for a batch.

        Each clip's features are its own (a batch does not change them): padding is zeros
        behind them, masked; tokens are padded on the left.
        """
        features = [self._features(request) for request in requests]
        rows = [
            self._prompt(request, len(clip))
            for request, clip in zip(requests, features, strict=True)
        ]
        device, dtype = self.model.device, self.model.dtype
        return {
            **{
                k: v.to(device, dtype) if v.is_floating_point() else v.to(device)
                for k, v in self.builder.pad_features(features).items()
            },
            **{k: v.to(device) for k, v in self.builder.pad_prompts(rows).items()},
        }

    def routed(
        self, requests: Sequence[Request], inputs: Mapping[str, torch.Tensor]
    ) -> AbstractContextManager[None]:
        """Return the context in which each clip of a batch takes its own route.

        Args:
            requests: with their routes.
            inputs: made of them by `inputs`.
        """
        mask = inputs["input_features_mask"]
        return routed(
            [request.route == "robust" for request in requests],
            self.geometry.chunks(mask.shape[1]),
            [self.geometry.audio_tokens(int(frames)) for frames in mask.sum(dim=1)],
            mask.device,
        )

    def _features(self, request: Request) -> Features:
        """Log-mel features [frames, mels] of one clip, cut to its valid frames."""
        extracted = self.processor.feature_extractor(
            [np.ascontiguousarray(request.samples, dtype=np.float32)],
            sampling_rate=SAMPLE_RATE,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        valid = int(extracted["attention_mask"][0].sum())
        features: Features = extracted["input_features"][0, :, :valid].T.numpy()
        return features

    def _prompt(self, request: Request, frames: int) -> list[int]:
        prompt = self.builder.prompt(frames, request.context, request.language)
        room = self._positions - token_budget(request.samples.size / SAMPLE_RATE)
        if len(prompt) > room:
            raise UsageError(
                f"the context is too long: with {len(request.context)} characters of it the prompt "
                f"has {len(prompt)} tokens, and this model takes {room}; shorten the context"
            )
        return prompt

    @torch.inference_mode()
    def _recognize_batch(self, requests: Sequence[Request]) -> list[Recognition]:
        inputs: dict[str, Any] = self.inputs(requests)
        prompt = inputs["input_ids"].shape[1]
        budgets = [token_budget(r.samples.size / SAMPLE_RATE) for r in requests]
        model: Any = self.model
        scores = TokenScores(prompt)
        with self.routed(requests, inputs), _drawing(requests[0]) as sampling:
            generated = model.generate(
                **inputs,
                **sampling,
                num_beams=1,
                max_new_tokens=max(budgets),
                pad_token_id=self.builder.pad,
                stopping_criteria=StoppingCriteriaList([_Budgets(prompt, budgets)]),
                logits_processor=LogitsProcessorList([scores]),
            )
        logprobs = scores.finish(generated)
        rows = generated[:, prompt:].tolist()
        return [self._read(*row) for row in zip(rows, logprobs, budgets, requests, strict=True)]

    def _read(
        self, tokens: list[int], logprobs: list[float], budget: int, request: Request
    ) -> Recognition:
        """Cut a row at its end token and take the output format apart."""
        ends = end_tokens(self.model)
        # Beyond its budget a row holds padding, which may be an end token itself.
        stop = next((i for i, token in enumerate(tokens[:budget]) if token in ends), None)
        kept = tokens[: budget if stop is None else stop]
        raw = self.processor.tokenizer.decode(kept, skip_special_tokens=True)
        text, language = parse_output(raw, request.language)
        # The end token counts too: a text that breaks off is less likely.
        scored = logprobs[: len(kept) + (stop is not None)]
        forced = request.language is not None
        return Recognition(
            text,
            language,
            len(kept),
            stop is None,
            raw,
            sum(scored) / len(scored) if scored else None,
            words_of(self._spell(kept), logprobs[: len(kept)], forced=forced) if text else (),
        )

    def _spell(self, tokens: list[int]) -> list[str]:
        """Return the text of each token; joined, they are the decoded output."""
        decode = self.processor.tokenizer.decode
        pieces: list[str] = []
        waiting: list[int] = []
        for token in tokens:
            waiting.append(token)
            text = str(decode(waiting, skip_special_tokens=True))
            whole = not text.endswith("\ufffd") or len(waiting) > _LONGEST_CHARACTER
            pieces.append(text if whole else "")
            if whole:
                waiting = []
        return pieces

    def _shrink(self, error: RuntimeError) -> None:
        """Halve the batch after running out of memory; pass every other error on."""
        out_of_memory = isinstance(error, torch.OutOfMemoryError) or (
            "out of memory" in str(error).lower() or "can't allocate memory" in str(error).lower()
        )
        if not out_of_memory:
            raise error
        if self.batch_size == 1:
            raise ModelError(
                f"{self.model.device} has no memory left for a single piece of audio; close "
                "other programs, or use --device cpu"
            ) from error
        self.batch_size //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextmanager
def _drawing(request: Request) -> Iterator[dict[str, Any]]:
    """Give the options of generation, with random numbers of the request's own."""
    if request.temperature <= 0:
        yield {"do_sample": False}
        return
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(request.seed)
        yield {"do_sample": True, "temperature": request.temperature, "top_k": 50, "top_p": 0.95}


class _Budgets(StoppingCriteria):
    """Ends each row of a batch at its own token budget."""

    def __init__(self, prompt: int, budgets: Sequence[int]) -> None:
        self._ends = torch.tensor(budgets) + prompt

    def __call__(
        self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: Any
    ) -> torch.BoolTensor:
        done: Any = input_ids.shape[1] >= self._ends.to(input_ids.device)
        return done  # type: ignore[no-any-return]
