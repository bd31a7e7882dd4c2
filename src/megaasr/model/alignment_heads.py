"""Which heads of a decoder follow the speech, as the folder of a model names them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.errors import CheckpointError

HEADS_FILE = "alignment_heads.json"
"""Name of the file beside a model's weights: `{"heads": [[layer, head], ...]}`."""


@dataclass(frozen=True, slots=True)
class AlignmentHead:
    """A head of the decoder that attends to the frames of the token that is written next.

    Attributes:
        layer: index of the layer.
        head: index of the query head in the layer.
    """

    layer: int
    head: int


def read_heads(folder: Path, layers: int, heads: int) -> tuple[AlignmentHead, ...]:
    """Return the alignment heads of a model; none if its folder has no `alignment_heads.json`.

    Args:
        folder: folder of the model.
        layers: number of layers of the decoder.
        heads: number of query heads in a layer.

    Raises:
        CheckpointError: the file is no list of `[layer, head]` of this decoder.
    """
    path = folder / HEADS_FILE
    if not path.is_file():
        return ()
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))["heads"]
        named = tuple(AlignmentHead(int(layer), int(head)) for layer, head in pairs)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} does not list heads as [layer, head]: {error}") from error
    for head in named:
        if not (0 <= head.layer < layers and 0 <= head.head < heads):
            raise CheckpointError(
                f"{path}: layer {head.layer}, head {head.head} is not in the decoder, which has "
                f"{layers} layers of {heads} heads"
            )
    return named


def write_heads(folder: Path, heads: Sequence[AlignmentHead]) -> None:
    """Write `alignment_heads.json` into the folder of a model."""
    document = {"heads": [[head.layer, head.head] for head in heads]}
    write_atomically(folder / HEADS_FILE, strict_json.dumps(document) + "\n")
