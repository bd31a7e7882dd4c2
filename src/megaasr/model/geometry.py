"""The audio geometry of a checkpoint: how samples become mel frames, and frames audio tokens.

All code that counts frames or tokens uses these numbers, which come from the checkpoint: the
feature extractor states how samples become frames, and the encoder's configuration how frames
become tokens. Two geometries exist:

| | hop | frames per second | encoder chunk | tokens per full chunk | tokens per second |
|---|---|---|---|---|---|
| Qwen3-ASR, `tiny` | 160 samples | 100 | 100 frames, 1 s | 13 | 13 |
| `small` | 40 samples | 400 | 12,800 frames, 32 s | 1600 | 50 |

In this module a *chunk* is an *encoder chunk*: the frames that the encoder's convolutions see
together. The chunks of up to 30 s that a recording is split into are called *clips* here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr.errors import CheckpointError
from megaasr.model.interface import MAX_CHUNK_S

SAMPLE_RATE_HZ = 16_000
MAX_CHUNK_SAMPLES = round((MAX_CHUNK_S + 1e-3) * SAMPLE_RATE_HZ)
"""Length in samples of the longest clip that a model accepts: 480,016, which is 30 s plus a
tolerance of 1 ms."""
# Number of tokens that transformers assumes for a full encoder chunk of any size
# (`_get_feat_extract_output_lengths`).
_TRANSFORMERS_CHUNK_TOKENS = 13
_CONVOLUTIONS = 3  # of stride 2


def convolved_length(frames: int) -> int:
    """Return the output length of the encoder's three convolutions of stride 2, for example 13 for
    100 mel frames."""
    for _ in range(_CONVOLUTIONS):
        frames = (frames + 1) // 2
    return frames


@dataclass(frozen=True, slots=True)
class AudioGeometry:
    """How a model converts audio to mel frames and tokens; the defaults are Qwen3-ASR's.

    Attributes:
        sample_rate: sampling rate in Hz, always 16,000.
        hop_samples: samples from the start of one mel frame to the start of the next; 160 samples
            are 10 ms.
        n_fft: length of the Fourier transform of one frame, in samples.
        mel_bins: number of mel bands, the values of one frame.
        min_samples: length in samples that shorter clips are padded to with zeros, which count as
            valid audio; 8,000 samples are 0.5 s.
        chunk_frames: mel frames in an encoder chunk (`2 * n_window`), which the encoder's
            convolutions process independently of all other chunks; features are padded to a
            multiple of it.
        window_frames: mel frames in an attention window of the encoder (`n_window_infer`), a
            multiple of `chunk_frames`.
    """

    sample_rate: int = SAMPLE_RATE_HZ
    hop_samples: int = 160
    n_fft: int = 400
    mel_bins: int = 128
    min_samples: int = 8_000
    chunk_frames: int = 100
    window_frames: int = 800

    def __post_init__(self) -> None:
        """Check that the native encoder supports the geometry.

        Raises:
            CheckpointError: it does not; the message states the conflicting numbers.
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
                f"a clip of {MAX_CHUNK_S:g} s has {longest} mel frames and would fill a whole "
                f"encoder chunk of {self.chunk_frames} frames (2 * n_window), which gives "
                f"{self.chunk_tokens} audio tokens, but transformers counts "
                f"{_TRANSFORMERS_CHUNK_TOKENS} for every whole chunk; use n_window 50, or one "
                f"above {longest // 2}"
            )

    @property
    def frames_per_s(self) -> float:
        """Mel frames per second: 100 in Qwen3-ASR, 400 in `small`."""
        return self.sample_rate / self.hop_samples

    @property
    def tokens_per_s(self) -> float:
        """Audio tokens per second of a full chunk: 13 in Qwen3-ASR, 50 in `small`."""
        return self.chunk_tokens * self.frames_per_s / self.chunk_frames

    @property
    def chunk_tokens(self) -> int:
        """Audio tokens per full chunk: 13 in Qwen3-ASR, 1600 in `small`."""
        return convolved_length(self.chunk_frames)

    @property
    def single_chunk(self) -> bool:
        """Whether every clip fits into one chunk without filling it, as in `small`."""
        return self.frames(MAX_CHUNK_SAMPLES) < self.chunk_frames

    @property
    def window_samples(self) -> int:
        """Samples in an attention window of the encoder: 8 s in Qwen3-ASR, 32 s in `small`."""
        return self.window_frames * self.hop_samples

    def windows(self, samples: int) -> int:
        """Return the number of attention windows in a clip, the last of them perhaps incomplete."""
        return -(-self.frames(samples) // self.window_frames)

    def frames(self, samples: int) -> int:
        """Return the number of valid mel frames that the native extractor computes for a clip.

        Args:
            samples: length of the clip in samples; a clip shorter than `min_samples` counts as
                that long.
        """
        return max(samples, self.min_samples) // self.hop_samples

    def seconds(self, frames: int) -> float:
        """Return the duration of a number of mel frames in seconds."""
        return frames * self.hop_samples / self.sample_rate

    def frames_in(self, seconds: float) -> int:
        """Return the number of mel frames in a duration in seconds, rounded."""
        return round(seconds * self.frames_per_s)

    def audio_tokens(self, frames: int) -> int:
        """Return the encoder's output length in tokens for a clip of `frames` valid mel frames."""
        full_chunks, last_chunk_frames = divmod(frames, self.chunk_frames)
        return full_chunks * self.chunk_tokens + convolved_length(last_chunk_frames)

    def token_start_s(self, token: int) -> float:
        """Return the time of an audio token's first mel frame, in seconds from the clip's start."""
        chunks, token_in_chunk = divmod(token, self.chunk_tokens)
        frames = chunks * self.chunk_frames + token_in_chunk * 2**_CONVOLUTIONS
        return self.seconds(frames)

    def padded_frames(self, frames: int) -> int:
        """Return the length that features of `frames` frames are padded to: the next multiple of
        `chunk_frames`."""
        return -(-frames // self.chunk_frames) * self.chunk_frames

    def chunk_count(self, padded_frames: int) -> int:
        """Return the number of encoder chunks in padded features."""
        return padded_frames // self.chunk_frames

    @classmethod
    def from_model(cls, config: Any, feature_extractor: Any) -> AudioGeometry:
        """Return the geometry of a native model.

        Args:
            config: the model's `Qwen3ASRConfig`.
            feature_extractor: the model's `Qwen3ASRFeatureExtractor`.

        Raises:
            CheckpointError: feature extractor and encoder do not match, or the geometry is not
                supported; the message does not name the checkpoint.
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
            CheckpointError: the folder is not a Qwen3-ASR checkpoint, or its geometry is not
                supported.
        """
        from megaasr.model.layout import feature_extractor, model_config

        try:
            return cls.from_model(model_config(folder), feature_extractor(folder))
        except CheckpointError as error:
            raise CheckpointError(f"{folder}: {error}") from error
