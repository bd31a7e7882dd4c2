"""Encoder frames of a synthesised corpus, computed once; the decoder of `small` is trained on them.

The encoder is frozen while the decoder is trained, so each clip is encoded only once. An example is
one clip, or several clips joined with pauses, at a random level; some are degraded. The examples of
a manifest are a function of the recipe and the manifest alone.

Each manifest gives one shard: `NAME.npy`, float16 of shape [frames of all examples, width], and
`NAME.json`, its index, which is written last.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from transformers import Qwen3ASRFeatureExtractor, Qwen3ASRForConditionalGeneration
from transformers.models.qwen3_asr.modeling_qwen3_asr import Qwen3ASREncoder

from megaasr import strict_json
from megaasr.atomic import atomic_file, write_atomically
from megaasr.audio import files
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.corpora.clip_check import (
    MAX_LEFT_OUT,
    ClipRecord,
    LeftOut,
    check_clips,
    count_left_out,
)
from megaasr.errors import TrainingError
from megaasr.folder_claim import FolderClaim
from megaasr.hashing import file_sha256
from megaasr.model.chunk_trimming import trim_encoder_chunks
from megaasr.model.geometry import AudioGeometry, convolved_length
from megaasr.model.inputs import pad_features
from megaasr.progress import OnProgress
from megaasr.records import Utterance, read_manifest
from megaasr.simulate.scenarios import find_scenario
from megaasr.train.input_check import InputCheck
from megaasr.train.packing import pack_by_length
from megaasr.train.small.degradation import Degradation
from megaasr.train.small.speed import MixedPrecision

RECIPE_FILE = "recipe.json"
_ENCODER_FILE = "model.safetensors"
_BATCH_S = 40.0
_PAUSES_S = 2.0  # margin for the pauses of an example
Frames = NDArray[np.float16]


class FramesRecipe(MixedPrecision):
    """How training examples of the decoder are made from clips and encoded."""

    seed: int = Field(ge=0, description="seed of every random choice")
    encoder: Path = Field(description="folder of the fitted encoder, or of a complete model")
    corpus: Path = Field(description="folder of synthesised speech")
    manifests: tuple[str, ...] = Field(
        min_length=1, description="names of the manifests in the corpus, in order"
    )
    join_share: float = Field(ge=0, le=1, description="share of the examples that join clips")
    join_max_s: float = Field(gt=0, le=29, description="longest joined example, seconds")
    lead_s: float = Field(ge=0, description="longest silence before and after the speech, seconds")
    gain_db: float = Field(ge=0, description="standard deviation of the level, dB")
    degraded_share: float = Field(ge=0, le=1, description="share of the examples that are degraded")
    scenarios: tuple[str, ...] = Field(description="scenarios that degraded examples draw from")
    max_severity: float = Field(ge=0, le=1, description="severities are drawn from 0 to this")
    workers: int = Field(gt=0, description="processes that encode, one thread each")
    max_left_out: float = Field(
        default=MAX_LEFT_OUT,
        ge=0,
        le=1,
        description="largest share of a manifest's clips that may be left out because they cannot "
        "be used",
    )


@dataclass(frozen=True, slots=True)
class FrameExample:
    """One training example.

    Attributes:
        text: transcript; empty without speech.
        shard: index of the shard.
        start: index of the first frame in the shard.
        frames: number of frames, which is the number of audio tokens.
    """

    text: str
    shard: int
    start: int
    frames: int


class FrameStore:
    """Examples of several shards, read through memory maps.

    Args:
        folder: folder that `encode_corpus` wrote.
        manifests: names of the manifests whose shards are opened, in this order.

    Raises:
        TrainingError: a shard is missing.
    """

    def __init__(self, folder: Path, manifests: Sequence[str]) -> None:
        self.examples: list[FrameExample] = []
        self.shards: list[Frames] = []
        for number, name in enumerate(manifests):
            index = folder / f"{Path(name).stem}.json"
            if not index.is_file():
                raise TrainingError(
                    f"{folder} holds no frames of {name}; make them with: mega-asr train encode"
                )
            rows = json.loads(index.read_text(encoding="utf-8"))["examples"]
            start = 0
            for row in rows:
                self.examples.append(FrameExample(row["text"], number, start, row["frames"]))
                start += row["frames"]
            self.shards.append(np.load(index.with_suffix(".npy"), mmap_mode="r"))

    def frames(self, example: FrameExample) -> Frames:
        """Return the encoder frames of an example, float16 of shape [frames, width]."""
        shard = self.shards[example.shard]
        return shard[example.start : example.start + example.frames]


@dataclass(frozen=True, slots=True)
class PlannedExample:
    """An example before it is encoded.

    Attributes:
        index: index of the example in its manifest, which keys its random choices.
        utterances: its clips, in the order in which they are spoken.
    """

    index: int
    utterances: tuple[Utterance, ...]

    @property
    def text(self) -> str:
        """The transcript: the clips' texts joined by spaces."""
        return " ".join(u.text for u in self.utterances if u.text)


def plan_examples(
    utterances: Sequence[Utterance], recipe: FramesRecipe, manifest: str
) -> list[PlannedExample]:
    """Group the clips of a manifest into examples: every clip once, alone or joined to others.

    Args:
        utterances: records of the clips, with `duration_s`.
        recipe: shares, lengths and the seed.
        manifest: name of the manifest, which keys the random choices.

    Raises:
        TrainingError: a record has no `duration_s`.
    """
    rng = np.random.default_rng([recipe.seed, *manifest.encode()])
    pending = [utterances[int(i)] for i in rng.permutation(len(utterances))]
    examples: list[PlannedExample] = []
    while pending:
        group = [pending.pop()]
        # A pause of at most 1 s separates clips, and silence may surround the example.
        limit = 0.0
        if rng.random() < recipe.join_share:
            limit = float(rng.uniform(6.0, recipe.join_max_s)) - 2 * recipe.lead_s
        total = _duration_s(group[0])
        while pending and total + 1.0 + _duration_s(pending[-1]) <= limit:
            group.append(pending.pop())
            total += 1.0 + _duration_s(group[-1])
        examples.append(PlannedExample(len(examples), tuple(group)))
    return examples


def _duration_s(utterance: Utterance) -> float:
    duration = utterance.extra.get("duration_s")
    if not isinstance(duration, int | float):
        raise TrainingError(f"clip {utterance.id} has no duration_s")
    return float(duration)


def example_samples(planned: PlannedExample, recipe: FramesRecipe, manifest: str) -> Samples:
    """Return the audio of an example, float32 of shape [time], 16 kHz mono, less than 30 s.

    Args:
        planned: the example.
        recipe: levels, degradation and the seed.
        manifest: name of the manifest, which keys the random choices.
    """
    rng = np.random.default_rng([recipe.seed, planned.index, *manifest.encode()])
    parts = [_silence(rng.uniform(0.0, recipe.lead_s))]
    for utterance in planned.utterances:
        parts.append(files.read(recipe.corpus / utterance.audio).samples)
        parts.append(_silence(rng.uniform(0.1, 1.0)))
    parts[-1] = _silence(rng.uniform(0.0, recipe.lead_s))
    samples = np.concatenate(parts)[: int(29.9 * SAMPLE_RATE)]
    # Digital silence is rare in recordings: add a noise floor of -90 to -60 dBFS.
    floor_level = 10 ** (rng.uniform(-90.0, -60.0) / 20)
    samples = samples + rng.normal(0.0, floor_level, samples.size).astype(np.float32)
    if recipe.scenarios and rng.random() < recipe.degraded_share:
        samples = _degrade(samples, planned, recipe, rng)
    gain = 10 ** (rng.normal(0.0, recipe.gain_db) / 20)
    scaled: Samples = np.clip(samples * np.float32(gain), -1.0, 1.0)
    return scaled


def _silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), dtype=np.float32)


def _degrade(
    samples: Samples, planned: PlannedExample, recipe: FramesRecipe, rng: np.random.Generator
) -> Samples:
    scenario = recipe.scenarios[int(rng.integers(len(recipe.scenarios)))]
    degradation = Degradation(scenario, float(rng.uniform(0.0, recipe.max_severity)), recipe.seed)
    return degradation.apply(samples, planned.utterances[0].id)


class FrozenEncoder:
    """The fitted encoder, for clips of up to 30 s.

    Args:
        folder: folder of the encoder or of a complete model, with its feature extractor.
        precision: precision of matrix products, by default float32.
    """

    def __init__(self, folder: Path, precision: MixedPrecision | None = None) -> None:
        self._precision = precision or MixedPrecision()
        load: Any = Qwen3ASREncoder.from_pretrained
        if (folder / "generation_config.json").is_file():
            load = _load_tower
        self._encoder = load(folder, attn_implementation="sdpa").eval()
        trim_encoder_chunks(self._encoder)
        self._extractor: Any = Qwen3ASRFeatureExtractor.from_pretrained(folder)
        sizes = self._encoder.config
        self._geometry = AudioGeometry(
            hop_samples=int(self._extractor.hop_length),
            chunk_frames=2 * int(sizes.n_window),
            window_frames=int(sizes.n_window_infer),
        )
        for name in ("conv2d1", "conv2d2", "conv2d3"):
            getattr(self._encoder, name).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, clips: Sequence[Samples]) -> list[Frames]:
        """Return the encoder frames of each clip, float16 of shape [frames, width].

        Args:
            clips: audio of each clip, float32 of shape [time], 16 kHz mono.
        """
        features = [self._features(samples) for samples in clips]
        inputs = pad_features(features, self._geometry)
        with self._precision.autocast():
            hidden = self._encoder(**inputs).last_hidden_state
        lengths = [convolved_length(len(values)) for values in features]
        return [part.to(torch.float16).numpy() for part in torch.split(hidden, lengths)]

    def _features(self, samples: Samples) -> Samples:
        """Return the log-mel features of a clip [frames, mels], independent of its batch."""
        extracted = self._extractor(
            [samples], sampling_rate=SAMPLE_RATE, padding=True, n_window=0, return_tensors="np"
        )
        features: Samples = extracted["input_features"][0].T
        return features


def _load_tower(folder: Path, **options: Any) -> Any:
    """Load the encoder of a complete model in float32."""
    load: Any = Qwen3ASRForConditionalGeneration.from_pretrained
    return load(folder, dtype=torch.float32, **options).model.audio_tower


def encode_corpus(
    recipe: FramesRecipe,
    output: Path,
    on_progress: OnProgress = lambda done, total: None,
) -> None:
    """Encode the manifests whose shards do not exist yet.

    Args:
        recipe: manifests, augmentation and encoder.
        output: folder of the shards.
        on_progress: called with the number of finished shards and the number of missing ones.

    Raises:
        TrainingError: the encoder or all manifests are missing; or the folder holds frames of
            another recipe; or some manifests are missing, after the others have been encoded.
        UsageError: a scenario does not exist.
    """
    _check_inputs(recipe)
    _claim(output, recipe)
    existing = [name for name in recipe.manifests if (recipe.corpus / name).is_file()]
    pending = [
        name
        for name in existing
        if not _is_current(output / f"{Path(name).stem}.json", recipe.corpus / name)
    ]
    # A forked child would inherit torch's thread pools in an undefined state.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(recipe.workers, max(1, len(pending))), context) as pool:
        futures = [pool.submit(_encode_manifest, recipe, name, output) for name in pending]
        for done, future in enumerate(futures, 1):
            future.result()
            on_progress(done, len(pending))
    missing = [name for name in recipe.manifests if name not in existing]
    if missing:
        raise TrainingError(
            f"{recipe.corpus} holds no {', '.join(missing)}, so they were left out; synthesize the "
            "speech and repeat the command, or name the existing parts: --set 'manifests=[…]'"
        )


def _check_inputs(recipe: FramesRecipe) -> None:
    """Raise a TrainingError that names all missing inputs and the commands that make them."""
    for scenario in recipe.scenarios:
        if any(condition.name == "speed" for condition in find_scenario(scenario).conditions):
            raise TrainingError(
                f"scenario {scenario}: speed would make examples longer than 30 s; leave it out"
            )
    check = InputCheck()
    is_encoder = (recipe.encoder / _ENCODER_FILE).is_file()
    check.require(is_encoder, f"{recipe.encoder} holds no model", "mega-asr train stem")
    has_manifest = any((recipe.corpus / name).is_file() for name in recipe.manifests)
    command = f"mega-asr synthesize synthesize-small --output {recipe.corpus}"
    check.require(has_manifest, f"{recipe.corpus} holds none of the manifests", command)
    check.finish()


def _claim(output: Path, recipe: FramesRecipe) -> None:
    """Write the recipe into a new folder, or check that the folder belongs to it."""
    free_fields = {"manifests", "workers", "corpus", "encoder", "max_left_out"}
    values = recipe.model_dump(mode="json", exclude=free_fields)
    values["encoder_sha256"] = file_sha256(recipe.encoder / _ENCODER_FILE)
    mismatch = "holds frames of another recipe or encoder"
    claim = FolderClaim(output, RECIPE_FILE, mismatch, error=TrainingError)
    claim.claim(strict_json.dumps(values, indent=2))


def _is_current(index: Path, manifest: Path) -> bool:
    if not index.is_file():
        return False
    sha256 = json.loads(index.read_text(encoding="utf-8"))["manifest_sha256"]
    return bool(sha256 == file_sha256(manifest))


def _encode_manifest(recipe: FramesRecipe, name: str, output: Path) -> None:
    torch.set_num_threads(1)
    encoder = FrozenEncoder(recipe.encoder, recipe)
    manifest = recipe.corpus / name
    utterances, left_out = _usable(manifest, recipe.max_left_out)
    planned = plan_examples(utterances, recipe, name)
    # Examples of similar length share a batch; the order in the shard does not matter.
    planned.sort(key=_speech_s)
    frames: list[Frames] = []
    for batch in pack_by_length(planned, lambda e: _speech_s(e) + _PAUSES_S, _BATCH_S):
        frames += encoder([example_samples(example, recipe, name) for example in batch])
    shard = output / f"{manifest.stem}.npy"
    with atomic_file(shard) as file:
        np.save(file, np.concatenate(frames))
    index: dict[str, Any] = {
        "manifest_sha256": file_sha256(manifest),
        "examples": [
            {"text": example.text, "frames": len(values)}
            for example, values in zip(planned, frames, strict=True)
        ],
    }
    if left_out.problems:
        index["left_out"] = left_out.to_dict()
    write_atomically(shard.with_suffix(".json"), strict_json.dumps(index))


def _usable(manifest: Path, max_left_out: float) -> tuple[list[Utterance], LeftOut]:
    """Return the utterances that can be encoded, and those that are left out."""
    utterances = list(read_manifest(manifest))
    records = [
        ClipRecord(u.id, str(manifest.parent / u.audio), u.text, _duration_s(u)) for u in utterances
    ]
    problems = check_clips(records)
    left_out = count_left_out(records, problems)
    left_out.require(max_left_out, str(manifest))
    if left_out.problems:
        print(f"{manifest}: {left_out.describe()}", file=sys.stderr)
    usable = [u for u, problem in zip(utterances, problems, strict=True) if problem is None]
    return usable, left_out


def _speech_s(example: PlannedExample) -> float:
    """Return the length of an example's clips in seconds, without pauses."""
    return sum(_duration_s(utterance) for utterance in example.utterances)
