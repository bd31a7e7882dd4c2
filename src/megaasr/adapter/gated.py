"""An adapter as side branches of the model, gated for each clip of a batch.

The model's weights are never changed, so without the branches the model is the base, bit for bit,
and nothing has to be switched back. Which clips of a batch use the branches is the state of a call
(a context variable), not of the model: several threads may use one model with different routes.

The rows of a batch differ between the layers of Qwen3-ASR. The output layer of the convolutions
processes encoder chunks (one second each in the released models), clip after clip, with padding.
The encoder's layers and the projector process the valid tokens of all clips as one sequence. The
decoder processes clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from megaasr.adapter.peft_layout import Adapter
from megaasr.errors import CheckpointError

RowKind = Literal["chunks", "tokens", "clips"]
"""What a row of a layer's input is."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The rows that use the side branches.

    Attributes:
        rows: rows of each kind: a slice if they are adjacent, else indices, int64 of shape [n].
            None: all rows.
    """

    rows: dict[RowKind, slice | torch.Tensor] | None


_GATE: ContextVar[Gate | None] = ContextVar("megaasr_adapter_gate", default=None)


@contextmanager
def routed(
    robust: Sequence[bool], chunks: int, tokens: Sequence[int], device: torch.device
) -> Iterator[None]:
    """Make the robust clips of a batch use the side branches inside the block.

    Args:
        robust: whether each clip uses the side branches.
        chunks: number of encoder chunks in a clip's padded features; equal for all clips.
        tokens: number of valid audio tokens of each clip.
        device: device of the model.
    """
    gate: Gate | None = None
    if all(robust):
        gate = Gate(None)
    elif any(robust):
        flags, counts = torch.tensor(robust), torch.tensor(tokens)
        gate = Gate(
            {
                "clips": _rows(flags, device),
                "chunks": _rows(flags.repeat_interleave(chunks), device),
                "tokens": _rows(flags.repeat_interleave(counts), device),
            }
        )
    token = _GATE.set(gate)
    try:
        yield
    finally:
        _GATE.reset(token)


def _rows(flags: torch.Tensor, device: torch.device) -> slice | torch.Tensor:
    """Return the rows whose flag is set: a slice, which copies nothing, if they are adjacent."""
    rows = flags.nonzero().squeeze(-1)
    start, stop = int(rows[0]), int(rows[-1]) + 1
    return slice(start, stop) if stop - start == len(rows) else rows.to(device)


class _SideBranch:
    """The side branch of one linear layer, as a forward hook."""

    def __init__(self, a: torch.Tensor, b: torch.Tensor, kind: RowKind) -> None:
        self._down, self._up, self._kind = a.T.contiguous(), b.T.contiguous(), kind

    def __call__(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        gate = _GATE.get()
        if gate is None:
            return output
        x: torch.Tensor = inputs[0]
        rows = slice(None) if gate.rows is None else gate.rows[self._kind]
        # In place: the layer has just made the output, and nothing else refers to it.
        if isinstance(rows, slice):
            self._add(x[rows], output[rows])
            return output
        selected = output.index_select(0, rows)
        self._add(x.index_select(0, rows), selected)
        return output.index_copy_(0, rows, selected)

    def _add(self, x: torch.Tensor, output: torch.Tensor) -> None:
        hidden = x.reshape(-1, x.shape[-1]) @ self._down
        output.view(-1, output.shape[-1]).addmm_(hidden, self._up)


def attach(model: nn.Module, adapter: Adapter) -> None:
    """Attach the side branches of an adapter to a native model; `routed` switches them on.

    Args:
        model: native model.
        adapter: adapter of that model.

    Raises:
        CheckpointError: layers of the adapter do not exist in the model, or have another size; the
            first of them are listed, and the model is unchanged.
    """
    modules = dict(model.named_modules())
    problems = [
        problem
        for name, layer in adapter.layers.items()
        if (problem := _problem(name, modules.get(name), layer.a, layer.b))
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(
            f"the adapter {adapter.name} does not fit this model: {'; '.join(problems[:5])}{more}"
        )
    for name, layer in adapter.layers.items():
        parameter = next(modules[name].parameters())
        # Quantised layers compute in float32, and so do their side branches.
        dtype = parameter.dtype if parameter.is_floating_point() else torch.float32
        a, b = (matrix.to(parameter.device, dtype) for matrix in (layer.a, layer.b))
        modules[name].register_forward_hook(_SideBranch(a, b, _row_kind(name)))


def _problem(name: str, module: nn.Module | None, a: torch.Tensor, b: torch.Tensor) -> str | None:
    # Linear layers of any kind, also quantised ones.
    inputs, outputs = (getattr(module, size, None) for size in ("in_features", "out_features"))
    if inputs is None or outputs is None:
        return f"{name} is {'no linear layer' if module else 'not in the model'}"
    if (a.shape[1], b.shape[0]) != (inputs, outputs):
        return f"{name} is {inputs} to {outputs}, the adapter's {a.shape[1]} to {b.shape[0]}"
    return None


def _row_kind(name: str) -> RowKind:
    if name.endswith("audio_tower.conv_out"):
        return "chunks"
    is_audio = name.startswith(("model.audio_tower.", "model.multi_modal_projector."))
    return "tokens" if is_audio else "clips"
