"""`mega-asr compare`: base, robust and routed side by side on one's own recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr.cli.audio_arguments import UnusableFolder, expand
from megaasr.cli.languages import forced_language
from megaasr.cli.options import BatchSize, Device, ForcedLanguage, Offline, RouterThreshold
from megaasr.errors import AudioError, UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from megaasr.audio.waveform import Waveform
    from megaasr.score.branches import BranchComparison, BranchScores
    from megaasr.text.error_rate import ErrorCounts

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
            help="JSONL, CSV or TSV file with the recordings' audio and text (the correct "
            "transcript), or those of segments of them (offset and duration).",
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
    from megaasr.score.branches import (
        compare_branches,
        match_references,
        score_branches,
        split_into_segments,
    )
    from megaasr.score.systems import InferenceOptions, load_both_branches
    from megaasr.score.test_set import read_test_set

    inputs = expand(audio, recursive=False)
    unusable = [item for item in inputs if isinstance(item, UnusableFolder)]
    paths = [item.audio for item in inputs if not isinstance(item, UnusableFolder)]
    if unusable:
        raise UsageError(f"{unusable[0].audio}: {unusable[0].reason}")
    code = forced_language(language)
    clips = read_test_set(references).clips if references is not None else ()
    paths = split_into_segments(paths, clips)
    clip_of_path = match_references(paths, clips) if clips else dict.fromkeys(paths)
    options = InferenceOptions(device, code, offline, batch_size)
    asr = load_both_branches(model, options, threshold=threshold)
    recordings: list[BranchComparison] = []
    outcomes = asr.transcribe_many([_audio(path) for path in paths], language=code)
    for path, outcome in zip(paths, outcomes, strict=True):
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


def _audio(path: str) -> str | Waveform:
    """Return what the recogniser reads: the path of a recording, or the samples of a segment."""
    from megaasr.audio.clips import read_clip
    from megaasr.audio.segments import parse_segment

    return path if parse_segment(path) is None else read_clip(Path(), path)


def _read(path: str) -> Waveform | None:
    from megaasr.audio.clips import read_clip

    try:
        return read_clip(Path(), path)
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
            ("confidence", {"justify": "right"}),
        ):
            table.add_column(name, **options)
        for segment in recording.segments:
            base, robust = segment.base_text, segment.robust_text
            table.add_row(
                f"{segment.start:.1f} s",
                _two_digits(segment.degraded_probability),
                *_branch_texts(recording, base, robust, segment.language),
                segment.routed_branch(threshold),
                _two_digits(segment.confidence),
            )
        console.print(table)
        if recording.reference is not None:
            _show_errors(console, recording, threshold)
    explanation = "confidence: of the text that transcribe --route both keeps"
    if any(recording.reference is None for recording in recordings):
        explanation += "; {words that the other branch does not have}"
    if any(recording.reference is not None for recording in recordings):
        explanation += "; [-missing-] and {+wrong+} words against the reference"
    console.print(explanation, markup=False, highlight=False)


def _two_digits(probability: float | None) -> str:
    return "–" if probability is None else f"{probability:.2f}"


def _branch_texts(
    recording: BranchComparison, base: str, robust: str, language: str | None
) -> tuple[Text, Text]:
    """Return both texts of a segment, marked against each other, or against the reference if it is
    that of the only segment."""
    from rich.text import Text

    from megaasr.report.word_diff import terminal_diff, terminal_differences

    reference = recording.reference
    if reference is None:
        return (
            terminal_differences(base, robust, language),
            terminal_differences(robust, base, language),
        )
    if len(recording.segments) == 1:
        return (
            terminal_diff(reference, base, recording.language),
            terminal_diff(reference, robust, recording.language),
        )
    return Text(base), Text(robust)


def _show_errors(console: Console, recording: BranchComparison, threshold: float) -> None:
    """Print the reference and the error rates, and for several segments the errors themselves."""
    from megaasr.report.word_diff import terminal_diff

    reference = recording.reference or ""
    rates = {
        name: _percent(recording.count_errors(recording.text(name, threshold)))
        for name in ("base", "robust", "routed")
    }
    console.print(f"reference: {reference}", markup=False, highlight=False)
    if len(recording.segments) > 1:
        for name in ("base", "robust"):
            line = terminal_diff(reference, recording.text(name, threshold), recording.language)
            console.print(f"{name}: ", line, sep="")
    shown = ", ".join(f"{name} {rate}" for name, rate in rates.items())
    console.print(f"errors: {shown}", markup=False, highlight=False)


def _percent(counts: ErrorCounts) -> str:
    """Return an error rate; if the reference has no words, how many were inserted."""
    if not counts.reference_length:
        return f"n/a ({counts.insertions} words inserted without speech)"
    return f"{100 * counts.rate:.1f} %"


def _show_scores(scores: BranchScores) -> None:
    from megaasr.report.threshold_wording import describe_best_threshold
    from megaasr.report.wording import format_interval
    from megaasr.score.branches import SYSTEMS

    for system in SYSTEMS:
        interval = format_interval(scores.intervals[system])
        line = f"{system}: {_percent(scores.counts[system])} (95 %: {interval})"
        against = scores.against_base.get(system)
        if against is not None:
            line += f"; points against base: {against.describe()}"
        typer.echo(line)
    if scores.best_threshold is not None:
        typer.echo(describe_best_threshold(scores))
