"""One page of a policy optimisation's groups: what was said, what was drawn, what it was worth."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from megaasr.audio.waveform import Waveform
from megaasr.report.embed import sound_uri
from megaasr.report.page import plain_page
from megaasr.report.word_diff import word_diff
from megaasr.report.wording import percent

WITH_SOUND = 40
"""So many groups, the latest, have a player: their sound would make the page too large."""
_PARTS = ("total", "wer", "repetition", "fine", "structure")
_HEADS = ("R", "R_wer", "R_rep", "R_fine", "R_struc")


def groups_page(
    groups: Sequence[dict[str, Any]], name: str, read: Callable[[str], Waveform | None]
) -> str:
    """Return the page as HTML; it opens from disk and fetches nothing.

    Args:
        groups: rows of a run's `groups.jsonl`.
        name: of the run.
        read: gives the sound of a clip; None if it cannot be read.
    """
    silent = max(0, len(groups) - WITH_SOUND)
    numbered = list(enumerate(groups))
    body = []
    for step, some in groupby(numbered, key=lambda one: one[1]["step"]):
        shown = "".join(
            _group(one, read(one["audio"]) if at >= silent else None) for at, one in some
        )
        body.append(f"<section id=step-{int(step)}><h2>Step {int(step)}</h2>{shown}</section>")
    steps = list(dict.fromkeys(int(one["step"]) for one in groups))
    links = " ".join(f'<a href="#step-{step}">{step}</a>' for step in steps)
    lead = (
        "Transcripts that were drawn for a clip, the best first. Words missing from a transcript "
        "are struck out, wrong and added ones are underlined. The advantage is how much better a "
        "sample is than its group, in standard deviations; what was cut off does not count."
    )
    return plain_page(f"Groups of {name}", lead, f"<nav>Steps: {links}</nav>{''.join(body)}")


def read_groups(path: Path) -> list[dict[str, Any]]:
    """Read a run's `groups.jsonl`."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _group(one: dict[str, Any], sound: Waveform | None) -> str:
    language = one.get("language")
    rows = []
    for sample in sorted(one["samples"], key=lambda s: -s["total"]):
        parts = "".join(f"<td>{sample[part]:.2f}</td>" for part in _PARTS)
        words = word_diff(one["reference"], sample["text"], language, "bench")
        cut = " <small>cut off</small>" if sample["truncated"] else ""
        rows.append(
            f"<tr><td class=words>{words}{cut}</td><td>{percent(sample['error_rate'])}</td>{parts}"
            f"<td>{sample['advantage']:+.2f}</td></tr>"
        )
    heads = "".join(f"<th>{head}</th>" for head in _HEADS)
    player = (
        f'<audio controls preload="none" src="{sound_uri(sound)}"></audio>'
        if sound is not None
        else ""
    )
    rate = one["start_error_rate"]
    began = f"{escape(one['start_text']) or '<em>nothing</em>'}" + (
        f" ({percent(rate)} % errors)" if rate is not None else ""
    )
    flat = "" if one["spread"] else "<p>No spread: nothing is learnt from this group.</p>"
    return (
        f"<article><h3>{escape(one['id'])}</h3>{player}"
        f"<p>Said: {escape(one['reference']) or '<em>nothing</em>'}<br>"
        f"<small>The starting model heard: {began}</small></p>{flat}"
        "<div class=scroll><table><thead><tr><th>transcript</th><th>errors, %</th>"
        f"{heads}<th>advantage</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        "</article>"
    )
