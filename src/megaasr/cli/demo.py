"""`mega-asr demo`: the shipped clips, clean and in bad recordings, as both branches hear them."""

from __future__ import annotations

import os
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megaasr.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from megaasr.records import Utterance
    from megaasr.score.branches import Compared
    from megaasr.transcribe.recognizer import MegaASR

app = typer.Typer(add_completion=False)

_WHAT_IT_IS = (
    "tiny is a toy: {millions:.1f} million parameters, trained by this repository's own recipe on "
    "synthesised speech. The clips are held-out sentences by the same kind of synthesiser. "
    "It shows that everything works offline; it cannot transcribe people."
)
_NEXT = (
    "Next, with real weights (needs the network, about 5 GB):\n"
    "  mega-asr transcribe your-recording.m4a --model zhifeixie/Mega-ASR"
)
_SYSTEMS = ("base", "robust", "routed")


@app.command()
def demo(
    model: Annotated[str, typer.Option(help="The model to show.")] = "tiny",
    page: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a page (HTML) with players.")
    ] = None,
    offline: Annotated[bool, typer.Option(help="Never use the network.")] = False,
) -> None:
    """Let both branches hear the shipped clips, and show what was said, what was heard, and errors.

    The clips are clean, in each of the seven conditions, and in three compounds.
    """
    from rich.console import Console
    from rich.table import Table

    from megaasr.records import read_manifest
    from megaasr.route.decision import THRESHOLD
    from megaasr.score.branches import compared
    from megaasr.score.test_set import read_test_set
    from megaasr.transcribe.options import ReliabilityOptions
    from megaasr.transcribe.recognizer import MegaASR

    if page is not None and not page.suffix:
        raise UsageError(f"--output {page}: a page is a file, such as demo.html")
    width = os.environ.get("COLUMNS", "")
    wide = int(width) if width.isdecimal() and int(width) > 0 else 120
    console = Console(width=None if Console().is_terminal else wide)
    folder = Path(str(resources.files("megaasr.cli") / "demo_clips"))
    clips = list(read_manifest(folder / "clips.jsonl"))
    references = read_test_set(folder / "clips.jsonl").clips
    started = time.perf_counter()
    asr = MegaASR.load(
        model,
        offline=offline,
        batch_size=16,
        route="both",
        reliability=ReliabilityOptions(retry=False),
    )
    ready = time.perf_counter()
    transcripts = asr.transcribe([str(folder / clip.audio) for clip in clips])
    seconds = time.perf_counter() - ready

    found = [
        compared(transcript, clip.audio, reference)
        for clip, transcript, reference in zip(clips, transcripts, references, strict=True)
    ]
    table = Table(title=f"mega-asr demo --model {model}", show_lines=True, title_justify="left")
    table.add_column("clip")
    table.add_column(
        "what was said; error rate and words of base (B) and robust (R) branch", ratio=1
    )
    for clip, one in zip(clips, found, strict=True):
        table.add_row(_about(clip), _heard(one, THRESHOLD))
    console.print(table)
    console.print("[-missed-] {+added+}; * the branch that the router chose", markup=False)
    _totals(console, clips, found, THRESHOLD)
    audio_s = sum(t.duration_s for t in transcripts)
    console.print(
        f"{audio_s:.0f} s of audio, heard twice, in {seconds:.1f} s "
        f"({audio_s / seconds:.0f} times real time), after {ready - started:.1f} s of loading\n"
    )
    if page is not None:
        _write_page(page, found, folder, model, THRESHOLD)
        console.print(f"{page}: the same with players\n", markup=False, highlight=False)
    if model == "tiny":
        console.print(_WHAT_IT_IS.format(millions=_millions(asr)))
    console.print(_NEXT, highlight=False)


def _totals(
    console: Console, clips: list[Utterance], found: list[Compared], threshold: float
) -> None:
    """Print the pooled error rates of clean and degraded clips."""
    from megaasr.text.error_rate import pooled

    for name, clean in (("clean", True), ("degraded", False)):
        chosen = [one for clip, one in zip(clips, found, strict=True) if _is_clean(clip) is clean]
        totals = {
            system: pooled([one.errors(one.text(system, threshold)) for one in chosen])
            for system in _SYSTEMS
        }
        rates = ", ".join(f"{system} {100 * total.rate:.1f} %" for system, total in totals.items())
        console.print(
            f"{name} ({totals['base'].reference_length} words): {rates}",
            markup=False,
            highlight=False,
        )


def _write_page(
    page: Path, found: list[Compared], folder: Path, model: str, threshold: float
) -> None:
    from megaasr.atomic import write_atomically
    from megaasr.audio.files import read
    from megaasr.report.branches_page import branches_page
    from megaasr.score.branches import judge

    page.parent.mkdir(parents=True, exist_ok=True)
    verdict = judge(found, threshold)
    html = branches_page(found, verdict, model, threshold, lambda audio: read(folder / audio))
    write_atomically(page, html)


def _millions(asr: MegaASR) -> float:
    """Return the millions of parameters of a recogniser's model."""
    network: Any = getattr(asr.model, "model")  # noqa: B009 (ours has one, its interface not)
    return float(sum(p.numel() for p in network.parameters()) / 1e6)


def _is_clean(clip: Utterance) -> bool:
    return str(clip.extra["scenario"]) == "clean"


def _about(clip: Utterance) -> str:
    voice = str(clip.extra["speaker"]).split(":")[-1]
    notes = [
        note
        for note, holds in (
            ("unheard voice", clip.extra["held_out_voice"]),
            ("hand-written", clip.extra["source"] == "handwritten"),
        )
        if holds
    ]
    return "\n".join([*str(clip.extra["scenario"]).split("+"), voice, *notes])


def _heard(one: Compared, threshold: float) -> Text:
    """Return the reference and what both branches heard, marked where they are wrong."""
    from rich.text import Text

    lines = Text().append(f"{one.reference}\n", style="dim")
    probabilities = [s.degraded_probability or 0.0 for s in one.stretches]
    kept = "robust" if max(probabilities, default=0.0) >= threshold else "base"
    for name, sign in (("base", "B"), ("robust", "R")):
        said = one.text(name, threshold)
        star = "*" if name == kept else " "
        rate = f"{100 * one.errors(said).rate:.0f} %"
        lines.append(f"{sign}{star}{rate:>6} ", style="bold" if name == kept else "")
        lines.append(_beside(one.reference or "", said)).append("\n" if name == "base" else "")
    return lines


def _beside(reference: str, heard: str) -> Text:
    """Return what was heard with its errors coloured."""
    from rich.text import Text

    from megaasr.text.error_rate import align

    lines = Text()
    if not heard:
        return lines.append("(nothing)", style="red")
    for step in align(reference, heard):
        if step.kind == "hit":
            lines.append(f"{step.hypothesis} ")
        elif step.kind == "deletion":
            lines.append(f"[-{step.reference}-] ", style="red strike")
        elif step.kind == "insertion":
            lines.append(f"{{+{step.hypothesis}+}} ", style="magenta")
        else:
            lines.append(f"[-{step.reference}-]", style="red strike")
            lines.append(f"{{+{step.hypothesis}+}} ", style="magenta")
    return lines
