"""Log-probabilities of generated tokens, and the probabilities of the words that they spell."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class WordTokens:
    """A word of an output.

    Attributes:
        text: the word with adjacent punctuation.
        tokens: indices of the generated tokens that spell it, in order.
    """

    text: str
    tokens: tuple[int, ...]


def words_of_tokens(token_texts: Sequence[str], *, forced: bool) -> tuple[WordTokens, ...]:
    """Return the words of an output with their tokens.

    Words are separated by spaces and by marks of the beginning of the text; every wide (Chinese,
    Japanese) character is a word by itself. A token may be part of several words.

    Args:
        token_texts: text of each generated token; concatenated, they are the output. If several
            tokens spell one character, all but the last are empty.
        forced: whether the prompt forced the language, so that the output consists of the words
            alone.
    """
    output = "".join(token_texts)
    start = 0 if forced and ASR_TEXT not in output else output.find(ASR_TEXT) + len(ASR_TEXT)
    if start < len(ASR_TEXT) and not (forced and start == 0):
        return ()
    marks = {
        index
        for mark in re.finditer(re.escape(ASR_TEXT), output)
        for index in range(mark.start(), mark.end())
    }
    words: list[tuple[str, list[int]]] = []
    in_word = False
    position = 0
    split_character: list[int] = []  # tokens of a character whose last token is still to come
    for index, token_text in enumerate(token_texts):
        if not token_text:
            split_character.append(index)
        for char in token_text:
            position += 1
            spelled = [*split_character, index]
            split_character = []
            if position <= start:
                continue
            if char.isspace() or position - 1 in marks:
                in_word = False
                continue
            if not in_word or _is_wide(char):
                words.append((char, spelled))
            else:
                text, tokens = words[-1]
                words[-1] = (text + char, [*tokens, *(i for i in spelled if i != tokens[-1])])
            in_word = not _is_wide(char)
    return tuple(WordTokens(text, tuple(tokens)) for text, tokens in words)


def score_words(
    words: Sequence[WordTokens], logprobs: Sequence[float]
) -> tuple[RecognizedWord, ...]:
    """Return the words of an output with their probabilities.

    The probability of a word is the product of the probabilities of its tokens, since the word is
    right only if all of them are.

    Args:
        words: the words and their tokens.
        logprobs: log-probability of each generated token.
    """
    scored = ((word.text, sum(logprobs[index] for index in word.tokens)) for word in words)
    return tuple(RecognizedWord(text, math.exp(min(0.0, logprob))) for text, logprob in scored)


def _is_wide(char: str) -> bool:
    return "\u3040" <= char <= "\u30ff" or "\u3400" <= char <= "\u9fff" or char >= "\U00020000"
