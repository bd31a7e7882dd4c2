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
from megaasr.simulate.severity import Mapping
from megaasr.simulate.speed import FASTEST, SLOWEST


class SimulatedCorpusRecipe(Recipe):
    """A data set of degraded speech; what is made follows from this and the manifest alone."""

    seed: int = Field(ge=0, lt=2**63, description="source of every choice")
    split: Literal["train", "dev", "test"] = Field(
        default="train", description="first part of file names"
    )
    num_clips: int | None = Field(
        default=None, gt=0, description="clips; None is one per utterance"
    )
    mapping: Mapping = Field(
        default=Mapping.LINEAR, description="from a uniform draw to the severity"
    )
    severity: float | None = Field(default=None, ge=0, le=1, description="the same for every clip")
    speed_range: tuple[float, float] | None = Field(
        default=None, description="slowest and fastest speed, 0.5..2; None leaves the speed alone"
    )
    noise: tuple[str, ...] = Field(
        default=(),
        description="folders or manifests of noise, or builtin:NAME; none: all built-in ones",
    )
    room_responses: Path | None = Field(
        default=None, description="folder of measured room responses; None is the synthetic reverb"
    )
    format: AudioFormat = Field(default="flac", description="of the clips, 16 bit")
    shard_size: int = Field(
        default=500, gt=0, description="clips in a shard, which are held in memory"
    )
    max_duration_s: float | None = Field(
        default=None, gt=0, description="sources that could give longer clips are left out"
    )
    where: dict[str, str | bool | int | float] = Field(
        default={}, description="only utterances whose columns have these values"
    )
    mix: Mix = Field(default=Mix(), description="which scenario a clip gets")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.speed_range is not None:
            slow, fast = self.speed_range
            if not SLOWEST <= slow <= fast <= FASTEST:
                raise UsageError(
                    f"speed_range must be [slowest, fastest] within {SLOWEST} to {FASTEST}, got "
                    f"{list(self.speed_range)}"
                )
        if any(one.startswith(BUILTIN) for one in self.noise) and len(self.noise) > 1:
            raise UsageError(f"noise: one {BUILTIN}NAME alone, or folders")
        if self.severity is not None and self.mix.kind == "grid":
            raise UsageError("severity is fixed, but a grid has its own: mix.severities")
        return self

    @property
    def longest_source_s(self) -> float | None:
        """Seconds from which on a source is too long: slowed down, it would exceed the limit."""
        if self.max_duration_s is None:
            return None
        return self.max_duration_s * min(1.0, self.speed_range[0] if self.speed_range else 1.0)
