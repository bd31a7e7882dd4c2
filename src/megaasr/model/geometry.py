"""The geometry of a checkpoint's audio: how samples become mel frames, chunks and audio tokens.

Everything that counts frames or tokens takes its numbers from here, and these come from the
checkpoint: the feature extractor says how samples become frames, the encoder's configuration how
frames become tokens. Two geometries that exist:

| | hop | frames a second | chunk | tokens of a whole chunk | tokens a second |
|---|---|---|---|---|---|
| Qwen3-ASR, `tiny` | 160 samples | 100 | 100 frames, 1 s | 13 | 13 |
| `small` | 40 samples | 400 | 12,800 frames, 32 s | 1600 | 50 |
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr.errors import CheckpointError
from megaasr.model.interface import MAX_CHUNK_S

SAMPLE_RATE_HZ = 16_000
MAX_CHUNK_SAMPLES = round((MAX_CHUNK_S + 1e-3) * SAMPLE_RATE_HZ)
"""Samples of the longest piece that a model is given: 480,016, 30 s and the tolerance of 1 ms."""
_TRANSFORMERS_CHUNK_TOKENS = 13
"""What transformers counts for a whole chunk of any size (`_get_feat_extract_output_lengths`)."""
_HALVINGS = 3  # convolutions of stride 2


def halved(frames: int) -> int:
    """Return the frames left by the encoder's three convolutions of stride 2: 100 give 13."""
    for _ in range(_HALVINGS):
        frames = (frames + 1) // 2
    return frames


@dataclass(frozen=True, slots=True)
class AudioGeometry:
    """How a model's audio is counted; the defaults are Qwen3-ASR's.

    Attributes:
        sample_rate: Hz, always 16,000.
        hop_samples: samples from one mel frame to the next; 160 are 10 ms.
        n_fft: samples under the window of one frame.
        mel_bins: values of one frame.
        min_samples: shorter clips are padded with zeros to this length, and the zeros count as
            sound; 8,000 are 0.5 s.
        chunk_frames: mel frames that the encoder's convolutions see together, apart from all
            others (`2 * n_window`); features are padded to a multiple of it.
        window_frames: mel frames within which the encoder attends (`n_window_infer`), a multiple
            of `chunk_frames`.
    """

    sample_rate: int = SAMPLE_RATE_HZ
    hop_samples: int = 160
    n_fft: int = 400
    mel_bins: int = 128
    min_samples: int = 8_000
    chunk_frames: int = 100
    window_frames: int = 800

    def __post_init__(self) -> None:
        """Refuse a geometry that neither the native encoder nor this package can work in.

        Raises:
            CheckpointError: with the numbers that do not go together.
        """
        if self.sample_rate != SAMPLE_RATE_HZ:
            raise CheckpointError(
                f"its feature extractor works at {self.sample_rate} Hz; only models of "
                f"{SAMPLE_RATE_HZ} Hz are supported"
            )
        if min(self.hop_samples, self.n_fft, self.mel_bins, self.chunk_frames) < 1:
            raise CheckpointError(
                f"hop_length {self.hop_samples}, n_fft {self.n_fft}, mel bins {self.mel_bins} and "
                f"n_window {self.chunk_frames / 2:g} must be positive"
            )
        if self.window_frames < self.chunk_frames or self.window_frames % self.chunk_frames:
            raise CheckpointError(
                f"n_window_infer is {self.window_frames}, and must be a multiple of 2 * n_window "
                f"({self.chunk_frames}) so that attention windows end where chunks do"
            )
        longest = self.frames(MAX_CHUNK_SAMPLES)
        if longest >= self.chunk_frames and self.chunk_tokens != _TRANSFORMERS_CHUNK_TOKENS:
            raise CheckpointError(
                f"a piece of {MAX_CHUNK_S:g} s has {longest} mel frames and would fill a whole "
                f"chunk of {self.chunk_frames} frames (2 * n_window), which gives "
                f"{self.chunk_tokens} audio tokens, but transformers counts "
                f"{_TRANSFORMERS_CHUNK_TOKENS} for every whole chunk; use n_window 50, or one "
                f"above {longest // 2}"
            )

    @property
    def frames_per_s(self) -> float:
        """Mel frames of a second: 100 in Qwen3-ASR, 400 in `small`."""
        return self.sample_rate / self.hop_samples

    @property
    def tokens_per_s(self) -> float:
        """Audio tokens of a second, over a whole chunk: 13 in Qwen3-ASR, 50 in `small`."""
        return self.chunk_tokens * self.frames_per_s / self.chunk_frames

    @property
    def chunk_tokens(self) -> int:
        """Audio tokens of a whole chunk: 13 in Qwen3-ASR, 1600 in `small`."""
        return halved(self.chunk_frames)

    @property
    def single_chunk(self) -> bool:
        """Whether every clip lies in one chunk that it does not fill, as in `small`."""
        return self.frames(MAX_CHUNK_SAMPLES) < self.chunk_frames

    def frames(self, samples: int) -> int:
        """Return the valid mel frames of a clip, as the native extractor gives them for it alone.

        Args:
            samples: of the clip, at `sample_rate`; fewer than `min_samples` count as so many.
        """
        return max(samples, self.min_samples) // self.hop_samples

    def seconds(self, frames: int) -> float:
        """Return the duration of mel frames in seconds."""
        return frames * self.hop_samples / self.sample_rate

    def frames_in(self, seconds: float) -> int:
        """Return the mel frames of a duration, rounded."""
        return round(seconds * self.frames_per_s)

    def audio_tokens(self, frames: int) -> int:
        """Return the encoder's output length for the valid mel frames of a clip: the tokens of
        whole chunks, and the rest through three halvings (each rounded up)."""
        whole, rest = divmod(frames, self.chunk_frames)
        return whole * self.chunk_tokens + halved(rest)

    def padded_frames(self, frames: int) -> int:
        """Return the width that features are padded to: the next multiple of `chunk_frames`."""
        return -(-frames // self.chunk_frames) * self.chunk_frames

    def chunks(self, padded_frames: int) -> int:
        """Return how many chunks padded features have."""
        return padded_frames // self.chunk_frames

    @classmethod
    def from_model(cls, config: Any, feature_extractor: Any) -> AudioGeometry:
        """Return the geometry of a native model.

        Args:
            config: its `Qwen3ASRConfig`.
            feature_extractor: its `Qwen3ASRFeatureExtractor`.

        Raises:
            CheckpointError: extractor and encoder do not fit together, or cannot be used; the
                message does not name the checkpoint.
        """
        audio = config.audio_config
        geometry = cls(
            sample_rate=int(feature_extractor.sampling_rate),
            hop_samples=int(feature_extractor.hop_length),
            n_fft=int(feature_extractor.n_fft),
            mel_bins=int(feature_extractor.feature_size),
            min_samples=int(feature_extractor.min_length),
            chunk_frames=2 * int(audio.n_window),
            window_frames=int(audio.n_window_infer),
        )
        if geometry.mel_bins != audio.num_mel_bins:
            raise CheckpointError(
                f"its feature extractor gives {geometry.mel_bins} mel bins, and its encoder takes "
                f"{audio.num_mel_bins} (num_mel_bins)"
            )
        if geometry.chunk_tokens > audio.max_position_embeddings:
            raise CheckpointError(
                f"its encoder has {audio.max_position_embeddings} positions "
                f"(max_position_embeddings), and a chunk of {geometry.chunk_frames} mel frames "
                f"needs {geometry.chunk_tokens}"
            )
        return geometry

    @classmethod
    def from_folder(cls, folder: Path) -> AudioGeometry:
        """Return the geometry of a checkpoint in either layout, without reading its weights.

        Raises:
            CheckpointError: it is no Qwen3-ASR checkpoint, or its geometry cannot be used.
        """
        from megaasr.model.layout import feature_extractor, model_config

        try:
            return cls.from_model(model_config(folder), feature_extractor(folder))
        except CheckpointError as error:
            raise CheckpointError(f"{folder}: {error}") from error
