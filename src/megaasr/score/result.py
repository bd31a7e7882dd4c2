"""`result.json`: everything that a report needs to know of a benchmark, in one versioned file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from megaasr.errors import RecordError
from megaasr.text.error_rate import ErrorCounts

RESULT_SCHEMA = 2
"""1 was `megaasr.score.manifest`'s, which is written by `mega-asr publish` alone."""

Counts = tuple[int, int, int, int]
"""Hits, substitutions, deletions, insertions."""

OVERALL = "overall"
FAILURES = ("empty", "hallucination", "omission", "repetition", "truncated")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rate(_Record):
    """The error rate of a group of clips.

    Attributes:
        clips: how many.
        counts: pooled.
        rate: errors per reference token (0 is perfect, may exceed 1), see `ErrorCounts.rate`.
        interval: bootstrap interval over clips (or blocks), low and high.
        failures: share of the clips, 0..1, that show each kind of failure.
    """

    clips: int
    counts: Counts
    rate: float
    interval: tuple[float, float]
    failures: dict[str, float]


class Hypothesis(_Record):
    """What one system made of one clip.

    Attributes:
        text: its words; empty if it failed.
        error: why there is no answer; None if there is one. Such a clip counts as an empty text.
        language: ISO code as the system named it.
        route: `base` or `robust`, or None if the system does not choose.
        degraded_probability: 0..1, of the router; None without one.
        confidence: 0..1; None where the system gives none.
        truncated: the token budget ended the text.
        seconds: of recognition, its share of the batch; None for predictions from a file.
        counts: by normaliser.
        failures: kinds of failure, see `megaasr.text.failures`.
    """

    text: str
    error: str | None = None
    language: str | None = None
    route: str | None = None
    degraded_probability: float | None = None
    confidence: float | None = None
    truncated: bool = False
    seconds: float | None = None
    counts: dict[str, Counts] = Field(default_factory=dict)
    failures: tuple[str, ...] = ()

    def errors(self, normalizer: str) -> ErrorCounts:
        """Return the counts under a normaliser."""
        return ErrorCounts(*self.counts[normalizer])


class Clip(_Record):
    """One clip of the test set with all hypotheses.

    Attributes:
        id: unique in the test set.
        audio: where the sound is, as the test set says (a path, or `shard.parquet#row`).
        text: the reference.
        language: ISO code; None if unknown.
        duration_s: seconds.
        category: one of the eight of the bench, `clean`, or None.
        origin: `real` or `simulated`; None if unknown.
        scenario, severity, snr_db: of simulated clips.
        base_error_rate: of the model that graded the test set (`mega-asr grade`); None if none did.
        held_out_voice: nobody with this voice was trained on; None if unknown.
        block: what is drawn as a whole by the bootstrap (speaker, recording); None for the clip.
        hypotheses: by system.
    """

    id: str
    audio: str
    text: str
    language: str | None = None
    duration_s: float
    category: str | None = None
    origin: Literal["real", "simulated"] | None = None
    scenario: str | None = None
    severity: float | None = None
    snr_db: float | None = None
    base_error_rate: float | None = None
    held_out_voice: bool | None = None
    block: str | None = None
    hypotheses: dict[str, Hypothesis]


class System(_Record):
    """One of the systems that were compared.

    Attributes:
        name: unique in the result.
        kind: `megaasr`, `predictions`, `openai-whisper` and the like.
        settings: what else decides about its words: model, route, threshold, language, context.
        device: where it ran; None for predictions from a file.
        audio_s: seconds of audio that it was given.
        seconds: of recognition; None for predictions from a file.
        failed: clips without an answer.
    """

    name: str
    kind: str
    settings: dict[str, str | int | float | bool | None]
    device: str | None
    audio_s: float
    seconds: float | None
    failed: int

    @property
    def rtfx(self) -> float | None:
        """Seconds of audio per second of time; larger is faster."""
        return self.audio_s / self.seconds if self.seconds else None


class Group(_Record):
    """One part of the test set.

    Attributes:
        by: what the set was divided by: `overall`, `language`, `category`, `scenario`, `size`
            (number of conditions), `severity`, `difficulty`, `voice`, `snr`, `duration` or `route`.
        name: the part: `en`, `noise / simulated`, `0.2 to 0.4`, ...
        rates: by system, then by normaliser. For `route` each system has its own clips.
    """

    by: str
    name: str
    rates: dict[str, dict[str, Rate]]


class Comparison(_Record):
    """Two systems on the same clips, a paired bootstrap.

    Attributes:
        by, name: the group of clips, see `Group`.
        baseline, system: what is compared.
        normalizer: under which.
        difference: rate of the system minus that of the baseline; negative is better.
        interval: of the difference.
        probability_of_improvement: share of the draws in which the system is better.
        p_value: two-sided, of the hypothesis that there is no difference.
    """

    by: str
    name: str
    baseline: str
    system: str
    normalizer: str
    difference: float
    interval: tuple[float, float]
    probability_of_improvement: float
    p_value: float


class TestSet(_Record):
    """What was transcribed.

    Attributes:
        name: of the file or folder.
        path: as it was given; audio paths of clips are relative to `audio_root`.
        audio_root: where the sound was when the benchmark ran.
        kind: `bench`, `manifest`, `simulated` or `table`.
        sha256: of the records (id, audio, text, language of every clip).
        clips: how many; with `unusable` ones left out.
        audio_s: their length.
        unusable: clips whose audio could not be read, and why.
    """

    __test__ = False  # pytest takes the name for a class of tests

    name: str
    path: str
    audio_root: str
    kind: str
    sha256: str
    clips: int
    audio_s: float
    unusable: dict[str, str]


class Bootstrap(_Record):
    """How intervals were made: seed, draws, mass inside the interval, and what was drawn whole."""

    seed: int
    replications: int
    level: float
    blocks: str | None


class Result(_Record):
    """A finished benchmark.

    Attributes:
        result_schema: version of this document.
        command: what was typed.
        finished: date and time, UTC, ISO 8601.
        test_set, systems, clips: what was transcribed, by what, and how.
        measure: `WER`, `CER`, or `mixed` where the test set has languages of both kinds.
        normalizers: name and version; the first is the headline.
        bootstrap: of all intervals.
        groups, comparisons, routing: computed from the clips.
        baseline: the system that the others are compared with.
        machine, versions: where and with what it ran.
    """

    result_schema: Literal[2] = 2
    command: str
    finished: str
    test_set: TestSet
    systems: tuple[System, ...]
    measure: Literal["WER", "CER", "mixed"]
    normalizers: dict[str, int]
    bootstrap: Bootstrap
    baseline: str
    groups: tuple[Group, ...]
    comparisons: tuple[Comparison, ...]
    routing: dict[str, dict[str, float]] = Field(default_factory=dict)
    clips: tuple[Clip, ...]
    machine: dict[str, str | int | float | None]
    versions: dict[str, str]

    def groups_by(self, by: str) -> list[Group]:
        """Return the parts of one division, in order."""
        return [group for group in self.groups if group.by == by]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a result.

        Raises:
            RecordError: it cannot be read, or is no result of this version; names the field.
        """
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except OSError as error:
            raise RecordError(f"{path}: {error.strerror or error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise RecordError(
                f"{path} is not a result of this version: {where}: {first['msg']}"
            ) from error

    def without_clips(self) -> Self:
        """Return a copy for tables alone, which is small enough for a repository."""
        return self.model_copy(update={"clips": ()})

    def to_json(self) -> str:
        """Return the document, one clip a line, so that it can be searched and compared."""
        plain = self.model_dump(mode="json")
        clips = plain.pop("clips")
        head = json.dumps(plain, ensure_ascii=False, indent=1)
        lines = ",\n".join(json.dumps(clip, ensure_ascii=False) for clip in clips)
        return f'{head[:-2]},\n "clips": [\n{lines}\n]}}\n'
