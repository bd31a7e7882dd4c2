"""The phoneme classes of the projector: what CTC trains it to hear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from transformers import Qwen3ASRForConditionalGeneration

from megaasr.errors import TrainingError
from megaasr.train.small.lexicon import PHONEMES

HEAD_FILE = "phoneme-head.safetensors"


class PhonemeCTC(nn.Module):
    """The projector and a linear layer that gives the log-probabilities of phonemes.

    Class 0 is the blank, class 1 + i is the phoneme `PHONEMES[i]`. The layer is not a part of the
    model; it is kept beside it for further training.

    Args:
        projector: the model's projector, from encoder frames to the decoder's width.
        width: width of the decoder.
    """

    def __init__(self, projector: nn.Module, width: int) -> None:
        super().__init__()
        self.projector = projector
        self.head = nn.Linear(width, 1 + len(PHONEMES))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the log-probabilities [..., classes] of encoder frames [..., encoder width]."""
        return self.log_probs(self.projector(frames))

    def log_probs(self, audio: torch.Tensor) -> torch.Tensor:
        """Return the log-probabilities [..., classes] of projected frames [..., width]."""
        logits: torch.Tensor = self.head(audio)
        return logits.float().log_softmax(-1)

    @torch.inference_mode()
    def frame_log_probs(self, frames: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the log-probabilities [frames, classes] of encoder frames [frames, width]."""
        log_probs: NDArray[np.float32] = self(torch.from_numpy(frames.astype(np.float32))).numpy()
        return log_probs

    def loss(
        self,
        audio: torch.Tensor,
        frame_counts: torch.Tensor,
        targets: torch.Tensor,
        target_counts: torch.Tensor,
    ) -> torch.Tensor:
        """Return the CTC loss, summed over examples, in nats.

        Args:
            audio: projected frames of all examples in sequence, float of shape [frames, width].
            frame_counts: number of frames of each example, int64 of shape [examples].
            targets: classes of all examples in sequence, int64.
            target_counts: number of classes of each example, int64 of shape [examples].
        """
        # One gather of the narrow frames: pad_sequence copies all gradients once per example.
        longest = int(frame_counts.max())
        positions = torch.arange(longest + -longest % 16, device=audio.device)
        first = frame_counts.cumsum(0) - frame_counts
        padded = audio[(first + positions[:, None]).clamp(max=len(audio) - 1)]
        losses: torch.Tensor = functional.ctc_loss(
            self.log_probs(padded),
            targets,
            frame_counts,
            target_counts,
            blank=0,
            reduction="sum",
            zero_infinity=True,
        )
        return losses

    def save_head(self, folder: Path) -> None:
        """Write the linear layer into a folder."""
        tensors = {name: value.contiguous() for name, value in self.head.state_dict().items()}
        save_file(tensors, folder / HEAD_FILE, {"format": "pt", "phonemes": PHONEMES})

    def load_head(self, folder: Path) -> None:
        """Read the linear layer from a folder.

        Raises:
            TrainingError: the folder has none.
        """
        path = folder / HEAD_FILE
        if not path.is_file():
            raise TrainingError(f"{path} does not exist; make it with: mega-asr train decoder")
        tensors: dict[str, Any] = load_file(path)
        self.head.load_state_dict(tensors)


def load_trained_ctc(run: Path) -> PhonemeCTC:
    """Return the projector and the phoneme classes of a finished run of `mega-asr train decoder`.

    Raises:
        TrainingError: the run is not finished.
    """
    if not (run / "model" / "config.json").is_file():
        raise TrainingError(f"{run} holds no model; make it with: mega-asr train decoder")
    load: Any = Qwen3ASRForConditionalGeneration.from_pretrained
    model = load(run / "model", dtype=torch.float32).model
    ctc = PhonemeCTC(model.multi_modal_projector, model.language_model.config.hidden_size)
    ctc.load_head(run)
    return ctc.eval()
