"""Which heads of a decoder follow the speech, as the folder of a model names them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.errors import CheckpointError

HEADS_FILE = "alignment_heads.json"
"""Name of the file beside a model's weights: `{"heads": [[layer, head], ...], "delay_s": 0.02}`."""


@dataclass(frozen=True, slots=True)
class AlignmentHead:
    """A head of the decoder that attends to the frames of the token that is written next.

    Attributes:
        layer: index of the layer.
        head: index of the query head in the layer.
    """

    layer: int
    head: int


@dataclass(frozen=True, slots=True)
class AlignmentHeads:
    """The heads of a model that tell when words are spoken.

    Attributes:
        heads: the heads; none if they are unknown.
        delay_s: seconds by which their attention is late, which is subtracted from the times of
            words; negative if it is early.
    """

    heads: tuple[AlignmentHead, ...] = ()
    delay_s: float = 0.0


NO_HEADS = AlignmentHeads()
"""What is known of a model without `alignment_heads.json`."""


def read_heads(folder: Path, layers: int, heads: int) -> AlignmentHeads:
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
        return NO_HEADS
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        pairs = document["heads"]
        named = tuple(AlignmentHead(int(layer), int(head)) for layer, head in pairs)
        delay_s = float(document.get("delay_s", 0.0))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} does not list heads as [layer, head]: {error}") from error
    for head in named:
        if not (0 <= head.layer < layers and 0 <= head.head < heads):
            raise CheckpointError(
                f"{path}: layer {head.layer}, head {head.head} is not in the decoder, which has "
                f"{layers} layers of {heads} heads"
            )
    return AlignmentHeads(named, delay_s)


def write_heads(folder: Path, heads: AlignmentHeads) -> None:
    """Write `alignment_heads.json` into the folder of a model."""
    pairs = [[head.layer, head.head] for head in heads.heads]
    document = {"heads": pairs, "delay_s": round(heads.delay_s, 4)}
    write_atomically(folder / HEADS_FILE, strict_json.dumps(document) + "\n")
