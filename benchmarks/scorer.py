"""Error counting, normalisation and the bootstrap; peers: jiwer and kaldialign."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks import BenchmarkError, Row, Settings, Table
from benchmarks.timing import in_turn, say

_PEERS = ("jiwer", "kaldialign")
_OURS = "megaasr"
Pairs = Sequence[tuple[list[str], list[str]]]


def run(settings: Settings) -> tuple[Mapping[str, Any], list[Row]]:
    """Count the same pairs with all of them, in turn; then draw the same test set."""
    pairs, clips, replications, repeats = (
        (50, 100, 200, 1) if settings.quick else (1_000, 5_000, 10_000, 5)
    )
    missing = [name for name in _PEERS if not find_spec(name)]
    for name in missing:
        say(f"scorer: {name} is left out, not installed")
    word_pairs = _pairs(pairs)
    rows = [*_counting(word_pairs, missing, repeats), *_normalising(word_pairs, repeats)]
    say("scorer: bootstrap")
    rows += _bootstrap(clips, replications, missing, min(repeats, 3))
    used = {
        "pairs": pairs,
        "clips": clips,
        "replications": replications,
        "repeats": repeats,
        "not_installed": missing,
    }
    return used, rows


def _pairs(number: int) -> Pairs:
    """Return pairs of about 25 words, a tenth of them wrong."""
    chance = random.Random(0)
    words = [f"word{i}" for i in range(3_000)]
    pairs = []
    for _ in range(number):
        reference = [chance.choice(words) for _ in range(chance.randint(20, 30))]
        hypothesis = []
        for word in reference:
            fate = chance.random()
            if fate < 0.06:
                hypothesis.append(chance.choice(words))
            elif fate < 0.08:
                hypothesis += [word, chance.choice(words)]
            elif fate > 0.02:
                hypothesis.append(word)
        pairs.append((reference, hypothesis))
    return pairs


def _counting(pairs: Pairs, missing: Sequence[str], repeats: int) -> list[Row]:
    say("scorer: counting")
    jobs: dict[str, Callable[[], tuple[int, ...]]] = {_OURS: partial(_ours, pairs)}
    if "jiwer" not in missing:
        jobs["jiwer"] = _jiwer(pairs)
    if "kaldialign" not in missing:
        jobs["kaldialign"] = partial(_kaldialign, pairs)
    expected = _ours(pairs)
    for name, job in jobs.items():
        # Where several alignments have the fewest edits, kaldialign may choose another.
        same = sum(job()) == sum(expected) if name == "kaldialign" else job() == expected
        if not same:
            raise BenchmarkError(f"scorer: {name} counts {job()}, ours {expected}")
    runs = in_turn(jobs, repeats)
    return [
        {
            "what": "counting pairs of words",
            "system": name,
            **runs[name].fields(),
            "per_second": round(len(pairs) / runs[name].cpu, 1),
            "ours_times_this": round(runs[name].cpu / runs[_OURS].cpu, 2),
        }
        for name in jobs
    ]


def _ours(pairs: Pairs) -> tuple[int, ...]:
    from megaasr.text.error_rate import count_token_errors

    substitutions = deletions = insertions = 0
    for reference, hypothesis in pairs:
        counts = count_token_errors(reference, hypothesis)
        substitutions += counts.substitutions
        deletions += counts.deletions
        insertions += counts.insertions
    return substitutions, deletions, insertions


def _jiwer(pairs: Pairs) -> Callable[[], tuple[int, ...]]:
    import jiwer

    # It only takes text; splitting at spaces is the least work that it can be asked to do.
    references, hypotheses = (
        [" ".join(words) for words in side] for side in zip(*pairs, strict=True)
    )
    split = jiwer.Compose([jiwer.ReduceToListOfListOfWords()])

    def job() -> tuple[int, ...]:
        counts = jiwer.process_words(references, hypotheses, split, split)
        return counts.substitutions, counts.deletions, counts.insertions

    return job


def _kaldialign(pairs: Pairs) -> tuple[int, ...]:
    import kaldialign

    substitutions = deletions = insertions = 0
    for reference, hypothesis in pairs:
        counts = kaldialign.edit_distance(reference, hypothesis)
        substitutions += counts["sub"]
        deletions += counts["del"]
        insertions += counts["ins"]
    return substitutions, deletions, insertions


def _normalising(pairs: Pairs, repeats: int) -> list[Row]:
    from megaasr.text.normalize import tokens

    english = [" ".join(reference).capitalize() + "." for reference, _ in pairs]
    chinese = ["今天是2020年5月1日，天气很好" * 4 for _ in pairs]
    jobs = {
        "bench, English": (english, "en", "bench"),
        "bench, Chinese": (chinese, "zh", "bench"),
        "whisper-en": (english, "en", "whisper-en"),
        "zh": (chinese, "zh", "zh"),
        "basic": (english, "de", "basic"),
    }
    fresh = tokens.__wrapped__  # without the cache
    runs = in_turn(
        {
            name: partial(_each, fresh, texts, language, normalizer)
            for name, (texts, language, normalizer) in jobs.items()
        },
        repeats,
    )
    return [
        {
            "what": f"normalising, {name}",
            "system": _OURS,
            **runs[name].fields(),
            "per_second": round(len(pairs) / runs[name].cpu, 1),
            "ours_times_this": 1.0,
        }
        for name in jobs
    ]


def _each(function: Any, texts: Sequence[str], language: str, normalizer: str) -> None:
    for text in texts:
        function(text, language, normalizer)


def _bootstrap(clips: int, replications: int, missing: Sequence[str], repeats: int) -> list[Row]:
    from megaasr.score.intervals import bootstrap_interval, paired_bootstrap
    from megaasr.text.error_rate import count_token_errors

    pairs = _pairs(clips)
    counts = [count_token_errors(*pair) for pair in pairs]
    errors = [clip.errors for clip in counts]
    words = [clip.reference_length for clip in counts]
    fewer_errors = [max(0, number - 1) for number in errors]
    jobs: dict[str, dict[str, Callable[[], object]]] = {
        "an interval": {
            _OURS: lambda: bootstrap_interval(errors, words, seed=1, replications=replications)
        },
        "a comparison of two systems": {
            _OURS: lambda: paired_bootstrap(
                errors, fewer_errors, words, seed=1, replications=replications
            )
        },
    }
    if "kaldialign" not in missing:
        import kaldialign

        references, hypotheses = zip(*pairs, strict=True)
        shortened = [hypothesis[:-1] for hypothesis in hypotheses]
        jobs["an interval"]["kaldialign"] = lambda: kaldialign.bootstrap_wer_ci(
            references, hypotheses, replications=replications
        )
        jobs["a comparison of two systems"]["kaldialign"] = lambda: kaldialign.bootstrap_wer_ci(
            references, hypotheses, shortened, replications=replications
        )
    rows: list[Row] = []
    for what, systems in jobs.items():
        runs = in_turn(systems, repeats)
        rows += [
            {
                "what": f"bootstrap, {what}",
                "system": name,
                **runs[name].fields(),
                "per_second": round(replications / runs[name].cpu, 1),
                "ours_times_this": round(runs[name].cpu / runs[_OURS].cpu, 2),
            }
            for name in systems
        ]
    return rows


def table(entry: Mapping[str, Any]) -> Table:
    """One line for each job and system."""
    used = entry["settings"]
    lines = [
        [
            f"{row['what']}, {row['system']}",
            f"{1000 * row['cpu_s']:.1f}",
            f"{row['per_second']:.0f}",
            f"{row['ours_times_this']:.2f}",
        ]
        for row in entry["rows"]
    ]
    absent = "".join(f" {name} was not installed." for name in used["not_installed"])
    note = (
        f"{used['pairs']} pairs of 20 to 30 words, a tenth of them wrong; counts are compared "
        f"before anything is timed. Bootstrap: {used['replications']} draws of {used['clips']} "
        "clips (the peer counts the errors within its time). × peer: how many times as fast ours "
        f"is in CPU time; medians of {used['repeats']} run(s) after a warm-up.{absent}"
    )
    return Table("scorer", note, ("job, system", "CPU ms", "a second", "× peer"), lines)
