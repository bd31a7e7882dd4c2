"""The engines that run a model: transformers in torch, or vLLM.

Both implement `SpeechModel`, from the same files and with the same prompts and budgets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from megaasr.errors import UsageError
from megaasr.hub import ONLINE, HubOptions
from megaasr.model.engine_limits import NO_LIMITS, Engine, EngineLimits, default_batch_size
from megaasr.model.hub import find_model_parts
from megaasr.model.memory_budget import free_memory, parse_memory
from megaasr.model.vllm_sizes import EnginePlan, EngineSizes, plan_engine

if TYPE_CHECKING:
    import torch

    from megaasr.model.encoder_attention import EncoderAttention
    from megaasr.model.qwen3_asr import Qwen3ASR
    from megaasr.model.vllm_engine import VllmModel

_MAX_SHARE = 0.95  # of a GPU's memory


def load_speech_model(
    name: str | Path,
    *,
    engine: Engine = "transformers",
    device: str | None = None,
    dtype: str | None = None,
    hub: HubOptions = ONLINE,
    batch_size: int | None = None,
    adapter: Path | None = None,
) -> Qwen3ASR | VllmModel:
    """Load a model by name on an engine; without a limit of memory.

    Args:
        name: a shipped model, a local folder, or a name on the hub.
        engine: `transformers` or `vllm`.
        device: device that computes; None for the best available.
        dtype: one of `loading.DTYPES`; None for the device's.
        hub: how a model on the hub is found.
        batch_size: largest number of chunks that are decoded at once; None for the engine's.
        adapter: adapter folder in PEFT's layout; None for the model's own adapter.

    Raises:
        ModelError: there is no such model, or it cannot be loaded.
        UsageError: the engine is not installed, or does not have the device or the data type.
    """
    if engine == "vllm":
        limits = EngineLimits(max_num_seqs=batch_size)
        return load_on_vllm(
            name, device=device, dtype=dtype, hub=hub, adapter=adapter, limits=limits
        )
    from megaasr.model.loading import load_model

    size = default_batch_size(engine) if batch_size is None else batch_size
    return load_model(name, device=device, dtype=dtype, hub=hub, batch_size=size, adapter=adapter)


def load_on_vllm(
    name: str | Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    hub: HubOptions = ONLINE,
    adapter: Path | None = None,
    attention: EncoderAttention = "windowed",
    limits: EngineLimits = NO_LIMITS,
    on_plan: Callable[[EnginePlan], None] | None = None,
) -> VllmModel:
    """Load a model by name on vLLM, in sizes that fit into memory.

    Args:
        name: a shipped model, a local folder, or a name on the hub.
        device: `cpu` or `cuda`, whichever vLLM is built for; None for that.
        dtype: `float32`, `bfloat16` or `float16`; None for the device's.
        hub: how a model on the hub is found.
        adapter: adapter folder in PEFT's layout; None for the model's own adapter.
        attention: range of the encoder's attention, `windowed` or `global`.
        limits: memory that the model may use, and sizes that are not to be computed.
        on_plan: is told the sizes before anything is loaded, if the memory is limited.

    Raises:
        ModelError: there is no such model, or vLLM cannot load it.
        UsageError: vLLM is not installed, has no such device or data type, or the model does not
            fit.
    """
    from megaasr.adapter.peft_layout import read_adapter
    from megaasr.model.layout import is_stored_int8
    from megaasr.model.loading import check_layout
    from megaasr.model.memory import ModelMemory
    from megaasr.model.parts import require_parent
    from megaasr.model.vllm_adapter import buffer_rank
    from megaasr.model.vllm_engine import load_vllm_model
    from megaasr.model.vllm_offline import require_vllm

    require_vllm()
    torch_device = vllm_device(device)
    dtype = _vllm_dtype(torch_device, dtype)
    name = str(name)
    parts = find_model_parts(name, hub)
    check_layout(parts.base)
    if is_stored_int8(parts.base):
        raise UsageError(
            f"{name} has 8-bit weights for the engine transformers on CPUs; for vLLM load the "
            "model that it was made from"
        )
    folder = adapter or parts.adapter
    loaded = None if folder is None else read_adapter(folder)
    if loaded is not None:
        require_parent(loaded, parts.base)
    budget = None
    if limits.memory is not None:
        budget = parse_memory(limits.memory) or free_memory(torch_device)
    plan = plan_engine(
        ModelMemory.of_parts(parts, adapter=adapter, attention=attention, time_words=False),
        dtype,
        rank=0 if loaded is None else buffer_rank(loaded),
        budget=budget,
        device_type=torch_device.type,
        limits=limits,
    )
    if on_plan is not None and limits.memory is not None:
        on_plan(plan)
    sizes = sizes_on_device(plan, torch_device)
    return load_vllm_model(
        name, parts.base, sizes, dtype=dtype, adapter=loaded, attention=attention
    )


def vllm_device(device: str | None) -> torch.device:
    """Return the device that vLLM is built for.

    Raises:
        UsageError: another one is requested.
    """
    import torch

    from megaasr.model.vllm_offline import without_future_warnings

    with without_future_warnings():
        from vllm.platforms import current_platform
    built_for = torch.device(str(current_platform.device_type))
    if device is not None and torch.device(device) != built_for:
        raise UsageError(
            f"device {device}: the installed vLLM is built for {built_for}; leave out the device, "
            "select a GPU with CUDA_VISIBLE_DEVICES, or use the engine transformers"
        )
    return built_for


def _vllm_dtype(device: torch.device, dtype: str | None) -> str:
    from megaasr.model.loading import choose_dtype

    chosen = str(choose_dtype(device, None if dtype == "auto" else dtype)).removeprefix("torch.")
    if chosen == "int8":
        raise UsageError(
            "dtype int8: the engine vllm has no such weights; use float32 or bfloat16, or the "
            "engine transformers"
        )
    return chosen


def sizes_on_device(plan: EnginePlan, device: torch.device) -> EngineSizes:
    """Return the sizes of a planned engine, with the share of a GPU's memory that they are.

    Args:
        plan: how the engine is built.
        device: the device that vLLM is built for.
    """
    import torch

    if device.type != "cuda" or plan.sizes.gpu_memory_utilization is not None:
        return plan.sizes
    share = min(_MAX_SHARE, plan.total / torch.cuda.mem_get_info(device)[1])
    return replace(plan.sizes, gpu_memory_utilization=share)
