"""Load a Qwen3-ASR checkpoint in transformers' native layout, and check what was loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megaasr.errors import CheckpointError, UsageError
from megaasr.model.hub import find_model
from megaasr.model.prompt import AUDIO_PAD

if TYPE_CHECKING:
    import torch

    from megaasr.model.qwen3_asr import Qwen3ASR

DEFAULT_BATCH_SIZE = 8


def load_model(
    name: str | Path,
    *,
    device: str | None = None,
    offline: bool = False,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> Qwen3ASR:
    """Load a model by name.

    Args:
        name: `tiny`, a local folder, or a hub id.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; default: the best one there is.
        offline: do not ask the hub.
        batch_size: most pieces of audio in one forward pass.

    Returns:
        The model in evaluation mode: float32 on the CPU, bfloat16 on GPUs that have it.

    Raises:
        ModelNotFoundError, HubUnreachableError: see `find_model`.
        CheckpointError: the folder is no native Qwen3-ASR checkpoint, or is damaged.
        UsageError: there is no such device.
    """
    if batch_size < 1:
        raise UsageError(f"batch size {batch_size}: it must be at least 1")
    name = str(name)
    folder = find_model(name, offline=offline)
    check_layout(folder)
    from megaasr.model.qwen3_asr import Qwen3ASR

    place = choose_device(device)
    model, processor = _read(folder, choose_dtype(place))
    return Qwen3ASR(name, model.to(place).eval(), processor, batch_size)


def check_layout(folder: Path) -> None:
    """Refuse folders that transformers would read wrongly or not at all.

    Raises:
        CheckpointError: with what was found and what to do.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no config.json: it is not a model folder")
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} is not a JSON object: it does not describe a model")
    if "thinker_config" in config:
        # The native class would read it without an error, and with its default sizes.
        raise CheckpointError(
            f"{folder} is a Qwen3-ASR checkpoint in the original layout (keys under `thinker.`), "
            "which this version cannot load yet; use the same model in transformers' layout, "
            "for example Qwen/Qwen3-ASR-1.7B-hf"
        )
    if config.get("model_type") != "qwen3_asr":
        raise CheckpointError(
            f"{folder} is a model of type {config.get('model_type')!r}, not qwen3_asr"
        )
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(p.name for p in folder.glob("*") if p.suffix in {".bin", ".pt", ".pth"})
        why = f" ({', '.join(pickles)} is refused: a pickle can run code)" if pickles else ""
        raise CheckpointError(f"{folder} holds no .safetensors weights{why}")


def choose_device(device: str | None) -> torch.device:
    """Return the device asked for, or CUDA, MPS, CPU in this order.

    Raises:
        UsageError: the device does not exist here.
    """
    import torch

    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(1, device=place).cpu()  # a device such as `meta` has no numbers to give
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise UsageError(
            f"--device {device}: not available here ({str(error).splitlines()[0]}); "
            f"here there is {', '.join(_devices())}"
        ) from error
    return place


def _devices() -> list[str]:
    import torch

    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def choose_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 on GPUs that compute in it, else float32."""
    import torch

    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # bfloat16 on a CPU was measured slower than float32 unless it has matrix units for it.
    return torch.bfloat16 if device.type == "mps" else torch.float32


def _read(folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """Read weights and processor; every weight must be there, and none may be left over."""
    import transformers
    from transformers import Qwen3ASRForConditionalGeneration, Qwen3ASRProcessor

    quiet: Any = transformers.utils.logging
    quiet.disable_progress_bar()
    load: Any = Qwen3ASRForConditionalGeneration.from_pretrained
    try:
        model, info = load(folder, dtype=dtype, use_safetensors=True, output_loading_info=True)
        processor = Qwen3ASRProcessor.from_pretrained(folder)
    except Exception as error:  # damaged files make transformers raise whatever there is
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{folder} cannot be loaded: {first}") from error
    wrong = {
        kind: sorted(map(str, info[kind]))
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if info.get(kind)
    }
    if wrong:
        listed = "; ".join(
            f"{kind.replace('_', ' ')}: {', '.join(keys[:5])}"
            + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
            for kind, keys in wrong.items()
        )
        raise CheckpointError(f"{folder} does not match its config.json ({listed})")
    if processor.tokenizer.convert_tokens_to_ids(AUDIO_PAD) != model.config.audio_token_id:
        raise CheckpointError(
            f"the tokenizer in {folder} does not fit its config.json ({AUDIO_PAD} has another "
            "number or none); is tokenizer.json missing?"
        )
    return model, processor
