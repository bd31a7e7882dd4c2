"""Measure a model on the test split of a synthesised corpus."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr.audio import files
from megaasr.model.interface import Recognition, Request, SpeechModel
from megaasr.progress import OnProgress
from megaasr.records import Utterance, read_manifest
from megaasr.score.intervals import bootstrap_interval
from megaasr.text.error_rate import ErrorCounts, count_errors, pooled

RESULT_SCHEMA = 1
BOOTSTRAP_SEED = 1
_CLIPS_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class ScoredClip:
    """One test clip with what was recognised."""

    utterance: Utterance
    recognition: Recognition
    counts: ErrorCounts

    @property
    def duration_s(self) -> float:
        """Length of the clip in seconds."""
        return float(self.utterance.extra["duration_s"])

    def is_from(self, source: str, *, held_out: bool) -> bool:
        """Tell whether the clip is speech of this source in this kind of voice."""
        extra = self.utterance.extra
        return extra["source"] == source and extra.get("held_out_voice") is held_out


def score_manifest(
    model: SpeechModel,
    manifest: Path,
    *,
    on_progress: OnProgress = lambda done, total: None,
) -> tuple[list[ScoredClip], float]:
    """Transcribe every clip (each at most 30 s) and count its errors.

    Returns:
        The scored clips in the manifest's order, and the seconds that recognition took.
    """
    utterances = list(read_manifest(manifest))
    scored: list[ScoredClip] = []
    seconds = 0.0
    for start in range(0, len(utterances), _CLIPS_AT_ONCE):
        batch = utterances[start : start + _CLIPS_AT_ONCE]
        requests = [Request(files.read(manifest.parent / u.audio).samples) for u in batch]
        began = time.perf_counter()
        answers = model.recognize(requests)
        seconds += time.perf_counter() - began
        scored += [
            ScoredClip(u, answer, count_errors(u.text, answer.text))
            for u, answer in zip(batch, answers, strict=True)
        ]
        on_progress(len(scored), len(utterances))
    return scored, seconds


def summarize(scored: Sequence[ScoredClip]) -> dict[str, Any]:
    """Return error rates by group of clips, with 95 % bootstrap intervals over clips."""
    speech = [clip for clip in scored if clip.utterance.text]
    plain = [clip for clip in speech if clip.is_from("generator", held_out=False)]
    groups = {
        "generator, trained voices": [c for c in plain if "parts" not in c.utterance.extra],
        "generator, held-out voices": [c for c in speech if c.is_from("generator", held_out=True)],
        "hand-written, trained voices": [
            c for c in speech if c.is_from("handwritten", held_out=False)
        ],
        "hand-written, held-out voices": [
            c for c in speech if c.is_from("handwritten", held_out=True)
        ],
        "trained voices, up to 5 s": [c for c in plain if c.duration_s <= 5],
        "trained voices, 5 to 15 s": [c for c in plain if 5 < c.duration_s <= 15],
        "trained voices, 15 to 30 s": [c for c in plain if 15 < c.duration_s <= 30],
        **_by_held_out_voice(speech),
    }
    silent = [clip for clip in scored if not clip.utterance.text]
    return {
        "schema": RESULT_SCHEMA,
        "normalizer": "bench",
        "bootstrap": {"seed": BOOTSTRAP_SEED, "replications": 10_000, "level": 0.95},
        "word_error_rate": {name: _rate(clips) for name, clips in groups.items() if clips},
        "nonspeech": _nonspeech(silent) if silent else None,
        "token_budget_hits": sum(clip.recognition.budget_hit for clip in scored),
        "audio_s": round(sum(clip.duration_s for clip in scored), 1),
    }


def _by_held_out_voice(speech: Iterable[ScoredClip]) -> dict[str, list[ScoredClip]]:
    groups: dict[str, list[ScoredClip]] = {}
    for clip in speech:
        if clip.is_from("generator", held_out=True):
            speaker = str(clip.utterance.extra["speaker"])
            groups.setdefault(f"voice {_held_out_part(speaker)}", []).append(clip)
    return dict(sorted(groups.items()))


def _held_out_part(speaker: str) -> str:
    """Name what is unheard of a speaker: the flite voice, the accent or the variant."""
    engine, _, name = speaker.partition(":")
    accent, _, variant = name.partition("+")
    if engine == "flite":
        return f"{engine} {name}"
    return f"{engine} {accent if accent == 'en-gb-scotland' else variant}"


def _rate(clips: Sequence[ScoredClip]) -> dict[str, Any]:
    counts = pooled(clip.counts for clip in clips)
    low, high = bootstrap_interval(
        [clip.counts.errors for clip in clips],
        [clip.counts.reference_length for clip in clips],
        seed=BOOTSTRAP_SEED,
    )
    return {
        "clips": len(clips),
        "words": counts.reference_length,
        "rate": round(counts.rate, 5),
        "interval": [round(low, 5), round(high, 5)],
        **counts._asdict(),
    }


def _nonspeech(clips: Sequence[ScoredClip]) -> dict[str, Any]:
    wordy = [int(bool(clip.recognition.text)) for clip in clips]
    low, high = bootstrap_interval(wordy, [1] * len(wordy), seed=BOOTSTRAP_SEED)
    return {
        "clips": len(clips),
        "with_words": sum(wordy),
        "rate": round(sum(wordy) / len(wordy), 5),
        "interval": [round(low, 5), round(high, 5)],
    }
