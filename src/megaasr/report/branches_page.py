"""One self-contained page: what base and robust branch heard in recordings, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from megaasr.audio.waveform import Waveform
from megaasr.report.charts import Line, line_chart
from megaasr.report.embed import sound_uri
from megaasr.report.page import plain_page
from megaasr.report.word_diff import word_diff
from megaasr.report.wording import percent
from megaasr.score.branches import SYSTEMS, Compared, Stretch, Verdict

LONGEST_SOUND_S = 120.0
"""Longer recordings have no player on the page: their sound would make it too large."""


def branches_page(
    recordings: Sequence[Compared],
    verdict: Verdict | None,
    model: str,
    threshold: float,
    read: Callable[[str], Waveform | None],
) -> str:
    """Return the page as HTML; it opens from disk and fetches nothing.

    Args:
        recordings: that both branches heard.
        verdict: of the references, None without.
        model: its name.
        threshold: of the router.
        read: gives the sound of a recording; None if it cannot be shown.
    """
    body = _verdict(verdict) if verdict is not None else _disagreements(recordings)
    body += "".join(_recording(one, threshold, read) for one in recordings)
    title = f"Base and robust branch of {model}, side by side"
    lead = (
        "Each stretch was heard by both branches. The router takes the robust one from a degraded "
        f"probability of {threshold:g} on. Words that the other branch has in their place are "
        "struck out, its own are underlined."
    )
    return plain_page(title, lead, body)


def _verdict(verdict: Verdict) -> str:
    rows = []
    for name in SYSTEMS:
        counts, (low, high) = verdict.counts[name], verdict.intervals[name]
        against = verdict.against_base.get(name)
        difference = (
            f"{100 * against.difference:+.2f} ({100 * against.low:+.2f} to "
            f"{100 * against.high:+.2f}), p {against.p_value:.3g}"
            if against
            else ""
        )
        rows.append(
            f"<tr><th scope=row>{name}</th><td>{percent(counts.rate)}</td>"
            f"<td>{percent(low)} to {percent(high)}</td><td>{counts.substitutions}</td>"
            f"<td>{counts.deletions}</td><td>{counts.insertions}</td><td>{difference}</td></tr>"
        )
    table = (
        "<div class=scroll><table><caption><span>Error rates, %; the oracle takes the better "
        "branch of each recording</span></caption><thead><tr><th>branch</th><th>errors</th>"
        "<th>95 % interval</th><th>wrong</th><th>missing</th><th>too many</th>"
        f"<th>against base, points</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
    return f"<section><h2>With the references</h2>{table}{_sweep(verdict)}</section>"


def _sweep(verdict: Verdict) -> str:
    if verdict.best_threshold is None:
        return "<p>The model has no router.</p>"
    places = [at / 10 for at in range(11)]
    rates = [100 * min(verdict.sweep, key=lambda one: abs(one[0] - place))[1] for place in places]
    chart = line_chart(
        "Error rate of routing, %",
        "threshold of the router",
        [f"{place:.1f}" for place in places],
        [Line("routed", rates, [(rate, rate) for rate in rates])],
    )
    least = min(rate for _, rate in verdict.sweep)
    return (
        f"{chart}<p>The best threshold on these recordings would have been "
        f"{verdict.best_threshold:.3f} ({percent(least)} %); it is fitted to them, so expect less "
        "of it on others.</p>"
    )


def _disagreements(recordings: Sequence[Compared]) -> str:
    rows = sorted(
        (
            (one.disagreement, recording, one)
            for recording in recordings
            for one in recording.stretches
        ),
        key=lambda row: -row[0],
    )
    cells = "".join(
        f"<tr><th scope=row>{escape(recording.audio)}</th><td>{_time(one.start)}</td>"
        f"<td>{percent(apart)}</td><td>{_sure(one.base_logprob)}</td>"
        f"<td>{_sure(one.robust_logprob)}</td><td>{_probability(one)}</td></tr>"
        for apart, recording, one in rows[:20]
        if apart > 0
    )
    if not cells:
        return "<section><h2>Disagreement</h2><p>The branches agree in every word.</p></section>"
    return (
        "<section><h2>Where the branches disagree most</h2><div class=scroll><table><thead><tr>"
        "<th>recording</th><th>from</th><th>words that differ, %</th><th>base is sure, %</th>"
        f"<th>robust is sure, %</th><th>degraded</th></tr></thead><tbody>{cells}</tbody></table>"
        "</div></section>"
    )


def _recording(one: Compared, threshold: float, read: Callable[[str], Waveform | None]) -> str:
    sound = read(one.audio) if one.duration_s <= LONGEST_SOUND_S else None
    player = (
        f'<audio controls preload="none" src="{sound_uri(sound)}"></audio>'
        if sound is not None
        else "<p class=soft>No player: the recording is long, or cannot be read again.</p>"
    )
    rates = ""
    if one.reference is not None:
        said = {name: one.errors(one.text(name, threshold)) for name in SYSTEMS[:3]}
        rates = ", ".join(f"{name} {percent(count.rate)} %" for name, count in said.items())
        rates = f"<p>{escape(one.reference)}<br><small>errors: {rates}</small></p>"
    rows = "".join(_row(stretch, threshold) for stretch in one.stretches)
    return (
        f"<section><h3>{escape(Path(one.audio).name)}</h3>{player}{rates}<div class=scroll><table>"
        "<thead><tr><th>from</th><th>degraded</th><th>words that differ, %</th>"
        "<th class=words>base</th><th class=words>robust</th><th>routed to</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _row(one: Stretch, threshold: float) -> str:
    probability = one.degraded_probability
    routed = "robust" if probability is not None and probability >= threshold else "base"
    base = (
        word_diff(one.robust, one.base, one.language, "bench") if one.base else "<em>nothing</em>"
    )
    robust = (
        word_diff(one.base, one.robust, one.language, "bench") if one.robust else "<em>nothing</em>"
    )
    return (
        f"<tr><th scope=row>{_time(one.start)}</th><td>{_probability(one)}</td>"
        f"<td>{percent(one.disagreement)}</td><td class=words>{base}<br><small>sure "
        f"{_sure(one.base_logprob)}</small></td><td class=words>{robust}<br><small>sure "
        f"{_sure(one.robust_logprob)}</small></td><td>{routed}</td></tr>"
    )


def _probability(one: Stretch) -> str:
    return "–" if one.degraded_probability is None else f"{one.degraded_probability:.2f}"


def _sure(logprob: float | None) -> str:
    return "–" if logprob is None else percent(math.exp(logprob))


def _time(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"
