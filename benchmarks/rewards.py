"""The reward of DG-WGPO, every component; peer: jiwer, which counts the errors only."""

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
"""Transcripts of a clip: the paper's K."""
_ALPHABET = "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生"


def run(settings: Settings) -> tuple[Mapping[str, Any], list[Row]]:
    """Score the same groups of transcripts with both, in turn."""
    clips, repeats = (20, 1) if settings.quick else (400, 7)
    jobs: dict[str, Callable[[], float]] = {}
    sizes: dict[str, int] = {}
    for what, language in (("English", "en"), ("Chinese", "zh")):
        heard, said = _groups(clips, language)
        sizes[what] = len(heard)
        jobs[f"{what}, {_OURS}"] = partial(_ours, heard, said, language)
        if find_spec(_PEER) and language == "en":
            jobs[f"{what}, {_PEER}"] = _jiwer(heard, said)
            if abs(_ours(heard, said, language) - jobs[f"{what}, {_PEER}"]()) > 1e-9:
                raise BenchmarkError("rewards: jiwer finds another number of errors")
    if not find_spec(_PEER):
        say("rewards: jiwer is left out, not installed")
    runs = in_turn(jobs, repeats)
    rows = []
    for job, one in runs.items():
        what, system = job.split(", ")
        base = runs[f"{what}, {_OURS}"]
        rows.append(
            {
                "what": what,
                "system": system,
                **one.fields(),
                "pairs_per_second": round(sizes[what] / one.cpu),
                "ours_times_this": round(one.cpu / base.cpu, 2),
            }
        )
    return {"clips": clips, "samples": _SAMPLES, "repeats": repeats}, rows


def _groups(clips: int, language: str) -> tuple[list[str], list[str]]:
    """Return transcripts and what was said, 25 tokens each: K transcripts of a clip, a third of
    the tokens of some wrong, a few that go round.
    """
    chance = random.Random(0)
    words = (
        list(_ALPHABET)
        if language == "zh"
        else ["".join(chance.choices("abcdefghijklmnoprstuvwy", k=6)) for _ in range(3_000)]
    )
    glue = "" if language == "zh" else " "
    heard, said = [], []
    for _ in range(clips):
        reference = chance.choices(words, k=25)
        for _ in range(_SAMPLES):
            share = chance.choice([0.05, 0.15, 0.33])
            text = [_changed(word, share, chance, words) for word in reference]
            if chance.random() < 0.05:
                text += text[-3:] * 8
            heard.append(glue.join(word for word in text if word))
            said.append(glue.join(reference))
    return heard, said


def _changed(word: str, share: float, chance: random.Random, words: Sequence[str]) -> str:
    if chance.random() > share:
        return word
    kind = chance.randrange(3)
    return ["", chance.choice(words), word[:-1] + chance.choice("aeiou")][kind]


def _ours(heard: Sequence[str], said: Sequence[str], language: str) -> float:
    from megaasr.text.normalize import tokens
    from megaasr.train.rl.rewards import score_batch

    tokens.cache_clear()  # no transcript is known before; a reference is, from its second on
    found = score_batch(heard, said, language)
    return float((found.substitutions + found.deletions + found.insertions).sum())


def _jiwer(heard: Sequence[str], said: Sequence[str]) -> Callable[[], float]:
    import jiwer

    cut = jiwer.Compose([jiwer.ReduceToListOfListOfWords()])

    def job() -> float:
        found = jiwer.process_words(list(said), list(heard), cut, cut)
        return float(found.substitutions + found.deletions + found.insertions)

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
