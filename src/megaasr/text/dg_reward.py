"""The reward of DG-WGPO: how good a sampled transcript is, in its words and in its structure.

Source: Mega-ASR (arXiv 2605.19833), method and appendix; the authors released no code. H is the
hypothesis, R the reference, both as tokens: words in languages with spaces, characters in others.
Mixed text follows the language of the clip: an English clip is scored by words, in whatever script
they are written, a Chinese one by characters, with Latin letters one by one (as the `bench`
normaliser does).

| part | value |
|---|---|
| `wer` | 1 - WER(H, R); not floored, since WER may exceed 1 and longer hallucinations are worse |
| `repetition` | 0 if H loops more often than R does, else 1 (see below) |
| `static` | `repetition` * `wer` |
| `fine` | n_C / (n_C + n_hard + alpha_s n_soft + 1e-8) |
| `structure` | 1/2 LCS(H, R) / len(R) + 1/2 max(0, 1 - abs(len(H) - len(R)) / len(R)) |
| `dynamic` | 3/4 `fine` + 1/4 `structure` if WER < tau, else the other way round |
| `total` | (1 - alpha_dyn) `static` + alpha_dyn `dynamic` |

A substitution of r by h is soft if 1 - edit(h, r) / max(len(h), len(r)) >= 0.5 (in characters),
else hard; insertions and deletions are hard. n_C counts correct tokens.

The paper contradicts itself: tau is 0.3 in the main text and 0.5 in the appendix (its sweep from
0.2 to 0.5 moves the result by 0.06 points); we take 0.3.

Repetition (its length and threshold are not published): a token five times in a row, a phrase of
two or three tokens four times, a longer one three times, of any length (`text.cycles`); or letters
inside a word eight times. It counts only if R does not repeat as often: one repeat more than in R
is a slip, not a loop. "no no no" therefore always passes.

For a clip without speech, R is empty: WER is 0 for an empty H and len(H) for any other; `fine` and
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
    """Constants of the reward; a part that is False is left out, for ablations.

    Attributes:
        tau: WER from which on `structure` dominates `fine`.
        alpha_soft: weight of a soft substitution.
        alpha_dynamic: weight of the dynamic part; with 0 the reward is R_static alone.
        soft_similarity: similarity of two words, 0..1, from which on a substitution is soft.
        major: weight of the dominating part of the dynamic reward.
        repetition: if False, `repetition` is 1.
        fine: if False, `dynamic` is `structure` alone.
        structure: if False, `dynamic` is `fine` alone.
        gate: if False, both parts of `dynamic` have equal weight, whatever the WER.
        normalizer: normaliser of the texts with its version, see `megaasr.text.normalize`.
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
    normalizer: str = "bench@2"


DEFAULT_REWARD = RewardRecipe()


class _Parts(NamedTuple):
    """The parts of the reward and the counts of one pair; the defaults are those of equal texts."""

    wer: float = 1.0
    repetition: float = 1.0
    fine: float = 1.0
    structure: float = 1.0
    error_rate: float = 0.0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    soft: int = 0
    length: int = 0


@dataclass(frozen=True, slots=True)
class Rewards:
    """Rewards of many pairs, an array of shape [pairs] each; see the table in this module.

    Attributes:
        total: the reward.
        wer, repetition, static, fine, structure, dynamic: parts of the reward.
        error_rate: WER, >= 0.
        substitutions, deletions, insertions: counts of errors.
        soft: count of soft substitutions, which `substitutions` includes.
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
    """Score transcripts.

    Args:
        hypotheses: raw transcripts; a decoder that collapses loops would hide what is penalised.
        references: reference of each hypothesis. The tokens of equal references are computed once.
        languages: ISO code of each pair, or one code for all pairs.
        recipe: constants of the reward.

    Raises:
        ValueError: the sequences have different lengths.
    """
    if languages is None or isinstance(languages, str):
        languages = [languages] * len(hypotheses)
    parts = [
        _score(hypothesis, reference, language, recipe)
        for hypothesis, reference, language in zip(hypotheses, references, languages, strict=True)
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
    reference_tokens, hypothesis_tokens = token_pair(
        reference, hypothesis, language, recipe.normalizer
    )
    length = len(hypothesis_tokens)
    if reference_tokens == hypothesis_tokens:
        return _Parts(length=length)
    if not reference_tokens:
        repetition = _repetition(reference_tokens, hypothesis_tokens, recipe)
        return _Parts(
            wer=1.0 - length,
            repetition=repetition,
            fine=0.0,
            structure=0.0,
            error_rate=float(length),
            insertions=length,
            length=length,
        )
    substitutions = soft = deletions = insertions = 0
    operations = Levenshtein.editops(reference_tokens, hypothesis_tokens)
    for kind, source, target in operations.as_list():
        if kind == "replace":
            substitutions += 1
            replaced, replacement = reference_tokens[int(source)], hypothesis_tokens[int(target)]
            soft += _is_soft(replaced, replacement, recipe.soft_similarity)
        elif kind == "delete":
            deletions += 1
        else:
            insertions += 1
    correct = len(reference_tokens) - substitutions - deletions
    hard = substitutions - soft + deletions + insertions
    fine = correct / (correct + hard + recipe.alpha_soft * soft + _EPSILON)
    same_order = LCSseq.similarity(reference_tokens, hypothesis_tokens) / len(reference_tokens)
    same_length = max(0.0, 1.0 - abs(length - len(reference_tokens)) / len(reference_tokens))
    error_rate = (substitutions + deletions + insertions) / len(reference_tokens)
    return _Parts(
        wer=1.0 - error_rate,
        repetition=_repetition(reference_tokens, hypothesis_tokens, recipe),
        fine=fine,
        structure=0.5 * same_order + 0.5 * same_length,
        error_rate=error_rate,
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
        soft=soft,
        length=length,
    )


def _is_soft(replaced: str, replacement: str, similarity: float) -> bool:
    max_length = max(len(replaced), len(replacement))
    return 1.0 - Levenshtein.distance(replaced, replacement) / max_length >= similarity


def _repetition(
    reference_tokens: Sequence[str], hypothesis_tokens: Sequence[str], recipe: RewardRecipe
) -> float:
    """Return 0 for a hypothesis that loops more often than the reference, else 1."""
    if not recipe.repetition:
        return 1.0
    cycle = find_cycle(hypothesis_tokens)
    if cycle is not None:
        in_reference = count_repeats(cycle.phrase(hypothesis_tokens), reference_tokens)
        return 0.0 if cycle.repeats > in_reference + 1 else 1.0
    new_tokens = set(hypothesis_tokens) - set(reference_tokens)
    return 0.0 if any(len(token) >= 8 and find_letter_cycle(token) for token in new_tokens) else 1.0
