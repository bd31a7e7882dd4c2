"""Log-probabilities of generated tokens, and the probabilities of the words that they spell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from megaasr.model.interface import RecognizedWord
from megaasr.model.prompt import ASR_TEXT


class TokenScores(LogitsProcessor):
    """Records the log-probability of every generated token; only one step of logits is kept.

    The probabilities are the model's own, before temperature and sampling change them.

    Args:
        prompt_tokens: number of tokens before the first generated one.
    """

    def __init__(self, prompt_tokens: int) -> None:
        self._prompt_tokens = prompt_tokens
        self._step_logprobs: torch.Tensor | None = None
        self._token_logprobs: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Record the token generated in the previous step; called by `generate` in every step."""
        if self._step_logprobs is not None:
            self._record(input_ids[:, -1])
        self._step_logprobs = scores.float().log_softmax(dim=-1)
        return scores

    def finish(self, sequences: torch.Tensor) -> list[list[float]]:
        """Return the log-probabilities of the generated tokens, one list per sequence.

        Args:
            sequences: token ids of prompts and outputs, int64 of shape [batch, tokens].
        """
        count = sequences.shape[1] - self._prompt_tokens
        if self._step_logprobs is not None and len(self._token_logprobs) < count:
            self._record(sequences[:, self._prompt_tokens + len(self._token_logprobs)])
        if not self._token_logprobs:
            return [[] for _ in sequences]
        logprobs: list[list[float]] = torch.stack(self._token_logprobs, dim=1).tolist()
        return logprobs

    def _record(self, tokens: torch.Tensor) -> None:
        assert self._step_logprobs is not None
        self._token_logprobs.append(self._step_logprobs.gather(1, tokens.unsqueeze(1)).squeeze(1))


def score_words(
    token_texts: Sequence[str], logprobs: Sequence[float], *, forced: bool
) -> tuple[RecognizedWord, ...]:
    """Return the words of an output with their probabilities.

    Words are separated by spaces; every wide (Chinese, Japanese) character is a word by itself. The
    probability of a word is the product of the probabilities of its tokens, since the word is right
    only if all of them are.

    Args:
        token_texts: text of each generated token; concatenated, they are the output. If several
            tokens spell one character, all but the last are empty.
        logprobs: log-probability of each token.
        forced: whether the prompt forced the language, so that the output consists of the words
            alone.
    """
    output = "".join(token_texts)
    start = 0 if forced and ASR_TEXT not in output else output.find(ASR_TEXT) + len(ASR_TEXT)
    if start < len(ASR_TEXT) and not (forced and start == 0):
        return ()
    words: list[tuple[str, float]] = []
    in_word = False
    position = 0
    for token_text, logprob in zip(token_texts, logprobs, strict=True):
        counted = False  # a token's probability counts once in each word that it is part of
        for char in token_text:
            position += 1
            if position <= start:
                continue
            if char.isspace():
                in_word = False
                continue
            if not in_word or _is_wide(char):
                words.append((char, logprob))
            else:
                word, word_logprob = words[-1]
                words[-1] = (word + char, word_logprob + (0.0 if counted else logprob))
            counted = True
            in_word = not _is_wide(char)
        if not token_text and words and position > start:  # a part of a character
            words[-1] = (words[-1][0], words[-1][1] + logprob)
    return tuple(RecognizedWord(word, math.exp(min(0.0, logprob))) for word, logprob in words)


def _is_wide(char: str) -> bool:
    return "\u3040" <= char <= "\u30ff" or "\u3400" <= char <= "\u9fff" or char >= "\U00020000"
