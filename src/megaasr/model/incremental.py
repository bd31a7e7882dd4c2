"""Decoding of chunks that grow, and of texts whose beginning is known.

A live session decodes the same chunk again and again while it is spoken. With a `ModelState`, the
attention windows of the encoder that are complete are encoded once, and the decoder's keys and
values of the prompt up to their end are kept. So a request costs the encoder at most one window,
and the decoder the tokens of that window, of the prompt after the audio, and of the text.

The windows are independent of each other, so the tokens are those of the whole chunk, but for one
thing: mel features are floored relative to the loudest frame of a clip, and a louder frame after a
window was encoded no longer changes it. Models whose attention has no window that ends within a
chunk (`encoder_attention` global, and `small`) keep nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from megaasr.adapter.gated import routed
from megaasr.model.cache_argument import cache_argument, output_cache
from megaasr.model.inputs import (
    Features,
    InputBuilder,
    extract_features,
    insert_audio,
    to_device,
)
from megaasr.model.interface import Request, SamplingSettings
from megaasr.model.sampling import SampledTokens, TranscriptSampler, positions_of

# The most probable token; what `draw_token` needs no number for.
_GREEDY = SamplingSettings(samples=1, temperature=1.0, top_k=1, top_p=1.0)


@dataclass(frozen=True, slots=True)
class _KeptWindows:
    """The content of a `ModelState`: the beginning of a prompt, up to the last complete window.

    Attributes:
        route: branch that computed it.
        before: token ids of the prompt before the audio.
        samples: number of samples that the windows depend on.
        checksum: CRC-32 of these samples.
        windows: number of complete windows, at least 1.
        layers: keys and values of each layer of the decoder, float of shape [heads, tokens, size].
    """

    route: str
    before: tuple[int, ...]
    samples: int
    checksum: int
    windows: int
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    @property
    def tokens(self) -> int:
        """Number of tokens of the prompt whose keys and values are kept."""
        return int(self.layers[0][0].shape[1])

    def belongs_to(self, request: Request, before: Sequence[int]) -> bool:
        """Return whether a request continues the chunk that was kept, in the same prompt."""
        return (
            self.route == request.route
            and self.before == tuple(before)
            and self.samples <= request.samples.size
            and self.checksum == _checksum(request, self.samples)
        )


@dataclass(frozen=True, slots=True)
class _Row:
    """A request of a batch.

    Attributes:
        request: the request.
        kept: what was kept of its chunk; None if nothing was.
        features: log-mel features after the kept windows, float32 of shape [frames, mels].
        ids: token ids of the prompt after what was kept, with the prefix.
        prefix: token ids of the prefix.
        before: token ids of the prompt before the audio.
        windows: number of complete windows in the chunk.
    """

    request: Request
    kept: _KeptWindows | None
    features: Features
    ids: tuple[int, ...]
    prefix: tuple[int, ...]
    before: tuple[int, ...]
    windows: int

    @property
    def kept_tokens(self) -> int:
        """Number of tokens of the prompt that need not be computed."""
        return 0 if self.kept is None else self.kept.tokens


@dataclass(frozen=True, slots=True)
class ContinuedTokens:
    """The decoded tokens of one request.

    Attributes:
        ids: token ids of the prefix and of what follows, with the end token if there is one.
        logprobs: log-probability of each of them in the model's own distribution, in nats.
        prefix: number of tokens of the prefix.
        audio: positions of the audio tokens among the prompt's keys, int64 of shape [tokens]; None
            if some of them were kept from an earlier request.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    prefix: int
    audio: torch.Tensor | None


class IncrementalDecoder:
    """Decodes requests that have a prefix or a state.

    Args:
        model: native model.
        processor: the model's native processor.
        builder: builds the model's inputs.
    """

    def __init__(self, model: Any, processor: Any, builder: InputBuilder) -> None:
        self._model, self._processor, self._builder = model, processor, builder
        self._geometry = builder.geometry

    def prefix_tokens(self, request: Request) -> int:
        """Return the number of tokens of a request's prefix."""
        return len(self._encode(request.prefix))

    @torch.inference_mode()
    def decode(self, requests: Sequence[Request], budgets: Sequence[int]) -> list[ContinuedTokens]:
        """Decode a batch of requests, and update their states.

        Args:
            requests: greedy requests, or a single one with a temperature.
            budgets: token budget of each request, prefix included.

        Returns:
            The tokens of each request, in the same order.
        """
        rows = [self._row(request) for request in requests]
        padded = self._builder.pad_prompts([row.ids for row in rows])
        ids = padded["input_ids"].to(self._model.device)
        kept = max(row.kept_tokens for row in rows)
        attention = torch.cat([_kept_mask(rows, kept), padded["attention_mask"]], dim=1)
        attention = attention.to(self._model.device)
        cache = self._cache(rows, kept) if kept else None
        longest = max(len(row.prefix) for row in rows)
        with self._routed(rows) as features:
            embedded = self._embed(ids, features)
            output = self._model(
                inputs_embeds=embedded,
                attention_mask=attention,
                position_ids=positions_of(attention)[:, kept:],
                **cache_argument(cache),
                use_cache=True,
                logits_to_keep=longest + 1,
            )
            cache = output_cache(output)
            for number, row in enumerate(rows):
                self._keep(row, cache, number, kept + ids.shape[1] - len(row.ids))
            samples = self._draw(requests, rows, budgets, output.logits, attention, cache)
        is_audio = ids == self._model.config.audio_token_id
        return [
            ContinuedTokens(
                (*row.prefix, *sample.ids),
                (*_prefix_logprobs(row.prefix, logits), *sample.logprobs),
                len(row.prefix),
                audio.nonzero().squeeze(-1) if row.request.state is None else None,
            )
            for row, sample, logits, audio in zip(
                rows, samples, output.logits, is_audio, strict=True
            )
        ]

    def _row(self, request: Request) -> _Row:
        geometry = self._geometry
        features = extract_features(self._processor.feature_extractor, request.samples)
        before, after = self._builder.prompt_ends(request.context, request.language)
        prefix = self._encode(request.prefix)
        kept = None if request.state is None else request.state.content
        if not (isinstance(kept, _KeptWindows) and kept.belongs_to(request, before)):
            kept = None
        first = 0 if kept is None else kept.windows * geometry.window_frames
        audio = self._builder.audio_placeholders(len(features) - first)
        return _Row(
            request,
            kept,
            features[first:],
            (*(before if kept is None else ()), *audio, *after, *prefix),
            tuple(prefix),
            tuple(before),
            # The last frames change with the sound that follows.
            max(0, request.samples.size - geometry.n_fft) // geometry.window_samples,
        )

    def _encode(self, text: str) -> list[int]:
        return list(self._processor.tokenizer(text)["input_ids"]) if text else []

    @contextmanager
    def _routed(self, rows: Sequence[_Row]) -> Iterator[dict[str, torch.Tensor]]:
        """Yield the features of a batch, within the routes of its rows."""
        device, dtype = self._model.device, self._model.dtype
        features = self._builder.pad_features([row.features for row in rows])
        with routed(
            [row.request.route == "robust" for row in rows],
            self._geometry.chunk_count(features["input_features"].shape[2]),
            [self._geometry.audio_tokens(len(row.features)) for row in rows],
            device,
        ):
            yield to_device(features, device, dtype)

    def _embed(self, ids: torch.Tensor, features: dict[str, torch.Tensor]) -> torch.Tensor:
        embedded: torch.Tensor = self._model.get_input_embeddings()(ids)
        audio = self._model.get_audio_features(**features, return_dict=True).pooler_output
        return insert_audio(
            embedded, ids, audio.to(embedded.dtype), self._model.config.audio_token_id
        )

    def _draw(
        self,
        requests: Sequence[Request],
        rows: Sequence[_Row],
        budgets: Sequence[int],
        logits: torch.Tensor,
        attention: torch.Tensor,
        cache: Any,
    ) -> list[SampledTokens]:
        """Generate what follows the prefixes."""
        limits = [
            max(1, budget - len(row.prefix)) for row, budget in zip(rows, budgets, strict=True)
        ]
        request, settings = requests[0], _GREEDY
        uniforms = np.zeros((max(limits), len(rows)))
        if request.temperature > 0:
            settings = SamplingSettings(1, request.temperature)
            uniforms = np.random.default_rng(request.seed).random(uniforms.shape)
        sampler = TranscriptSampler(self._model, self._builder.pad_id, settings)
        return sampler.generate(logits[:, -1], attention, cache, torch.from_numpy(uniforms), limits)

    def _cache(self, rows: Sequence[_Row], kept: int) -> DynamicCache:
        """Return a cache with what was kept of each row, padded on the left to equal length."""
        cache = DynamicCache()
        example = next(row.kept for row in rows if row.kept is not None)
        for layer, pair in enumerate(example.layers):
            padded: list[torch.Tensor] = []
            for part, like in enumerate(pair):
                heads, _, size = like.shape
                values = like.new_zeros((len(rows), heads, kept, size))
                for number, row in enumerate(rows):
                    if row.kept is not None:
                        values[number, :, kept - row.kept.tokens :] = row.kept.layers[layer][part]
                padded.append(values)
            cache.update(padded[0], padded[1], layer)
        return cache

    def _keep(self, row: _Row, cache: Any, number: int, start: int) -> None:
        """Put the windows that are complete into the state of a row.

        Args:
            row: the row.
            cache: keys and values of the batch.
            number: index of the row in the batch.
            start: position of its first token that was not kept.
        """
        state, kept = row.request.state, row.kept
        if state is None:
            return
        windows = 0 if kept is None else kept.windows
        if row.windows <= windows:
            state.content = kept
            return
        frames = (row.windows - windows) * self._geometry.window_frames
        count = self._geometry.audio_tokens(frames) + (0 if kept else len(row.before))
        layers = []
        for index, layer in enumerate(cache.layers):
            pair = [
                values[number, :, start : start + count].clone()
                for values in (layer.keys, layer.values)
            ]
            if kept is not None:
                pair = [
                    torch.cat(part, dim=1) for part in zip(kept.layers[index], pair, strict=True)
                ]
            layers.append((pair[0], pair[1]))
        samples = row.windows * self._geometry.window_samples + self._geometry.n_fft
        state.content = _KeptWindows(
            row.request.route,
            row.before,
            samples,
            _checksum(row.request, samples),
            row.windows,
            tuple(layers),
        )


def _checksum(request: Request, samples: int) -> int:
    return zlib.crc32(np.ascontiguousarray(request.samples[:samples]).data)


def _kept_mask(rows: Sequence[_Row], kept: int) -> torch.Tensor:
    """Return 1 for the kept tokens of each row and 0 for padding before them, [rows, tokens]."""
    mask = torch.zeros((len(rows), kept), dtype=torch.long)
    for number, row in enumerate(rows):
        mask[number, kept - row.kept_tokens :] = 1
    return mask


def _prefix_logprobs(prefix: Sequence[int], logits: torch.Tensor) -> list[float]:
    """Return the log-probability of each token of a prefix.

    Args:
        prefix: its token ids.
        logits: scores of the last tokens of the prompt, float of shape [tokens, vocabulary]; the
            last of them predicts what follows the prefix.
    """
    if not prefix:
        return []
    scores = logits[-len(prefix) - 1 : -1].float().log_softmax(dim=-1)
    tokens = torch.tensor(prefix, device=logits.device).unsqueeze(1)
    logprobs: list[float] = scores.gather(1, tokens).squeeze(1).tolist()
    return logprobs
