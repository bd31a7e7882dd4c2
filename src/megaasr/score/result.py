"""`result.json`: everything that a report needs to know about a benchmark, as a versioned file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from megaasr import strict_json
from megaasr.errors import RecordError
from megaasr.text.error_rate import ErrorCounts

RESULT_SCHEMA = 2
"""Schema 1 is the `results.json` of `mega-asr publish`, see `megaasr.score.corpus_summary`."""

Counts = tuple[int, int, int, int]
"""Numbers of hits, substitutions, deletions and insertions."""

SettingValue = str | int | float | bool | None
"""A value in the settings of a system."""

OVERALL = "overall"
FAILURES = ("empty", "hallucination", "omission", "repetition", "truncated")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rate(_Record):
    """The error rate of a system on a set of clips.

    Attributes:
        clips: number of clips.
        counts: the clips' pooled error counts.
        rate: errors per reference token; 0 is perfect, may exceed 1 (`ErrorCounts.rate`). It means
            nothing if the references have no tokens (`is_defined`).
        interval: low and high end of the bootstrap interval over blocks; None if there are too few.
        blocks: number of independent blocks; None in results of earlier versions.
        failures: share of the clips, 0..1, with each kind of failure.
        clips_without_speech: number of clips whose reference has no tokens.
        inserted_without_speech: tokens that the system recognised in these clips; they are among
            the insertions in `counts`.
    """

    clips: int
    counts: Counts
    rate: float
    interval: tuple[float, float] | None
    blocks: int | None = None
    failures: dict[str, float]
    clips_without_speech: int = 0
    inserted_without_speech: int = 0

    @property
    def is_defined(self) -> bool:
        """Whether there is anything to divide the errors by: the references have tokens."""
        return ErrorCounts(*self.counts).reference_length > 0


class Hypothesis(_Record):
    """The text that one system recognised in one clip.

    Attributes:
        text: the recognised text; empty if the system failed.
        error: why the system failed on the clip; None if it did not. A failed clip counts as an
            empty text.
        language: ISO code that the system returned; None if it returned none.
        route: the branch that transcribed the clip, `base` or `robust`; None if the system has no
            branches.
        degraded_probability: the router's probability, 0..1, of degraded audio; None without a
            router.
        confidence: expected share of correct words, 0..1; None if the system returns none.
        truncated: True if the token budget ended the text.
        seconds: recognition time, the clip's share of its batch; None for predictions from a file.
        counts: error counts by normaliser.
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
        """Return the error counts under a normaliser."""
        return ErrorCounts(*self.counts[normalizer])


class ScoredClip(_Record):
    """One clip of the test set with the hypotheses of all systems.

    Attributes:
        id: name of the clip, unique in the test set.
        audio: path of the audio in the test set, or `shard.parquet#row`.
        text: the reference.
        language: ISO code; None if unknown.
        duration_s: length in seconds.
        category: one of the eight categories of Voices-in-the-Wild-Bench, `clean`, or None.
        origin: `real` or `simulated`; None if unknown.
        scenario: name of the simulated scenario; None for clips that were not simulated.
        severity: severity of the simulation, 0..1; None for other clips.
        snr_db: speech-to-noise ratio of the simulation in dB; None without noise.
        base_error_rate: error rate of the model that graded the test set (`mega-asr grade`); None
            if it was not graded.
        held_out_voice: True if training has no clip with this voice; None if unknown.
        block: name of the block (sentence, speaker, recording) that the bootstrap draws as a whole,
            see `megaasr.score.blocks`; None if clips are drawn one by one.
        hypotheses: hypotheses by system.
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


class SystemSummary(_Record):
    """One of the compared systems, without its hypotheses.

    Attributes:
        name: name of the system, unique in the result.
        kind: `megaasr`, `predictions`, `oracle`, `whisper` and the like.
        settings: all else that determines its output: model, route, threshold, language, ….
        device: device that it ran on; None for predictions from a file.
        audio_s: length of the audio that it transcribed, in seconds.
        seconds: recognition time; None for predictions from a file.
        failed: number of clips on which it failed.
    """

    name: str
    kind: str
    settings: dict[str, SettingValue]
    device: str | None
    audio_s: float
    seconds: float | None
    failed: int

    @property
    def rtfx(self) -> float | None:
        """Inverse real-time factor: seconds of audio per second of computing; larger is faster."""
        return self.audio_s / self.seconds if self.seconds else None


class Subgroup(_Record):
    """A subgroup of the test set's clips, with the rates of all systems on it.

    Attributes:
        by: the property that divides the clips: `overall`, `language`, `category`, `scenario`,
            `size` (number of conditions), `severity`, `difficulty`, `voice`, `snr`, `duration` or
            `route`.
        name: the value of the property: `en`, `noise / simulated`, `0.2 to 0.4`, ….
        rates: rates by system and normaliser. For `route`, each system has its own clips.
    """

    by: str
    name: str
    rates: dict[str, dict[str, Rate]]


class Comparison(_Record):
    """Two systems on the same clips, compared by a paired test.

    Attributes:
        by, name: the subgroup of clips, see `Subgroup`.
        baseline: name of the baseline.
        system: name of the system that is compared with it.
        normalizer: name of the normaliser.
        difference: the system's error rate minus the baseline's; negative is better.
        interval: low and high end of the interval of the difference.
        probability_of_improvement: share of the draws in which the system is better.
        p_value: two-sided p-value of the hypothesis that there is no difference.
        blocks: number of independent blocks; None in results of earlier versions. With too few, the
            interval, the probability and the p-value are None.
    """

    by: str
    name: str
    baseline: str
    system: str
    normalizer: str
    difference: float
    interval: tuple[float, float] | None
    probability_of_improvement: float | None
    p_value: float | None
    blocks: int | None = None

    def is_significant(self, level: float) -> bool:
        """Tell whether the p-value is below a level; never with too few blocks."""
        return self.p_value is not None and self.p_value < level


class TestSet(_Record):
    """The test set that was transcribed.

    Attributes:
        name: name of the file or folder.
        path: path of the file or folder, as the user named it.
        audio_root: folder that the clips' audio paths were relative to when the benchmark ran.
        kind: `bench`, `manifest`, `simulated` or `table`.
        sha256: hash of the records (id, audio, text and language of every clip).
        clips: number of clips, including the unusable ones.
        audio_s: length of all clips in seconds.
        unusable: reasons why audio could not be read, by clip.
    """

    __test__ = False  # pytest would collect a class of this name

    name: str
    path: str
    audio_root: str
    kind: str
    sha256: str
    clips: int
    audio_s: float
    unusable: dict[str, str]


class Bootstrap(_Record):
    """How the intervals were computed.

    Attributes:
        seed: seed of the draws.
        replications: number of draws.
        level: probability mass inside an interval, 0..1.
        blocks: field of the records whose clips were drawn together, or `sentences` for the copies
            of one sentence; None for single clips, as earlier versions drew them.
        min_blocks: number of independent blocks below which there are no intervals and tests; None
            in results of earlier versions.
        method: how intervals were computed.
    """

    seed: int
    replications: int
    level: float
    blocks: str | None
    min_blocks: int | None = None
    method: Literal["percentile", "bootstrap-t"] = "percentile"


class Result(_Record):
    """A finished benchmark.

    Attributes:
        result_schema: version of this document.
        command: the command line.
        finished: date and time in UTC, ISO 8601.
        test_set: the test set, without its clips.
        systems: the systems, without their hypotheses.
        measure: `WER`, `CER`, or `mixed` if the test set has languages of both kinds.
        normalizers: versions by name; the first is the headline normaliser.
        bootstrap: settings of the bootstrap behind all intervals.
        baseline: name of the system that the others are compared with.
        groups: error rates of subgroups; computed from the clips.
        comparisons: paired comparisons with the baseline; computed from the clips.
        routing: metrics of each system's router, by system; computed from the clips.
        clips: the clips with all hypotheses.
        machine, versions: machine and library versions of the run.
    """

    result_schema: Literal[2] = 2
    command: str
    finished: str
    test_set: TestSet
    systems: tuple[SystemSummary, ...]
    measure: Literal["WER", "CER", "mixed"]
    normalizers: dict[str, int]
    bootstrap: Bootstrap
    baseline: str
    groups: tuple[Subgroup, ...]
    comparisons: tuple[Comparison, ...]
    routing: dict[str, dict[str, float]] = Field(default_factory=dict)
    clips: tuple[ScoredClip, ...]
    machine: dict[str, str | int | float | None]
    versions: dict[str, str]

    def groups_by(self, by: str) -> list[Subgroup]:
        """Return the subgroups by one property, in order (see `Subgroup.by`)."""
        return [group for group in self.groups if group.by == by]

    @property
    def overall(self) -> Subgroup:
        """All clips of the test set."""
        (group,) = self.groups_by(OVERALL)
        return group

    @property
    def headline_normalizer(self) -> str:
        """Name of the normaliser whose rates are shown first."""
        return next(iter(self.normalizers))

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a result.

        Raises:
            RecordError: the file cannot be read or is not a result of this version; names the
                field.
        """
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except OSError as error:
            raise RecordError(f"{path}: {error.strerror or error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "the file"
            raise RecordError(
                f"{path} is not a result of mega-asr bench of this version: {field}: {first['msg']}"
            ) from error

    def without_clips(self) -> Self:
        """Return a copy without clips, for tables; it is small enough for a repository."""
        return self.model_copy(update={"clips": ()})

    def to_json(self) -> str:
        """Return the document with one clip per line, so that it can be searched and compared."""
        document = self.model_dump(mode="json")
        clips = document.pop("clips")
        head = strict_json.dumps(document, ensure_ascii=False, indent=1)
        lines = ",\n".join(strict_json.dumps(clip, ensure_ascii=False) for clip in clips)
        return f'{head[:-2]},\n "clips": [\n{lines}\n]}}\n'
