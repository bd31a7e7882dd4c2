"""Loads Qwen3-ASR checkpoints in either layout, and checks that they are complete."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from megaasr.errors import CheckpointError, UsageError, first_line
from megaasr.hub import ONLINE, HubOptions
from megaasr.model.complete_checkpoint import explained_damage, load_complete
from megaasr.model.encoder_attention import EncoderAttention
from megaasr.model.geometry import AudioGeometry
from megaasr.model.hub import find_model_parts
from megaasr.model.interface import Dtype
from megaasr.model.layout import (
    KEY_MAPPING,
    find_layout,
    is_stored_int8,
    model_config,
)
from megaasr.model.memory_budget import DEFAULT_BATCH_SIZE
from megaasr.model.parts import require_parent
from megaasr.model.prompt import AUDIO_PAD

if TYPE_CHECKING:
    import torch

    from megaasr.model.qwen3_asr import Qwen3ASR

_LOGGER = logging.getLogger(__name__)
DTYPES: tuple[str, ...] = get_args(Dtype)
"""Names of the data types that a model can be loaded in."""


def load_model(
    name: str | Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    hub: HubOptions = ONLINE,
    batch_size: int = DEFAULT_BATCH_SIZE,
    encoder_attention: EncoderAttention = "windowed",
    time_words: bool = True,
    adapter: str | Path | None = None,
) -> Qwen3ASR:
    """Load a model by name.

    Args:
        name: `tiny`, a local folder, or a name on the hub; a base alone, or with adapter and
            router.
        device: `cpu`, `cuda`, `cuda:1` or `mps`; None selects the best available.
        dtype: one of `DTYPES`, see `choose_dtype`.
        hub: how a model on the hub is found.
        batch_size: largest number of chunks in one forward pass.
        encoder_attention: `windowed` or `global`, see `layout.model_config`.
        time_words: time words by the model's alignment heads, if it has any.
        adapter: adapter folder in PEFT's layout; None for the model's own adapter, if it has one.

    Returns:
        The model in evaluation mode.

    Raises:
        ModelNotFoundError, HubUnreachableError: see `find_model`.
        CheckpointError: the folder is not a Qwen3-ASR checkpoint, or is damaged.
        UsageError: the device or the dtype does not exist.
    """
    if batch_size < 1:
        raise UsageError(f"batch size {batch_size}: it must be at least 1")
    name = str(name)
    parts = find_model_parts(name, hub)
    check_layout(parts.base)
    from megaasr.adapter.peft_layout import read_adapter
    from megaasr.model.alignment_heads import NO_HEADS, read_heads
    from megaasr.model.qwen3_asr import Qwen3ASR

    start = time.monotonic()
    device, dtype = stored_choice(parts.base, device, dtype)
    torch_device = choose_device(device)
    torch_dtype = choose_dtype(torch_device, dtype)
    adapter_path = Path(adapter) if adapter is not None else parts.adapter
    loaded_adapter = read_adapter(adapter_path) if adapter_path is not None else None
    if loaded_adapter is not None:
        require_parent(loaded_adapter, parts.base)
    model, processor = read_checkpoint(parts.base, torch_dtype, encoder_attention)
    decoder: Any = model.config.text_config
    heads = read_heads(parts.base, decoder.num_hidden_layers, decoder.num_attention_heads)
    speech_model = Qwen3ASR(
        name,
        model.to(torch_device).eval(),
        processor,
        batch_size=batch_size,
        adapter=loaded_adapter,
        alignment_heads=heads if time_words else NO_HEADS,
    )
    adapter_note = "without adapter" if loaded_adapter is None else "with adapter"
    description = f"{name} {adapter_note} in {torch_dtype} on {torch_device}"
    _LOGGER.info("loaded %s in %.1f s", description, time.monotonic() - start)
    return speech_model


def check_layout(folder: Path) -> None:
    """Raise unless a folder is a Qwen3-ASR checkpoint with safetensors weights.

    Raises:
        CheckpointError: the folder is not such a checkpoint; the message says what to do.
    """
    find_layout(folder)
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(p.name for p in folder.glob("*") if p.suffix in {".bin", ".pt", ".pth"})
        why = f" ({', '.join(pickles)} is refused: a pickle can run code)" if pickles else ""
        raise CheckpointError(f"{folder} holds no .safetensors weights{why}")


def choose_device(device: str | None) -> torch.device:
    """Return the requested device, or the first available of CUDA, MPS and CPU.

    Raises:
        UsageError: the requested device is not available.
    """
    import torch

    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        requested = torch.device(device)
        torch.empty(1, device=requested).cpu()  # fails for devices without data, such as `meta`
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise UsageError(
            f"device {device}: not available here ({first_line(error)}); "
            f"available: {', '.join(_devices())}"
        ) from error
    return requested


def _devices() -> list[str]:
    import torch

    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def choose_dtype(device: torch.device, dtype: str | None = None) -> torch.dtype:
    """Return the data type of the weights.

    Args:
        device: the device that computes.
        dtype: one of `DTYPES`. None selects bfloat16 on GPUs that support it, float32 otherwise.
            `auto` differs from it on CPUs: bfloat16 with matrix units for it (AMX), int8 where that
            is faster than float32 (VNNI, or AVX2 with FBGEMM), and else float32.

    Raises:
        UsageError: the name is not one of these, or int8 is requested for another device than a
            CPU.
    """
    import torch

    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"unknown dtype {dtype!r}; choose one of {', '.join(DTYPES)}")
    if dtype == "auto" and device.type == "cpu":
        if torch.cpu.get_capabilities().get("amx_bf16"):
            return torch.bfloat16
        from megaasr.model.packed_int8 import is_faster_than_float32

        return torch.int8 if is_faster_than_float32() else torch.float32
    if dtype == "int8" and device.type != "cpu":
        raise UsageError(
            f"dtype int8 is for CPUs, and the device is {device}; use bfloat16 or float16 there, "
            "or --device cpu"
        )
    if dtype not in (None, "auto"):
        requested: torch.dtype = getattr(torch, str(dtype))
        return requested
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # On CPUs without matrix units for it, bfloat16 was measured to be slower than float32.
    return torch.bfloat16 if device.type == "mps" else torch.float32


def stored_choice(
    folder: Path, device: str | None, dtype: str | None
) -> tuple[str | None, str | None]:
    """Return device and data type as they were chosen, or what an 8-bit checkpoint needs.

    Args:
        folder: folder of the base checkpoint.
        device, dtype: as for `load_model`.

    Raises:
        UsageError: the checkpoint has 8-bit weights, and another data type was chosen.
        CheckpointError: `config.json` is missing or damaged.
    """
    if not is_stored_int8(folder):
        return device, dtype
    if dtype not in (None, "auto", "int8"):
        raise UsageError(
            f"{folder} has 8-bit weights, and cannot be loaded in {dtype}; leave the dtype out, or "
            "load the model that it was made from"
        )
    return device or "cpu", "int8"


def read_checkpoint(
    folder: Path, dtype: torch.dtype, attention: EncoderAttention = "windowed"
) -> tuple[Any, Any]:
    """Read a base checkpoint; every weight of the model must be there, and no other.

    Args:
        folder: folder of the base checkpoint, in either layout.
        dtype: data type to load the weights in; with int8, the linear layers and the embedding are
            quantised (`model.int8`), and all else is float32.
        attention: `windowed` or `global`, see `layout.model_config`.

    Returns:
        The native model and its processor.

    Raises:
        CheckpointError: the folder is not a Qwen3-ASR checkpoint, or is damaged.
    """
    import torch
    from transformers import Qwen3ASRForConditionalGeneration

    if is_stored_int8(folder) and dtype != torch.int8:
        raise CheckpointError(
            f"{folder} has 8-bit weights, which cannot be trained; use the model that it was made "
            "from"
        )
    original = find_layout(folder) == "original"
    with explained_damage(folder):
        config = model_config(folder, attention)
    model, processor = load_complete(
        Qwen3ASRForConditionalGeneration,
        folder,
        config=config,
        dtype=dtype,
        key_mapping=KEY_MAPPING if original else None,
    )
    if processor.tokenizer.convert_tokens_to_ids(AUDIO_PAD) != model.config.audio_token_id:
        raise CheckpointError(
            f"the tokenizer in {folder} does not fit its config.json ({AUDIO_PAD} has another "
            "number or none); is tokenizer.json missing?"
        )
    try:
        geometry = AudioGeometry.from_model(model.config, processor.feature_extractor)
    except CheckpointError as error:
        raise CheckpointError(f"{folder} cannot be used: {error}") from error
    if geometry.single_chunk:
        from megaasr.model.chunk_trimming import trim_encoder_chunks

        trim_encoder_chunks(model.model.audio_tower)
    return model, processor
