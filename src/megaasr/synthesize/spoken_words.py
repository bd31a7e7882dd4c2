"""The times of the words of a corpus, where the engine knows them: the truth that word times are
measured against.

They are known for flite's voices, and for joined clips whose parts all have them. A record has
them as `words`, a list of `{"text", "start", "end"}` in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from megaasr.synthesize.flite_words import Bounds, word_bounds
from megaasr.synthesize.plan import PlannedClip

TimedWords = list[dict[str, Any]]


def time_spoken_words(
    clips: Iterable[PlannedClip], durations_s: Mapping[str, float]
) -> dict[str, TimedWords]:
    """Return the timed words of the clips whose times are known, by id.

    Args:
        clips: clips of a corpus, joined ones after their parts.
        durations_s: length of each finished clip, by id.
    """
    finished = [clip for clip in clips if clip.id in durations_s and clip.text]
    by_voice: dict[str, list[PlannedClip]] = {}
    for clip in finished:
        if clip.voice is not None and clip.voice.engine == "flite":
            by_voice.setdefault(clip.voice.name, []).append(clip)
    words: dict[str, TimedWords] = {}
    for voice, spoken in by_voice.items():
        for clip, bounds in zip(spoken, word_bounds(voice, [c.text for c in spoken]), strict=True):
            if bounds is not None:
                words[clip.id] = _timed(clip.text.split(), bounds, durations_s[clip.id])
    for clip in finished:
        if clip.parts and all(part in words for part in clip.parts):
            words[clip.id] = _joined(clip, words, durations_s)
    return words


def _timed(texts: Sequence[str], bounds: Sequence[Bounds | None], length_s: float) -> TimedWords:
    return [
        {"text": text, "start": round(pair[0] * length_s, 3), "end": round(pair[1] * length_s, 3)}
        for text, pair in zip(texts, bounds, strict=True)
        if pair is not None
    ]


def _joined(
    clip: PlannedClip, words: Mapping[str, TimedWords], durations_s: Mapping[str, float]
) -> TimedWords:
    joined: TimedWords = []
    offset_s = 0.0
    for part, pause_s in zip(clip.parts, clip.pauses_s, strict=True):
        joined += [
            {
                "text": word["text"],
                "start": round(word["start"] + offset_s, 3),
                "end": round(word["end"] + offset_s, 3),
            }
            for word in words[part]
        ]
        offset_s += durations_s[part] + pause_s
    return joined
