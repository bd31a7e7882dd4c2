"""Signs that a text is not what was said, each with its measured value and its threshold.

| flag | value | suspicious |
|---|---|---|
| `no_words_in_speech` | seconds of speech by the VAD where the text is empty | from it on |
| `speech_not_detected` | the VAD's highest probability of speech where there is a text | below |
| `token_budget_hit` | 1: the token budget ended the text | always |
| `phrase_cycle` | repeats of a phrase in a row (`megaasr.text.cycles`) | from it on |
| `compression_ratio` | bytes of the text by bytes when packed by zlib (Whisper's measure) | above |
| `characters_per_s` | characters (wide ones count 2.5) by seconds of audio | above |
| `low_logprob` | mean log-probability of the tokens (Whisper's measure) | below |
| `context_echo` | share of the words that stand in the context in a row of at least three | from |
| `language_flip` | 1: another language than the two segments before, which agree | always |
| `branches_disagree` | error rate between the texts of base and robust branch | above |

Pure functions. What follows from them (other attempts, and which is kept) is in `retries`.
"""

from __future__ import annotations

import math
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

from rapidfuzz.distance import LCSseq

from megaasr.errors import UsageError
from megaasr.model.interface import Recognition
from megaasr.records import Check
from megaasr.text.cycles import MIN_REPEATS_LONG_PHRASE, find_cycle
from megaasr.text.normalize import tokens

_WIDE_CHARACTER = 2.5  # a Chinese character is a syllable, an English syllable about 2.5 letters


@dataclass(frozen=True, slots=True)
class GuardThresholds:
    """From when on a value counts as suspicious; an infinite one switches a guard off.

    Attributes:
        no_words_in_speech: seconds.
        speech_not_detected: probability 0..1.
        phrase_cycle: repeats in a row, at least 3.
        compression_ratio: Whisper's 2.4.
        characters_per_s: nobody speaks faster, in any language.
        low_logprob: Whisper's -1.0.
        context_echo: share 0..1.
        branches_disagree: error rate.
    """

    no_words_in_speech: float = 1.0
    # Not 0.5: of badly degraded speech up to a third stays below that.
    speech_not_detected: float = 0.1
    phrase_cycle: float = MIN_REPEATS_LONG_PHRASE
    compression_ratio: float = 2.4
    characters_per_s: float = 30.0
    low_logprob: float = -1.0
    context_echo: float = 0.8
    branches_disagree: float = 0.5

    @classmethod
    def off(cls) -> GuardThresholds:
        """Return thresholds that nothing reaches."""
        below = ("speech_not_detected", "low_logprob")
        return cls(**{f.name: -math.inf if f.name in below else math.inf for f in fields(cls)})

    def changed(self, settings: list[str]) -> GuardThresholds:
        """Return these thresholds with some changed.

        Args:
            settings: `NAME=VALUE` each.

        Raises:
            UsageError: there is no such guard, or the value is no number.
        """
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        for setting in settings:
            name, equals, value = setting.partition("=")
            name = name.replace("-", "_")
            if not equals or name not in values:
                raise UsageError(f"guard {setting!r}: write NAME=VALUE, of {', '.join(values)}")
            try:
                values[name] = float(value)
            except ValueError as error:
                raise UsageError(f"guard {setting!r}: {value!r} is no number") from error
        return GuardThresholds(**values)


@dataclass(frozen=True, slots=True)
class Heard:
    """What is known about a piece of audio beside the model's answer.

    Attributes:
        duration_s: of the audio.
        context: that the model was given.
        speech_s: seconds of speech that the VAD hears; None without VAD.
        speech_probability: the VAD's highest; None without VAD.
    """

    duration_s: float
    context: str = ""
    speech_s: float | None = None
    speech_probability: float | None = None


def examine(said: Recognition, heard: Heard, limits: GuardThresholds) -> tuple[Check, ...]:
    """Return the signs that an answer is not what was said; none if all is well.

    Args:
        said: the model's answer.
        heard: what is known about the audio.
        limits: the thresholds.
    """
    found: list[Check] = []

    def note(flag: str, value: float, threshold: float, *, suspicious: bool) -> None:
        if suspicious:
            found.append(Check(flag, round(value, 4), threshold))

    if said.budget_hit:
        found.append(Check("token_budget_hit", 1.0, 1.0))
    text = said.text.strip() if said.language is not None else ""
    if not text:
        speech_s = heard.speech_s or 0.0
        limit = limits.no_words_in_speech
        note("no_words_in_speech", speech_s, limit, suspicious=speech_s >= limit)
        return tuple(found)
    if heard.speech_probability is not None:
        value, limit = heard.speech_probability, limits.speech_not_detected
        note("speech_not_detected", value, limit, suspicious=value < limit)
    words = tokens(text, language=said.language)
    cycle = find_cycle(words)
    if cycle is not None:
        limit = limits.phrase_cycle
        note("phrase_cycle", cycle.repeats, limit, suspicious=cycle.repeats >= limit)
    ratio, limit = compression_ratio(text), limits.compression_ratio
    note("compression_ratio", ratio, limit, suspicious=ratio > limit)
    speed = letters(text) / max(heard.duration_s, 0.1)
    limit = limits.characters_per_s
    note("characters_per_s", speed, limit, suspicious=speed > limit)
    if said.mean_logprob is not None:
        value, limit = said.mean_logprob, limits.low_logprob
        note("low_logprob", value, limit, suspicious=value < limit)
    echo, limit = context_echo(words, heard.context, said.language), limits.context_echo
    note("context_echo", echo, limit, suspicious=0 < limit <= echo)
    return tuple(found)


def compression_ratio(text: str) -> float:
    """Return the size of a text by its size when packed; a text that goes round packs well."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw))


def letters(text: str) -> float:
    """Return how many letters and digits a text has; a wide one counts as a syllable of them."""
    return sum(
        _WIDE_CHARACTER if unicodedata.east_asian_width(char) in "WF" else 1.0
        for char in text
        if char.isalnum()
    )


def context_echo(words: Sequence[str], context: str, language: str | None) -> float:
    """Return the share of words that repeat the context: its longest run in it, from 3 words on."""
    given = tokens(context, language=language) if context.strip() else []
    if not given or not words:
        return 0.0
    if LCSseq.similarity(words, given) < 3:
        return 0.0
    run = _longest_common_run(words, given)
    return run / len(words) if run >= 3 else 0.0


def _longest_common_run(one: Sequence[str], other: Sequence[str]) -> int:
    best = 0
    row = [0] * (len(other) + 1)
    for word in one:
        row = [0, *(row[at] + 1 if word == said else 0 for at, said in enumerate(other))]
        best = max(best, *row)
    return best


DEFAULT_THRESHOLDS = GuardThresholds()


@dataclass(frozen=True, slots=True)
class Caution:
    """What is done about texts that may not be what was said.

    Attributes:
        vad: find out first where somebody speaks.
        thresholds: from when on a text is suspicious.
        retry: hear suspicious pieces again, see `megaasr.transcribe.retries`.
        drop_unreliable: leave texts out that stay suspicious.
    """

    vad: bool = True
    thresholds: GuardThresholds = DEFAULT_THRESHOLDS
    retry: bool = True
    drop_unreliable: bool = False
