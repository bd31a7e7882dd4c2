"""Does the fitted encoder still hear what Whisper hears? Whisper's own decoder reads both.

The stop rule of the recipe: an error rate on people's speech above 1.3 times Whisper's means that
the convolutions are not good enough to train a decoder on.
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
from megaasr.audio.waveform import SAMPLE_RATE, Samples, Waveform
from megaasr.records import Utterance, read_manifest
from megaasr.simulate.simulator import Simulator
from megaasr.text.error_rate import ErrorCounts, count_errors, pooled
from megaasr.train.small.frames import FrozenEncoder
from megaasr.train.small.whisper_teacher import load_whisper

STOP_RATIO = 1.3
# <|startoftranscript|><|en|><|transcribe|><|notimestamps|> and <|endoftext|> of the multilingual
# vocabulary.
_PROMPT, _END = (50258, 50259, 50359, 50363), 50257
_FIRST_SPECIAL = 50257
_MIN_WINDOW_S, _TAIL_S = 10.0, 1.0
Encode = Callable[[Samples], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Degradation:
    """What is done to every clip before both encoders hear it."""

    scenario: str
    severity: float
    seed: int = 0


@dataclass(frozen=True, slots=True)
class StemCheck:
    """Error counts of Whisper's decoder on two encoders, over the same clips."""

    clips: int
    whisper: ErrorCounts
    fitted: ErrorCounts

    @property
    def ratio(self) -> float:
        """The fitted encoder's error rate over Whisper's."""
        return self.fitted.rate / max(self.whisper.rate, 1e-9)


def check_stem(
    encoder: Path,
    whisper: Path,
    manifest: Path,
    degradation: Degradation | None = None,
    limit: int | None = None,
) -> StemCheck:
    """Transcribe a manifest through both encoders.

    Args:
        encoder: the fitted encoder's folder.
        whisper: folder with Whisper-base's `model.bin` and `tokenizer.json`.
        manifest: clips with their texts.
        degradation: of every clip, or None.
        limit: most clips, from the start of the manifest.
    """
    from tokenizers import Tokenizer

    teacher = load_whisper(whisper)
    tokenizer = Tokenizer.from_file(str(whisper / "tokenizer.json"))
    trimmed = FrozenEncoder(encoder)
    encoders: dict[str, Encode] = {
        "whisper": lambda samples: _whisper_frames(teacher, samples),
        "fitted": lambda samples: _fitted_frames(trimmed, samples),
    }
    counts: dict[str, list[ErrorCounts]] = {name: [] for name in encoders}
    utterances = list(read_manifest(manifest))[:limit]
    for utterance in utterances:
        samples = _samples(manifest.parent, utterance, degradation)
        for name, encode in encoders.items():
            tokens = _greedy(teacher, encode(samples))
            text = tokenizer.decode([t for t in tokens if t < _FIRST_SPECIAL])
            counts[name].append(count_errors(utterance.text, text))
    return StemCheck(len(utterances), pooled(counts["whisper"]), pooled(counts["fitted"]))


def _samples(folder: Path, utterance: Utterance, degradation: Degradation | None) -> Samples:
    waveform = files.read(folder / utterance.audio)
    if degradation is None:
        return waveform.samples
    simulator = Simulator()
    draw = simulator.draw(
        seed=degradation.seed,
        scenario=degradation.scenario,
        severity=degradation.severity,
        utterance=utterance.id,
    )
    samples: Samples = simulator.apply(
        Waveform(waveform.samples, SAMPLE_RATE), draw
    ).waveform.samples
    return samples


@torch.inference_mode()
def _whisper_frames(model: WhisperForConditionalGeneration, samples: Samples) -> torch.Tensor:
    """Whisper's encoder on the clip in its window of 30 s: [1500, width]."""
    make_extractor: Any = WhisperFeatureExtractor
    extractor = make_extractor(feature_size=model.config.num_mel_bins)
    features = extractor([samples], sampling_rate=SAMPLE_RATE, return_tensors="pt")
    frames: torch.Tensor = model.model.encoder(features["input_features"]).last_hidden_state[0]
    return frames


def _fitted_frames(encoder: FrozenEncoder, samples: Samples) -> torch.Tensor:
    """The fitted encoder on the clip and the silence behind it that Whisper's decoder needs to
    find the end: without any it starts again (ours learns to do without)."""
    length = max(samples.size + round(_TAIL_S * SAMPLE_RATE), round(_MIN_WINDOW_S * SAMPLE_RATE))
    padded = np.zeros(min(length, 30 * SAMPLE_RATE), dtype=np.float32)
    padded[: samples.size] = samples[: padded.size]
    return torch.from_numpy(encoder([padded])[0].astype(np.float32))


@torch.inference_mode()
def _greedy(model: WhisperForConditionalGeneration, frames: torch.Tensor) -> Sequence[int]:
    """The likeliest tokens, one after another."""
    tokens: list[int] = []
    inputs, cache = torch.tensor([_PROMPT]), None
    limit = 20 + round(len(frames) / 50 * 15)
    while len(tokens) < min(limit, 400):
        output = model.model.decoder(
            input_ids=inputs,
            encoder_hidden_states=frames[None],
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        token = int(model.proj_out(output.last_hidden_state[0, -1]).argmax())
        if token == _END:
            break
        tokens.append(token)
        inputs = torch.tensor([[token]])
    return tokens
