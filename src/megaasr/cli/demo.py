"""`mega-asr demo`: the shipped clips, clean and noisy, as words beside what was said."""

from __future__ import annotations

import os
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from megaasr.records import Transcript, Utterance

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


@app.command()
def demo(
    model: Annotated[str, typer.Option(help="The model to show.")] = "tiny",
    offline: Annotated[bool, typer.Option(help="Never use the network.")] = False,
) -> None:
    """Transcribe the shipped clips and show what was said, what was heard and the error rate."""
    from rich.console import Console
    from rich.table import Table

    from megaasr.model.loading import load_model
    from megaasr.records import read_manifest
    from megaasr.text.error_rate import count_errors, pooled
    from megaasr.transcribe.recognizer import MegaASR

    width = os.environ.get("COLUMNS", "")
    wide = int(width) if width.isdecimal() and int(width) > 0 else 120
    console = Console(width=None if Console().is_terminal else wide)
    folder = Path(str(resources.files("megaasr.cli") / "demo_clips"))
    clips = list(read_manifest(folder / "clips.jsonl"))
    started = time.perf_counter()
    loaded = load_model(model, offline=offline, batch_size=16)
    ready = time.perf_counter()
    transcripts = MegaASR(loaded, batch_size=16).transcribe([str(folder / c.audio) for c in clips])
    seconds = time.perf_counter() - ready

    counts = [count_errors(c.text, t.text) for c, t in zip(clips, transcripts, strict=True)]
    table = Table(title=f"mega-asr demo --model {model}", show_lines=True, title_justify="left")
    table.add_column("clip")
    table.add_column("what was said, and below it what was heard", ratio=1)
    table.add_column("WER", justify="right")
    for clip, transcript, count in zip(clips, transcripts, counts, strict=True):
        table.add_row(_about(clip), _beside(clip, transcript), f"{100 * count.rate:.0f} %")
    console.print(table)
    console.print("[-missed-] {+added+}", markup=False, highlight=False)
    for name, clean in (("clean", True), ("in noise", False)):
        chosen = [n for c, n in zip(clips, counts, strict=True) if _is_clean(c) is clean]
        total = pooled(chosen)
        console.print(
            f"{name}: {total.errors} errors in {total.reference_length} words, "
            f"{100 * total.rate:.1f} %"
        )
    audio_s = sum(t.duration_s for t in transcripts)
    console.print(
        f"{audio_s:.0f} s of audio in {seconds:.1f} s ({audio_s / seconds:.0f} times real time), "
        f"after {ready - started:.1f} s of loading\n"
    )
    if model == "tiny":
        millions = sum(p.numel() for p in loaded.model.parameters()) / 1e6
        console.print(_WHAT_IT_IS.format(millions=millions))
    console.print(_NEXT, highlight=False)


def _is_clean(clip: Utterance) -> bool:
    return str(clip.extra["condition"]) == "clean"


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
    return "\n".join([clip.extra["condition"], voice, *notes])


def _beside(clip: Utterance, transcript: Transcript) -> Text:
    """The reference, and under it the hypothesis with its errors coloured."""
    from rich.text import Text

    from megaasr.text.error_rate import align

    lines = Text().append(clip.text + "\n", style="dim")
    if not transcript.text:
        return lines.append(f"(nothing: {transcript.reason})", style="red")
    for step in align(clip.text, transcript.text):
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
