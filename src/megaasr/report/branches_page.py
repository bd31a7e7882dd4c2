"""One self-contained page with the texts of base and robust branch side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from megaasr.audio.waveform import Waveform
from megaasr.report.charts import ChartLine, line_chart
from megaasr.report.embed import sound_uri
from megaasr.report.page import plain_page
from megaasr.report.threshold_wording import describe_best_threshold
from megaasr.report.word_diff import NOTHING, html_diff, html_differences
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
        f"when P(degraded) is at least {threshold:g}. Where there is a reference, missing words "
        "are struck out, and wrong and added ones underlined; elsewhere, words are marked that the "
        "other branch does not have."
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
    return f"{chart}<p>{escape(describe_best_threshold(scores))}</p>"


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
        f"<tr><th scope=row>{escape(Path(recording.audio).name)}</th>"
        f"<td>{_time(segment.start)}</td><td>{percent(disagreement)}</td>"
        f"<td>{_probability(segment.degraded_probability)}</td></tr>"
        for disagreement, recording, segment in rows[:_MAX_DISAGREEMENTS]
        if disagreement > 0
    )
    if not cells:
        return "<section><h2>Disagreement</h2><p>The branches agree in every word.</p></section>"
    return (
        "<section><h2>Where the branches disagree most</h2><div class=scroll><table><thead><tr>"
        "<th>recording</th><th>from</th><th>words that differ, %</th><th>P(degraded)</th>"
        f"</tr></thead><tbody>{cells}</tbody></table></div></section>"
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
    texts = _texts_against_reference(recording, threshold)
    segments = "".join(
        _segment(segment, threshold, differences=recording.reference is None)
        for segment in recording.segments
    )
    if texts and len(recording.segments) > 1:  # the same texts, by segment
        segments = f"<details><summary>By segment</summary>{segments}</details>"
    elif texts:
        segments = "".join(f"<p class=soft>{_facts(s, threshold)}</p>" for s in recording.segments)
    name = escape(Path(recording.audio).name)
    return f"<section><article><h3>{name}</h3>{player}{texts}{segments}</article></section>"


def _texts_against_reference(recording: BranchComparison, threshold: float) -> str:
    """Return the reference, and the branches' texts with their errors marked; empty without a
    reference."""
    if recording.reference is None:
        return ""
    items = [f"<dt>reference</dt><dd>{escape(recording.reference) or NOTHING}</dd>"]
    routed = recording.text("routed", threshold)
    names: dict[str, str] = {}  # by text: routing mostly gives the text of one branch
    for branch in ("base", "robust"):
        text = recording.text(branch, threshold)
        names[branch] = f"{branch}, routed" if text == routed else branch
    if routed not in {recording.text(branch, threshold) for branch in names}:
        names["routed"] = "routed"
    for system, name in names.items():
        text = recording.text(system, threshold)
        rate = percent(recording.count_errors(text).rate)
        diff = html_diff(recording.reference, text, recording.language, "bench")
        items.append(f"<dt>{name} <small>{rate} % errors</small></dt><dd class=diff>{diff}</dd>")
    return f"<dl>{''.join(items)}</dl>"


def _segment(segment: BranchSegment, threshold: float, *, differences: bool) -> str:
    base, robust = segment.base_text, segment.robust_text
    if differences:
        shown = {
            "base": html_differences(base, robust, segment.language),
            "robust": html_differences(robust, base, segment.language),
        }
    else:
        shown = {"base": escape(base) or NOTHING, "robust": escape(robust) or NOTHING}
    texts = "".join(f"<dt>{branch}</dt><dd>{text}</dd>" for branch, text in shown.items())
    return f"<p class=soft>{_facts(segment, threshold)}</p><dl>{texts}</dl>"


def _facts(segment: BranchSegment, threshold: float) -> str:
    """Return what is known about a segment in one line."""
    facts = [f"from {_time(segment.start)}"]
    if segment.degraded_probability is not None:
        facts.append(f"P(degraded) {segment.degraded_probability:.2f}")
    facts.append(f"routed to {segment.routed_branch(threshold)}")
    facts.append(f"{percent(segment.disagreement)} % of the words differ")
    if segment.confidence is not None:
        facts.append(f"confidence {segment.confidence:.2f} (text of {segment.kept_branch})")
    return escape(", ".join(facts))


def _probability(probability: float | None) -> str:
    return "–" if probability is None else f"{probability:.2f}"


def _time(seconds: float) -> str:
    minutes, remainder = divmod(seconds, 60)
    return f"{int(minutes)}:{remainder:04.1f}"
