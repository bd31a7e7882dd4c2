"""Summarise a benchmark on the test split of a synthesised corpus, by voice, source and length.

The summary is the `results.json` of `mega-asr publish`: an export of the benchmark's result for
models that were trained on such a corpus.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from megaasr.errors import RecordError
from megaasr.score.intervals import bootstrap_interval
from megaasr.score.result import Hypothesis, Result, ScoredClip
from megaasr.score.test_set import TestClip
from megaasr.text.error_rate import ErrorCounts, pooled

SUMMARY_SCHEMA = 1
_NORMALIZER = "bench"


@dataclass(frozen=True, slots=True)
class _Clip:
    """A scored clip with its record in the corpus."""

    record: Mapping[str, Any]
    scored: ScoredClip
    hypothesis: Hypothesis

    @property
    def counts(self) -> ErrorCounts:
        return self.hypothesis.errors(_NORMALIZER)

    @property
    def duration_s(self) -> float:
        return float(self.record["duration_s"])

    def is_from(self, source: str, *, held_out: bool) -> bool:
        """Return whether the clip is speech of this source in a held-out or a trained voice."""
        return self.record["source"] == source and self.record.get("held_out_voice") is held_out


def summarize(result: Result, clips: Sequence[TestClip]) -> dict[str, Any]:
    """Return error rates by group of clips, with bootstrap intervals over sentences.

    Args:
        result: benchmark of a single system.
        clips: the test set's clips, in the order of the result, with the records of a synthesised
            corpus (`source`, `speaker`, `held_out_voice`, `duration_s`).

    Raises:
        RecordError: a record is not one of a synthesised corpus; names the clip.
    """
    (system,) = result.systems
    joined = [
        _Clip(_require_record(clip), scored, scored.hypotheses[system.name])
        for clip, scored in zip(clips, result.clips, strict=True)
    ]
    speech = [clip for clip in joined if clip.scored.text]
    trained = [clip for clip in speech if clip.is_from("generator", held_out=False)]
    groups = {
        "generator, trained voices": [c for c in trained if "parts" not in c.record],
        "generator, held-out voices": [c for c in speech if c.is_from("generator", held_out=True)],
        "hand-written, trained voices": [
            c for c in speech if c.is_from("handwritten", held_out=False)
        ],
        "hand-written, held-out voices": [
            c for c in speech if c.is_from("handwritten", held_out=True)
        ],
        "trained voices, up to 5 s": [c for c in trained if c.duration_s <= 5],
        "trained voices, 5 to 15 s": [c for c in trained if 5 < c.duration_s <= 15],
        "trained voices, 15 to 30 s": [c for c in trained if 15 < c.duration_s <= 30],
        **_by_held_out_voice(speech),
    }
    bootstrap = result.bootstrap
    silent = [clip for clip in joined if not clip.scored.text]
    return {
        "schema": SUMMARY_SCHEMA,
        "normalizer": _NORMALIZER,
        "bootstrap": {
            "seed": bootstrap.seed,
            "replications": bootstrap.replications,
            "level": bootstrap.level,
        },
        "word_error_rate": {
            name: _rate(members, result) for name, members in groups.items() if members
        },
        "nonspeech": _nonspeech(silent, result) if silent else None,
        "token_budget_hits": sum(clip.hypothesis.truncated for clip in joined),
        "audio_s": round(sum(clip.duration_s for clip in joined), 1),
    }


def _require_record(clip: TestClip) -> Mapping[str, Any]:
    record = clip.record or {}
    if missing := [field for field in ("source", "duration_s") if field not in record]:
        raise RecordError(
            f"clip {clip.id} is not from a synthesised corpus: no field {', '.join(missing)}"
        )
    return record


def _by_held_out_voice(speech: Iterable[_Clip]) -> dict[str, list[_Clip]]:
    groups: dict[str, list[_Clip]] = {}
    for clip in speech:
        if clip.is_from("generator", held_out=True):
            voice = _held_out_part(str(clip.record["speaker"]))
            groups.setdefault(f"voice {voice}", []).append(clip)
    return dict(sorted(groups.items()))


def _held_out_part(speaker: str) -> str:
    """Return the part of a speaker that training lacks: the flite voice, accent or variant."""
    engine, _, name = speaker.partition(":")
    accent, _, variant = name.partition("+")
    if engine == "flite":
        return f"{engine} {name}"
    return f"{engine} {accent if accent == 'en-gb-scotland' else variant}"


def _interval(
    errors: Sequence[int], words: Sequence[int], clips: Sequence[_Clip], result: Result
) -> list[float] | None:
    """Return both ends of a rate's interval; None if there are too few independent clips."""
    bootstrap = result.bootstrap
    ends = bootstrap_interval(
        errors,
        words,
        seed=bootstrap.seed,
        replications=bootstrap.replications,
        level=bootstrap.level,
        blocks=[clip.scored.block or clip.scored.id for clip in clips],
    )
    return None if ends is None else [round(end, 5) for end in ends]


def _rate(clips: Sequence[_Clip], result: Result) -> dict[str, Any]:
    counts = [clip.counts for clip in clips]
    total = pooled(counts)
    return {
        "clips": len(clips),
        "words": total.reference_length,
        "rate": round(total.rate, 5),
        "interval": _interval(
            [count.errors for count in counts],
            [count.reference_length for count in counts],
            clips,
            result,
        ),
        **total._asdict(),
    }


def _nonspeech(clips: Sequence[_Clip], result: Result) -> dict[str, Any]:
    with_words = [int(bool(clip.hypothesis.text)) for clip in clips]
    interval = _interval(with_words, [1] * len(with_words), clips, result)
    return {
        "clips": len(clips),
        "with_words": sum(with_words),
        "rate": round(sum(with_words) / len(with_words), 5),
        "interval": interval and [min(1.0, end) for end in interval],
    }
