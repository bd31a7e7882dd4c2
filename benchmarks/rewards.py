"""The reward of DG-WGPO with all components; peer: jiwer, which only counts errors."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks import BenchmarkError, Row, Settings, Table
from benchmarks.timing import in_turn, say

_OURS, _PEER = "megaasr", "jiwer"
_SAMPLES = 12
"""Transcripts per clip: the paper's K."""
_ALPHABET = "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生"


def run(settings: Settings) -> tuple[Mapping[str, Any], list[Row]]:
    """Score the same groups of transcripts with both, in turn."""
    clips, repeats = (20, 1) if settings.quick else (400, 7)
    jobs: dict[str, Callable[[], float]] = {}
    sizes: dict[str, int] = {}
    for what, language in (("English", "en"), ("Chinese", "zh")):
        hypotheses, references = _groups(clips, language)
        sizes[what] = len(hypotheses)
        jobs[f"{what}, {_OURS}"] = partial(_ours, hypotheses, references, language)
        if find_spec(_PEER) and language == "en":
            jobs[f"{what}, {_PEER}"] = _jiwer(hypotheses, references)
            if abs(_ours(hypotheses, references, language) - jobs[f"{what}, {_PEER}"]()) > 1e-9:
                raise BenchmarkError("rewards: jiwer finds another number of errors")
    if not find_spec(_PEER):
        say("rewards: jiwer is left out, not installed")
    runs = in_turn(jobs, repeats)
    rows = []
    for job, job_runs in runs.items():
        what, system = job.split(", ")
        base = runs[f"{what}, {_OURS}"]
        rows.append(
            {
                "what": what,
                "system": system,
                **job_runs.fields(),
                "pairs_per_second": round(sizes[what] / job_runs.cpu),
                "ours_times_this": round(job_runs.cpu / base.cpu, 2),
            }
        )
    return {"clips": clips, "samples": _SAMPLES, "repeats": repeats}, rows


def _groups(clips: int, language: str) -> tuple[list[str], list[str]]:
    """Return hypotheses and their references of 25 tokens, K hypotheses per clip.

    Up to a third of the tokens are wrong; some hypotheses end in a repetition loop.
    """
    chance = random.Random(0)
    words = (
        list(_ALPHABET)
        if language == "zh"
        else ["".join(chance.choices("abcdefghijklmnoprstuvwy", k=6)) for _ in range(3_000)]
    )
    separator = "" if language == "zh" else " "
    hypotheses, references = [], []
    for _ in range(clips):
        reference = chance.choices(words, k=25)
        for _ in range(_SAMPLES):
            share = chance.choice([0.05, 0.15, 0.33])
            text = [_corrupt(word, share, chance, words) for word in reference]
            if chance.random() < 0.05:
                text += text[-3:] * 8
            hypotheses.append(separator.join(word for word in text if word))
            references.append(separator.join(reference))
    return hypotheses, references


def _corrupt(word: str, share: float, chance: random.Random, words: Sequence[str]) -> str:
    if chance.random() > share:
        return word
    kind = chance.randrange(3)
    return ["", chance.choice(words), word[:-1] + chance.choice("aeiou")][kind]


def _ours(hypotheses: Sequence[str], references: Sequence[str], language: str) -> float:
    from megaasr.text.dg_reward import score_batch
    from megaasr.text.normalize import tokens

    tokens.cache_clear()  # hypotheses are never cached; references are, from their second use on
    scores = score_batch(hypotheses, references, language)
    return float((scores.substitutions + scores.deletions + scores.insertions).sum())


def _jiwer(hypotheses: Sequence[str], references: Sequence[str]) -> Callable[[], float]:
    import jiwer

    split = jiwer.Compose([jiwer.ReduceToListOfListOfWords()])

    def job() -> float:
        counts = jiwer.process_words(list(references), list(hypotheses), split, split)
        return float(counts.substitutions + counts.deletions + counts.insertions)

    return job


def table(entry: Mapping[str, Any]) -> Table:
    """One line for each language and system."""
    used = entry["settings"]
    lines = [
        [
            f"{row['what']}, {row['system']}",
            f"{1000 * row['cpu_s']:.1f}",
            f"{row['pairs_per_second']}",
            f"{row['ours_times_this']:.2f}",
        ]
        for row in entry["rows"]
    ]
    note = (
        f"{used['clips']} references of 25 tokens, {used['samples']} transcripts each, normalised "
        "anew in every run. Ours normalises (`bench`) and gives every component of the reward; the "
        "peer gets text without punctuation, cut at spaces, and counts errors only. × peer: how "
        "many times as fast ours is in CPU time; medians of "
        f"{used['repeats']} run(s) after a warm-up."
    )
    return Table("rewards", note, ("text, system", "CPU ms", "pairs a second", "× peer"), lines)
