"""The log of one degraded file: what is needed to make the same bytes again, and what came out."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from megaasr.audio.measure import active_speech_level_dbfs, peak
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import MegaASRError, RecordError, UsageError
from megaasr.simulate import kernels
from megaasr.simulate.draw import Draw
from megaasr.simulate.primitives.loudness import lufs_or_none
from megaasr.simulate.primitives.primitive import Floats, Notes
from megaasr.simulate.simulator import Simulated
from megaasr.versions import package_version


class Level(BaseModel):
    """How loud a clip is.

    Attributes:
        active_dbfs: RMS of the parts that are not pauses (as for speech levels, but what is
            added to the speech counts too), in dBFS; None for silence.
        lufs: integrated loudness; None for silence and for clips shorter than 0.4 s.
        peak: largest magnitude; full scale is 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    active_dbfs: float | None
    lufs: float | None
    peak: float

    @classmethod
    def of(cls, samples: Floats) -> Level:
        """Measure float32 [time] samples at 16 kHz, at least one."""
        return cls(
            active_dbfs=_or_none(active_speech_level_dbfs(samples, SAMPLE_RATE)),
            lufs=lufs_or_none(samples),
            peak=peak(samples),
        )


class SimulationLog(BaseModel):
    """What stands beside a degraded file.

    Attributes:
        log_schema: version of this record.
        input: name of the clean file, without folders.
        input_sha256: of the clean samples at 16 kHz, float32, lowest byte first.
        draw: what was done.
        notes: what each step measured, in order; `skipped` gives a reason.
        clipped_samples: how many samples were limited to full scale at the end.
        input_level, output_level: how loud the clip was before and after.
        output_sha256: of the degraded samples, int16, lowest byte first.
        versions: of what can change the bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    log_schema: Literal[1] = 1
    input: str
    input_sha256: str
    draw: Draw
    notes: tuple[Notes, ...]
    clipped_samples: int = Field(ge=0)
    input_level: Level
    output_level: Level
    output_sha256: str
    versions: dict[str, str]

    @classmethod
    def of(cls, name: str, clean: Floats, draw: Draw, simulated: Simulated) -> SimulationLog:
        """Write down what was done to clean samples at 16 kHz from the file `name`."""
        degraded = simulated.waveform.samples
        return cls(
            input=name,
            input_sha256=samples_sha256(clean),
            draw=draw,
            notes=simulated.notes,
            clipped_samples=simulated.clipped_samples,
            input_level=Level.of(clean),
            output_level=Level.of(degraded),
            output_sha256=steps_sha256(degraded),
            versions=versions(),
        )

    def to_json(self) -> str:
        """Return the log as indented JSON with a final line break."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> SimulationLog:
        """Read a log.

        Raises:
            UsageError: there is no such file.
            RecordError: it is no log of this version; names file and field.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise UsageError(f"{path}: there is no such log") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the text"
            raise RecordError(
                f"{path}: not a log of `mega-asr simulate apply`: {where}: {first['msg']}"
            ) from error

    def check_input(self, path: Path, clean: Floats) -> None:
        """Check that samples at 16 kHz, read from `path`, are those that were degraded.

        Raises:
            UsageError: they are not.
        """
        if samples_sha256(clean) != self.input_sha256:
            raise UsageError(
                f"{path}: its samples are not those that were degraded (from a file called "
                f"{self.input}); give that file, unchanged{self._other_versions()}"
            )

    def check_output(self, degraded: Floats) -> None:
        """Check that the same samples came out again.

        Raises:
            MegaASRError: they did not; names the versions that differ.
        """
        if steps_sha256(degraded) != self.output_sha256:
            raise MegaASRError(
                "the same draw gave other samples than the log tells: a noise or room response "
                "has changed, or this is another kind of computer"
                f"{self._other_versions()}; --force writes them all the same"
            )

    def _other_versions(self) -> str:
        here = versions()
        other = [
            f"{name} {logged}, here {here.get(name, 'none')}"
            for name, logged in self.versions.items()
            if here.get(name) != logged
        ]
        return f" (the log was made with {'; '.join(other)})" if other else ""


def samples_sha256(samples: Floats) -> str:
    """Return the SHA-256 of float32 [time] samples, lowest byte first, as hexadecimal digits."""
    return hashlib.sha256(samples.astype("<f4").tobytes()).hexdigest()


def steps_sha256(samples: Floats) -> str:
    """Return the SHA-256 of samples as a 16-bit file holds them (int16, lowest byte first)."""
    steps = np.clip(np.rint(samples.astype(np.float64) * 2**15), -(2**15), 2**15 - 1)
    return hashlib.sha256(steps.astype("<i2").tobytes()).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of what can change the bytes of a result."""
    libraries = ("numpy", "scipy", "soxr", "soundfile")
    return {
        "megaasr": package_version("megaasr"),
        "loops": kernels.name(),
        **{name: package_version(name) for name in libraries},
    }


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
