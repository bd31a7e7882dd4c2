"""The reward of DG-WGPO: how good a sampled transcript is, from its words and its shape.

Source: Mega-ASR (arXiv 2605.19833), method and appendix; the authors released no code. H is the
hypothesis, R the reference, both as tokens: words in languages with spaces, characters in others.
Mixed text follows the language of the clip: an English clip is scored by words, whatever script
they are in, a Chinese one by characters, Latin letters one by one (as the `bench` normaliser does).

| part | value |
|---|---|
| `wer` | 1 - WER(H, R); not floored, since WER may exceed 1 and longer inventions are worse |
| `repetition` | 0 if H goes round and round more often than R does, else 1 (below) |
| `static` | `repetition` * `wer` |
| `fine` | n_C / (n_C + n_hard + alpha_s n_soft + 1e-8) |
| `structure` | 1/2 LCS(H, R) / len(R) + 1/2 max(0, 1 - abs(len(H) - len(R)) / len(R)) |
| `dynamic` | 3/4 `fine` + 1/4 `structure` if WER < tau, else the other way round |
| `total` | (1 - alpha_dyn) `static` + alpha_dyn `dynamic` |

A substitution of r by h is soft if 1 - edit(h, r) / max(len(h), len(r)) >= 0.5 (in characters),
else hard; insertions and deletions are hard.

Contradictions of the paper: tau is 0.3 in the main text and 0.5 in the appendix (its sweep from
0.2 to 0.5 moves the result by 0.06 points); we take 0.3.

Repetition (n and threshold are not published): a token five times in a row, a phrase of two or
three tokens four times, a longer one three times, of any length (`text.cycles`); or letters inside
a word eight times. It counts only if R does not have it: one repeat more than in R is a slip, not a
loop. "no no no" therefore passes, always.

Where nobody speaks, R is empty: WER is 0 for an empty H and len(H) for any other; `fine` and
`structure` are then 1 or 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq, Levenshtein

from megaasr.config import Recipe
from megaasr.text.cycles import count_repeats, find_cycle, find_letter_cycle
from megaasr.text.error_rate import token_pair

_EPSILON = 1e-8


class RewardRecipe(Recipe):
    """Constants of the reward; False leaves a part out, for the ablation.

    Attributes:
        tau: WER at which words give way to structure.
        alpha_soft: weight of a soft substitution.
        alpha_dynamic: weight of the dynamic part; 0 is R_static alone.
        soft_similarity: from which on a substitution is soft.
        major: weight of the leading part of the dynamic reward.
        repetition: without it, `repetition` is 1.
        fine: without it, `dynamic` is `structure` alone.
        structure: without it, `dynamic` is `fine` alone.
        gate: without it, both parts of `dynamic` weigh the same, whatever the WER.
        normalizer: of the texts, see `megaasr.text.normalize`.
    """

    tau: float = 0.3
    alpha_soft: float = 0.4
    alpha_dynamic: float = 0.6
    soft_similarity: float = 0.5
    major: float = 0.75
    repetition: bool = True
    fine: bool = True
    structure: bool = True
    gate: bool = True
    normalizer: str = "bench"


DEFAULT_REWARD = RewardRecipe()


class _Parts(NamedTuple):
    """Everything about one pair, in the order of `Rewards`' fields."""

    wer: float
    repetition: float
    fine: float
    structure: float
    error_rate: float
    substitutions: int
    deletions: int
    insertions: int
    soft: int
    length: int


@dataclass(frozen=True, slots=True)
class Rewards:
    """Rewards of many pairs, an array [pairs] each; see the table of this module.

    Attributes:
        total: the reward.
        wer, repetition, static, fine, structure, dynamic: its parts.
        error_rate: WER of the pair, >= 0.
        substitutions, deletions, insertions, soft: counts; `soft` are among the substitutions.
        length: tokens of the hypothesis.
    """

    total: NDArray[np.float64]
    wer: NDArray[np.float64]
    repetition: NDArray[np.float64]
    static: NDArray[np.float64]
    fine: NDArray[np.float64]
    structure: NDArray[np.float64]
    dynamic: NDArray[np.float64]
    error_rate: NDArray[np.float64]
    substitutions: NDArray[np.float64]
    deletions: NDArray[np.float64]
    insertions: NDArray[np.float64]
    soft: NDArray[np.float64]
    length: NDArray[np.float64]


def score_batch(
    hypotheses: Sequence[str],
    references: Sequence[str],
    languages: Sequence[str | None] | str | None = None,
    recipe: RewardRecipe = DEFAULT_REWARD,
) -> Rewards:
    """Score many transcripts.

    Args:
        hypotheses: decoded raw: a decoder that collapses loops hides what is to be punished.
        references: what was said, in step; the tokens of a text that comes again are kept.
        languages: ISO codes in step, or one for all.
        recipe: the constants.

    Raises:
        ValueError: the sequences have different lengths.
    """
    given: Sequence[str | None] = (
        [languages] * len(hypotheses)
        if languages is None or isinstance(languages, str)
        else languages
    )
    parts = [
        _score(hypothesis, reference, language, recipe)
        for hypothesis, reference, language in zip(hypotheses, references, given, strict=True)
    ]
    table = np.array(parts, dtype=np.float64).reshape(-1, len(_Parts._fields)).T
    columns = dict(zip(_Parts._fields, table, strict=True))
    static = columns["repetition"] * columns["wer"]
    dynamic = _dynamic(columns["fine"], columns["structure"], columns["error_rate"], recipe)
    total = (1 - recipe.alpha_dynamic) * static + recipe.alpha_dynamic * dynamic
    return Rewards(total=total, static=static, dynamic=dynamic, **columns)


def _dynamic(
    fine: NDArray[np.float64],
    structure: NDArray[np.float64],
    error_rate: NDArray[np.float64],
    recipe: RewardRecipe,
) -> NDArray[np.float64]:
    if not recipe.fine or not recipe.structure:
        return fine if recipe.fine else structure if recipe.structure else np.zeros_like(fine)
    if not recipe.gate:
        return 0.5 * fine + 0.5 * structure
    major = np.where(error_rate < recipe.tau, fine, structure)
    minor = np.where(error_rate < recipe.tau, structure, fine)
    return recipe.major * major + (1 - recipe.major) * minor


def _score(hypothesis: str, reference: str, language: str | None, recipe: RewardRecipe) -> _Parts:
    said, heard = token_pair(reference, hypothesis, language, recipe.normalizer)
    length = len(heard)
    if said == heard:
        return _Parts(1.0, 1.0, 1.0, 1.0, 0.0, 0, 0, 0, 0, length)
    if not said:
        repetition = _repetition(said, heard, recipe)
        return _Parts(1.0 - length, repetition, 0.0, 0.0, float(length), 0, 0, length, 0, length)
    substitutions = soft = deletions = insertions = 0
    for kind, source, target in Levenshtein.editops(said, heard).as_list():
        if kind == "replace":
            substitutions += 1
            soft += _is_soft(said[int(source)], heard[int(target)], recipe.soft_similarity)
        elif kind == "delete":
            deletions += 1
        else:
            insertions += 1
    correct = len(said) - substitutions - deletions
    hard = substitutions - soft + deletions + insertions
    fine = correct / (correct + hard + recipe.alpha_soft * soft + _EPSILON)
    same_order = LCSseq.similarity(said, heard) / len(said)
    same_length = max(0.0, 1.0 - abs(length - len(said)) / len(said))
    rate = (substitutions + deletions + insertions) / len(said)
    return _Parts(
        1.0 - rate,
        _repetition(said, heard, recipe),
        fine,
        0.5 * same_order + 0.5 * same_length,
        rate,
        substitutions,
        deletions,
        insertions,
        soft,
        length,
    )


def _is_soft(one: str, other: str, similarity: float) -> bool:
    longest = max(len(one), len(other))
    return 1.0 - Levenshtein.distance(one, other) / longest >= similarity


def _repetition(said: Sequence[str], heard: Sequence[str], recipe: RewardRecipe) -> float:
    """Return 0 for a text that goes round and round more often than the reference, else 1."""
    if not recipe.repetition:
        return 1.0
    cycle = find_cycle(heard)
    if cycle is not None:
        spoken = count_repeats(cycle.phrase(heard), said)
        return 0.0 if cycle.repeats > spoken + 1 else 1.0
    known = set(said)
    return (
        0.0 if any(len(w) >= 8 and w not in known and find_letter_cycle(w) for w in heard) else 1.0
    )
