"""`mega-asr manifest`: public corpora, as they are published, to manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def manifest(
    corpus: Annotated[
        str,
        typer.Argument(
            help="librispeech, common-voice, aishell-1, wenetspeech; noise: musan, dns, esc-50, "
            "urbansound8k."
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="Where it was unpacked.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The manifest (.jsonl).")],
    split: Annotated[
        str | None, typer.Option(help="One of the corpus's parts [default: all].")
    ] = None,
) -> None:
    """List a public corpus: audio, text, language, speaker, length.

    Manifests of speech go to mega-asr simulate, grade and bench; those of noise stand for folders
    of noise in a simulation's recipe (noise = ["musan.jsonl"]).
    """
    from megaasr.cli.progress import progress_bar
    from megaasr.corpora.layouts import LAYOUTS
    from megaasr.corpora.manifest import make_manifest
    from megaasr.errors import UsageError

    if corpus not in LAYOUTS:
        raise UsageError(f"{corpus} is no corpus that can be read: {', '.join(LAYOUTS)}")
    with progress_bar("clips") as advance:
        found = make_manifest(
            LAYOUTS[corpus],
            folder,
            output,
            split=split,
            on_progress=lambda done, total, audio_s: advance(
                done, total, f"{audio_s / 3600:.2f} h"
            ),
        )
    typer.echo(f"{output}: {found.clips} clips, {found.audio_s / 3600:.2f} h")
    if found.problems is not None:
        typer.echo(f"{found.missing} could not be read: {found.problems}", err=True)
