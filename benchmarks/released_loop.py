"""The released way to use two branches: dense changes are added to the weights and subtracted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from megaasr.adapter.peft_layout import LowRank


class ReleasedLoop:
    """Transcribes clips with a model whose weights it changes.

    Args:
        model: native model.
        layers: changes of the robust branch by the names of the layers; they are multiplied out,
            in the type and on the device of the weights.
    """

    def __init__(self, model: Any, layers: Mapping[str, LowRank]) -> None:
        modules = dict(model.named_modules())
        self._changes = []
        for name, layer in layers.items():
            weight = modules[name].weight
            delta = layer.b.to(weight.device) @ layer.a.to(weight.device)
            self._changes.append((weight, delta.to(weight.dtype)))

    def run(self, routes: Sequence[str], decode: Callable[[int], list[int]]) -> list[list[int]]:
        """Decode one clip at a time, sorted by route, so that weights change once and back.

        Args:
            routes: route of each clip.
            decode: returns the tokens of a clip, by its index.

        Returns:
            The tokens of each clip, in the order of the routes.
        """
        outputs: dict[int, list[int]] = {}
        for branch in ("base", "robust"):
            if branch == "robust":
                self._change(1)
            try:
                for number, route in enumerate(routes):
                    if route == branch:
                        outputs[number] = decode(number)
            finally:
                if branch == "robust":
                    self._change(-1)
        return [outputs[number] for number in range(len(routes))]

    def _change(self, sign: int) -> None:
        import torch

        with torch.no_grad():
            for weight, delta in self._changes:
                weight.add_(delta, alpha=sign)
