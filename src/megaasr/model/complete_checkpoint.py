"""Reads checkpoints with transformers' native classes, and refuses those that are incomplete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megaasr.errors import CheckpointError, first_line
from megaasr.model.layout import is_stored_int8, read_processor

if TYPE_CHECKING:
    import torch

_MAX_LISTED = 5


def load_complete(
    native_class: Any,
    folder: Path,
    *,
    config: Any,
    dtype: torch.dtype,
    key_mapping: Mapping[str, str] | None,
) -> tuple[Any, Any]:
    """Read a model and its processor; every weight of the model must be there, and no other.

    Args:
        native_class: transformers' class of the model.
        folder: folder of the checkpoint, in either layout.
        config: native configuration of the model.
        dtype: data type to load the weights in; with int8, the linear layers and the embedding are
            quantised (`model.int8`), and all else is float32.
        key_mapping: maps the names of the weights of the original layout to the native ones; None
            for the native layout.

    Returns:
        The native model, on the CPU, and its processor.

    Raises:
        CheckpointError: the checkpoint is damaged, or does not match its configuration.
    """
    import torch
    import transformers

    transformers_logging: Any = transformers.utils.logging
    transformers_logging.disable_progress_bar()
    options: dict[str, Any] = {} if key_mapping is None else {"key_mapping": key_mapping}
    quantised = dtype == torch.int8
    if quantised:
        from megaasr.model.int8 import Int8Config  # registers the quantiser

        dtype = torch.float32
        if not is_stored_int8(folder):
            options["quantization_config"] = Int8Config()
    with explained_damage(folder):
        model, info = native_class.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
        processor = read_processor(folder)
    _require_exact(folder, info)
    if quantised:
        from megaasr.model.packed_int8 import pack_if_faster

        pack_if_faster(model)
    return model, processor


@contextmanager
def explained_damage(folder: Path) -> Iterator[None]:
    """Turn what transformers raises for a damaged checkpoint into a `CheckpointError`.

    Raises:
        CheckpointError: the block raised an error.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # transformers raises all sorts for damaged files
        raise CheckpointError(f"{folder} cannot be loaded: {first_line(error)}") from error


def _require_exact(folder: Path, info: Mapping[str, Any]) -> None:
    """Raise a `CheckpointError` if weights are missing, left over or of another shape."""
    problems = {
        problem: sorted(map(str, info[problem]))
        for problem in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if info.get(problem)
    }
    if problems:
        listed = "; ".join(
            f"{problem.replace('_', ' ')}: {', '.join(keys[:_MAX_LISTED])}"
            + (f" and {len(keys) - _MAX_LISTED} more" if len(keys) > _MAX_LISTED else "")
            for problem, keys in problems.items()
        )
        raise CheckpointError(f"{folder} does not match its config.json ({listed})")
