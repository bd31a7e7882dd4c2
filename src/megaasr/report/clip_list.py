"""All clips of a benchmark as data in the page, from which its script makes the list."""

from __future__ import annotations

import json

from megaasr.score.result import Clip, Hypothesis, Result

_FAILED = "no answer"
"""What a clip shows on which a system failed, beside the failures of texts."""


def clip_list(number: int, result: Result, normalizer: str) -> str:
    """Return the data and an empty place that the script fills; nothing if there are no clips."""
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
    """Return JSON that no HTML parser can leave."""
    text = json.dumps(data, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _row(clip: Clip, systems: list[str], normalizer: str) -> dict[str, object]:
    category = " / ".join(part for part in (clip.category, clip.origin) if part)
    return {
        "id": clip.id,
        "text": clip.text,
        "category": category,
        "scenario": clip.scenario or "",
        "severity": clip.severity,
        "said": [_said(clip.hypotheses[name], normalizer) for name in systems],
    }


def _said(said: Hypothesis, normalizer: str) -> dict[str, object]:
    errors = said.errors(normalizer)
    return {
        "text": said.text,
        "wrong": errors.errors,
        "of": errors.reference_length,
        "failures": [*said.failures, *([_FAILED] if said.error else [])],
        "route": said.route,
    }
