"""Qwen3-ASR on vLLM: base and robust branch in one engine and in the same batches.

The requests are those of the transformers path: the same features, prompts (the empty system turn
included), token budgets, scores and parsing; only the networks run in vLLM, in this process. The
adapter is a LoRA that vLLM switches on for each request, in the encoder, the projector and the
decoder. Words have no times of their own here, because vLLM keeps no attention.

The attention windows of a chunk (8 s in Qwen3-ASR) are audio items of their own. The encoder treats
them independently anyway, and of a chunk that grows during a live session, vLLM keeps what the
encoder and the decoder computed for the complete windows in its caches. So a `ModelState` stays
empty. Mel features are floored relative to the loudest frame: after a louder one, all windows are
other items, and are encoded again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from megaasr.adapter.peft_layout import Adapter
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import UsageError
from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import InputBuilder, end_token_ids, extract_features
from megaasr.model.interface import Recognition, Request, SamplingSettings
from megaasr.model.output_parser import OutputParser
from megaasr.model.prompt import AUDIO_PAD, token_id
from megaasr.model.request_checks import check_request, token_budget
from megaasr.model.vllm_offline import (
    audio_prompt,
    generate,
    load_adapter,
    require_vllm,
    sampling_options,
    start_engine,
    stop_engine,
)
from megaasr.model.vllm_sizes import EngineSizes

if TYPE_CHECKING:
    from megaasr.model.encoder_attention import EncoderAttention

_LOGGER = logging.getLogger(__name__)
_ADAPTER_ID = 1


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A request as vLLM takes it.

    Attributes:
        prompt: token ids and features.
        prefix: token ids of the request's prefix, the last ones of the prompt.
        budget: largest number of tokens of the output, prefix included.
    """

    prompt: dict[str, Any]
    prefix: tuple[int, ...]
    budget: int


class VllmModel:
    """A Qwen3-ASR model on vLLM; implements `SpeechModel`.

    Args:
        name: the name that the caller loaded the model by.
        engine: vLLM's offline engine.
        processor: the model's native processor (feature extractor and tokenizer).
        geometry: how the model converts audio to mel frames and tokens.
        end_ids: ids of the tokens that end an output.
        sizes: the sizes that the engine was built with.
        adapter: adapter of the robust branch; None for a model without one. The engine must have
            buffers for it.

    Attributes:
        device: device that computes.
        dtype: data type of the weights.

    Raises:
        CheckpointError: vLLM does not apply all of the adapter.
    """

    def __init__(
        self,
        name: str,
        engine: Any,
        processor: Any,
        geometry: AudioGeometry,
        *,
        end_ids: Collection[int],
        sizes: EngineSizes,
        adapter: Adapter | None = None,
    ) -> None:
        self.name = name
        self.engine = engine
        self.processor = processor
        self.sizes = sizes
        config = engine.llm_engine.vllm_config
        self.device = torch.device(config.device_config.device_type)
        self.dtype: torch.dtype = config.model_config.dtype
        self.adapter = adapter
        self.builder = InputBuilder(processor.tokenizer, geometry)
        self._end_ids = sorted(end_ids)
        self._pad_id = token_id(processor.tokenizer, AUDIO_PAD)
        self._parser = OutputParser(processor.tokenizer, end_ids)
        self._lock = threading.Lock()  # the engine is for one thread
        self._robust = None
        if adapter is not None:
            self._robust = load_adapter(engine, adapter, "robust", _ADAPTER_ID)

    @property
    def has_robust_route(self) -> bool:
        """Whether the model has an adapter."""
        return self.adapter is not None

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        """Transcribe chunks; the engine forms the batches, of both branches together.

        Raises:
            UsageError: a chunk is empty or longer than 30 s, a language is unknown, a context is
                too long for the engine, or the robust branch is requested and there is no adapter.
            ModelError: the engine fails.
        """
        prepared = self._prepare(requests)
        options = [
            self._options(item, SamplingSettings(1, request.temperature), request.seed)
            for item, request in zip(prepared, requests, strict=True)
        ]
        outputs = self._generate(requests, prepared, options)
        return [
            self._recognition(request, item, output, output.outputs[0])
            for request, item, output in zip(requests, prepared, outputs, strict=True)
        ]

    def sample(
        self, requests: Sequence[Request], settings: SamplingSettings
    ) -> list[list[Recognition]]:
        """Return several sampled transcripts of each chunk; see `SpeechModel.sample`.

        Raises:
            UsageError: as `recognize`.
            ModelError: the engine fails.
        """
        prepared = self._prepare(requests)
        options = [
            self._options(item, settings, request.seed)
            for item, request in zip(prepared, requests, strict=True)
        ]
        outputs = self._generate(requests, prepared, options)
        return [
            [self._recognition(request, item, output, sample) for sample in output.outputs]
            for request, item, output in zip(requests, prepared, outputs, strict=True)
        ]

    def close(self) -> None:
        """Release the engine's memory."""
        with self._lock:
            stop_engine(self.engine)

    def _prepare(self, requests: Sequence[Request]) -> list[_Prepared]:
        for request in requests:
            check_request(request, self.name, has_robust_route=self.has_robust_route)
        return [self._prepare_request(request) for request in requests]

    def _prepare_request(self, request: Request) -> _Prepared:
        features = extract_features(self.processor.feature_extractor, request.samples)
        before, after = self.builder.prompt_ends(request.context, request.language)
        tokenizer = self.processor.tokenizer
        prefix = tuple(tokenizer(request.prefix)["input_ids"]) if request.prefix else ()
        budget = max(token_budget(request.samples.size / SAMPLE_RATE), len(prefix) + 1)
        audio = self.builder.geometry.audio_tokens(len(features))
        tokens, limit = len(before) + audio + len(after), self.sizes.max_model_len - budget
        if tokens > limit:
            raise UsageError(
                f"the context is too long: with {len(request.context)} characters of it the prompt "
                f"has {tokens} tokens, and this engine takes {limit}; shorten the context or load "
                "the model with a larger max_model_len"
            )
        ends = (before, [*after, *prefix])
        prompt = audio_prompt(features, self.builder.geometry, self._pad_id, ends)
        return _Prepared(prompt, prefix, budget)

    def _options(self, prepared: _Prepared, settings: SamplingSettings, seed: int) -> Any:
        """Return vLLM's sampling options of a request.

        The log-probabilities are the model's own, before temperature, penalty and cuts (vLLM's
        default mode `raw_logprobs`).
        """
        return sampling_options(
            settings,
            prepared.budget - len(prepared.prefix),
            self._end_ids,
            seed,
            logprobs=0,
            # The scores of the prefix are the scores of the prompt's last tokens.
            prompt_logprobs=0 if prepared.prefix else None,
        )

    def _generate(
        self, requests: Sequence[Request], prepared: Sequence[_Prepared], options: Sequence[Any]
    ) -> list[Any]:
        """Return vLLM's outputs, in the order of the requests."""
        adapters = [self._robust if request.route == "robust" else None for request in requests]
        with self._lock:
            return generate(self.engine, [item.prompt for item in prepared], options, adapters)

    def _recognition(
        self, request: Request, prepared: _Prepared, output: Any, sample: Any
    ) -> Recognition:
        """Return the recognition in a sample of vLLM's output, with the prefix's tokens."""
        prefix = prepared.prefix
        generated = list(sample.token_ids)
        logprobs = [
            step[token].logprob for token, step in zip(generated, sample.logprobs, strict=True)
        ]
        if prefix:
            steps = output.prompt_logprobs[-len(prefix) :]
            logprobs = [
                *(step[token].logprob for token, step in zip(prefix, steps, strict=True)),
                *logprobs,
            ]
        parsed = self._parser.parse(
            [*prefix, *generated], logprobs, prepared.budget, request.language
        )
        return parsed.recognition


def load_vllm_model(
    name: str,
    base: Path,
    sizes: EngineSizes,
    *,
    dtype: str,
    adapter: Adapter | None = None,
    attention: EncoderAttention = "windowed",
) -> VllmModel:
    """Build a vLLM engine for a base checkpoint and load the adapter into it.

    Args:
        name: the name that the caller loads the model by.
        base: folder of the base checkpoint, in either layout.
        sizes: sizes of the engine.
        dtype: data type of the weights: `float32`, `bfloat16` or `float16`.
        adapter: adapter of the robust branch; None for a model without one.
        attention: range of the encoder's attention, `windowed` or `global`.

    Raises:
        UsageError: vLLM is not installed.
        CheckpointError: vLLM cannot load the checkpoint, or does not apply all of the adapter.
    """
    from megaasr.model.layout import model_config, read_processor

    require_vllm()
    start = time.monotonic()
    config: Any = model_config(base, attention)
    processor: Any = read_processor(base)
    geometry = AudioGeometry.from_model(config, processor.feature_extractor)
    engine = start_engine(base, sizes, dtype, config=config, geometry=geometry, adapter=adapter)
    model = VllmModel(
        name,
        engine,
        processor,
        geometry,
        end_ids=end_token_ids(config),
        sizes=sizes,
        adapter=adapter,
    )
    _LOGGER.info("loaded %s in %s on vLLM in %.1f s", name, dtype, time.monotonic() - start)
    return model
