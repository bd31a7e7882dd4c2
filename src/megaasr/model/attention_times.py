"""Where in the audio the words of a text are: by the attention of decoder heads that follow speech.

Some heads of a decoder attend to the frames of the token that is written next
(`megaasr.model.alignment_heads`). The audio is divided among the words in order, such that the
attention of each word's tokens to its own frames is as high as possible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.models.qwen3.modeling_qwen3 import apply_rotary_pos_emb

from megaasr.model.alignment_heads import AlignmentHead

_SMOOTHING_S = 0.1
"""Attention is averaged over this time: heads look at single frames of a token, not at all."""
_LEAST_ATTENTION = 1e-3
"""Least attention, relative to the mean, so that no single frame decides everything."""
Attention = NDArray[np.float32]


@dataclass
class AttentionRecord:
    """What the heads saw while a batch was decoded.

    Attributes:
        prefix: number of tokens at the end of the prompts that belong to the text.
        keys: keys of the prompts by layer, float of shape [clips, key heads, tokens, size].
        queries: queries by layer, one tensor for each token of the text, float of shape [rows,
            heads, size]: of the position before it. Up to the first generated token they have a
            row for each clip.
    """

    prefix: int = 0
    keys: dict[int, torch.Tensor] = field(default_factory=dict)
    queries: dict[int, list[torch.Tensor]] = field(default_factory=dict)

    def add(self, layer: int, queries: torch.Tensor, keys: torch.Tensor) -> None:
        """Keep queries and keys of a forward pass, float of shape [rows, heads, tokens, size]."""
        positions = 1
        if layer not in self.keys:
            self.keys[layer] = keys
            positions += self.prefix
        self.queries.setdefault(layer, []).extend(queries[:, :, -positions:].unbind(dim=2))


_RECORD: ContextVar[AttentionRecord | None] = ContextVar("megaasr_attention_record", default=None)


@contextmanager
def recording(prefix: int = 0) -> Iterator[AttentionRecord]:
    """Record what the heads of `attach_recorder` see while a batch is decoded inside the block.

    Args:
        prefix: number of tokens at the end of the longest prompt that belong to the text.
    """
    record = AttentionRecord(prefix)
    token = _RECORD.set(record)
    try:
        yield record
    finally:
        _RECORD.reset(token)


def attach_recorder(decoder: Any, heads: Sequence[AlignmentHead]) -> None:
    """Let the layers of some heads record their queries and keys.

    The queries and keys of these layers are computed twice while a batch is recorded, which is a
    small part of a layer. `recording` is the state of a call (a context variable), so several
    threads may use one model.

    Args:
        decoder: native decoder.
        heads: the heads.
    """
    for layer in {head.layer for head in heads}:
        attention = decoder.layers[layer].self_attn
        attention.register_forward_pre_hook(_recorder(layer), with_kwargs=True)


def _recorder(layer: int) -> Callable[[Any, Any, dict[str, Any]], None]:
    def record_layer(module: Any, args: Any, options: dict[str, Any]) -> None:
        record = _RECORD.get()
        if record is None:
            return
        hidden = options["hidden_states"] if "hidden_states" in options else args[0]
        shape = (*hidden.shape[:-1], -1, module.head_dim)
        queries = module.q_norm(module.q_proj(hidden).view(shape)).transpose(1, 2)
        keys = module.k_norm(module.k_proj(hidden).view(shape)).transpose(1, 2)
        rotate: Any = apply_rotary_pos_emb
        record.add(layer, *rotate(queries, keys, *options["position_embeddings"]))

    return record_layer


def attention_to_audio(
    record: AttentionRecord,
    heads: Sequence[AlignmentHead],
    row: int,
    clip: int,
    tokens: int,
    audio: torch.Tensor,
    prefix: int = 0,
) -> Attention:
    """Return the mean attention of some heads from each generated token to the audio.

    Args:
        record: what was recorded while the batch was decoded.
        heads: the heads.
        row: row of the generated tokens in the batch.
        clip: row of the prompt in the batch; another one if several samples were drawn.
        tokens: number of tokens of the text.
        audio: positions of the clip's audio tokens in its prompt, int64 of shape [frames].
        prefix: number of these tokens that the prompt ended with.

    Returns:
        Float32 of shape [tokens, frames]. Each row adds up to 1: attention to the text is left out.
    """
    total = torch.zeros(tokens, len(audio))
    for head in heads:
        keys, queries = record.keys[head.layer], record.queries[head.layer]
        group = head.head * keys.shape[1] // queries[0].shape[1]
        ahead = record.prefix + 1  # positions that have a row for each clip
        rows = [
            *(q[clip, head.head] for q in queries[record.prefix - prefix : ahead]),
            *(q[row, head.head] for q in queries[ahead : ahead + tokens - prefix - 1]),
        ][:tokens]
        query, key = torch.stack(rows).float(), keys[clip, group, audio].float()
        total += (query @ key.T / query.shape[-1] ** 0.5).softmax(dim=-1).cpu()
    attention: Attention = (total / len(heads)).numpy()
    return attention


def divide_audio(
    attention: Attention, words: Sequence[Sequence[int]], frames_per_s: float
) -> list[tuple[int, int]] | None:
    """Divide the audio among words in order; return the first frame and the end of each.

    Frames may belong to no word: before the first, between two, and after the last. The division
    has the highest sum, over the frames of words, of the logarithm of the word's attention relative
    to the mean of all frames. It is found by dynamic programming.

    Args:
        attention: attention of each token to each frame, float of shape [tokens, frames].
        words: indices of the tokens of each word, in order.
        frames_per_s: number of frames in a second.

    Returns:
        The first frame of each word and the frame after its last, which do not overlap; None if
        there are more words than frames.
    """
    frames = attention.shape[1]
    if not 0 < len(words) <= frames:
        return None
    relative = np.stack([attention[list(word)].mean(axis=0) * frames for word in words])
    width = min(frames, round(_SMOOTHING_S * frames_per_s) | 1)
    smooth = np.stack([np.convolve(row, np.full(width, 1 / width), "same") for row in relative])
    return _best_division(np.log(np.maximum(smooth, _LEAST_ATTENTION)))


def _best_division(gain: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return (first frame, end) of each word for the highest sum of gains.

    Args:
        gain: gain of each frame in each word, [words, frames]; a frame of no word gains 0.
    """
    words, frames = gain.shape
    # The states are a gap, word 0, a gap, word 1, …, a gap.
    gains = np.zeros((2 * words + 1, frames))
    gains[1::2] = gain
    can_skip = np.zeros(2 * words + 1, dtype=bool)
    can_skip[3::2] = True  # a gap between two words
    best = np.full(2 * words + 1, -np.inf)
    best[:2] = gains[:2, 0]
    moves = np.zeros((frames, 2 * words + 1), dtype=np.int8)
    for frame in range(1, frames):
        from_last = np.concatenate([[-np.inf], best[:-1]])
        from_word = np.concatenate([[-np.inf, -np.inf], best[:-2]])
        candidates = np.stack([best, from_last, np.where(can_skip, from_word, -np.inf)])
        moves[frame] = candidates.argmax(axis=0)
        best = candidates.max(axis=0) + gains[:, frame]
    state = 2 * words - (best[-2] > best[-1])
    bounds = [(frames, 0)] * words
    for frame in range(frames - 1, -1, -1):
        if state % 2:
            _, end = bounds[state // 2]
            bounds[state // 2] = (frame, max(end, frame + 1))
        state -= int(moves[frame, state])
    return bounds
