"""Word times by a forced aligner: `Qwen/Qwen3-ForcedAligner-0.6B`, in either layout.

The aligner is a Qwen3-ASR whose last layer classifies times. Its input is the audio, then each word
followed by two `<timestamp>` tokens; the most probable class at these tokens is the start and the
end of the word in steps of 80 ms. One forward pass aligns a chunk.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3ASRForTokenClassification, Qwen3ASRProcessor

from megaasr.audio.waveform import Samples
from megaasr.model.complete_checkpoint import load_complete
from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import extract_features, pad_features
from megaasr.model.interface import AlignedTime
from megaasr.model.layout import aligner_config, aligner_key_mapping
from megaasr.model.prompt import AUDIO_END, AUDIO_PAD, AUDIO_START, token_id

_DEFAULT_STEP_MS = 80.0


class ForcedAligner:
    """A loaded forced aligner; implements `WordAligner`. Threads take turns.

    Japanese and Korean are aligned by the words of the transcript (in Japanese, by character), not
    by those of nagisa and soynlp, which the authors use.

    Args:
        model: native model on its device, in evaluation mode.
        processor: its native processor.
        step_ms: duration of a class of time, milliseconds.

    Raises:
        CheckpointError: feature extractor and encoder do not match.
    """

    languages = ("de", "en", "es", "fr", "it", "ja", "ko", "pt", "ru", "yue", "zh")
    """ISO codes of the languages that the released aligner was trained on."""

    def __init__(
        self, model: Qwen3ASRForTokenClassification, processor: Qwen3ASRProcessor, step_ms: float
    ) -> None:
        self._model: Any = model
        self._processor: Any = processor
        self._step_ms = step_ms
        # Its tokenizer is not made for several threads, nor is the memory plan.
        self._lock = threading.Lock()
        config: Any = model.config
        self._timestamp = int(config.timestamp_token_id)
        self._geometry = AudioGeometry.from_model(config, processor.feature_extractor)

    def align(self, samples: Samples, words: Sequence[str]) -> list[AlignedTime | None]:
        """Return when each word is spoken; None for one without letters and digits.

        The times do not decrease, but words may have no duration.

        Args:
            samples: audio, float32 of shape [time], 16 kHz mono.
            words: words in order, with or without punctuation.
        """
        spoken = [_letters(word) for word in words]
        if not any(spoken):
            return [None] * len(words)
        with self._lock:
            times = iter(self._times(samples, [word for word in spoken if word]))
        return [next(times) if word else None for word in spoken]

    @torch.inference_mode()
    def _times(self, samples: Samples, words: Sequence[str]) -> list[AlignedTime]:
        features = extract_features(self._processor.feature_extractor, samples)
        ids = torch.tensor([self._tokens(words, len(features))])
        inputs = pad_features([features], self._geometry)
        device, dtype = self._model.device, self._model.dtype
        logits = self._model(
            input_ids=ids.to(device),
            attention_mask=torch.ones_like(ids).to(device),
            input_features=inputs["input_features"].to(device, dtype),
            input_features_mask=inputs["input_features_mask"].to(device),
        ).logits
        (aligned,) = self._processor.decode_forced_alignment(
            logits=logits.float().cpu(),
            input_ids=ids,
            word_lists=[list(words)],
            timestamp_token_id=self._timestamp,
            timestamp_segment_time=self._step_ms,
        )
        return [AlignedTime(float(a["start_time"]), float(a["end_time"])) for a in aligned]

    def _tokens(self, words: Sequence[str], frames: int) -> list[int]:
        tokenizer = self._processor.tokenizer
        start, pad, end = (token_id(tokenizer, t) for t in (AUDIO_START, AUDIO_PAD, AUDIO_END))
        ids = [start, *[pad] * self._geometry.audio_tokens(frames), end]
        for word in words:
            ids += [*tokenizer(word, add_special_tokens=False)["input_ids"]]
            ids += [self._timestamp] * 2
        return ids


def load_aligner(folder: Path, device: torch.device, dtype: torch.dtype) -> ForcedAligner:
    """Read a forced aligner; every weight must be there, and no other.

    Args:
        folder: folder of the checkpoint, in either layout.
        device: device of the model.
        dtype: data type to load the weights in.

    Raises:
        CheckpointError: the folder holds no forced aligner, or is damaged.
    """
    config, step_ms = aligner_config(folder)
    model, processor = load_complete(
        Qwen3ASRForTokenClassification,
        folder,
        config=config,
        dtype=dtype,
        key_mapping=aligner_key_mapping(folder),
    )
    return ForcedAligner(model.to(device).eval(), processor, step_ms or _DEFAULT_STEP_MS)


def _letters(word: str) -> str:
    """Return the letters, digits and apostrophes of a word, which the aligner was trained on."""
    return "".join(c for c in word if c == "'" or unicodedata.category(c)[0] in "LN")
