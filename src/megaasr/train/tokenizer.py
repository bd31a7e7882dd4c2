"""A small byte-level BPE tokenizer that the native Qwen3-ASR processor accepts unchanged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from megaasr.model.prompt import (
    ASR_TEXT,
    AUDIO_END,
    AUDIO_PAD,
    AUDIO_START,
    TEXT_END,
    TURN_END,
    TURN_START,
)

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

# Ids are assigned in this order, from 0; the order is part of the shipped model.
SPECIAL_TOKENS = (TEXT_END, TURN_START, TURN_END, AUDIO_START, AUDIO_END, AUDIO_PAD)
# Words of the prompt, which every example holds; repeated so that each becomes one token.
_PROMPT_TEXT = "system\nuser\nassistant\nlanguage English"


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> Qwen2Tokenizer:
    """Learn a BPE vocabulary from transcripts.

    Args:
        texts: transcripts in written form (capitals, punctuation).
        vocabulary_size: number of entries, special tokens and the 256 bytes included.

    Returns:
        A tokenizer with Qwen3-ASR's special tokens, prompt markers and pre-tokenisation.
    """
    import json

    from tokenizers import AddedToken, Tokenizer, decoders, models, trainers
    from transformers import Qwen2Tokenizer

    # The blank tokenizer brings Qwen's pre-tokenisation, so that both split text alike.
    blank = Qwen2Tokenizer()
    learner = Tokenizer(models.BPE())
    learner.normalizer = blank.backend_tokenizer.normalizer
    learner.pre_tokenizer = blank.backend_tokenizer.pre_tokenizer
    learner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - 1,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=_byte_alphabet(),
        show_progress=False,
    )
    texts = list(texts)
    learner.train_from_iterator([*texts, *[_PROMPT_TEXT] * max(1, len(texts) // 2)], trainer)
    model = json.loads(learner.to_str())["model"]
    merges: Any = [tuple(pair) for pair in model["merges"]]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=merges,
        eos_token=TURN_END,
        pad_token=TEXT_END,
        extra_special_tokens={
            "audio_bos_token": AUDIO_START,
            "audio_eos_token": AUDIO_END,
            "audio_token": AUDIO_PAD,
        },
    )
    tokenizer.add_tokens([AddedToken(TURN_START, special=True)])
    # Part of the output format, not of the prompt: it must survive skip_special_tokens.
    tokenizer.add_tokens([AddedToken(ASR_TEXT, special=False, normalized=False)])
    return tokenizer


def _byte_alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())
