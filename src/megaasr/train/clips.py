"""Training clips: graded records, which of them a stage takes, and their features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import AudioError, TrainingError
from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import Features
from megaasr.model.interface import MAX_CHUNK_S
from megaasr.records import read_manifest
from megaasr.train.log_mel import finish, log_mel

LONGEST_S = MAX_CHUNK_S
_LISTINGS = ("graded.jsonl", "simulated.jsonl")


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip to learn from.

    Attributes:
        id, text, language: as in its record.
        audio: path of its sound, perhaps a row of a Parquet shard.
        duration_s: seconds.
        error_rate: of the model that graded it, None if it was not graded.
        base_text: what that model heard.
    """

    id: str
    audio: str
    text: str
    language: str | None
    duration_s: float
    error_rate: float | None
    base_text: str = ""


def listing_of(path: Path) -> Path:
    """Return the manifest that a path means: itself, or that of a graded or simulated data set.

    Raises:
        TrainingError: there is none.
    """
    if path.is_file():
        return path
    found = next((path / name for name in _LISTINGS if (path / name).is_file()), None)
    if found is None:
        raise TrainingError(
            f"{path} is neither a manifest nor a data set; make one with mega-asr grade"
        )
    return found


def read_clips(paths: Iterable[Path]) -> list[Clip]:
    """Read the clips of data sets that can be learnt from: 30 s at most, with a duration.

    Raises:
        TrainingError: there is no data set, or a record has no `duration_s`.
        RecordError: a line is no record.
    """
    return [clip for path in paths for clip in _read_listing(listing_of(path))]


def _read_listing(listing: Path) -> Iterator[Clip]:
    for one in read_manifest(listing):
        duration, rate = one.extra.get("duration_s"), one.extra.get("base_error_rate")
        if not isinstance(duration, int | float):
            raise TrainingError(f"{listing}: {one.id} has no duration_s")
        if 0 < duration <= LONGEST_S:
            audio = str(listing.parent / one.audio)
            heard = str(one.extra.get("base_text") or "")
            yield Clip(one.id, audio, one.text, one.language, float(duration), rate, heard)


def choose(
    clips: Sequence[Clip], max_error_rate: float | None, sample: int | None, seed: Sequence[int]
) -> list[Clip]:
    """Return the clips of a stage, in their order.

    Args:
        clips: of the data set.
        max_error_rate: strict upper bound of the base model's error; None takes ungraded ones too.
        sample: so many of them at most, drawn without replacement.
        seed: of the draw.

    Raises:
        TrainingError: none is left, or a bound is given and the clips are not graded.
    """
    if max_error_rate is not None and any(one.error_rate is None for one in clips):
        raise TrainingError(
            "the data set is not graded, so it cannot be filtered by base_error_rate; run "
            "mega-asr grade on it"
        )
    chosen = [
        one
        for one in clips
        if max_error_rate is None
        or (one.error_rate is not None and one.error_rate < max_error_rate)
    ]
    if not chosen:
        raise TrainingError(f"no clip has a base error rate below {max_error_rate}")
    if sample is not None and sample < len(chosen):
        drawn = np.random.default_rng([*seed]).choice(len(chosen), sample, replace=False)
        chosen = [chosen[at] for at in sorted(drawn.tolist())]
    return chosen


class ClipFeatures(Dataset[dict[str, Any]]):
    """The features and words of clips, decoded when they are asked for (in loader workers).

    A clip that cannot be read gives no example (`features` is None), and is left out of its batch.

    Args:
        clips: of one stage.
        geometry: of the model.
    """

    def __init__(self, clips: Sequence[Clip], geometry: AudioGeometry) -> None:
        self.clips = clips
        self._geometry = geometry

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, at: int) -> dict[str, Any]:
        clip = self.clips[at]
        return {"features": self._features(clip), "text": clip.text, "language": clip.language}

    def _features(self, clip: Clip) -> Features | None:
        try:
            return features_of(read_clip(Path(), clip.audio).samples, self._geometry)
        except (AudioError, OSError):
            return None


def features_of(samples: NDArray[np.float32], geometry: AudioGeometry) -> Features | None:
    """Return the log-mel features of samples at 16 kHz, of 30 s at most; None if there is none."""
    if not samples.size:
        return None
    return finish(log_mel(samples[: int(LONGEST_S * SAMPLE_RATE)], geometry))
