"""The prompt and the output format of Qwen3-ASR; no other module spells them out.

Prompt:  a system turn (free context), a user turn with one clip, the start of the assistant's turn.
Output:  `language English<asr_text>the words`, or `language None<asr_text>` without speech.
To force a language, the first half of the output is appended to the prompt.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from megaasr.errors import UsageError
from megaasr.text.languages import canonical_language, english_name, is_named

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AUDIO_START, AUDIO_PAD, AUDIO_END = "<|audio_start|>", "<|audio_pad|>", "<|audio_end|>"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
TEXT_END = "<|endoftext|>"
"""Padding; it ends the output as TURN_END does."""
ASR_TEXT = "<asr_text>"
NO_SPEECH = "None"

# The model uses English names; everywhere else in this package, languages are ISO codes.
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
    """Return the id of a token, such as `AUDIO_PAD`."""
    converted: Any = tokenizer.convert_tokens_to_ids(token)
    return int(converted)


def language_name(language: str) -> str:
    """Return the model's name of a language.

    Args:
        language: any name of the language, see `text.languages.canonical_language`.

    Raises:
        UsageError: the language is not one of the model's 30.
    """
    code = canonical_language(language)
    if code not in LANGUAGE_NAMES:
        supported = ", ".join(f"{code} ({name})" for code, name in LANGUAGE_NAMES.items())
        if code is not None and is_named(code):
            raise UsageError(
                f"Qwen3-ASR does not know {english_name(code)} ({code}); it knows {supported}"
            )
        raise UsageError(f"unknown language {language!r}; Qwen3-ASR knows {supported}")
    return LANGUAGE_NAMES[code]


def language_code(name: str) -> str:
    """Return the ISO code of a language name from the model's output, or the name itself if it is
    not one of the model's 30 languages."""
    return _CODES.get(name.strip().lower(), name.strip())


def prompt_parts(context: str, language: str | None) -> tuple[str, str]:
    """Return the prompt before and after the placeholder tokens of the audio.

    Args:
        context: free text for the system turn; markers of the format are removed, so that no file
            name or term in it can end the turn.
        language: ISO code or English name of the language to force; None to let the model identify
            it.

    Raises:
        UsageError: the language is not one of the model's 30.
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
    """Remove the markers of the format, including those that only appear once others are gone."""
    while (shorter := _MARKER.sub("", text)) != text:
        text = shorter
    return text


def target_text(text: str, language: str | None) -> str:
    """Return the assistant's turn that a model should learn to generate.

    Args:
        text: reference transcript; empty for a clip without speech.
        language: ISO code or English name of the language; None for English.

    Raises:
        UsageError: the language is not one of the model's 30.
    """
    name = language_name(language or "en") if text else NO_SPEECH
    return f"language {name}{ASR_TEXT}{text}{TURN_END}"


def parse_output(raw: str, forced_language: str | None = None) -> tuple[str, str | None]:
    """Return the text and the language (ISO code) of a model's output.

    The language is None and the text empty if the model states that there is no speech. A model
    that errs may write the mark before its text again; within the text it separates words.

    Args:
        raw: decoded output without special tokens; repetitions in it are kept.
        forced_language: ISO code or English name of the language that the prompt forced, in which
            case the output consists of the words alone; None if it was not forced.
    """
    if ASR_TEXT in raw:
        head, text = raw.split(ASR_TEXT, 1)
    elif forced_language is not None:
        head, text = "", raw
    else:
        # The model never began its text: what it wrote instead is not a transcript.
        head, text = raw, ""
    named = head.strip().removeprefix("language").strip()
    if named == NO_SPEECH:
        return "", None
    language = language_code(named) if named else None
    if forced_language is not None:
        language = language_code(language_name(forced_language))
    text = re.sub(rf"\s*{re.escape(ASR_TEXT)}\s*", " ", text).strip()
    return text, language if text else None
