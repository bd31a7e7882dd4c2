"""How much memory a model needs, by arithmetic from its configuration, before it is loaded.

Symbols in the formulae of this module:

| | |
|---|---|
| s | bytes of an activation: 4 in float32 and int8 (which computes in float32), 2 in 16 bit |
| F | mel frames of the chunk, with padding; M mel bands; N length of the Fourier transform |
| C | channels of the convolutions |
| A | audio tokens of the chunk |
| P | tokens of the prompt: A and the text around it |
| G | the chunk's token budget |
| L, h, f | layers, width and feed-forward width (of the decoder if not said otherwise) |
| H, K, d | query heads, key heads and head size of the decoder |
| V | entries of the vocabulary |

Every function returns bytes. A chunk is decoded in phases, and what a phase needs is free again in
the next; so a chunk needs as much as its largest phase. In the released models this is the second
convolution of the encoder.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megaasr.errors import CheckpointError
from megaasr.model.chunk_length import read_max_chunk_s
from megaasr.model.empty_model import empty_model
from megaasr.model.geometry import AudioGeometry

if TYPE_CHECKING:
    import torch

    from megaasr.model.encoder_attention import EncoderAttention
    from megaasr.model.parts import ModelParts

DTYPE_BYTES: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 4}
"""Bytes of an activation by the data type of the weights; int8 weights compute in float32."""
PROMPT_TEXT_TOKENS = 128
"""Tokens of the prompt besides the audio: turns, language, and a sentence or two of context."""
_MASK_COPIES = 2  # of the attention mask in float, while a layer runs


@dataclass(frozen=True)
class ModelMemory:
    """The memory that a model needs.

    Attributes:
        config: native configuration, see `layout.model_config`.
        geometry: how the model converts audio to mel frames and tokens.
        max_chunk_s: length of the longest chunk in seconds.
        adapter_parameters: number of parameters of the adapter; 0 without one.
        aligner_parameters: number of parameters of a forced aligner; 0 without one.
        alignment_layers: number of decoder layers with alignment heads.
    """

    config: Any
    geometry: AudioGeometry
    max_chunk_s: float = 30.0
    adapter_parameters: int = 0
    aligner_parameters: int = 0
    alignment_layers: int = 0

    @classmethod
    def of_parts(
        cls,
        parts: ModelParts,
        *,
        adapter: Path | None = None,
        aligner: Path | None = None,
        attention: EncoderAttention = "windowed",
        time_words: bool = True,
    ) -> ModelMemory:
        """Read what a model's memory depends on; no weights are read.

        Args:
            parts: base and adapter of the model.
            adapter: adapter folder instead of the model's own.
            aligner: folder of a forced aligner; None without one.
            attention: `windowed` or `global`, see `layout.model_config`.
            time_words: words are timed by the model's alignment heads, if it has any.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        from megaasr.adapter.peft_layout import WEIGHTS_FILE
        from megaasr.model.alignment_heads import read_heads
        from megaasr.model.complete_checkpoint import explained_damage
        from megaasr.model.layout import feature_extractor, model_config

        with explained_damage(parts.base):
            config = model_config(parts.base, attention)
            geometry = AudioGeometry.from_model(config, feature_extractor(parts.base))
        decoder: Any = config.text_config
        heads = read_heads(parts.base, decoder.num_hidden_layers, decoder.num_attention_heads).heads
        folder = adapter or parts.adapter
        return cls(
            config,
            geometry,
            max_chunk_s=read_max_chunk_s(parts.base),
            adapter_parameters=0 if folder is None else stored_parameters(folder / WEIGHTS_FILE),
            aligner_parameters=0
            if aligner is None
            else sum(map(stored_parameters, aligner.glob("*.safetensors"))),
            alignment_layers=len({head.layer for head in heads}) if time_words else 0,
        )

    @cached_property
    def _empty_model(self) -> Any:
        return empty_model(self.config)

    @cached_property
    def _int8_bytes(self) -> int:
        from megaasr.model.int8 import replace_layers

        model = replace_layers(empty_model(self.config))
        tied = [name for name in model.all_tied_weights_keys if not name.endswith(".weight")]
        return sum(p.numel() * p.element_size() for p in _parameters(model, tied))

    def weights_bytes(self, dtype: str) -> int:
        """Return the bytes of the base's parameters.

        The model is built on torch's device `meta`, where tensors have shapes and no memory. A
        parameter counts 4 bytes in float32 and 2 in bfloat16 and float16. With int8, a weight of a
        linear layer or embedding counts 1 byte and every row 4 for its scale, all else 4; see
        `int8`. Tied parameters count once; but with int8 the head counts, too, since CPUs with AVX2
        alone need its weights in an order of their own (`packed_int8`).

        Args:
            dtype: `float32`, `bfloat16`, `float16` or `int8`.
        """
        if dtype == "int8":
            return self._int8_bytes
        tied = self._empty_model.all_tied_weights_keys
        return sum(p.numel() for p in _parameters(self._empty_model, tied)) * DTYPE_BYTES[dtype]

    def added_bytes(self, dtype: str, device_type: str) -> int:
        """Return the bytes of the parameters of adapter and forced aligner.

        A parameter counts s bytes. On a CPU the adapter is in memory twice: as side branches, and
        in float32 as it was read.

        Args:
            dtype: data type of the base's weights.
            device_type: `cpu`, `cuda` or `mps`.
        """
        size = DTYPE_BYTES[dtype]
        adapter_size = size + (4 if device_type == "cpu" else 0)
        return self.adapter_parameters * adapter_size + self.aligner_parameters * size

    def cache_bytes(self, tokens: int, dtype: str) -> int:
        """Return the bytes of the decoder's keys and values: 2 L K d s for each token.

        Args:
            tokens: tokens of prompt and output.
            dtype: data type of the weights.
        """
        decoder = self.config.text_config
        values = decoder.num_hidden_layers * decoder.num_key_value_heads * decoder.head_dim
        return 2 * int(values) * tokens * DTYPE_BYTES[dtype]

    def chunk_bytes(self, dtype: str, device_type: str = "cpu") -> int:
        """Return the bytes that each chunk of a batch needs while it is decoded, at most.

        It is for a chunk of `max_chunk_s` that fills its token budget: what is kept throughout,
        and the largest phase.

        Args:
            dtype: data type of the weights.
            device_type: `cpu`, `cuda` or `mps`; features are computed on the CPU, and count there
                only.
        """
        on_cpu = device_type == "cpu"
        phases = [
            self._convolution_bytes(dtype),
            self._encoder_bytes(dtype),
            self._prefill_bytes(dtype),
            self._decoding_bytes(dtype),
        ]
        features = self._feature_bytes() if on_cpu else 0
        return max(features, self._kept_bytes(dtype, on_cpu=on_cpu) + max(phases))

    def linear_features(self) -> int:
        """Return the inputs and outputs of all linear layers but the last, added up: the numbers of
        an adapter of rank 1 that changes every layer."""
        from torch import nn

        layers = self._empty_model.named_modules()
        return sum(
            layer.in_features + layer.out_features
            for name, layer in layers
            if isinstance(layer, nn.Linear) and name != "lm_head"
        )

    def step_bytes(self, dtype: str, tokens: int, sequences: int) -> int:
        """Return the bytes of a step of an engine that mixes prompts and outputs, at most.

        The encoder takes as many clips as the step has tokens for; then the decoder takes all
        tokens, A of them from each clip, and scores the last of every sequence.

        Args:
            dtype: data type of the weights.
            tokens: tokens in a step.
            sequences: chunks that are decoded at once.
        """
        clips = max(1, tokens // self.geometry.audio_tokens(self._frames))
        encoder = clips * max(self._convolution_bytes(dtype), self._encoder_bytes(dtype))
        kept = tokens * int(self.config.text_config.hidden_size) * DTYPE_BYTES[dtype]
        return (
            2 * kept
            + max(encoder, self._layer_bytes(tokens, dtype))
            + sequences * (self._logits_bytes(dtype))
        )

    @property
    def _frames(self) -> int:
        """Valid mel frames of the longest chunk."""
        return self.geometry.frames(round(self.max_chunk_s * self.geometry.sample_rate))

    @property
    def _padded_frames(self) -> int:
        """Mel frames of the longest chunk as the convolutions see it."""
        geometry, frames = self.geometry, self._frames
        padded = geometry.padded_frames(frames)
        if not geometry.single_chunk:
            return padded
        from megaasr.model.chunk_trimming import trimmed_width

        return min(padded, trimmed_width(frames))

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the longest chunk's prompt, P: audio and `PROMPT_TEXT_TOKENS` of text."""
        return self.geometry.audio_tokens(self._frames) + PROMPT_TEXT_TOKENS

    @property
    def output_tokens(self) -> int:
        """Token budget of the longest chunk, G."""
        from megaasr.model.request_checks import token_budget

        return token_budget(self.max_chunk_s)

    def _feature_bytes(self) -> int:
        """Return the bytes of computing log-mel features, in float32: samples 4 each; for each of
        F + 1 frames its spectrum, complex and squared, 6 (N + 2), and four copies of the bands,
        16 M; and the window 4 N and the filters 2 (N + 2) M."""
        geometry = self.geometry
        samples = round(self.max_chunk_s * geometry.sample_rate)
        per_frame = 6 * (geometry.n_fft + 2) + 16 * geometry.mel_bins
        filters = 4 * geometry.n_fft + 2 * (geometry.n_fft + 2) * geometry.mel_bins
        return 4 * samples + (self._frames + 1) * per_frame + filters

    def _kept_bytes(self, dtype: str, *, on_cpu: bool) -> int:
        """Return the bytes that are kept throughout: features and their mask, F (M s + 8), on a CPU
        4 F M more as they were computed; and what each layer with alignment heads records of
        prompt and output, (P (H + K) + G H) d s."""
        decoder, size = self.config.text_config, DTYPE_BYTES[dtype]
        frames = self.geometry.padded_frames(self._frames)
        features = frames * (self.geometry.mel_bins * (size + (4 if on_cpu else 0)) + 8)
        heads, key_heads = decoder.num_attention_heads, decoder.num_key_value_heads
        recorded = self.prompt_tokens * (heads + key_heads) + self.output_tokens * heads
        return features + self.alignment_layers * int(recorded * decoder.head_dim) * size

    def _convolution_bytes(self, dtype: str) -> int:
        """Return the bytes of the encoder's second convolution: the features, F M s; its input, C
        (M / 2) (F / 2) values of s bytes; a copy of this in the library's memory layout; and its
        output before and after the activation, a quarter each.

        The first needs little less, the third less.
        """
        geometry = self.geometry
        channels = int(self.config.audio_config.downsample_hidden_size)
        padded = self._padded_frames
        width = min(padded, geometry.chunk_frames)
        columns = -(-padded // width) * -(-width // 2)
        values = channels * -(-geometry.mel_bins // 2) * columns
        return (padded * geometry.mel_bins + 2 * values + values // 2) * DTYPE_BYTES[dtype]

    def _encoder_bytes(self, dtype: str) -> int:
        """Return the bytes of a layer of the encoder, A (4 h + max(4 h, 3 f)) s with its widths:
        residual stream, then queries, keys, values and output, or the feed-forward layer. Before
        the first, the flattened output of the convolutions is there twice, with C M / 8 values for
        each token."""
        audio, geometry = self.config.audio_config, self.geometry
        tokens = geometry.audio_tokens(self._padded_frames)
        layer = 4 * audio.d_model + max(4 * audio.d_model, 3 * audio.encoder_ffn_dim)
        flattened = audio.downsample_hidden_size * -(-geometry.mel_bins // 8)
        return int(tokens * max(layer, 3 * flattened + audio.d_model)) * DTYPE_BYTES[dtype]

    def _prefill_bytes(self, dtype: str) -> int:
        """Return the bytes of the prompt's pass through the decoder: its cache, 2 L K d P s; for
        each token of a layer 6 h + max(3 f, 6 H d + 4 K d) values; the attention mask, P² values
        twice; and the logits of the last token."""
        size, tokens = DTYPE_BYTES[dtype], self.prompt_tokens
        activations = self._layer_bytes(tokens, dtype) + _MASK_COPIES * tokens**2 * size
        return self.cache_bytes(tokens, dtype) + activations + self._logits_bytes(dtype)

    def _layer_bytes(self, tokens: int, dtype: str) -> int:
        """Return the bytes of a layer of the decoder: for each token 6 h + max(3 f, 6 H d + 4 K d)
        values."""
        decoder = self.config.text_config
        attention = 6 * decoder.num_attention_heads + 4 * decoder.num_key_value_heads
        layer = 6 * decoder.hidden_size + max(
            3 * decoder.intermediate_size, attention * decoder.head_dim
        )
        return tokens * int(layer) * DTYPE_BYTES[dtype]

    def _decoding_bytes(self, dtype: str) -> int:
        """Return the bytes of the last token's pass through the decoder: the full cache, 2 L K d
        (P + G) s, of which a layer's keys and values are copied as they grow, and the logits."""
        tokens = self.prompt_tokens + self.output_tokens
        cache = self.cache_bytes(tokens, dtype)
        layers = int(self.config.text_config.num_hidden_layers)
        return cache + cache // layers + self._logits_bytes(dtype)

    def _logits_bytes(self, dtype: str) -> int:
        """Return the bytes of the scores of a token: V s from the model, and float32 copies for
        the next token, its log-probability and that of the token before, 16 V."""
        return int(self.config.text_config.vocab_size) * (DTYPE_BYTES[dtype] + 16)


def stored_parameters(path: Path) -> int:
    """Return the number of parameters in a safetensors file, by its header.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    from safetensors import safe_open

    total = 0
    try:
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118 (no mapping)
                size = 1
                for length in file.get_slice(key).get_shape():
                    size *= length
                total += size
    except Exception as error:  # safetensors has exceptions of its own
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return total


def _parameters(model: Any, left_out: Collection[str]) -> list[torch.nn.Parameter]:
    named = model.named_parameters(remove_duplicate=False)
    return [parameter for name, parameter in named if name not in left_out]
