"""The peer: transformers' native Qwen3-ASR classes, used as in their documentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Qwen3ASRForConditionalGeneration, Qwen3ASRProcessor
from transformers.utils import logging


class Native:
    """The native model and processor.

    Args:
        model: a native model in evaluation mode, on its device.
        processor: the processor with tokenizer, feature extractor and chat template.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self._model = model
        self._processor = processor

    @classmethod
    def load(cls, folder: str, device: str) -> Native:
        """Load from a folder, in megaasr's precision: float32 on CPUs, else bfloat16."""
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        load: Any = Qwen3ASRForConditionalGeneration.from_pretrained
        model = load(folder, dtype=dtype, local_files_only=True).to(device).eval()
        return cls(model, Qwen3ASRProcessor.from_pretrained(folder, local_files_only=True))

    @torch.inference_mode()
    def transcribe(self, clips: Sequence[NDArray[np.float32]], max_new_tokens: int) -> list[str]:
        """Transcribe 16 kHz clips of at most 30 s as one batch; raw outputs."""
        # The processor assumes Qwen3-ASR's own window; see docs/design/audio-geometry.md.
        window = {"n_window": self._model.config.audio_config.n_window}
        inputs = self._processor.apply_transcription_request(list(clips), audio_kwargs=window)
        inputs = inputs.to(self._model.device, self._model.dtype)
        generated = self._model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
        new = generated[:, inputs["input_ids"].shape[1] :]
        texts: list[str] = self._processor.batch_decode(new, skip_special_tokens=True)
        return texts
