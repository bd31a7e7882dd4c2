"""`mega-asr demo`: the shipped clips, clean and degraded, transcribed by both branches."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megaasr.cli.options import Offline
from megaasr.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from megaasr.records import Utterance
    from megaasr.score.branches import BranchComparison
    from megaasr.transcribe.recognizer import MegaASR

app = typer.Typer(add_completion=False)

_ABOUT_TINY = (
    "tiny is a toy: {millions:.1f} million parameters, trained by this repository's own recipe on "
    "synthesised speech. The clips are held-out sentences by the same kind of synthesiser. "
    "It shows that everything works offline; it cannot transcribe people."
)
_NEXT_STEP = (
    "Next, with real weights (needs the network, about 5 GB):\n"
    "  mega-asr transcribe your-recording.m4a --model zhifeixie/Mega-ASR"
)
_SYSTEMS = ("base", "robust", "routed")


@app.command()
def demo(
    model: Annotated[str, typer.Option(help="Name or folder of the model to show.")] = "tiny",
    page: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write an HTML page with players to this file."),
    ] = None,
    offline: Offline = False,
) -> None:
    """Transcribe the shipped clips with both branches; show references, hypotheses and errors.

    The clips are clean, in each of the seven conditions, and in three compounds.
    """
    from rich.console import Console
    from rich.table import Table

    from megaasr.records import read_manifest
    from megaasr.route.decision import THRESHOLD
    from megaasr.score.branches import compare_branches
    from megaasr.score.systems import InferenceOptions, load_both_branches
    from megaasr.score.test_set import read_test_set

    if page is not None and not page.suffix:
        raise UsageError(f"--output {page}: a page is a file, such as demo.html")
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and int(columns) > 0 else 120
    console = Console(width=None if Console().is_terminal else width)
    folder = Path(str(resources.files("megaasr.cli") / "demo_clips"))
    clips = list(read_manifest(folder / "clips.jsonl"))
    references = read_test_set(folder / "clips.jsonl").clips
    started = time.perf_counter()
    asr = load_both_branches(model, InferenceOptions(offline=offline, batch_size=16))
    loaded = time.perf_counter()
    transcripts = asr.transcribe([str(folder / clip.audio) for clip in clips])
    seconds = time.perf_counter() - loaded

    recordings = [
        compare_branches(transcript, clip.audio, reference)
        for clip, transcript, reference in zip(clips, transcripts, references, strict=True)
    ]
    table = Table(title=f"mega-asr demo --model {model}", show_lines=True, title_justify="left")
    table.add_column("clip")
    table.add_column("reference; error rate and words of base (B) and robust (R) branch", ratio=1)
    for clip, recording in zip(clips, recordings, strict=True):
        table.add_row(_describe(clip), _texts(recording, THRESHOLD))
    console.print(table)
    console.print("[-missed-] {+added+}; * the branch that the router chose", markup=False)
    _show_totals(console, clips, recordings, THRESHOLD)
    audio_s = sum(transcript.duration_s for transcript in transcripts)
    console.print(
        f"{audio_s:.0f} s of audio, transcribed by both branches in {seconds:.1f} s "
        f"({audio_s / seconds:.0f} times real time), after {loaded - started:.1f} s of loading\n"
    )
    if page is not None:
        _write_page(page, recordings, folder, model, THRESHOLD)
        console.print(f"{page}: the same with players\n", markup=False, highlight=False)
    if model == "tiny":
        console.print(_ABOUT_TINY.format(millions=_millions_of_parameters(asr)))
    console.print(_NEXT_STEP, highlight=False)


def _show_totals(
    console: Console,
    clips: Sequence[Utterance],
    recordings: Sequence[BranchComparison],
    threshold: float,
) -> None:
    """Print the pooled error rates of clean and degraded clips."""
    from megaasr.text.error_rate import pooled

    for name, clean in (("clean", True), ("degraded", False)):
        chosen = [
            recording
            for clip, recording in zip(clips, recordings, strict=True)
            if _is_clean(clip) is clean
        ]
        totals = {
            system: pooled(
                [recording.count_errors(recording.text(system, threshold)) for recording in chosen]
            )
            for system in _SYSTEMS
        }
        rates = ", ".join(f"{system} {100 * total.rate:.1f} %" for system, total in totals.items())
        console.print(
            f"{name} ({totals['base'].reference_length} words): {rates}",
            markup=False,
            highlight=False,
        )


def _write_page(
    page: Path, recordings: Sequence[BranchComparison], folder: Path, model: str, threshold: float
) -> None:
    from megaasr.atomic import write_atomically
    from megaasr.audio.files import read
    from megaasr.report.branches_page import branches_page
    from megaasr.score.branches import score_branches

    page.parent.mkdir(parents=True, exist_ok=True)
    scores = score_branches(recordings, threshold)
    html = branches_page(recordings, scores, model, threshold, lambda audio: read(folder / audio))
    write_atomically(page, html)


def _millions_of_parameters(asr: MegaASR) -> float:
    network: Any = getattr(asr.model, "model")  # noqa: B009 (Qwen3ASR has it, SpeechModel does not)
    return float(sum(parameter.numel() for parameter in network.parameters()) / 1e6)


def _is_clean(clip: Utterance) -> bool:
    return str(clip.extra["scenario"]) == "clean"


def _describe(clip: Utterance) -> str:
    voice = str(clip.extra["speaker"]).split(":")[-1]
    notes = [
        note
        for note, applies in (
            ("held-out voice", clip.extra["held_out_voice"]),
            ("hand-written", clip.extra["source"] == "handwritten"),
        )
        if applies
    ]
    return "\n".join([*str(clip.extra["scenario"]).split("+"), voice, *notes])


def _texts(recording: BranchComparison, threshold: float) -> Text:
    """Return the reference and the texts of both branches, with their errors marked."""
    from rich.text import Text

    from megaasr.report.word_diff import terminal_diff

    lines = Text().append(f"{recording.reference}\n", style="dim")
    routed = {segment.routed_branch(threshold) for segment in recording.segments}
    kept = "robust" if "robust" in routed else "base"
    for branch, letter in (("base", "B"), ("robust", "R")):
        text = recording.text(branch, threshold)
        star = "*" if branch == kept else " "
        rate = f"{100 * recording.count_errors(text).rate:.0f} %"
        lines.append(f"{letter}{star}{rate:>6} ", style="bold" if branch == kept else "")
        lines.append(terminal_diff(recording.reference or "", text))
        lines.append("\n" if branch == "base" else "")
    return lines
