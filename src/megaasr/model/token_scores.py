"""The probabilities of what was generated: of each token, and of the words that tokens spell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from megaasr.model.interface import RecognizedWord
from megaasr.model.prompt import ASR_TEXT


class TokenScores(LogitsProcessor):
    """Notes the log-probability of each token that is chosen, keeping one step of logits.

    The probabilities are the model's own, before temperature and sampling change them.

    Args:
        prompt: how many tokens stand before the first generated one.
    """

    def __init__(self, prompt: int) -> None:
        self._prompt = prompt
        self._last: torch.Tensor | None = None
        self._chosen: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Note the token chosen in the step before, and this step's distribution."""
        if self._last is not None:
            self._note(input_ids[:, -1])
        self._last = scores.float().log_softmax(dim=-1)
        return scores

    def finish(self, sequences: torch.Tensor) -> list[list[float]]:
        """Return the log-probabilities [batch][generated tokens] of finished sequences."""
        count = sequences.shape[1] - self._prompt
        if self._last is not None and len(self._chosen) < count:
            self._note(sequences[:, self._prompt + len(self._chosen)])
        if not self._chosen:
            return [[] for _ in sequences]
        found: list[list[float]] = torch.stack(self._chosen, dim=1).tolist()
        return found

    def _note(self, tokens: torch.Tensor) -> None:
        assert self._last is not None
        self._chosen.append(self._last.gather(1, tokens.unsqueeze(1)).squeeze(1))


def words_of(
    pieces: Sequence[str], logprobs: Sequence[float], *, forced: bool
) -> tuple[RecognizedWord, ...]:
    """Return the words of an output with their probabilities.

    A word is what stands between spaces; a wide (Chinese, Japanese) character is a word. Its
    probability is that of all its tokens together: the model would have to be right in each.

    Args:
        pieces: the text of each generated token; joined they are the output. The halves of a
            character that several tokens spell are empty but for the last.
        logprobs: of the tokens.
        forced: the language was forced, so the output is the words alone.
    """
    text = "".join(pieces)
    start = 0 if forced and ASR_TEXT not in text else text.find(ASR_TEXT) + len(ASR_TEXT)
    if start < len(ASR_TEXT) and not (forced and start == 0):
        return ()
    words: list[tuple[str, float]] = []
    open_word = False
    at = 0
    for piece, logprob in zip(pieces, logprobs, strict=True):
        fresh = True  # the token's probability counts once for each word it takes part in
        for char in piece:
            at += 1
            if at <= start:
                continue
            if char.isspace():
                open_word = False
                continue
            if not open_word or _is_wide(char):
                words.append((char, logprob))
            else:
                spelled, before = words[-1]
                words[-1] = (spelled + char, before + (logprob if fresh else 0.0))
            fresh = False
            open_word = not _is_wide(char)
        if not piece and words and at > start:  # half of a character
            words[-1] = (words[-1][0], words[-1][1] + logprob)
    return tuple(RecognizedWord(word, math.exp(min(0.0, value))) for word, value in words)


def _is_wide(char: str) -> bool:
    return "\u3040" <= char <= "\u30ff" or "\u3400" <= char <= "\u9fff" or char >= "\U00020000"
