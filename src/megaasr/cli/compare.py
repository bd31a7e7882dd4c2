"""`mega-asr compare`: base, robust and routed side by side on one's own recordings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr.cli.audio_arguments import UnusableFolder, expand
from megaasr.errors import AudioError, UsageError

if TYPE_CHECKING:
    from rich.text import Text

    from megaasr.audio.waveform import Waveform
    from megaasr.score.branches import Compared, Stretch, Verdict

app = typer.Typer(add_completion=False)


@app.command()
def compare(  # noqa: PLR0913, PLR0917 (options)
    audio: Annotated[
        list[str], typer.Argument(metavar="AUDIO", help="Recordings, or folders of recordings.")
    ],
    model: Annotated[str, typer.Option(help="A model with a robust branch.")] = "tiny",
    references: Annotated[
        Path | None,
        typer.Option(help="JSONL or CSV with audio and text of the recordings.", exists=True),
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a page (HTML) with players.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of the router [default: its own].")
    ] = None,
    language: Annotated[str | None, typer.Option(help="ISO code to force.")] = None,
    batch_size: Annotated[int, typer.Option(help="Pieces heard at once.", min=1)] = 8,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps [default: the best available].")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
) -> None:
    """Let both branches of a model hear recordings, and show where they differ.

    With --references the error rates of base, robust and routed are shown too, with intervals and
    paired tests, and the threshold of the router that would have been best; without, where the
    branches disagree and how sure each is.
    """
    from megaasr.route.decision import THRESHOLD
    from megaasr.score.branches import compared, judge, match_references
    from megaasr.score.test_set import read_test_set
    from megaasr.transcribe.options import ReliabilityOptions
    from megaasr.transcribe.recognizer import MegaASR

    inputs = expand(audio, recursive=False)
    unusable = [one for one in inputs if isinstance(one, UnusableFolder)]
    paths = [one.audio for one in inputs if not isinstance(one, UnusableFolder)]
    if unusable:
        raise UsageError(f"{unusable[0].audio}: {unusable[0].reason}")
    clips = read_test_set(references).clips if references is not None else ()
    said = match_references(paths, clips) if clips else dict.fromkeys(paths)
    asr = MegaASR.load(
        model,
        device=device,
        offline=offline,
        batch_size=batch_size,
        route="both",
        threshold=threshold,
        reliability=ReliabilityOptions(retry=False),
    )
    found: list[Compared] = []
    for path, outcome in zip(
        paths, asr.transcribe_many(list(paths), language=language), strict=True
    ):
        if outcome.error is not None:
            typer.echo(f"mega-asr: error: {outcome.error}", err=True)
        else:
            found.append(compared(outcome.unwrap(), path, said[path]))
    if not found:
        raise typer.Exit(1)
    limit = THRESHOLD if threshold is None else threshold
    _show(found, limit)
    known = any(one.reference is not None for one in found)
    verdict = judge(found, limit) if known else None
    if verdict is not None:
        _show_verdict(verdict)
    if page is not None:
        from megaasr.atomic import write_atomically
        from megaasr.report.branches_page import branches_page

        page.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(page, branches_page(found, verdict, model, limit, _read))
        typer.echo(f"{page}: the same with players")
    if len(found) < len(paths):
        raise typer.Exit(1)


def _read(path: str) -> Waveform | None:
    from megaasr.audio.files import read
    from megaasr.audio.waveform import SAMPLE_RATE

    try:
        return read(path, sample_rate=SAMPLE_RATE)
    except AudioError:
        return None


def _show(recordings: list[Compared], threshold: float) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 120)
    for one in recordings:
        table = Table(title=one.audio, title_justify="left", show_lines=True)
        for name, options in (
            ("from", {"justify": "right"}),
            ("degraded", {"justify": "right"}),
            ("base", {"ratio": 1}),
            ("robust", {"ratio": 1}),
            ("routed", {}),
        ):
            table.add_column(name, **options)
        for stretch in one.stretches:
            probability = stretch.degraded_probability
            table.add_row(
                f"{stretch.start:.1f} s",
                "–" if probability is None else f"{probability:.2f}",
                _beside(stretch.robust, stretch.base, stretch, stretch.base_logprob),
                _beside(stretch.base, stretch.robust, stretch, stretch.robust_logprob),
                "robust" if probability is not None and probability >= threshold else "base",
            )
        console.print(table)
        if one.reference is not None:
            rates = [
                f"{name} {100 * one.errors(one.text(name, threshold)).rate:.1f} %"
                for name in ("base", "robust", "routed")
            ]
            console.print(f"said: {one.reference}", markup=False, highlight=False)
            console.print(f"errors: {', '.join(rates)}", markup=False, highlight=False)
    console.print("{words that the other branch does not have}", markup=False, highlight=False)


def _beside(other: str, text: str, stretch: Stretch, logprob: float | None) -> Text:
    """A branch's text with the words marked that the other one does not have."""
    from rich.text import Text

    from megaasr.text.error_rate import align

    lines = Text()
    if not text:
        lines.append("(nothing)", style="red")
    for step in align(other, text, language=stretch.language):
        if step.hypothesis is not None:
            same = step.kind == "hit"
            lines.append(
                f"{step.hypothesis} " if same else f"{{{step.hypothesis}}} ",
                style="" if same else "magenta",
            )
    if logprob is not None:
        lines.append(f"\nsure: {100 * math.exp(logprob):.0f} %", style="dim")
    return lines


def _show_verdict(verdict: Verdict) -> None:
    from megaasr.score.branches import SYSTEMS

    for name in SYSTEMS:
        counts, (low, high) = verdict.counts[name], verdict.intervals[name]
        line = f"{name}: {100 * counts.rate:.1f} % (95 % {100 * low:.1f} to {100 * high:.1f})"
        against = verdict.against_base.get(name)
        if against is not None:
            line += (
                f"; {100 * against.difference:+.1f} points against base "
                f"({100 * against.low:+.1f} to {100 * against.high:+.1f}, p {against.p_value:.2g})"
            )
        typer.echo(line)
    if verdict.best_threshold is not None:
        least = min(rate for _, rate in verdict.sweep)
        typer.echo(
            f"best threshold on these recordings: {verdict.best_threshold:.3f} "
            f"({100 * least:.1f} %), used: {verdict.threshold:g}"
        )
