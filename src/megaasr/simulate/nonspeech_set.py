"""Hours of sound without speech, as a test set: what a recogniser writes there is invented.

The categories of the noises take turns, with silence as one more. Each clip has another level and
shape: steady, swelling, or starting and ending within silence. The same seed gives the same bytes,
and clips that exist are kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from megaasr import strict_json
from megaasr.audio import files
from megaasr.audio.waveform import SAMPLE_RATE, Samples, Waveform
from megaasr.errors import AudioError, UsageError
from megaasr.folder_claim import FolderClaim
from megaasr.progress import OnProgress
from megaasr.records import Utterance, write_manifest
from megaasr.simulate.families.registry import CATEGORIES
from megaasr.simulate.noise_generators import BUILTIN
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.streams import stream, stream_key

SILENCE = "silence"
CLIP_S = 60.0
"""Length of a clip in seconds."""
MANIFEST_FILE = "nonspeech.jsonl"
CLAIM_FILE = "nonspeech-inputs.json"
_LEVELS_DB = (-50.0, -6.0)  # peak
_DITHER = 2e-5


def build_nonspeech_set(
    hours: float,
    pool: NoisePool,
    output: Path,
    *,
    seed: int,
    workers: int | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> Path:
    """Make the clips of the test set and its manifest.

    Args:
        hours: hours of audio, above 0; rounded up to whole clips.
        pool: noises; its recordings, if it has any, take turns with the built-in families.
        output: folder of the test set.
        seed: seed of every random choice.
        workers: number of clips made in parallel; None for the number of processor cores.
        on_progress: called with the number of finished clips and the total number.

    Returns:
        The manifest: every clip has an empty text, and its category.

    Raises:
        UsageError: `hours` is not above 0 or not finite, or the folder holds clips of another seed
            or of other noises.
        AudioError: a clip cannot be written.
    """
    if not 0 < hours < math.inf:
        raise UsageError(f"hours is {hours:g}; it must be above 0, and finite")
    count = max(1, round(hours * 3600 / CLIP_S + 0.4999))
    categories = _categories(pool)
    # More hours of the same inputs continue a test set, so they are none of them.
    claim = FolderClaim(output, CLAIM_FILE, "holds a test set of another seed or other noises")
    claim.claim(strict_json.dumps({"seed": seed, "noises": _identity(pool)}, indent=1))
    (output / "audio").mkdir(parents=True, exist_ok=True)

    def make(number: int) -> Utterance:
        return _make_clip(number, categories[number % len(categories)], pool, output, seed)

    utterances = []
    with ThreadPoolExecutor(workers) as threads:
        for utterance in threads.map(make, range(count)):
            utterances.append(utterance)
            on_progress(len(utterances), count)
    write_manifest(output / MANIFEST_FILE, utterances)
    return output / MANIFEST_FILE


def _identity(pool: NoisePool) -> dict[str, str]:
    """Return what the noises of the clips depend on."""
    if pool.recorded is None:
        return pool.builtin_identity
    return {**pool.builtin_identity, "recordings": pool.recorded.index.fingerprint}


def _categories(pool: NoisePool) -> Sequence[str]:
    """Return the categories that take turns."""
    recorded = pool.categories if pool.recorded is not None else []
    return [*recorded, *(BUILTIN + name for name in CATEGORIES), SILENCE]


def _make_clip(number: int, category: str, pool: NoisePool, output: Path, seed: int) -> Utterance:
    clip_id = f"nonspeech-{number:05d}"
    path = output / "audio" / f"{clip_id}.flac"
    rng = stream(stream_key(seed, clip_id, 0, "nonspeech"))
    name = SILENCE if category == SILENCE else pool.choose(category, rng)
    if not _is_complete(path):
        sound = _draw_sound(None if name == SILENCE else pool.samples(name), rng)
        files.write(path, Waveform(sound, SAMPLE_RATE))
    return Utterance(
        clip_id,
        f"audio/{path.name}",
        text="",
        extra={"duration_s": CLIP_S, "category": category, "noise": name},
    )


def _is_complete(path: Path) -> bool:
    try:
        return path.is_file() and files.duration_s(path) == CLIP_S
    except AudioError:
        return False


def _draw_sound(noise: np.ndarray | None, rng: np.random.Generator) -> Samples:
    """Return a clip of a noise, which repeats; None for silence."""
    length = round(CLIP_S * SAMPLE_RATE)
    sound = rng.normal(0.0, _DITHER, length)
    if noise is not None:
        start = int(rng.integers(len(noise)))
        repeated = np.resize(np.roll(noise, -start).astype(np.float64), length)
        peak = 10 ** (float(rng.uniform(*_LEVELS_DB)) / 20)
        sound += repeated * (peak / max(1.0, np.abs(repeated).max())) * _envelope(length, rng)
    return np.clip(sound, -1.0, 1.0).astype(np.float32)


def _envelope(length: int, rng: np.random.Generator) -> np.ndarray:
    """Return the gain over time: steady, swelling, or starting and ending within silence."""
    time = np.linspace(0.0, 1.0, length)
    shape = int(rng.integers(3))
    if shape == 0:
        return np.ones(length)
    if shape == 1:
        swell: np.ndarray = (
            0.1 + 0.9 * np.sin(np.pi * (time * rng.uniform(1, 6) + rng.random())) ** 2
        )
        return swell
    start, end = sorted(rng.uniform(0.0, 1.0, 2))
    inside: np.ndarray = ((time >= start) & (time <= end)).astype(np.float64)
    return inside
