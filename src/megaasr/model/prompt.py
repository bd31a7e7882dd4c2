"""Qwen3-ASR's prompt and output format: the only place that spells them.

Prompt:  a system turn (free context), a user turn with one audio, the assistant's turn opened.
Output:  `language English<asr_text>the words`, or `language None<asr_text>` without speech.
Forcing a language writes the first half of the output into the prompt.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from megaasr.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AUDIO_START, AUDIO_PAD, AUDIO_END = "<|audio_start|>", "<|audio_pad|>", "<|audio_end|>"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
ASR_TEXT = "<asr_text>"
NO_SPEECH = "None"

# Only the model speaks of languages by their English names; elsewhere they are ISO codes.
LANGUAGE_NAMES = {
    "ar": "Arabic",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fa": "Persian",
    "fi": "Finnish",
    "fil": "Filipino",
    "fr": "French",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "mk": "Macedonian",
    "ms": "Malay",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "th": "Thai",
    "tr": "Turkish",
    "vi": "Vietnamese",
    "yue": "Cantonese",
    "zh": "Chinese",
}
_CODES = {name.lower(): code for code, name in LANGUAGE_NAMES.items()}
_MARKER = re.compile(r"<\|[a-z_]+\|>|<asr_text>")


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """Return the id of one token, such as AUDIO_PAD."""
    found: Any = tokenizer.convert_tokens_to_ids(token)
    return int(found)


def language_name(language: str) -> str:
    """Return the model's name of a language given as ISO code or English name.

    Raises:
        UsageError: the language is not one of the model's 30.
    """
    code = _CODES.get(language.strip().lower(), language.strip().lower())
    if code not in LANGUAGE_NAMES:
        known = ", ".join(f"{code} ({name})" for code, name in LANGUAGE_NAMES.items())
        raise UsageError(f"unknown language {language!r}; Qwen3-ASR knows {known}")
    return LANGUAGE_NAMES[code]


def language_code(name: str) -> str:
    """Return the ISO code of a language that the model named, or the name if it has none."""
    return _CODES.get(name.strip().lower(), name.strip())


def prompt_parts(context: str, language: str | None) -> tuple[str, str]:
    """Return the prompt before and after the audio's placeholder tokens.

    Args:
        context: free text for the system turn; markers of the format are taken out, so that
            nobody's file name or hot word can end the turn.
        language: ISO code or English name to force, or None.
    """
    before = (
        f"{TURN_START}system\n{_without_markers(context)}{TURN_END}\n"
        f"{TURN_START}user\n{AUDIO_START}"
    )
    after = f"{AUDIO_END}{TURN_END}\n{TURN_START}assistant\n"
    if language is not None:
        after += f"language {language_name(language)}{ASR_TEXT}"
    return before, after


def _without_markers(text: str) -> str:
    """Take the format's markers out, also one that appears when another is taken out of it."""
    while (shorter := _MARKER.sub("", text)) != text:
        text = shorter
    return text


def target_text(text: str, language: str | None) -> str:
    """Return the assistant turn for a transcript; an empty text means that nobody speaks."""
    name = language_name(language or "en") if text else NO_SPEECH
    return f"language {name}{ASR_TEXT}{text}{TURN_END}"


def parse_output(raw: str, forced_language: str | None = None) -> tuple[str, str | None]:
    """Split the model's output into the words and the language's ISO code.

    Args:
        raw: decoded output without special tokens; loops are left as they are.
        forced_language: what the prompt forced; the output then holds the words alone.

    Returns:
        text, language; the language is None (and the text empty) when there is no speech.
    """
    if ASR_TEXT in raw:
        head, text = raw.split(ASR_TEXT, 1)
    elif forced_language is not None:
        head, text = "", raw
    else:
        # The model never opened its text: whatever stands there is not a transcript.
        head, text = raw, ""
    named = head.strip().removeprefix("language").strip()
    if named == NO_SPEECH:
        return "", None
    language = language_code(named) if named else None
    if forced_language is not None:
        language = language_code(language_name(forced_language))
    return text.strip(), language if text.strip() else None
