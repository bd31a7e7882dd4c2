"""From the tokens that a model generated to a recognition: text, language, words and scores."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from megaasr.model.inputs import find_end
from megaasr.model.interface import Recognition
from megaasr.model.prompt import parse_output
from megaasr.model.token_scores import WordTokens, score_words, words_of_tokens

_MAX_TOKENS_PER_CHARACTER = 4  # a character has at most four bytes


@dataclass(frozen=True, slots=True)
class ParsedOutput:
    """A recognition without times, and what its words consist of.

    Attributes:
        recognition: the recognition; its words have no times.
        spelled: the words with their tokens, in the order of the recognition's words.
    """

    recognition: Recognition
    spelled: tuple[WordTokens, ...]


class OutputParser:
    """Parses generated tokens.

    Args:
        tokenizer: the model's tokenizer.
        end_ids: ids of the tokens that end an output.
    """

    def __init__(self, tokenizer: Any, end_ids: Collection[int]) -> None:
        self._tokenizer, self._end_ids = tokenizer, end_ids

    def parse(
        self, tokens: Sequence[int], logprobs: Sequence[float], budget: int, language: str | None
    ) -> ParsedOutput:
        """Return the recognition in a row of generated tokens.

        Args:
            tokens: ids of the tokens; what follows an end token is ignored.
            logprobs: log-probability of each token in the model's own distribution, in nats.
            budget: largest number of tokens of the output.
            language: ISO code that the prompt forced; None if it forced none.
        """
        end = find_end(tokens, budget, self._end_ids)
        kept = list(tokens[: budget if end is None else end])
        raw = self._tokenizer.decode(kept, skip_special_tokens=True)
        text, stated = parse_output(raw, language)
        # The end token counts too: a text that breaks off is less likely.
        scored = logprobs[: len(kept) + (end is not None)]
        spelled: tuple[WordTokens, ...] = ()
        if text:
            spelled = words_of_tokens(self.token_texts(kept), forced=language is not None)
        recognition = Recognition(
            text=text,
            language=stated,
            tokens=len(kept),
            budget_hit=end is None,
            raw=raw,
            mean_logprob=sum(scored) / len(scored) if scored else None,
            words=score_words(spelled, logprobs),
            token_ids=tuple(kept),
        )
        return ParsedOutput(recognition, spelled)

    def token_texts(self, tokens: Sequence[int]) -> list[str]:
        """Return the text of each token; concatenated, they are the decoded output."""
        texts: list[str] = []
        pending: list[int] = []
        for token in tokens:
            pending.append(token)
            text = str(self._tokenizer.decode(pending, skip_special_tokens=True))
            complete = not text.endswith("\ufffd") or len(pending) > _MAX_TOKENS_PER_CHARACTER
            texts.append(text if complete else "")
            if complete:
                pending = []
        return texts
