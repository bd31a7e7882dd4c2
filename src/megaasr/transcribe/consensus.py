"""Consensus decoding: of several transcripts of a chunk, the one that is closest to all others.

This is minimum Bayes risk decoding (Goel and Byrne 2000): the samples stand for what the model
thinks that was said, and the transcript with the fewest expected word errors is kept. The most
probable transcript is often another one: on degraded speech it tends to be too short.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from megaasr.model.interface import Recognition
from megaasr.records.segments import Alternative
from megaasr.text.normalize import tokens
from megaasr.transcribe.search import Utility

_NORMALIZER = "bench"


def expected_errors(texts: Sequence[str], language: str | None) -> list[float]:
    """Return for each transcript the mean number of word errors against all of them.

    Errors are counted and not divided by the length, because the error rate of a corpus adds up
    errors, and because an empty transcript would make the rate of all others infinite.

    Args:
        texts: transcripts of one chunk, in any order; one that occurs twice counts twice.
        language: ISO code of the language, which decides what a word is; None to guess.
    """
    words = [tokens(text, language, _NORMALIZER) for text in texts]
    distances = [[Levenshtein.distance(a, b) for b in words] for a in words]
    return [sum(row) / len(texts) for row in distances]


def expected_reward(texts: Sequence[str], language: str | None) -> list[float]:
    """Return for each transcript the mean reward of DG-WGPO with each of them as the reference.

    Args:
        texts: transcripts of one chunk, in any order; one that occurs twice counts twice.
        language: ISO code of the language; None to guess.
    """
    from megaasr.text.dg_reward import score_batch

    count = len(texts)
    hypotheses = [text for text in texts for _ in range(count)]
    rewards = score_batch(hypotheses, [*texts] * count, language).total
    return [float(mean) for mean in rewards.reshape(count, count).mean(axis=1)]


def choose_consensus(candidates: Sequence[Recognition], utility: Utility = "errors") -> Recognition:
    """Return the candidate with the highest expected utility; of equals, the most probable.

    Whether anybody speaks is decided first, by the majority: an empty text has fewer errors against
    texts that have no words in common than any of these.

    Args:
        candidates: recognitions of one chunk, at least one.
        utility: what is maximised, see `SearchOptions`.
    """
    spoken = [candidate for candidate in candidates if spoken_text(candidate)]
    if 2 * len(spoken) < len(candidates):
        return max((c for c in candidates if not spoken_text(c)), key=_logprob)
    candidates = spoken
    texts = [spoken_text(candidate) for candidate in candidates]
    language = _majority_language(candidates)
    if utility == "reward":
        risks = [-reward for reward in expected_reward(texts, language)]
    else:
        risks = expected_errors(texts, language)
    order = [(risk, -_logprob(c)) for risk, c in zip(risks, candidates, strict=True)]
    return candidates[order.index(min(order))]


def choose_most_probable(candidates: Sequence[Recognition]) -> Recognition:
    """Return the candidate with the highest mean log-probability.

    A candidate without words is taken only if no other has words: the end of the text is often more
    probable than any word of hard speech.

    Args:
        candidates: recognitions of one chunk, at least one.
    """
    spoken = [candidate for candidate in candidates if spoken_text(candidate)]
    return max(spoken or candidates, key=_logprob)


def rank_alternatives(candidates: Sequence[Recognition], count: int) -> tuple[Alternative, ...]:
    """Return the most frequent texts; of equally frequent ones, the more probable first.

    Texts whose words are the same are one; its most probable spelling is listed.

    Args:
        candidates: recognitions of one chunk, at least one.
        count: maximum number of texts.
    """
    language = _majority_language(candidates)
    spellings: dict[tuple[str, ...], list[Recognition]] = {}
    for candidate in candidates:
        words = tuple(tokens(spoken_text(candidate), language, _NORMALIZER))
        spellings.setdefault(words, []).append(candidate)
    alternatives = []
    for same in spellings.values():
        best = max(same, key=_logprob)
        share = round(len(same) / len(candidates), 4)
        alternatives.append((len(same), _logprob(best), spoken_text(best), share, best))
    alternatives.sort(key=lambda row: (-row[0], -row[1]))
    return tuple(
        Alternative(text, share, best.mean_logprob and round(best.mean_logprob, 4))
        for _, _, text, share, best in alternatives[:count]
    )


def spoken_text(recognition: Recognition) -> str:
    """Return the text of a recognition; empty if the model says that nobody speaks."""
    # Without a language the model says "no speech": words beside that are not trustworthy.
    return "" if recognition.language is None else recognition.text.strip()


def _majority_language(candidates: Sequence[Recognition]) -> str | None:
    languages = Counter(c.language for c in candidates if c.language is not None)
    return languages.most_common(1)[0][0] if languages else None


def _logprob(recognition: Recognition) -> float:
    logprob = recognition.mean_logprob
    return float("-inf") if logprob is None else logprob
