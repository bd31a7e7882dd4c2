"""Encoder frames of a synthesised corpus, computed once: what `small`'s decoder is trained on.

The encoder is frozen while the decoder learns, so each clip passes through it once. An example is
one clip or several joined with pauses, at a random level, some of them degraded. The examples of a
manifest are a function of the recipe and the manifest alone.

Each manifest makes one shard: `NAME.npy`, float16 [frames of all examples, width], and `NAME.json`,
its index, which is written last.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from transformers import Qwen3ASRFeatureExtractor
from transformers.models.qwen3_asr.modeling_qwen3_asr import Qwen3ASREncoder

from megaasr.atomic import atomic_file, write_atomically
from megaasr.audio import files
from megaasr.audio.waveform import SAMPLE_RATE, Samples, Waveform
from megaasr.config import Recipe
from megaasr.errors import TrainingError
from megaasr.folder_claim import FolderClaim
from megaasr.hashing import file_sha256
from megaasr.model.chunk_trimming import trim_encoder_chunks
from megaasr.model.geometry import AudioGeometry, convolved_length
from megaasr.model.inputs import pad_features
from megaasr.progress import OnProgress
from megaasr.records import Utterance, read_manifest
from megaasr.simulate.scenarios import find_scenario
from megaasr.simulate.simulator import Simulator

RECIPE_FILE = "recipe.json"
Frames = NDArray[np.float16]


class FramesRecipe(Recipe):
    """How the examples of the decoder's training are made from clips."""

    seed: int = Field(ge=0, description="source of every choice")
    encoder: Path = Field(description="folder of the fitted encoder")
    corpus: Path = Field(description="folder of synthesised speech")
    manifests: tuple[str, ...] = Field(
        min_length=1, description="manifests in the corpus, in order"
    )
    join_share: float = Field(ge=0, le=1, description="share of the examples that join clips")
    join_max_s: float = Field(gt=0, le=29, description="longest joined example, seconds")
    lead_s: float = Field(ge=0, description="longest silence before and after the speech, seconds")
    gain_db: float = Field(ge=0, description="standard deviation of the level, dB")
    degraded_share: float = Field(ge=0, le=1, description="share of the examples that are degraded")
    scenarios: tuple[str, ...] = Field(description="scenarios that degraded examples draw from")
    max_severity: float = Field(ge=0, le=1, description="severities are drawn from 0 to this")
    workers: int = Field(gt=0, description="processes that encode, one thread each")


@dataclass(frozen=True, slots=True)
class FrameExample:
    """One training example.

    Attributes:
        text: its transcript; empty without speech.
        shard: index of its shard.
        start: index of its first frame in the shard.
        frames: its length; also the number of its audio tokens.
    """

    text: str
    shard: int
    start: int
    frames: int


class FrameStore:
    """Examples of several shards, read by memory map.

    Args:
        folder: as `encode_corpus` filled it.
        manifests: whose shards are opened, in this order.

    Raises:
        TrainingError: a shard is missing.
    """

    def __init__(self, folder: Path, manifests: Sequence[str]) -> None:
        self.examples: list[FrameExample] = []
        self._shards: list[Frames] = []
        for number, name in enumerate(manifests):
            index = folder / f"{Path(name).stem}.json"
            if not index.is_file():
                raise TrainingError(
                    f"{folder} holds no frames of {name}; make them first: mega-asr train encode"
                )
            rows = json.loads(index.read_text(encoding="utf-8"))["examples"]
            start = 0
            for row in rows:
                self.examples.append(FrameExample(row["text"], number, start, row["frames"]))
                start += row["frames"]
            self._shards.append(np.load(index.with_suffix(".npy"), mmap_mode="r"))

    def frames(self, example: FrameExample) -> Frames:
        """Return float16 [frames, width]."""
        shard = self._shards[example.shard]
        return shard[example.start : example.start + example.frames]


@dataclass(frozen=True, slots=True)
class PlannedExample:
    """Clips that are spoken one after another, and the key of the example's random choices."""

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
        utterances: with `duration_s`.
        recipe: shares and the seed.
        manifest: its name, which keys the random choices.
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
    """Return the sound of an example: float32 [time] at 16 kHz, below 30 s."""
    rng = np.random.default_rng([recipe.seed, planned.index, *manifest.encode()])
    parts = [_silence(rng.uniform(0.0, recipe.lead_s))]
    for utterance in planned.utterances:
        parts.append(files.read(recipe.corpus / utterance.audio).samples)
        parts.append(_silence(rng.uniform(0.1, 1.0)))
    parts[-1] = _silence(rng.uniform(0.0, recipe.lead_s))
    samples = np.concatenate(parts)[: int(29.9 * SAMPLE_RATE)]
    # Digital silence is rare in recordings: a faint floor, 60 to 90 dB below full scale.
    floor = 10 ** (rng.uniform(-90.0, -60.0) / 20)
    samples = samples + rng.normal(0.0, floor, samples.size).astype(np.float32)
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
    simulator = Simulator()
    draw = simulator.draw(
        seed=recipe.seed,
        scenario=find_scenario(recipe.scenarios[int(rng.integers(len(recipe.scenarios)))]),
        severity=float(rng.uniform(0.0, recipe.max_severity)),
        utterance=planned.utterances[0].id,
    )
    return simulator.apply(Waveform(samples, SAMPLE_RATE), draw).waveform.samples


class FrozenEncoder:
    """The fitted encoder alone, for clips of up to 30 s.

    Args:
        folder: an encoder with its feature extractor.
    """

    def __init__(self, folder: Path) -> None:
        load: Any = Qwen3ASREncoder.from_pretrained
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
        """Return float16 [frames, width] of each clip.

        Args:
            clips: float32 [time] at 16 kHz.
        """
        features = [self._features(samples) for samples in clips]
        inputs = pad_features(features, self._geometry)
        hidden = self._encoder(**inputs).last_hidden_state
        lengths = [convolved_length(len(values)) for values in features]
        return [part.to(torch.float16).numpy() for part in torch.split(hidden, lengths)]

    def _features(self, samples: Samples) -> Samples:
        """Log-mel features [frames, mels] of one clip: its own, whatever is in the batch."""
        extracted = self._extractor(
            [samples], sampling_rate=SAMPLE_RATE, padding=True, n_window=0, return_tensors="np"
        )
        features: Samples = extracted["input_features"][0].T
        return features


def encode_corpus(
    recipe: FramesRecipe,
    output: Path,
    on_progress: OnProgress = lambda done, total: None,
) -> None:
    """Encode the manifests whose shards are not there yet.

    Args:
        recipe: what to encode.
        output: folder of the shards; one that was made by another recipe is refused.
        on_progress: called with shards done and shards in all.

    Raises:
        TrainingError: the folder belongs to another recipe; or a manifest is missing, which is
            said when the others have been encoded.
    """
    _claim(output, recipe)
    there = [name for name in recipe.manifests if (recipe.corpus / name).is_file()]
    missing = [
        name
        for name in there
        if not _is_current(output / f"{Path(name).stem}.json", recipe.corpus / name)
    ]
    # A forked child would inherit torch's thread pools in an undefined state.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(recipe.workers, max(1, len(missing))), context) as pool:
        jobs = [pool.submit(_encode_manifest, recipe, name, output) for name in missing]
        for done, job in enumerate(jobs, 1):
            job.result()
            on_progress(done, len(missing))
    absent = [name for name in recipe.manifests if name not in there]
    if absent:
        raise TrainingError(
            f"{recipe.corpus} holds no {', '.join(absent)}, so they were left out; make the speech "
            "and run this again, or name the parts that are there: --set 'manifests=[…]'"
        )


def _claim(output: Path, recipe: FramesRecipe) -> None:
    """Write the recipe into a new folder, or check that the folder belongs to it."""
    weights = recipe.encoder / "model.safetensors"
    if not weights.is_file():  # before a folder is left behind
        raise TrainingError(f"{recipe.encoder} holds no model; make it with: mega-asr train stem")
    free = {"manifests", "workers", "corpus", "encoder"}
    values = recipe.model_dump(mode="json", exclude=free)
    values["encoder_sha256"] = file_sha256(weights)
    mismatch = "holds frames of another recipe or encoder"
    claim = FolderClaim(output, RECIPE_FILE, mismatch, error=TrainingError)
    claim.claim(json.dumps(values, indent=2))


def _is_current(index: Path, manifest: Path) -> bool:
    if not index.is_file():
        return False
    sha256 = json.loads(index.read_text(encoding="utf-8"))["manifest_sha256"]
    return bool(sha256 == file_sha256(manifest))


def _encode_manifest(recipe: FramesRecipe, name: str, output: Path) -> None:
    torch.set_num_threads(1)
    encoder = FrozenEncoder(recipe.encoder)
    manifest = recipe.corpus / name
    planned = plan_examples(list(read_manifest(manifest)), recipe, name)
    # Clips of like length share a batch; the order in the shard is of no matter.
    planned.sort(key=lambda one: sum(_duration_s(u) for u in one.utterances))
    frames: list[Frames] = []
    for batch in _batches(planned, seconds=40.0):
        frames += encoder([example_samples(example, recipe, name) for example in batch])
    shard = output / f"{manifest.stem}.npy"
    with atomic_file(shard) as file:
        np.save(file, np.concatenate(frames))
    index = {
        "manifest_sha256": file_sha256(manifest),
        "examples": [
            {"text": example.text, "frames": len(values)}
            for example, values in zip(planned, frames, strict=True)
        ],
    }
    write_atomically(shard.with_suffix(".json"), json.dumps(index))


def _batches(
    planned: Sequence[PlannedExample], *, seconds: float
) -> Iterator[list[PlannedExample]]:
    """Cut a list sorted by length into batches of about equal sound."""
    batch: list[PlannedExample] = []
    for example in planned:
        longest = sum(_duration_s(u) for u in example.utterances) + 2.0
        if batch and longest * (len(batch) + 1) > seconds:
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch
