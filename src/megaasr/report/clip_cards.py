"""The clips worth hearing: worst, and most changed, each with sound, picture and word diffs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from megaasr.audio.waveform import Waveform
from megaasr.errors import AudioError, UsageError
from megaasr.report import spectrogram
from megaasr.report.embed import data_uri, sound_uri
from megaasr.report.word_diff import word_diff
from megaasr.score.clip_audio import read_clip
from megaasr.score.result import Clip, Result

SHOWN = 8
"""Clips in each list; their sound is what makes a page large."""
_LONGEST_S = 30.0


def worst(result: Result, normalizer: str) -> list[Clip]:
    """Return the clips with most errors of the last system, by rate and then by number."""
    last = result.systems[-1].name

    def badness(clip: Clip) -> tuple[float, int]:
        errors = clip.hypotheses[last].errors(normalizer)
        return errors.rate, errors.errors

    wrong = [clip for clip in result.clips if clip.hypotheses[last].errors(normalizer).errors]
    return sorted(wrong, key=badness, reverse=True)[:SHOWN]


def most_changed(result: Result, normalizer: str) -> list[Clip]:
    """Return the clips on which systems differ most from the baseline, for better or worse."""

    def change(clip: Clip) -> int:
        base = clip.hypotheses[result.baseline].errors(normalizer).errors
        others = (one.errors(normalizer).errors for one in clip.hypotheses.values())
        return max(abs(errors - base) for errors in others)

    changed = [clip for clip in result.clips if change(clip)]
    return sorted(changed, key=change, reverse=True)[:SHOWN]


def cards(result: Result, clips: Sequence[Clip], normalizer: str, root: Path) -> str:
    """Return an article for each clip.

    Args:
        result: where they are from.
        clips: what to show.
        normalizer: of the word diffs.
        root: where audio paths start; clips whose sound is not there say so.
    """
    return "".join(_card(result, clip, normalizer, root) for clip in clips)


def _card(result: Result, clip: Clip, normalizer: str, root: Path) -> str:
    lines = []
    for system in result.systems:
        said = clip.hypotheses[system.name]
        errors = said.errors(normalizer)
        facts = [f"{errors.errors} of {errors.reference_length} wrong", *said.failures]
        if said.route is not None:
            facts.append(f"route {said.route}")
        if said.error is not None:
            facts.append(f"failed: {said.error}")
        diff = word_diff(clip.text, said.text, clip.language, normalizer)
        lines.append(
            f"<dt>{escape(system.name)} <small>{escape(', '.join(facts))}</small></dt>"
            f'<dd class="diff"{_lang(clip)}>{diff}</dd>'
        )
    return (
        f"<article><h4>{escape(clip.id)}</h4><p class=soft>{escape(_facts(clip))}</p>"
        f"{_sound(clip, root)}<dl><dt>reference</dt><dd{_lang(clip)}>{escape(clip.text)}</dd>"
        f"{''.join(lines)}</dl></article>"
    )


def _lang(clip: Clip) -> str:
    return f' lang="{escape(clip.language)}"' if clip.language else ""


def _facts(clip: Clip) -> str:
    facts = [clip.scenario or clip.category or ""]
    if clip.severity is not None:
        facts.append(f"severity {clip.severity:g}")
    if clip.snr_db is not None:
        facts.append(f"SNR {clip.snr_db:.1f} dB")
    facts += [clip.origin or "", f"{clip.duration_s:.1f} s"]
    return ", ".join(one for one in facts if one)


def _sound(clip: Clip, root: Path) -> str:
    try:
        waveform = read_clip(root, clip.audio)
    except (AudioError, UsageError, OSError):
        return "<p class=soft>The sound was not found when this page was made.</p>"
    rate = waveform.sample_rate
    waveform = Waveform(waveform.samples[: int(_LONGEST_S * rate)], rate)
    name = escape(clip.id)
    picture = data_uri("image/png", spectrogram.picture(waveform))
    return (
        f'<audio controls preload="none" aria-label="{name}" src="{sound_uri(waveform)}"></audio>'
        f'<img class="spectrogram" src="{picture}" alt="Spectrogram of {name}, 0 to 8 kHz">'
    )
