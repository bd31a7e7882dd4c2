"""An adapter as side branches of the model, switched per clip inside one batch.

Weights are never written, so "off" is the base bit for bit, and nothing has to be switched back.
Which clips of a batch take the branch is state of the call (a context variable), not of the model:
several threads may use one model with different routes.

The rows of a batch are not the same everywhere in Qwen3-ASR: the convolutions' output layer sees
chunks of mel frames (of a second in Qwen3-ASR), batch-major, padding included; the encoder's
layers and the projector see the valid tokens of all clips in one flat sequence; the decoder sees
clips.
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

Rows = Literal["chunks", "tokens", "clips"]


@dataclass(frozen=True, slots=True)
class Gate:
    """Which rows of each kind take the side branch; None: all of them.

    Attributes:
        rows: by kind, a slice where they stand together, else int64 [n] indices.
    """

    rows: dict[Rows, slice | torch.Tensor] | None


_GATE: ContextVar[Gate | None] = ContextVar("megaasr_adapter_gate", default=None)


@contextmanager
def routed(
    robust: Sequence[bool], chunks: int, tokens: Sequence[int], device: torch.device
) -> Iterator[None]:
    """Let some clips of a batch take the side branches while the context lasts.

    Args:
        robust: for each clip.
        chunks: chunks in each clip's padded features; their length is the model's.
        tokens: valid audio tokens of each clip.
        device: of the model.
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
    """Return where flags are set: a slice, which costs nothing to apply, if they touch."""
    found = flags.nonzero().squeeze(-1)
    first, last = int(found[0]), int(found[-1]) + 1
    return slice(first, last) if last - first == len(found) else found.to(device)


class _Branch:
    """The side branch of one linear layer, as a forward hook."""

    def __init__(self, a: torch.Tensor, b: torch.Tensor, kind: Rows) -> None:
        self._down, self._up, self._kind = a.T.contiguous(), b.T.contiguous(), kind

    def __call__(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        gate = _GATE.get()
        if gate is None:
            return output
        x: torch.Tensor = inputs[0]
        rows = slice(None) if gate.rows is None else gate.rows[self._kind]
        # In place: the output was made a moment ago, and nobody else holds it.
        if isinstance(rows, slice):
            self._add(x[rows], output[rows])
            return output
        part = output.index_select(0, rows)
        self._add(x.index_select(0, rows), part)
        return output.index_copy_(0, rows, part)

    def _add(self, x: torch.Tensor, output: torch.Tensor) -> None:
        inside = x.reshape(-1, x.shape[-1]) @ self._down
        output.view(-1, output.shape[-1]).addmm_(inside, self._up)


def attach(model: nn.Module, adapter: Adapter) -> None:
    """Give a native model the side branches of an adapter, closed until `routed` opens them.

    Raises:
        CheckpointError: a layer of the adapter has no home in the model, or another size; all
            are listed, and the model is left as it was.
    """
    modules = dict(model.named_modules())
    wrong = [
        problem
        for name, layer in adapter.layers.items()
        if (problem := _problem(name, modules.get(name), layer.a, layer.b))
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CheckpointError(
            f"the adapter {adapter.name} does not fit this model: {'; '.join(wrong[:5])}{more}"
        )
    for name, layer in adapter.layers.items():
        weight: Any = modules[name].weight
        a, b = (one.to(weight.device, weight.dtype) for one in (layer.a, layer.b))
        modules[name].register_forward_hook(_Branch(a, b, _kind(name)))


def _problem(name: str, module: nn.Module | None, a: torch.Tensor, b: torch.Tensor) -> str | None:
    if not isinstance(module, nn.Linear):
        return f"{name} is {'no linear layer' if module else 'not in the model'}"
    size = (module.out_features, module.in_features)
    if (b.shape[0], a.shape[1]) != size:
        return f"{name} is {size[1]} to {size[0]}, the adapter's {a.shape[1]} to {b.shape[0]}"
    return None


def _kind(name: str) -> Rows:
    if name.endswith("audio_tower.conv_out"):
        return "chunks"
    inside = ("model.audio_tower.", "model.multi_modal_projector.")
    return "tokens" if name.startswith(inside) else "clips"
