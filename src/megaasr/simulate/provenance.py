"""Provenance of a degraded file: all that is needed to reproduce its bytes, and what resulted."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from megaasr.audio.measure import active_speech_level_dbfs, peak
from megaasr.audio.waveform import SAMPLE_RATE, Samples
from megaasr.errors import MegaASRError, RecordError, UsageError
from megaasr.simulate import kernels
from megaasr.simulate.codecs import ffmpeg_version
from megaasr.simulate.draw import Draw
from megaasr.simulate.primitives import SpeechCodec
from megaasr.simulate.primitives.loudness import lufs_or_none
from megaasr.simulate.primitives.primitive import Measurements
from megaasr.simulate.simulator import Simulated
from megaasr.versions import package_version


class Level(BaseModel):
    """Level of a clip.

    Attributes:
        active_dbfs: RMS in dBFS without the pauses, measured as speech levels are, but including
            whatever was added to the speech; None for silence.
        lufs: integrated loudness in LUFS; None for silence and for clips shorter than 0.4 s.
        peak: largest magnitude; full scale is 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    active_dbfs: float | None
    lufs: float | None
    peak: float

    @classmethod
    def of(cls, samples: Samples) -> Level:
        """Measure a clip at 16 kHz of at least one sample."""
        return cls(
            active_dbfs=_or_none(active_speech_level_dbfs(samples, SAMPLE_RATE)),
            lufs=lufs_or_none(samples),
            peak=peak(samples),
        )


class Provenance(BaseModel):
    """The record that `mega-asr simulate apply` writes beside a degraded file.

    Attributes:
        log_schema: version of this record.
        input: name of the clean file, without folders.
        input_sha256: hash of the clean samples at 16 kHz (float32, little-endian).
        draw: the degradation.
        measurements: measurements of each step of the draw, in order; `skipped` gives the reason
            why a step changed nothing. The field is called `notes` in the file.
        clipped_samples: number of samples that were clipped at the end of the chain.
        input_level, output_level: level of the clip before and after the degradation.
        output_sha256: hash of the degraded samples (int16, little-endian).
        versions: versions of the libraries that can change the bytes, and of the program ffmpeg if
            a codec of the draw uses it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    log_schema: Literal[1] = 1
    input: str
    input_sha256: str
    draw: Draw
    measurements: tuple[Measurements, ...] = Field(
        validation_alias="notes", serialization_alias="notes"
    )
    clipped_samples: int = Field(ge=0)
    input_level: Level
    output_level: Level
    output_sha256: str
    versions: dict[str, str]

    @classmethod
    def of(cls, name: str, clean: Samples, draw: Draw, simulated: Simulated) -> Provenance:
        """Return the provenance of a degraded clip.

        Args:
            name: name of the clean file, without folders.
            clean: clean samples, 16 kHz mono.
            draw: the degradation.
            simulated: result of applying the draw.
        """
        degraded = simulated.waveform.samples
        return cls(
            input=name,
            input_sha256=samples_sha256(clean),
            draw=draw,
            measurements=simulated.measurements,
            clipped_samples=simulated.clipped_samples,
            input_level=Level.of(clean),
            output_level=Level.of(degraded),
            output_sha256=pcm_16_sha256(degraded),
            versions=versions(draw),
        )

    def to_json(self) -> str:
        """Return the record as indented JSON that ends with a line break."""
        return self.model_dump_json(indent=2, by_alias=True) + "\n"

    @classmethod
    def read(cls, path: Path) -> Provenance:
        """Read the record from a file.

        Raises:
            UsageError: the file does not exist, or cannot be read.
            RecordError: the file is not a record of this version; the message names the field.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise UsageError(
                f"{path}: there is no such log; `mega-asr simulate apply` writes it beside the file"
            ) from error
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(f"{path}: the log cannot be read: {reason}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the text"
            raise RecordError(
                f"{path}: not a log of `mega-asr simulate apply`: {where}: {first['msg']}; give "
                "the .json file that it wrote beside its audio"
            ) from error

    def check_input(self, path: Path, clean: Samples) -> None:
        """Check that a file holds the clean samples that were degraded.

        Args:
            path: path of the file, for the message.
            clean: its samples, 16 kHz mono.

        Raises:
            UsageError: the samples are different.
        """
        if samples_sha256(clean) != self.input_sha256:
            raise UsageError(
                f"{path}: its samples are not those that were degraded (from a file called "
                f"{self.input}); give that file, unchanged{self._other_versions()}"
            )

    def check_output(self, degraded: Samples) -> None:
        """Check that a replay has reproduced the degraded samples, 16 kHz mono.

        Raises:
            MegaASRError: the samples are different; the message names the versions that differ.
        """
        if pcm_16_sha256(degraded) != self.output_sha256:
            raise MegaASRError(
                "the same draw gave samples other than those in the log: a noise or room response "
                "has changed, or this is another kind of computer"
                f"{self._other_versions()}; --force writes them anyway"
            )

    def _other_versions(self) -> str:
        current = versions(self.draw)
        differences = [
            f"{name} {recorded}, here {current.get(name, 'none')}"
            for name, recorded in self.versions.items()
            if current.get(name) != recorded
        ]
        return f" (the log was made with {'; '.join(differences)})" if differences else ""


def samples_sha256(samples: Samples) -> str:
    """Return the SHA-256 of samples as little-endian float32, in hexadecimal digits."""
    return hashlib.sha256(samples.astype("<f4").tobytes()).hexdigest()


def pcm_16_sha256(samples: Samples) -> str:
    """Return the SHA-256 of samples as little-endian int16, as a 16-bit file stores them."""
    levels = np.clip(np.rint(samples.astype(np.float64) * 2**15), -(2**15), 2**15 - 1)
    return hashlib.sha256(levels.astype("<i2").tobytes()).hexdigest()


def versions(draw: Draw) -> dict[str, str]:
    """Return the versions of the libraries, loops and programs that can change the bytes of a draw.

    Args:
        draw: the degradation; ffmpeg is asked for its version only if a codec of it uses ffmpeg.
    """
    libraries = ("numpy", "scipy", "soxr", "soundfile")
    by_name = {
        "megaasr": package_version("megaasr"),
        "loops": kernels.name(),
        **{name: package_version(name) for name in libraries},
    }
    if any(isinstance(step, SpeechCodec) and step.uses_ffmpeg for step in draw.steps):
        by_name["ffmpeg"] = ffmpeg_version() or "none"
    return by_name


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
