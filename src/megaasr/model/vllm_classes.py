"""The classes of vLLM that need another form here; they are registered with it out of tree.

vLLM runs Qwen3-ASR and can switch a LoRA on for each request, in the encoder too. Four things keep
its own classes from running a base and its adapter in one batch; each is mended here:

- A LoRA on `conv_out` fails for audio that is not a whole number of seconds: vLLM counts the valid
  audio tokens, and the layer gets the padding as well. `ExactEncoder` drops the padding before it.
- The padding of a clip's last encoder chunk depends on the other clips of the batch.
  `ExactEncoder` pads every chunk to its full length, as the native encoder does.
- On CPUs, a request without a LoRA has index -1, which selects the last LoRA there is. `RowLoRA`
  adds a LoRA to the rows of its own requests only (and does not copy its matrices for every row).
- CPU attention has no kernel for some head sizes, such as tiny's. `PaddedAttention` appends zeros.

Importing this module requires vLLM; `vllm_offline` imports it when an engine is started.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
import vllm.model_executor.models.qwen3 as vllm_qwen3
from torch.nn import functional
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.models.qwen3_asr import (
    Qwen3ASRDummyInputsBuilder,
    Qwen3ASRForConditionalGeneration,
    Qwen3ASRMultiModalProcessor,
    Qwen3ASRProcessingInfo,
)
from vllm.model_executor.models.qwen3_omni_moe_thinker import Qwen3OmniMoeAudioEncoder
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.processing import PromptReplacement, PromptUpdate
from vllm.platforms import current_platform

from megaasr.model.chunk_trimming import trimmed_width
from megaasr.model.geometry import convolved_length
from megaasr.model.layout import read_processor

ARCHITECTURE = "MegaASRRoutedQwen3ASR"
"""Name under which vLLM knows the model class."""


def register() -> None:
    """Make vLLM use the classes of this module for `ARCHITECTURE`; safe to repeat."""
    from vllm import ModelRegistry

    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, RoutedQwen3ASR)
    if current_platform.is_cpu():
        name = f"{RowLoRA.__module__}.{RowLoRA.__qualname__}"
        type(current_platform).get_punica_wrapper = classmethod(lambda cls: name)


def audio_tokens(frames: int, chunk_frames: int) -> int:
    """Return the number of audio tokens of a clip.

    Args:
        frames: valid mel frames of the clip.
        chunk_frames: mel frames of an encoder chunk, 100 in Qwen3-ASR.
    """
    chunks, last = divmod(frames, chunk_frames)
    return chunks * convolved_length(chunk_frames) + convolved_length(last)


class ExactEncoder(Qwen3OmniMoeAudioEncoder):  # type: ignore[misc]
    """vLLM's encoder, whose linear layers see nothing but the valid audio tokens."""

    def forward(
        self,
        input_features: torch.Tensor,
        feature_lens: torch.Tensor,
        aftercnn_lens: Sequence[int] | torch.Tensor,
    ) -> torch.Tensor:
        """Return the projected audio tokens of all clips in sequence, float of [tokens, width].

        Args:
            input_features: log-mel features of all clips in sequence, float of [mels, frames].
            feature_lens: number of mel frames of each clip.
            aftercnn_lens: number of audio tokens of each clip.
        """
        chunk_frames = 2 * self.n_window
        clips = torch.split(input_features, torch.as_tensor(feature_lens).tolist(), dim=1)
        chunks = [chunk for clip in clips for chunk in torch.split(clip, chunk_frames, dim=1)]
        hidden, positions = self._convolve(chunks, chunk_frames)
        hidden = self.conv_out(hidden) + positions.to(hidden.dtype)
        ends = self._window_ends(torch.as_tensor(aftercnn_lens).tolist(), chunk_frames)
        window_ends = torch.tensor(ends, dtype=torch.int32, device=hidden.device)
        longest = self.compute_attn_mask_seqlen(window_ends)
        for layer in self.layers:
            hidden = layer(hidden, window_ends, longest)
        projected: torch.Tensor = self.proj2(self.act(self.proj1(self.ln_post(hidden))))
        return projected

    def _convolve(
        self, chunks: Sequence[torch.Tensor], chunk_frames: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the convolutions' output and the positions of the valid audio tokens.

        Both are float of shape [tokens, values]. Every chunk is padded to its full length, or as
        far as its padding can have an effect if no clip fills it.
        """
        longest = max(chunk.shape[1] for chunk in chunks)
        width = min(chunk_frames, trimmed_width(longest))
        outputs: list[torch.Tensor] = []
        for start in range(0, len(chunks), self.conv_chunksize):
            group = chunks[start : start + self.conv_chunksize]
            padded = [functional.pad(chunk, (0, width - chunk.shape[1])) for chunk in group]
            hidden = torch.stack(padded).unsqueeze(1)
            for convolution in (self.conv2d1, self.conv2d2, self.conv2d3):
                hidden = functional.gelu(convolution(hidden))
            hidden = hidden.permute(0, 3, 1, 2).flatten(2)
            outputs += [
                tokens[: convolved_length(chunk.shape[1])]
                for tokens, chunk in zip(hidden, group, strict=True)
            ]
        table = self.positional_embedding.positional_embedding
        return torch.cat(outputs), torch.cat([table[: len(tokens)] for tokens in outputs])

    def _window_ends(self, tokens: Sequence[int], chunk_frames: int) -> list[int]:
        """Return where attention windows end in the sequence of tokens, after a 0."""
        window = convolved_length(chunk_frames) * (self.n_window_infer // chunk_frames)
        ends = [0]
        for count in tokens:
            first = ends[-1]
            ends += [first + min(end, count) for end in range(window, count + window, window)]
        return ends


class RoutedInfo(Qwen3ASRProcessingInfo):  # type: ignore[misc]
    """What vLLM asks about a model, for checkpoints in either layout."""

    def get_hf_processor(self, **options: Any) -> Any:
        """Return the native processor; options of single requests are not supported."""
        return _processor(str(self.ctx.model_config.model))


@cache
def _processor(folder: str) -> Any:
    return read_processor(Path(folder))


class RoutedProcessor(Qwen3ASRMultiModalProcessor):  # type: ignore[misc]
    """vLLM's preparation of requests, for encoder chunks of any length."""

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, Any], out_mm_kwargs: Any
    ) -> Sequence[PromptUpdate]:
        config = self.info.get_hf_config()
        frames = out_mm_kwargs.get_data().get("audio_feature_lengths")
        lengths = [] if frames is None else frames.flatten().tolist()
        pad = int(config.audio_token_id)

        def placeholders(index: int) -> list[int]:
            return [pad] * audio_tokens(lengths[index], 2 * config.audio_config.n_window)

        return [PromptReplacement(modality="audio", target=[pad], replacement=placeholders)]


@MULTIMODAL_REGISTRY.register_processor(
    RoutedProcessor, info=RoutedInfo, dummy_inputs=Qwen3ASRDummyInputsBuilder
)
class RoutedQwen3ASR(Qwen3ASRForConditionalGeneration):  # type: ignore[misc]
    """vLLM's Qwen3-ASR with `ExactEncoder` and, where it is necessary, `PaddedAttention`."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        with _padded_heads():
            super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.audio_tower.__class__ = ExactEncoder

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """Return the audio tokens of each clip: log-mel features are `input_audio_features`."""
        features = kwargs.get("input_audio_features")
        if features is None:
            return []
        frames = kwargs["audio_feature_lengths"].flatten().tolist()
        counts = [audio_tokens(length, 2 * self.audio_tower.n_window) for length in frames]
        if features.dim() == 3:  # one clip, with a dimension for it
            features = torch.cat([*features], dim=1)
        features = features.to(self.audio_tower.device, self.audio_tower.dtype)
        return self.audio_tower(features, torch.tensor(frames), counts).split(counts)


class PaddedAttention(Attention):  # type: ignore[misc]
    """vLLM's attention, with zeros behind every head if the backend has no kernel for its size.

    They change no product of a query and a key, and the values' zeros are cut off again.
    """

    def __init__(self, num_heads: int, head_size: int, scale: float, **options: Any) -> None:
        super().__init__(num_heads, _supported_head_size(head_size), scale, **options)
        self.unpadded_size = head_size

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options: Any
    ) -> torch.Tensor:
        """Return the attention's output, float of shape [tokens, heads * head size]."""
        size, padding = self.unpadded_size, self.head_size - self.unpadded_size
        padded = (query, key, value)
        if padding:
            padded = (
                _pad(query, size, padding),
                _pad(key, size, padding),
                _pad(value, size, padding),
            )
        output: torch.Tensor = super().forward(*padded, **options)
        heads = output.reshape(len(output), -1, self.head_size)
        return heads[..., :size].flatten(1) if padding else output


def _pad(states: torch.Tensor, size: int, padding: int) -> torch.Tensor:
    """Append zeros to every head of float [tokens, heads * size]."""
    heads = states.reshape(len(states), -1, size)
    return functional.pad(heads, (0, padding)).flatten(1)


@contextmanager
def _padded_heads() -> Iterator[None]:
    """Let the decoder that is built inside the block have `PaddedAttention`."""
    original = vllm_qwen3.Attention
    vllm_qwen3.Attention = PaddedAttention
    try:
        yield
    finally:
        vllm_qwen3.Attention = original


def _supported_head_size(size: int) -> int:
    """Return the smallest head size of the platform's attention that is not less than `size`."""
    if not current_platform.is_cpu():
        return size  # the kernels of GPUs take all multiples of 8
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    sizes = CPUAttentionBackend.get_supported_head_sizes()
    return size if size in sizes else min((s for s in sizes if s > size), default=size)


class RowLoRA(PunicaWrapperCPU):  # type: ignore[misc]
    """Adds each LoRA to the rows of its own requests; CPUs only."""

    _rows_of_slots: tuple[tuple[int, torch.Tensor], ...] = ()

    def update_metadata(self, *arguments: Any, **options: Any) -> None:
        """Prepare the next batch: collect the rows of each LoRA, int64 of shape [rows]."""
        super().update_metadata(*arguments, **options)
        indices = self.token_lora_indices
        slots = [slot for slot in torch.unique(indices).tolist() if slot >= 0]
        self._rows_of_slots = tuple(
            (slot, (indices == slot).nonzero().squeeze(1)) for slot in slots
        )

    def _rows(self, count: int) -> tuple[tuple[int, torch.Tensor], ...]:
        """Return the index of each LoRA in the batch with its rows."""
        tokens = len(self.token_lora_indices)
        if tokens != count:
            raise RuntimeError(f"{count} rows for {tokens} tokens: a LoRA would be misplaced")
        return self._rows_of_slots

    def _apply_shrink(
        self, y: torch.Tensor, x: torch.Tensor, w_t_all: torch.Tensor, scale: float
    ) -> None:
        """Set y to scale x A', for A of shape [LoRAs, 1, rank, inputs]; y is 0 before."""
        for slot, rows in self._rows(len(x)):
            down = w_t_all[slot].flatten(0, -2)
            y[rows, : len(down)] = scale * (x[rows].to(y.dtype) @ down.to(y.dtype).T)

    def _apply_expand(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        w_t_all: torch.Tensor,
        y_offset: int,
        y_slice_size: int,
        add_inputs: bool = True,
    ) -> None:
        """Add x B' to columns of y, for B of shape [LoRAs, 1, outputs, rank]."""
        columns = slice(y_offset, y_offset + y_slice_size)
        for slot, rows in self._rows(len(x)):
            up = w_t_all[slot].flatten(0, -2)[:y_slice_size]
            change = x[rows].to(y.dtype) @ up.to(y.dtype).T
            y[rows, columns] = y[rows, columns] + change if add_inputs else change
