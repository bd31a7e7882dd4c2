"""All clips of a benchmark as embedded data, from which the page's script builds the list."""

from __future__ import annotations

from megaasr import strict_json
from megaasr.score.result import Hypothesis, Result, ScoredClip

_FAILED = "not transcribed"
"""Shown, beside the failures of the text, for a clip on which the system failed."""


def clip_list(number: int, result: Result, normalizer: str) -> str:
    """Return the data and an empty element for the script to fill; empty if there are no clips.

    Args:
        number: position of the result on the page.
        result: the benchmark.
        normalizer: name of the normaliser for the errors.
    """
    if not result.clips:
        return ""
    systems = [system.name for system in result.systems]
    data = {
        "systems": systems,
        "baseline": systems.index(result.baseline),
        "clips": [_row(clip, systems, normalizer) for clip in result.clips],
    }
    return (
        f'<div class="clips" data-from="clips-{number}"><p>This list needs JavaScript.</p></div>'
        f'<script type="application/json" id="clips-{number}">{inert_json(data)}</script>'
    )


def inert_json(data: object) -> str:
    """Return JSON that cannot end the HTML element in which it is embedded."""
    text = strict_json.dumps(data, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _row(clip: ScoredClip, systems: list[str], normalizer: str) -> dict[str, object]:
    category = " / ".join(part for part in (clip.category, clip.origin) if part)
    return {
        "id": clip.id,
        "text": clip.text,
        "category": category,
        "scenario": clip.scenario or "",
        "severity": clip.severity,
        "hypotheses": [_hypothesis_row(clip.hypotheses[name], normalizer) for name in systems],
    }


def _hypothesis_row(hypothesis: Hypothesis, normalizer: str) -> dict[str, object]:
    counts = hypothesis.errors(normalizer)
    return {
        "text": hypothesis.text,
        "wrong": counts.errors,
        "of": counts.reference_length,
        "failures": [*hypothesis.failures, *([_FAILED] if hypothesis.error else [])],
        "route": hypothesis.route,
    }
