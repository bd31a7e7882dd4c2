"""Find the heads of a decoder that attend to the speech of the token that is written next.

The decoder reads clips with their transcripts, in one pass each. A head follows the speech if its
attention, from the position before each token of a word, lies on the frames in which the word is
spoken. Of the best heads, as many are taken as give the smallest errors of word times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from megaasr.audio.waveform import Samples
from megaasr.errors import UsageError
from megaasr.model.alignment_heads import AlignmentHead, AlignmentHeads
from megaasr.model.attention_times import divide_audio
from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import extract_features
from megaasr.model.qwen3_asr import Qwen3ASR
from megaasr.model.token_scores import words_of_tokens

MAX_HEADS = 8
"""Largest number of heads that are chosen; further ones only cost time."""
_MARGIN_S = 0.04  # around a word; its edges are no sharper than that
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TimedClip:
    """A clip of which it is known when its words are spoken.

    Attributes:
        samples: audio, float32 of shape [time], 16 kHz mono, at most 30 s.
        words: the words with punctuation; joined with spaces they are the transcript.
        bounds: start and end of each word in seconds.
        language: ISO code of the language.
    """

    samples: Samples
    words: tuple[str, ...]
    bounds: tuple[tuple[float, float], ...]
    language: str = "en"


@dataclass(frozen=True, slots=True)
class HeadSearch:
    """The result of a search.

    Attributes:
        heads: the chosen heads, the best first, and the delay of their attention.
        shares: share of each head's attention, 0..1, that lies on the spoken word: float64 of shape
            [layers, heads].
        median_errors_s: median error of starts and ends with the best 1, 2, … heads, in seconds,
            without the median of their deviations.
    """

    heads: AlignmentHeads
    shares: Floats
    median_errors_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the decoder attended to while it read a clip.

    Attributes:
        attention: attention to the audio from the position before each token of the words, as a
            share of that to all audio: float64 of shape [layers, heads, tokens, frames].
        words: indices of the tokens of each word.
        bounds: start and end of each word in seconds.
    """

    attention: Floats
    words: tuple[tuple[int, ...], ...]
    bounds: tuple[tuple[float, float], ...]


def find_alignment_heads(model: Qwen3ASR, clips: Sequence[TimedClip]) -> HeadSearch:
    """Return the heads of a model that follow the speech.

    Args:
        model: the model; afterwards its decoder computes attention without fused kernels.
        clips: clips with known times of words.

    Raises:
        UsageError: there is no clip whose words are those that the tokenizer spells.
    """
    decoder: Any = model.model.model.language_model
    decoder.set_attn_implementation("eager")  # fused attention returns no weights
    total, words = np.zeros(0), 0
    for reading in _read(model, clips):
        shares = _shares_on_words(reading, model.geometry)  # [layers, heads, words]
        total = total + shares.sum(axis=-1) if words else shares.sum(axis=-1)
        words += shares.shape[-1]
    if not words:
        raise UsageError("no clip has words with times that the model's tokenizer spells alike")
    mean: Floats = total / words
    order = np.argsort(-mean, axis=None, kind="stable")[:MAX_HEADS]
    layers, heads = np.unravel_index(order, mean.shape)
    ranked = [AlignmentHead(int(a), int(b)) for a, b in zip(layers, heads, strict=True)]
    deviations: list[list[float]] = [[] for _ in ranked]
    time_of = model.geometry.token_start_s
    for reading in _read(model, clips):
        for count in range(1, len(ranked) + 1):
            chosen = reading.attention[layers[:count], heads[:count]].mean(axis=0)
            division = divide_audio(
                chosen.astype(np.float32), reading.words, model.geometry.tokens_per_s
            )
            for (start, end), (first, last) in zip(reading.bounds, division or (), strict=False):
                deviations[count - 1] += [time_of(first) - start, time_of(last) - end]
    delays = [float(np.median(values)) if values else 0.0 for values in deviations]
    errors = tuple(
        float(np.median(np.abs(np.array(values) - delay))) if values else math.inf
        for values, delay in zip(deviations, delays, strict=True)
    )
    best = int(np.argmin(errors))
    chosen_heads = AlignmentHeads(tuple(ranked[: best + 1]), delays[best])
    return HeadSearch(chosen_heads, mean, errors)


@torch.inference_mode()
def _read(model: Qwen3ASR, clips: Sequence[TimedClip]) -> Iterator[_Reading]:
    """Yield what the decoder attended to in each clip whose words the tokenizer spells alike."""
    native: Any = model.model
    extractor: Any = model.processor.feature_extractor
    device, dtype = native.device, native.dtype
    for clip in clips:
        features = extract_features(extractor, clip.samples)
        text = " ".join(clip.words)
        ids, labels = model.builder.example(len(features), text, clip.language)
        prompt = sum(label != target for label, target in zip(labels, ids, strict=True))
        spelled = words_of_tokens(model.token_texts(ids[prompt:]), forced=False)
        if [word.text for word in spelled] != list(clip.words):
            continue
        inputs = {k: v.to(device) for k, v in model.builder.pad_features([features]).items()}
        inputs["input_features"] = inputs["input_features"].to(dtype)
        tokens = torch.tensor([ids], device=device)
        output = native(
            **inputs,
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            output_attentions=True,
            use_cache=False,
        )
        audio = (tokens[0] == native.config.audio_token_id).nonzero().squeeze(-1)
        # The position before a token writes it.
        rows = torch.arange(prompt, len(ids), device=device) - 1
        weights = torch.stack([layer[0] for layer in output.attentions]).float()
        on_audio = weights[:, :, rows][..., audio]
        on_audio = on_audio / on_audio.sum(dim=-1, keepdim=True).clamp_min(1e-9)
        yield _Reading(
            on_audio.cpu().numpy().astype(np.float64),
            tuple(word.tokens for word in spelled),
            clip.bounds,
        )


def _shares_on_words(reading: _Reading, geometry: AudioGeometry) -> Floats:
    """Return the share of attention on each word: float64 of shape [layers, heads, words]."""
    frames = reading.attention.shape[-1]
    starts = np.array([geometry.token_start_s(frame) for frame in range(frames + 1)])
    middle = (starts[1:] + starts[:-1]) / 2
    shares = []
    for tokens, (start, end) in zip(reading.words, reading.bounds, strict=True):
        inside = (middle >= start - _MARGIN_S) & (middle <= end + _MARGIN_S)
        shares.append(reading.attention[:, :, list(tokens)][..., inside].sum(axis=-1).mean(axis=-1))
    return np.stack(shares, axis=-1)
