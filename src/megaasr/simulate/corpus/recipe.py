"""The recipe of a simulated data set."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from megaasr.audio.encoding import AudioFormat
from megaasr.config import Recipe
from megaasr.errors import UsageError
from megaasr.simulate.mix import Mix
from megaasr.simulate.noise_generators import BUILTIN
from megaasr.simulate.noise_pool import BuiltinNoises
from megaasr.simulate.positions import Compounds
from megaasr.simulate.severity import SeverityCurve
from megaasr.simulate.speed import MAX_SPEED, MIN_SPEED


class SimulatedCorpusRecipe(Recipe):
    """Recipe of a data set of degraded speech; the clips depend on it and the manifest alone."""

    seed: int = Field(ge=0, lt=2**63, description="seed of every random choice")
    split: Literal["train", "dev", "test"] = Field(
        default="train",
        description="split: the first part of the file names; splits share no built-in noise",
    )
    num_clips: int | None = Field(
        default=None, gt=0, description="number of clips; None for one per utterance"
    )
    mapping: SeverityCurve = Field(
        default=SeverityCurve.LINEAR, description="curve that maps a uniform draw to the severity"
    )
    severity: float | None = Field(
        default=None, ge=0, le=1, description="severity of every clip; None to draw it"
    )
    compounds: Compounds = Field(
        default=Compounds.CALIBRATED,
        description="calibrated, or literal for the ranges of single conditions in compounds",
    )
    speed_range: tuple[float, float] | None = Field(
        default=None, description="slowest and fastest speed, 0.5 to 2; None keeps the speed"
    )
    noise: tuple[str, ...] = Field(
        default=(),
        description="folders or manifests of noises, or builtin:NAME; empty for all built-in ones",
    )
    builtin_noises: BuiltinNoises = Field(
        default="families",
        description="families, or fixed for the eight fixed noises of the first test set",
    )
    room_responses: Path | None = Field(
        default=None, description="folder of measured room responses; None for synthetic reverb"
    )
    talkers: tuple[str, ...] = Field(
        default=(),
        description="folders or manifests of other people's speech for `competing_talker`; empty "
        "for the built-in synthetic talkers",
    )
    format: AudioFormat = Field(
        default="flac", description="audio format of the clips, with 16 bits"
    )
    shard_size: int = Field(
        default=500, gt=0, description="clips per shard; a shard is held in memory"
    )
    max_duration_s: float | None = Field(
        default=None, gt=0, description="sources that could give longer clips are left out, seconds"
    )
    where: dict[str, str | bool | int | float] = Field(
        default={}, description="values of the columns of the utterances to use"
    )
    mix: Mix = Field(default=Mix(), description="distribution of the scenarios")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.speed_range is not None:
            slow, fast = self.speed_range
            if not MIN_SPEED <= slow <= fast <= MAX_SPEED:
                raise UsageError(
                    f"speed_range must be [slowest, fastest] within {MIN_SPEED} to {MAX_SPEED}, "
                    f"got {list(self.speed_range)}"
                )
        if any(name.startswith(BUILTIN) for name in self.noise) and len(self.noise) > 1:
            raise UsageError(f"noise: give one {BUILTIN}NAME alone, or folders")
        if self.severity is not None and self.mix.kind == "grid":
            raise UsageError("severity is fixed, but a grid has its own severities: mix.severities")
        return self

    @property
    def max_source_s(self) -> float | None:
        """Maximum length of a source in seconds, so that its longest clip is within the limit."""
        if self.max_duration_s is None:
            return None
        slowest = min(1.0, self.speed_range[0] if self.speed_range else 1.0)
        lengthening = max(
            (condition.max_lengthening for condition in self.mix.conditions), default=1.0
        )
        return self.max_duration_s * slowest / lengthening
