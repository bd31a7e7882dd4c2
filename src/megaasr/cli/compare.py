"""`mega-asr compare`: base, robust and routed side by side on one's own recordings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr.cli.audio_arguments import UnusableFolder, expand
from megaasr.cli.options import BatchSize, Device, ForcedLanguage, Offline, RouterThreshold
from megaasr.errors import AudioError, UsageError

if TYPE_CHECKING:
    from rich.text import Text

    from megaasr.audio.waveform import Waveform
    from megaasr.score.branches import BranchComparison, BranchScores

app = typer.Typer(add_completion=False)


@app.command()
def compare(  # noqa: PLR0913, PLR0917 (options)
    audio: Annotated[
        list[str], typer.Argument(metavar="AUDIO", help="Recordings, or folders of recordings.")
    ],
    model: Annotated[str, typer.Option(help="Model with a robust branch.")] = "tiny",
    references: Annotated[
        Path | None,
        typer.Option(
            help="JSONL or CSV file with the recordings' audio and text (the correct transcript).",
            exists=True,
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write an HTML page with players to this file."),
    ] = None,
    threshold: RouterThreshold = None,
    blocks: Annotated[
        str | None,
        typer.Option(
            help="Field of the references (such as speaker) whose recordings are not independent "
            "[default: the copies of one sentence]."
        ),
    ] = None,
    language: ForcedLanguage = None,
    batch_size: BatchSize = 8,
    device: Device = None,
    offline: Offline = False,
) -> None:
    """Transcribe recordings with both branches of a model, and show where they differ.

    With --references, the error rates of base, robust and routed are shown too, with intervals and
    paired tests, and the router's threshold that would have been best on these recordings.
    """
    from megaasr.route.decision import THRESHOLD
    from megaasr.score.blocks import blocks_of
    from megaasr.score.branches import compare_branches, match_references, score_branches
    from megaasr.score.systems import InferenceOptions, load_both_branches
    from megaasr.score.test_set import read_test_set

    inputs = expand(audio, recursive=False)
    unusable = [item for item in inputs if isinstance(item, UnusableFolder)]
    paths = [item.audio for item in inputs if not isinstance(item, UnusableFolder)]
    if unusable:
        raise UsageError(f"{unusable[0].audio}: {unusable[0].reason}")
    clips = read_test_set(references).clips if references is not None else ()
    clip_of_path = match_references(paths, clips) if clips else dict.fromkeys(paths)
    options = InferenceOptions(device, language, offline, batch_size)
    asr = load_both_branches(model, options, threshold=threshold)
    recordings: list[BranchComparison] = []
    for path, outcome in zip(
        paths, asr.transcribe_many(list(paths), language=language), strict=True
    ):
        if outcome.error is not None:
            typer.echo(f"mega-asr: error: {outcome.error}", err=True)
        else:
            recordings.append(compare_branches(outcome.unwrap(), path, clip_of_path[path]))
    if not recordings:
        raise typer.Exit(1)
    used_threshold = THRESHOLD if threshold is None else threshold
    _show_recordings(recordings, used_threshold)
    scores = None
    if any(recording.reference is not None for recording in recordings):
        labelled = [clip for r in recordings if (clip := clip_of_path[r.audio]) is not None]
        scores = score_branches(recordings, used_threshold, blocks=blocks_of(labelled, blocks))
        _show_scores(scores)
    if page is not None:
        from megaasr.atomic import write_atomically
        from megaasr.report.branches_page import branches_page

        page.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(page, branches_page(recordings, scores, model, used_threshold, _read))
        typer.echo(f"{page}: the same with players")
    if len(recordings) < len(paths):
        raise typer.Exit(1)


def _read(path: str) -> Waveform | None:
    from megaasr.audio.files import read
    from megaasr.audio.waveform import SAMPLE_RATE

    try:
        return read(path, sample_rate=SAMPLE_RATE)
    except AudioError:
        return None


def _show_recordings(recordings: Sequence[BranchComparison], threshold: float) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 120)
    for recording in recordings:
        table = Table(title=recording.audio, title_justify="left", show_lines=True)
        for name, options in (
            ("from", {"justify": "right"}),
            ("degraded", {"justify": "right"}),
            ("base", {"ratio": 1}),
            ("robust", {"ratio": 1}),
            ("routed", {}),
        ):
            table.add_column(name, **options)
        for segment in recording.segments:
            probability = segment.degraded_probability
            base, robust = segment.base_text, segment.robust_text
            table.add_row(
                f"{segment.start:.1f} s",
                "–" if probability is None else f"{probability:.2f}",
                _branch_cell(robust, base, segment.language, segment.base_logprob),
                _branch_cell(base, robust, segment.language, segment.robust_logprob),
                segment.routed_branch(threshold),
            )
        console.print(table)
        if recording.reference is not None:
            rates = [
                f"{name} {100 * recording.count_errors(recording.text(name, threshold)).rate:.1f} %"
                for name in ("base", "robust", "routed")
            ]
            console.print(f"reference: {recording.reference}", markup=False, highlight=False)
            console.print(f"errors: {', '.join(rates)}", markup=False, highlight=False)
    console.print("{words that the other branch does not have}", markup=False, highlight=False)


def _branch_cell(other_text: str, text: str, language: str | None, logprob: float | None) -> Text:
    """Return a branch's text, with the words marked that the other branch does not have."""
    from megaasr.report.word_diff import terminal_diff

    cell = terminal_diff(other_text, text, language, deletions=False)
    if logprob is not None:
        cell.append(f"\nmean token probability: {100 * math.exp(logprob):.0f} %", style="dim")
    return cell


def _show_scores(scores: BranchScores) -> None:
    from megaasr.report.wording import format_interval
    from megaasr.score.branches import SYSTEMS

    for system in SYSTEMS:
        interval = format_interval(scores.intervals[system])
        line = f"{system}: {100 * scores.counts[system].rate:.1f} % (95 %: {interval})"
        against = scores.against_base.get(system)
        if against is not None:
            line += f"; points against base: {against.describe()}"
        typer.echo(line)
    if scores.best_threshold is not None:
        lowest = min(rate for _, rate in scores.sweep)
        typer.echo(
            f"best threshold on these recordings: {scores.best_threshold:.3f} "
            f"({100 * lowest:.1f} %), used: {scores.threshold:g}"
        )
