"""One page about the rollout groups of a policy optimisation: transcripts, rewards, advantages."""

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
from megaasr.report.word_diff import html_diff
from megaasr.report.wording import percent

MAX_PLAYERS = 40
"""Groups, the latest ones, that get a player; more audio would make the page too large."""
_REWARDS = {
    "total": "R",
    "wer": "R_wer",
    "repetition": "R_rep",
    "fine": "R_fine",
    "structure": "R_struc",
}


def groups_page(
    groups: Sequence[dict[str, Any]], name: str, read: Callable[[str], Waveform | None]
) -> str:
    """Return the page as HTML; it opens from disk and fetches nothing.

    Args:
        groups: rows of a run's `groups.jsonl`, in the order of the file.
        name: name of the run.
        read: returns the audio of a clip, by its path; None if it cannot be read.
    """
    without_player = max(0, len(groups) - MAX_PLAYERS)
    sections = []
    for step, members in groupby(enumerate(groups), key=lambda item: item[1]["step"]):
        shown = "".join(
            _group(group, read(group["audio"]) if index >= without_player else None)
            for index, group in members
        )
        sections.append(f"<section id=step-{int(step)}><h2>Step {int(step)}</h2>{shown}</section>")
    steps = list(dict.fromkeys(int(group["step"]) for group in groups))
    links = " ".join(f'<a href="#step-{step}">{step}</a>' for step in steps)
    lead = (
        "Transcripts that were sampled for a clip, the best first. Words missing from a transcript "
        "are struck out, wrong and added ones are underlined. The advantage is how much better a "
        "sample is than its group, in standard deviations; truncated samples do not count."
    )
    return plain_page(f"Groups of {name}", lead, f"<nav>Steps: {links}</nav>{''.join(sections)}")


def read_groups(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's `groups.jsonl`."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _group(group: dict[str, Any], waveform: Waveform | None) -> str:
    language = group.get("language")
    rows = []
    for sample in sorted(group["samples"], key=lambda sample: -sample["total"]):
        rewards = "".join(f"<td>{sample[name]:.2f}</td>" for name in _REWARDS)
        words = html_diff(group["reference"], sample["text"], language, "bench")
        truncated = " <small>truncated</small>" if sample["truncated"] else ""
        rows.append(
            f"<tr><td class=words>{words}{truncated}</td><td>{percent(sample['error_rate'])}</td>"
            f"{rewards}<td>{sample['advantage']:+.2f}</td></tr>"
        )
    heads = "".join(f"<th>{symbol}</th>" for symbol in _REWARDS.values())
    player = (
        f'<audio controls preload="none" src="{sound_uri(waveform)}"></audio>'
        if waveform is not None
        else ""
    )
    rate = group["start_error_rate"]
    start = f"{escape(group['start_text']) or '<em>nothing</em>'}" + (
        f" ({percent(rate)} % errors)" if rate is not None else ""
    )
    no_variance = "" if group["spread"] else "<p>Zero variance: this group gives no gradient.</p>"
    return (
        f"<article><h3>{escape(group['id'])}</h3>{player}"
        f"<p>Reference: {escape(group['reference']) or '<em>nothing</em>'}<br>"
        f"<small>Text of the starting model: {start}</small></p>{no_variance}"
        "<div class=scroll><table><thead><tr><th>transcript</th><th>errors, %</th>"
        f"{heads}<th>advantage</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        "</article>"
    )
