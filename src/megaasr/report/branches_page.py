"""One self-contained page with the texts of base and robust branch side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from megaasr.audio.waveform import Waveform
from megaasr.report.charts import ChartLine, line_chart
from megaasr.report.embed import sound_uri
from megaasr.report.page import plain_page
from megaasr.report.word_diff import html_diff
from megaasr.report.wording import format_interval, percent
from megaasr.score.branches import SYSTEMS, BranchComparison, BranchScores, BranchSegment

MAX_AUDIO_S = 120.0
"""Longer recordings get no player, since their audio would make the page too large."""
_MAX_DISAGREEMENTS = 20


def branches_page(
    recordings: Sequence[BranchComparison],
    scores: BranchScores | None,
    model: str,
    threshold: float,
    read: Callable[[str], Waveform | None],
) -> str:
    """Return the page as HTML; it opens from disk and fetches nothing.

    Args:
        recordings: recordings that both branches transcribed.
        scores: scores against the references; None without references.
        model: name of the model.
        threshold: the router's threshold, 0..1.
        read: returns the audio of a recording, by its path; None if it cannot be shown.
    """
    body = _scores(scores) if scores is not None else _disagreements(recordings)
    body += "".join(_recording(recording, threshold, read) for recording in recordings)
    title = f"Base and robust branch of {model}, side by side"
    lead = (
        "Each segment was transcribed by both branches. The router selects the robust branch "
        f"when P(degraded) is at least {threshold:g}. Underlined: words of this branch only; "
        "struck out: words of the other branch in their place."
    )
    return plain_page(title, lead, body)


def _scores(scores: BranchScores) -> str:
    rows = []
    for system in SYSTEMS:
        counts = scores.counts[system]
        against = scores.against_base.get(system)
        difference = against.describe() if against else ""
        rows.append(
            f"<tr><th scope=row>{system}</th><td>{percent(counts.rate)}</td>"
            f"<td>{format_interval(scores.intervals[system])}</td><td>{counts.substitutions}</td>"
            f"<td>{counts.deletions}</td><td>{counts.insertions}</td><td>{difference}</td></tr>"
        )
    table = (
        "<div class=scroll><table><caption><span>Error rates, %; the oracle takes the better "
        "branch of each recording</span></caption><thead><tr><th>branch</th><th>errors</th>"
        "<th>95 % interval</th><th>substitutions</th><th>deletions</th><th>insertions</th>"
        f"<th>against base, points</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
    return f"<section><h2>With the references</h2>{table}{_sweep(scores)}</section>"


def _sweep(scores: BranchScores) -> str:
    if scores.best_threshold is None:
        return "<p>The model has no router.</p>"
    ticks = [number / 10 for number in range(11)]
    # The sweep has uneven steps; each tick shows the threshold that is closest to it.
    rates = [100 * min(scores.sweep, key=lambda point: abs(point[0] - tick))[1] for tick in ticks]
    chart = line_chart(
        "Error rate of routing, %",
        "threshold of the router",
        [f"{tick:.1f}" for tick in ticks],
        [ChartLine("routed", rates, [(rate, rate) for rate in rates])],
    )
    lowest = min(rate for _, rate in scores.sweep)
    return (
        f"{chart}<p>The best threshold on these recordings would have been "
        f"{scores.best_threshold:.3f} ({percent(lowest)} %); it is fitted to them, so expect less "
        "of it on others.</p>"
    )


def _disagreements(recordings: Sequence[BranchComparison]) -> str:
    rows = sorted(
        (
            (segment.disagreement, recording, segment)
            for recording in recordings
            for segment in recording.segments
        ),
        key=lambda row: -row[0],
    )
    cells = "".join(
        f"<tr><th scope=row>{escape(recording.audio)}</th><td>{_time(segment.start)}</td>"
        f"<td>{percent(disagreement)}</td><td>{_token_probability(segment.base_logprob)}</td>"
        f"<td>{_token_probability(segment.robust_logprob)}</td>"
        f"<td>{_degraded_probability(segment)}</td></tr>"
        for disagreement, recording, segment in rows[:_MAX_DISAGREEMENTS]
        if disagreement > 0
    )
    if not cells:
        return "<section><h2>Disagreement</h2><p>The branches agree in every word.</p></section>"
    return (
        "<section><h2>Where the branches disagree most</h2><div class=scroll><table><thead><tr>"
        "<th>recording</th><th>from</th><th>words that differ, %</th>"
        "<th>base: mean token probability, %</th><th>robust: mean token probability, %</th>"
        f"<th>degraded</th></tr></thead><tbody>{cells}</tbody></table></div></section>"
    )


def _recording(
    recording: BranchComparison, threshold: float, read: Callable[[str], Waveform | None]
) -> str:
    waveform = read(recording.audio) if recording.duration_s <= MAX_AUDIO_S else None
    player = (
        f'<audio controls preload="none" src="{sound_uri(waveform)}"></audio>'
        if waveform is not None
        else "<p class=soft>No player: the recording is long, or cannot be read again.</p>"
    )
    reference = ""
    if recording.reference is not None:
        rates = ", ".join(
            f"{name} {percent(recording.count_errors(recording.text(name, threshold)).rate)} %"
            for name in ("base", "robust", "routed")
        )
        reference = f"<p>{escape(recording.reference)}<br><small>errors: {rates}</small></p>"
    rows = "".join(_segment_row(segment, threshold) for segment in recording.segments)
    return (
        f"<section><h3>{escape(Path(recording.audio).name)}</h3>{player}{reference}"
        "<div class=scroll><table>"
        "<thead><tr><th>from</th><th>degraded</th><th>words that differ, %</th>"
        "<th class=words>base</th><th class=words>robust</th><th>routed to</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _segment_row(segment: BranchSegment, threshold: float) -> str:
    base, robust = segment.base_text, segment.robust_text
    return (
        f"<tr><th scope=row>{_time(segment.start)}</th><td>{_degraded_probability(segment)}</td>"
        f"<td>{percent(segment.disagreement)}</td>"
        f"{_branch_cell(robust, base, segment.language, segment.base_logprob)}"
        f"{_branch_cell(base, robust, segment.language, segment.robust_logprob)}"
        f"<td>{segment.routed_branch(threshold)}</td></tr>"
    )


def _branch_cell(other_text: str, text: str, language: str | None, logprob: float | None) -> str:
    """Return a branch's text, with its differences from the other branch marked."""
    diff = html_diff(other_text, text, language, "bench") if text else "<em>nothing</em>"
    return (
        f"<td class=words>{diff}<br><small>mean token probability, %: "
        f"{_token_probability(logprob)}</small></td>"
    )


def _degraded_probability(segment: BranchSegment) -> str:
    return "–" if segment.degraded_probability is None else f"{segment.degraded_probability:.2f}"


def _token_probability(logprob: float | None) -> str:
    return "–" if logprob is None else percent(math.exp(logprob))


def _time(seconds: float) -> str:
    minutes, remainder = divmod(seconds, 60)
    return f"{int(minutes)}:{remainder:04.1f}"
