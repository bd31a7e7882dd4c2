"""Which clips of a manifest can be trained on; the others are left out, counted and told.

A clip is left out if its audio cannot be read, is empty, longer than the model's limit or not as
long as its record says, or if its text is longer than anybody can say in that time: its label then
belongs to other sound. All trainers use this check, before they make their run folder. It decodes
every clip, in several threads.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import SAMPLE_RATE
from megaasr.errors import AudioError, TrainingError
from megaasr.model.interface import MAX_CHUNK_S

MAX_LEFT_OUT = 0.05
"""Default of the largest share of clips that may be left out."""

UNREADABLE = "cannot be read"
NO_SOUND = "holds no sound"
TOO_LONG = f"longer than {MAX_CHUNK_S:g} s"
OTHER_LENGTH = "not as long as its record says"
TOO_MUCH_TEXT = "more text than can be said in its time"

NOTHING_READABLE = (
    "no clip of a batch can be read any more, although all could when the training began; is the "
    "disk still there? Mend it and repeat the command: the run continues from its last checkpoint"
)
"""The message of a batch without a single clip."""

_MAX_CHARACTERS_PER_S = 50.0
"""Letters and digits a second: the fastest speakers on record say 11 English words a second, some
50 letters; sped up to double speed, fast reading has as many."""
_MAX_SYLLABLES_PER_S = 25.0
"""Characters a second of scripts that write a syllable or mora with one: Chinese is read with 4 to
6 a second, Japanese with 7 to 9 morae, and twice that at double speed."""
_TEXT_ALLOWANCE_S = 0.5
"""Added to a clip's length, since a clip may be cut into its first and last word."""
_SYLLABIC = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "YI ", "BOPOMOFO")
_LENGTH_TOLERANCE_S, _LENGTH_TOLERANCE = 0.5, 0.05
_LIMIT_TOLERANCE_S = 0.1
_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """What the check needs to know of a clip.

    Attributes:
        id: id of the clip, for messages.
        audio: path of the audio file, or of a row of a Parquet shard.
        text: the reference; None if the text does not matter.
        stated_s: length in seconds according to its record; None if that does not say.
    """

    id: str
    audio: str
    text: str | None = None
    stated_s: float | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The clips that a training leaves out.

    Attributes:
        clips: number of clips, including those left out.
        problems: id and problem of each clip that is left out, in the order of the manifests.
    """

    clips: int = 0
    problems: tuple[tuple[str, str], ...] = ()

    def __add__(self, added: LeftOut) -> LeftOut:
        return LeftOut(self.clips + added.clips, self.problems + added.problems)

    def require(
        self, max_share: float, source: str, *, option: str = "--set max_left_out=…"
    ) -> None:
        """Check that enough clips are left.

        Args:
            max_share: largest share of the clips, 0..1, that may be left out.
            source: what the clips come from, for the message.
            option: option of the command that raises the share, for the message.

        Raises:
            TrainingError: no clip is left, or more than the share are left out; lists the reasons.
        """
        count = len(self.problems)
        if not count:
            return
        if count == self.clips:
            raise TrainingError(f"{source}: no clip can be used: {self.reasons()}")
        if count > max_share * self.clips:
            raise TrainingError(
                f"{source}: {count} of {self.clips} clips cannot be used, more than "
                f"{100 * max_share:g} %: {self.reasons()}; mend them, or raise the share with "
                f"{option}"
            )

    def reasons(self) -> str:
        """Return the number of clips with each problem, and an example."""
        examples: dict[str, str] = {}
        for name, problem in self.problems:
            examples.setdefault(problem, name)
        counts = Counter(problem for _, problem in self.problems)
        return ", ".join(
            f"{count} {problem} (such as {examples[problem]})"
            for problem, count in counts.most_common()
        )

    def describe(self) -> str:
        """Return a sentence for the user; empty if no clip is left out."""
        if not self.problems:
            return ""
        return f"{len(self.problems)} of {self.clips} clips are left out: {self.reasons()}"

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the run's `clips.json`."""
        return {
            "clips": self.clips,
            "left_out": len(self.problems),
            "reasons": dict(Counter(problem for _, problem in self.problems)),
            "ids": dict(self.problems),
        }


NOTHING_LEFT_OUT = LeftOut()


def check_clips(
    clips: Iterable[ClipRecord], *, max_s: float | None = MAX_CHUNK_S
) -> list[str | None]:
    """Return the problem of each clip, in order; None for a clip that can be trained on.

    Args:
        clips: the clips.
        max_s: length of the longest clip in seconds; None for any.
    """
    problems: list[str | None] = []
    rows = list(clips)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            problems += pool.map(lambda clip: _check(clip, max_s), batch)
    return problems


def find_problem(
    samples: int, text: str | None, stated_s: float | None, *, max_s: float | None = MAX_CHUNK_S
) -> str | None:
    """Return the problem of a clip that was decoded; None if it can be trained on.

    Args:
        samples: number of samples at 16 kHz.
        text: the reference; None if the text does not matter.
        stated_s: length in seconds according to its record; None if that does not say.
        max_s: length of the longest clip in seconds; None for any.
    """
    duration_s = samples / SAMPLE_RATE
    if not samples:
        return NO_SOUND
    if max_s is not None and duration_s > max_s + _LIMIT_TOLERANCE_S:
        return TOO_LONG
    if stated_s is not None and stated_s > 0:
        tolerance_s = max(_LENGTH_TOLERANCE_S, _LENGTH_TOLERANCE * stated_s)
        if abs(duration_s - stated_s) > tolerance_s:
            return OTHER_LENGTH
    if text is not None and is_too_much_text(text, duration_s):
        return TOO_MUCH_TEXT
    return None


def is_too_much_text(text: str, duration_s: float) -> bool:
    """Tell whether nobody can say a text in that time.

    Args:
        text: the reference, in any script.
        duration_s: length of the sound in seconds.
    """
    letters = [character for character in text if character.isalnum()]
    if len(letters) <= _MAX_SYLLABLES_PER_S * duration_s:
        return False  # the usual case, without looking at the scripts
    syllables = sum(unicodedata.name(character, "").startswith(_SYLLABIC) for character in letters)
    needed_s = syllables / _MAX_SYLLABLES_PER_S + (len(letters) - syllables) / _MAX_CHARACTERS_PER_S
    return needed_s > duration_s + _TEXT_ALLOWANCE_S


def _check(clip: ClipRecord, max_s: float | None) -> str | None:
    # The text first: what the record alone refutes need not be decoded.
    if clip.stated_s is not None:
        if max_s is not None and clip.stated_s > max_s:
            return TOO_LONG
        if clip.stated_s <= 0:
            return NO_SOUND
        if clip.text is not None and is_too_much_text(clip.text, clip.stated_s):
            return TOO_MUCH_TEXT
    try:
        samples = read_clip(Path(), clip.audio).samples.size
    except (AudioError, OSError):
        return UNREADABLE
    return find_problem(samples, clip.text, clip.stated_s, max_s=max_s)


def count_left_out(clips: Sequence[ClipRecord], problems: Sequence[str | None]) -> LeftOut:
    """Return the clips that have a problem.

    Args:
        clips: the clips.
        problems: the problem of each, as `check_clips` returns it.
    """
    left_out = [
        (clip.id, problem)
        for clip, problem in zip(clips, problems, strict=True)
        if problem is not None
    ]
    return LeftOut(len(clips), tuple(left_out))
