"""Checks for unreliable text, each with its measured value and its threshold.

| flag | value | the check fails |
|---|---|---|
| `no_words_in_speech` | seconds of detected speech in a chunk without text | at or above |
| `speech_not_detected` | highest probability of speech in a chunk with text | below |
| `token_budget_hit` | 1: the token budget ended the text | always |
| `phrase_cycle` | consecutive repeats of a phrase (`megaasr.text.cycles`) | at or above |
| `compression_ratio` | bytes of the text divided by its zlib-compressed size (Whisper) | above |
| `characters_per_s` | characters (wide ones count 2.5) per second of audio | above |
| `few_words_in_speech` | letters per second of detected speech (`few_words`) | below |
| `low_logprob` | mean log-probability of the tokens (Whisper) | below |
| `context_echo` | share of words copied from the context (module `context_echo`) | at or above |
| `language_flip` | 1: the two preceding segments agree on another language | always |
| `branches_disagree` | error rate between the texts of the base and the robust branch | above |

Users set the thresholds with `--guard`. All functions are pure; `fallback` acts on failed checks.
The checks of one attempt run in `run_checks`; `branches_disagree` compares branches in `assemble`,
`language_flip` neighbouring segments in `language_switch`.
"""

from __future__ import annotations

import math
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

from megaasr.errors import UsageError
from megaasr.model.interface import Recognition
from megaasr.records import Check
from megaasr.text.cycles import MIN_REPEATS_LONG_PHRASE, find_cycle
from megaasr.text.normalize import tokens
from megaasr.transcribe.context_echo import context_echo

_WIDE_CHARACTER = 2.5  # a Chinese character is a syllable, an English syllable about 2.5 letters
_LOWER_BOUNDS = ("speech_not_detected", "few_words_in_speech", "low_logprob")  # values below fail
_ALLOWANCE_S = 2.0  # detected speech that needs no text: a cough, laughter, "er", the end of a word


@dataclass(frozen=True, slots=True)
class CheckThresholds:
    """Thresholds of the quality checks; `inf` or `-inf` disables one.

    Attributes:
        no_words_in_speech: seconds of speech without text that fail the check.
        speech_not_detected: probability of speech, 0..1, below which text fails the check.
        phrase_cycle: consecutive repeats of a phrase that fail the check, at least 3.
        compression_ratio: highest acceptable compression ratio; the default is Whisper's.
        characters_per_s: highest acceptable number of characters per second of audio; nobody speaks
            faster than the default in any language.
        few_words_in_speech: lowest acceptable number of letters per second of detected speech;
            nobody speaks half as slowly as the default (docs/transcripts.md).
        low_logprob: lowest acceptable mean log-probability; the default is Whisper's.
        context_echo: share of words copied from the context, 0..1, that fails the check.
        branches_disagree: highest acceptable error rate between the two branches.
    """

    no_words_in_speech: float = 1.0
    # Not 0.5: up to a third of badly degraded speech stays below that.
    speech_not_detected: float = 0.1
    phrase_cycle: float = MIN_REPEATS_LONG_PHRASE
    compression_ratio: float = 2.4
    characters_per_s: float = 30.0
    few_words_in_speech: float = 3.0
    low_logprob: float = -1.0
    context_echo: float = 0.8
    branches_disagree: float = 0.5

    @classmethod
    def off(cls) -> CheckThresholds:
        """Return thresholds that disable every check that has one."""
        return cls(
            **{f.name: -math.inf if f.name in _LOWER_BOUNDS else math.inf for f in fields(cls)}
        )

    def changed(self, settings: Sequence[str]) -> CheckThresholds:
        """Return a copy with some thresholds changed.

        Args:
            settings: assignments of the form `NAME=VALUE`.

        Raises:
            UsageError: there is no such check, or the value is not a number.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for setting in settings:
            name, equals, value = setting.partition("=")
            name = name.replace("-", "_")
            if not equals or name not in values:
                raise UsageError(
                    f"guard {setting!r}: expected NAME=VALUE with NAME one of {', '.join(values)}"
                )
            try:
                values[name] = float(value)
            except ValueError as error:
                raise UsageError(f"guard {setting!r}: {value!r} is not a number") from error
            if math.isnan(values[name]):
                raise UsageError(
                    f"guard {setting!r}: nan is no threshold; inf or -inf disables a check"
                )
        return CheckThresholds(**values)


DEFAULT_THRESHOLDS = CheckThresholds()


@dataclass(frozen=True, slots=True)
class ChunkStats:
    """Facts about a chunk that the checks compare with its text.

    Attributes:
        duration_s: length of the decoded audio in seconds.
        context: context that the model received.
        speech_s: seconds of detected speech; None without voice-activity detection.
        speech_probability: highest probability of speech of any frame, 0..1; None without
            voice-activity detection.
    """

    duration_s: float
    context: str = ""
    speech_s: float | None = None
    speech_probability: float | None = None


def run_checks(
    recognition: Recognition, stats: ChunkStats, thresholds: CheckThresholds
) -> tuple[Check, ...]:
    """Return the failed checks of a recognition; none if its text looks reliable.

    Args:
        recognition: the model's result for one chunk.
        stats: facts about the chunk.
        thresholds: limits of the checks.
    """
    failed: list[Check] = []

    def check(flag: str, value: float, threshold: float, *, fails: bool) -> None:
        if fails:
            failed.append(Check(flag, round(value, 4), threshold))

    if recognition.budget_hit:
        failed.append(Check("token_budget_hit", 1.0, 1.0))
    text = recognition.text.strip() if recognition.language is not None else ""
    if not text:
        speech_s = stats.speech_s or 0.0
        limit = thresholds.no_words_in_speech
        check("no_words_in_speech", speech_s, limit, fails=speech_s >= limit)
        return tuple(failed)
    if stats.speech_probability is not None:
        value, limit = stats.speech_probability, thresholds.speech_not_detected
        check("speech_not_detected", value, limit, fails=value < limit)
    words = tokens(text, language=recognition.language)
    cycle = find_cycle(words)
    if cycle is not None:
        limit = thresholds.phrase_cycle
        check("phrase_cycle", cycle.repeats, limit, fails=cycle.repeats >= limit)
    ratio, limit = compression_ratio(text), thresholds.compression_ratio
    check("compression_ratio", ratio, limit, fails=ratio > limit)
    rate = count_letters(text) / max(stats.duration_s, 0.1)
    limit = thresholds.characters_per_s
    check("characters_per_s", rate, limit, fails=rate > limit)
    if stats.speech_s is not None:
        value, limit = few_words(text, stats.speech_s), thresholds.few_words_in_speech
        check("few_words_in_speech", value, limit, fails=value < limit)
    if recognition.mean_logprob is not None:
        value, limit = recognition.mean_logprob, thresholds.low_logprob
        check("low_logprob", value, limit, fails=value < limit)
    speech_s = stats.duration_s if stats.speech_s is None else stats.speech_s
    echo = context_echo(words, stats.context, recognition.language, speech_s)
    limit = thresholds.context_echo
    check("context_echo", echo, limit, fails=0 < limit <= echo)
    return tuple(failed)


def compression_ratio(text: str) -> float:
    """Return the size of a text divided by its zlib-compressed size; repetitive text compresses
    well (Radford et al. 2022)."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw))


def count_letters(text: str) -> float:
    """Return the number of letters and digits of a text; a wide one (Chinese, Japanese, Korean)
    counts 2.5."""
    return sum(
        _WIDE_CHARACTER if unicodedata.east_asian_width(char) in "WF" else 1.0
        for char in text
        if char.isalnum()
    )


def few_words(text: str, speech_s: float) -> float:
    """Return the letters of a text per second of detected speech; infinite for short speech.

    Two seconds of the speech need no text. Letters count as they are spoken: a Chinese, Japanese,
    Korean or Ethiopic character, which is a syllable, 2.5, a digit or symbol, which is a word, 4,
    and where vowels are marks (Hindi, Thai) or not written (Arabic, Hebrew) they count too.

    Args:
        text: the text of a chunk.
        speech_s: seconds of detected speech.
    """
    counted_s = speech_s - _ALLOWANCE_S
    return sum(map(_spoken_letters, text)) / counted_s if counted_s > 0 else math.inf


def _spoken_letters(char: str) -> float:
    """Return how many letters of an alphabet it would take to write what a character stands for."""
    if char.isascii() and char.isalpha():
        return 1.0
    category = unicodedata.category(char)
    if category[0] in "NS" or char in "%&@#":
        return 4.0
    if category[0] not in "LM":
        return 0.0
    if unicodedata.east_asian_width(char) in "WF" or "\u1200" <= char <= "\u139f":
        return _WIDE_CHARACTER
    return 1.5 if "\u0590" <= char <= "\u07ff" else 1.0
