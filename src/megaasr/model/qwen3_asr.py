"""Qwen3-ASR through transformers' native classes: features, batches, greedy decoding and sampling.

Apart from `geometry`, `inputs`, `incremental` and `prompt`, only this module depends on how the
model works.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import (
    LogitsProcessorList,
    Qwen3ASRForConditionalGeneration,
    Qwen3ASRProcessor,
    StoppingCriteriaList,
)

from megaasr.adapter.gated import attach, routed
from megaasr.adapter.peft_layout import Adapter
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import ModelError, UsageError
from megaasr.model.alignment_heads import NO_HEADS, AlignmentHeads
from megaasr.model.attention_times import (
    AttentionRecord,
    attach_recorder,
    attention_to_audio,
    divide_audio,
    recording,
)
from megaasr.model.cache_argument import cache_argument
from megaasr.model.geometry import AudioGeometry
from megaasr.model.incremental import IncrementalDecoder
from megaasr.model.inputs import InputBuilder, end_token_ids, extract_features, to_device
from megaasr.model.interface import (
    Recognition,
    RecognizedWord,
    Request,
    SamplingSettings,
)
from megaasr.model.output_parser import OutputParser
from megaasr.model.request_checks import check_request, token_budget
from megaasr.model.reserved_cache import reserved_cache
from megaasr.model.sampling import TranscriptSampler
from megaasr.model.token_budgets import TokenBudgets
from megaasr.model.token_scores import TokenScores, WordTokens

_LOGGER = logging.getLogger(__name__)

_SAMPLES_PER_CHUNK = 4  # samples that are drawn together, for each chunk of a batch
_MIN_WORD_S = 0.01  # of a word at the very start, whose attention is late


class Qwen3ASR:
    """A loaded Qwen3-ASR model; implements `SpeechModel`.

    Args:
        name: the name that the caller loaded the model by.
        model: native model on its device, in evaluation mode.
        processor: the model's native processor (feature extractor and tokenizer).
        batch_size: largest number of chunks in one forward pass; halved when memory runs out.
        adapter: adapter of the robust branch; None for a model without one.
        alignment_heads: heads of the decoder that tell when words are spoken.

    Raises:
        CheckpointError: the adapter does not fit the model, or the model's feature extractor and
            encoder do not match.
    """

    def __init__(
        self,
        name: str,
        model: Qwen3ASRForConditionalGeneration,
        processor: Qwen3ASRProcessor,
        batch_size: int = 8,
        adapter: Adapter | None = None,
        alignment_heads: AlignmentHeads = NO_HEADS,
    ) -> None:
        if adapter is not None:
            attach(model, adapter)
        attach_recorder(model.model.language_model, alignment_heads.heads)
        self._alignment_heads = alignment_heads
        self.adapter = adapter
        self.name = name
        self.model = model
        self.processor = processor
        self.batch_size = batch_size
        config: Any = model.config
        self.builder = InputBuilder.for_model(model, processor)
        self._incremental = IncrementalDecoder(model, processor, self.builder)
        self._parser = OutputParser(processor.tokenizer, end_token_ids(model.generation_config))
        self._positions = int(config.text_config.max_position_embeddings)

    @property
    def device(self) -> torch.device:
        """The device that computes."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the activations."""
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def geometry(self) -> AudioGeometry:
        """How the model converts audio to mel frames and tokens."""
        return self.builder.geometry

    @property
    def has_robust_route(self) -> bool:
        """Whether the model has an adapter."""
        return self.adapter is not None

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        """Transcribe chunks in batches of similar length; results are in the order of requests.

        Raises:
            UsageError: a chunk is empty or longer than 30 s, a language is unknown, a context is
                too long for the model, or the robust branch is requested and there is no adapter.
            ModelError: the device does not have enough memory for a single chunk.
        """
        self._check(requests)
        order = sorted(range(len(requests)), key=lambda i: requests[i].samples.size)
        results: dict[int, Recognition] = {}
        while order:
            # Sampling is never batched, so that a sample does not depend on the other requests.
            sampled = requests[order[0]].temperature > 0
            continued = _is_continued(requests[order[0]])
            batch = [
                i
                for i in order
                if not requests[i].temperature and _is_continued(requests[i]) == continued
            ]
            batch = order[:1] if sampled else batch
            # With the clips of a route side by side, the side branch sees a slice of the rows.
            batch = sorted(batch[: self.batch_size], key=lambda i: requests[i].route)
            try:
                decode = self._continue_batch if continued else self._recognize_batch
                batch_results = decode([requests[i] for i in batch])
            except (torch.OutOfMemoryError, RuntimeError) as error:
                self._reduce_batch_size(error)
                continue
            results.update(zip(batch, batch_results, strict=True))
            order = [i for i in order if i not in results]
        return [results[i] for i in range(len(requests))]

    def without_last_tokens(self, text: str, count: int) -> str:
        """Return a text without its last tokens, and without a character that they divide."""
        tokenizer = self.processor.tokenizer
        kept = list(tokenizer(text)["input_ids"])[:-count]
        return str(tokenizer.decode(kept)).rstrip("\ufffd").strip()

    def sample(
        self, requests: Sequence[Request], settings: SamplingSettings
    ) -> list[list[Recognition]]:
        """Return several sampled transcripts of each chunk; see `SpeechModel.sample`.

        Raises:
            UsageError, ModelError: as `recognize`.
        """
        self._check(requests)
        sampler = TranscriptSampler(self.model, self.builder.pad_id, settings)
        order = sorted(range(len(requests)), key=lambda i: requests[i].samples.size)
        results: dict[int, list[Recognition]] = {}
        while order:
            # A sample needs less memory than a chunk of another batch: the encoder runs once.
            max_rows = _SAMPLES_PER_CHUNK * self.batch_size
            batch = order[: max(1, max_rows // settings.samples)]
            batch = sorted(batch, key=lambda i: requests[i].route)
            copies = min(settings.samples, max_rows)
            try:
                sampled = self._sample_batch(
                    sampler, [requests[i] for i in batch], settings.samples, copies
                )
            except (torch.OutOfMemoryError, RuntimeError) as error:
                self._reduce_batch_size(error)
                continue
            results.update(zip(batch, sampled, strict=True))
            order = [i for i in order if i not in results]
        return [results[i] for i in range(len(requests))]

    def _sample_batch(
        self, sampler: TranscriptSampler, requests: Sequence[Request], samples: int, copies: int
    ) -> list[list[Recognition]]:
        """Return the samples of chunks, so many copies of each at once."""
        results: list[list[Recognition]] = [[] for _ in requests]
        for first in range(0, samples, copies):
            indices = range(first, min(first + copies, samples))
            part = self._sample_copies(sampler, requests, indices)
            results = [[*before, *more] for before, more in zip(results, part, strict=True)]
        return results

    def _sample_copies(
        self, sampler: TranscriptSampler, requests: Sequence[Request], copies: range
    ) -> list[list[Recognition]]:
        inputs = self.inputs(requests)
        budgets = [token_budget(r.samples.size / SAMPLE_RATE) for r in requests]
        rows = [r.route == "robust" for r in requests for _ in copies]
        with recording() as record:
            sampled = sampler.draw(
                inputs,
                [(request.seed,) for request in requests],
                budgets,
                copies=copies,
                prompt_context=lambda: self.routed(requests, inputs),
                # Drawn tokens contain no audio, so only the rows of the decoder matter.
                token_context=lambda: routed(rows, 1, [1] * len(rows), self.model.device),
            )
        audio = self._audio_positions(inputs)
        return [
            [
                self._parse(
                    list(sample.ids),
                    list(sample.logprobs),
                    budgets[clip],
                    requests[clip],
                    _BatchRow(record, clip * len(copies) + number, clip, audio[clip]),
                )
                for number, sample in enumerate(of_clip)
            ]
            for clip, of_clip in enumerate(sampled)
        ]

    def _check(self, requests: Sequence[Request]) -> None:
        """Raise a UsageError for a request that the model cannot take."""
        for request in requests:
            check_request(request, self.name, has_robust_route=self.has_robust_route)

    def inputs(self, requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        """Return the native model's inputs for a batch, on the model's device.

        The features of a clip do not depend on the rest of the batch. They are padded on the right
        with masked zeros, and the tokens of the prompts on the left.
        """
        extractor = self.processor.feature_extractor
        features = [extract_features(extractor, request.samples) for request in requests]
        prompts = [
            self._prompt(request, len(clip))
            for request, clip in zip(requests, features, strict=True)
        ]
        tensors = {**self.builder.pad_features(features), **self.builder.pad_prompts(prompts)}
        return to_device(tensors, self.model.device, self.dtype)

    def routed(
        self, requests: Sequence[Request], inputs: Mapping[str, torch.Tensor]
    ) -> AbstractContextManager[None]:
        """Return a context manager within which each clip of a batch takes its own route.

        Args:
            requests: the requests of the batch, which state the routes.
            inputs: the native model's inputs for the batch, from `inputs`.
        """
        mask = inputs["input_features_mask"]
        return routed(
            [request.route == "robust" for request in requests],
            self.geometry.chunk_count(mask.shape[1]),
            [self.geometry.audio_tokens(frames) for frames in mask.sum(dim=1).tolist()],
            mask.device,
        )

    def _prompt(self, request: Request, frames: int, prefix_tokens: int = 0) -> list[int]:
        prompt = self.builder.prompt(frames, request.context, request.language)
        budget = token_budget(request.samples.size / SAMPLE_RATE)
        max_tokens = self._positions - max(budget, prefix_tokens + 1)
        if len(prompt) > max_tokens:
            raise UsageError(
                f"the context is too long: with {len(request.context)} characters of it the prompt "
                f"has {len(prompt)} tokens, and this model takes {max_tokens}; shorten the context"
            )
        return prompt

    @torch.inference_mode()
    def _recognize_batch(self, requests: Sequence[Request]) -> list[Recognition]:
        inputs: dict[str, Any] = self.inputs(requests)
        prompt_tokens = inputs["input_ids"].shape[1]
        budgets = [token_budget(r.samples.size / SAMPLE_RATE) for r in requests]
        model: Any = self.model
        scores = TokenScores(prompt_tokens)
        stop = TokenBudgets(prompt_tokens, budgets, self.device)
        with (
            self.routed(requests, inputs),
            recording() as record,
            _sampling(requests[0]) as sampling,
        ):
            generated = model.generate(
                **inputs,
                **sampling,
                num_beams=1,
                max_new_tokens=max(budgets),
                **cache_argument(reserved_cache(max(budgets))),
                pad_token_id=self.builder.pad_id,
                stopping_criteria=StoppingCriteriaList([stop]),
                logits_processor=LogitsProcessorList([scores]),
            )
        logprobs = scores.finish(generated)
        rows = generated[:, prompt_tokens:].tolist()
        return [
            self._parse(
                tokens,
                logprobs[number],
                budgets[number],
                requests[number],
                _BatchRow(record, number, number, audio),
            )
            for number, (tokens, audio) in enumerate(
                zip(rows, self._audio_positions(inputs), strict=True)
            )
        ]

    def _continue_batch(self, requests: Sequence[Request]) -> list[Recognition]:
        """Decode requests with a prefix or a state."""
        budgets = [token_budget(r.samples.size / SAMPLE_RATE) for r in requests]
        for request in requests:
            frames = self.geometry.frames(request.samples.size)
            self._prompt(request, frames, self._incremental.prefix_tokens(request))
        longest = max(map(self._incremental.prefix_tokens, requests))
        with recording(longest) as record:
            continued = self._incremental.decode(requests, budgets)
        return [
            self._parse(
                list(tokens.ids),
                list(tokens.logprobs),
                max(budgets[number], tokens.prefix + 1),
                requests[number],
                _BatchRow(record, number, number, tokens.audio, tokens.prefix),
            )
            for number, tokens in enumerate(continued)
        ]

    def _audio_positions(self, inputs: Mapping[str, torch.Tensor]) -> Sequence[torch.Tensor | None]:
        """Return the positions of the audio tokens in each prompt, int64 of shape [frames].

        They are None if nobody asks for them: a GPU would have to be waited for, row by row.
        """
        if not self._alignment_heads.heads:
            return [None] * len(inputs["input_ids"])
        config: Any = self.model.config
        is_audio = inputs["input_ids"] == config.audio_token_id
        return [row.nonzero().squeeze(-1) for row in is_audio]

    def _parse(
        self,
        tokens: list[int],
        logprobs: list[float],
        budget: int,
        request: Request,
        batch_row: _BatchRow,
    ) -> Recognition:
        """Return the recognition in a row of generated tokens, with the times of its words."""
        output = self._parser.parse(tokens, logprobs, budget, request.language)
        recognition = output.recognition
        words = self._timed(recognition.words, output.spelled, recognition.tokens, batch_row)
        is_timed = any(word.start_s is not None for word in words)
        return replace(recognition, words=words, timed_by="attention" if is_timed else None)

    def _timed(
        self,
        words: tuple[RecognizedWord, ...],
        spelled: Sequence[WordTokens],
        tokens: int,
        batch_row: _BatchRow,
    ) -> tuple[RecognizedWord, ...]:
        """Return words with their times, if the model has alignment heads."""
        if not words or not self._alignment_heads.heads or batch_row.audio is None:
            return words
        attention = attention_to_audio(
            batch_row.record,
            self._alignment_heads.heads,
            batch_row.row,
            batch_row.clip,
            tokens,
            batch_row.audio,
            batch_row.prefix,
        )
        geometry = self.geometry
        tokens_of_words = [word.tokens for word in spelled]
        bounds = divide_audio(attention, tokens_of_words, geometry.tokens_per_s)
        if bounds is None:
            return words
        delay_s = self._alignment_heads.delay_s
        times = [
            (geometry.token_start_s(first) - delay_s, geometry.token_start_s(end) - delay_s)
            for first, end in bounds
        ]
        return tuple(
            replace(word, start_s=max(0.0, start), end_s=max(_MIN_WORD_S, end))
            for word, (start, end) in zip(words, times, strict=True)
        )

    def token_texts(self, tokens: list[int]) -> list[str]:
        """Return the text of each token; concatenated, they are the decoded output."""
        return self._parser.token_texts(tokens)

    def _reduce_batch_size(self, error: RuntimeError) -> None:
        """Halve the batch size if an error means that memory ran out; otherwise raise the error."""
        out_of_memory = isinstance(error, torch.OutOfMemoryError) or (
            "out of memory" in str(error).lower() or "can't allocate memory" in str(error).lower()
        )
        if not out_of_memory:
            raise error
        if self.batch_size == 1:
            raise ModelError(
                f"{self.model.device} has no memory left for a single chunk of audio; close "
                "other programs, or use the device cpu"
            ) from error
        self.batch_size //= 2
        _LOGGER.warning("out of memory: the batch size is %d from now on", self.batch_size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _is_continued(request: Request) -> bool:
    """Return whether a request has a prefix or a state."""
    return bool(request.prefix) or request.state is not None


@contextmanager
def _sampling(request: Request) -> Iterator[dict[str, Any]]:
    """Yield the sampling options of `generate`, while torch is seeded with the request's seed."""
    if request.temperature <= 0:
        yield {"do_sample": False}
        return
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(request.seed)
        yield {"do_sample": True, "temperature": request.temperature, "top_k": 50, "top_p": 0.95}


@dataclass(frozen=True, slots=True)
class _BatchRow:
    """Where the tokens of a recognition are in a batch; see `attention_to_audio`."""

    record: AttentionRecord
    row: int
    clip: int
    audio: torch.Tensor | None  # None if some of it is in no record
    prefix: int = 0
