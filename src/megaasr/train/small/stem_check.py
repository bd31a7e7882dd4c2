"""Compares the fitted encoder with Whisper's: Whisper's decoder transcribes through both.

The stop rule of the recipe: if the error rate on human speech exceeds 1.3 times Whisper's, the
convolutions are not good enough to train a decoder on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from megaasr.audio import files
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.model.cache_argument import cache_argument, output_cache
from megaasr.records import read_manifest
from megaasr.text.error_rate import ErrorCounts, count_errors, pooled
from megaasr.train.input_check import InputCheck
from megaasr.train.small.degradation import Degradation
from megaasr.train.small.frames import FrozenEncoder
from megaasr.train.small.whisper_teacher import WEIGHTS_FILE, load_whisper

STOP_RATIO = 1.3
"""Largest acceptable ratio of the error rates."""
# <|startoftranscript|><|en|><|transcribe|><|notimestamps|> and <|endoftext|> of the multilingual
# vocabulary.
_PROMPT, _END = (50258, 50259, 50359, 50363), 50257
_FIRST_SPECIAL = 50257
_MIN_WINDOW_S, _TAIL_S = 10.0, 1.0
_TOKENS_PER_S, _MIN_TOKENS, _MAX_TOKENS = 15, 20, 400
_FRAMES_PER_S = 50
Encode = Callable[[Samples], torch.Tensor]


@dataclass(frozen=True, slots=True)
class StemCheck:
    """Errors of Whisper's decoder with two encoders, over the same clips.

    Attributes:
        clips: number of clips.
        whisper: errors with Whisper's encoder.
        fitted: errors with the fitted encoder.
    """

    clips: int
    whisper: ErrorCounts
    fitted: ErrorCounts

    @property
    def ratio(self) -> float:
        """Error rate with the fitted encoder, divided by the one with Whisper's."""
        return self.fitted.rate / max(self.whisper.rate, 1e-9)


def check_stem(
    encoder: Path,
    whisper: Path,
    manifest: Path,
    *,
    degradation: Degradation | None = None,
    limit: int | None = None,
) -> StemCheck:
    """Transcribe a manifest through both encoders.

    Args:
        encoder: folder of the fitted encoder.
        whisper: folder with Whisper-base's `model.bin` and `tokenizer.json`.
        manifest: manifest of clips with their references.
        degradation: degradation of every clip; None for none.
        limit: maximum number of clips, from the start of the manifest; None for all.

    Raises:
        TrainingError: encoder, Whisper or manifest are missing; all are named.
        CheckpointError: Whisper's weights are damaged.
    """
    from tokenizers import Tokenizer

    check = InputCheck()
    is_encoder = (encoder / "model.safetensors").is_file()
    check.require(is_encoder, f"{encoder} holds no model", "mega-asr train stem")
    for name in (WEIGHTS_FILE, "tokenizer.json"):
        check.require_file(whisper, name, "make judge")
    command = "make human-test, or mega-asr manifest"
    check.require(manifest.is_file(), f"{manifest} does not exist", command)
    check.finish()
    teacher = load_whisper(whisper)
    tokenizer = Tokenizer.from_file(str(whisper / "tokenizer.json"))
    fitted = FrozenEncoder(encoder)
    encoders: dict[str, Encode] = {
        "whisper": lambda samples: _whisper_frames(teacher, samples),
        "fitted": lambda samples: _fitted_frames(fitted, samples),
    }
    counts: dict[str, list[ErrorCounts]] = {name: [] for name in encoders}
    utterances = list(read_manifest(manifest))[:limit]
    for utterance in utterances:
        samples = files.read(manifest.parent / utterance.audio).samples
        if degradation is not None:
            samples = degradation.apply(samples, utterance.id)
        for name, encode in encoders.items():
            tokens = _greedy(teacher, encode(samples))
            text = tokenizer.decode([t for t in tokens if t < _FIRST_SPECIAL])
            counts[name].append(count_errors(utterance.text, text))
    return StemCheck(len(utterances), pooled(counts["whisper"]), pooled(counts["fitted"]))


@torch.inference_mode()
def _whisper_frames(model: WhisperForConditionalGeneration, samples: Samples) -> torch.Tensor:
    """Return the frames of Whisper's encoder for a clip padded to 30 s, [1500, width]."""
    make_extractor: Any = WhisperFeatureExtractor
    extractor = make_extractor(feature_size=model.config.num_mel_bins)
    features = extractor([samples], sampling_rate=SAMPLE_RATE, return_tensors="pt")
    frames: torch.Tensor = model.model.encoder(features["input_features"]).last_hidden_state[0]
    return frames


def _fitted_frames(encoder: FrozenEncoder, samples: Samples) -> torch.Tensor:
    """Return the frames of the fitted encoder for a clip followed by silence, [frames, width].

    Whisper's decoder needs the silence to find the end: without it, it starts again. Our decoder
    learns to do without.
    """
    length = max(samples.size + round(_TAIL_S * SAMPLE_RATE), round(_MIN_WINDOW_S * SAMPLE_RATE))
    padded = np.zeros(min(length, 30 * SAMPLE_RATE), dtype=np.float32)
    padded[: samples.size] = samples[: padded.size]
    return torch.from_numpy(encoder([padded])[0].astype(np.float32))


@torch.inference_mode()
def _greedy(model: WhisperForConditionalGeneration, frames: torch.Tensor) -> Sequence[int]:
    """Return the tokens of greedy decoding."""
    tokens: list[int] = []
    inputs, cache = torch.tensor([_PROMPT]), None
    limit = _MIN_TOKENS + round(len(frames) / _FRAMES_PER_S * _TOKENS_PER_S)
    while len(tokens) < min(limit, _MAX_TOKENS):
        output = model.model.decoder(
            input_ids=inputs,
            encoder_hidden_states=frames[None],
            **cache_argument(cache),
            use_cache=True,
        )
        cache = output_cache(output)
        token = int(model.proj_out(output.last_hidden_state[0, -1]).argmax())
        if token == _END:
            break
        tokens.append(token)
        inputs = torch.tensor([[token]])
    return tokens
