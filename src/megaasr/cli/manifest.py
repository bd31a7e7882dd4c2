"""`mega-asr manifest`: write the manifest of a public corpus in its published layout."""

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
            help="Speech: librispeech, common-voice, aishell-1, wenetspeech. Noise: musan, dns, "
            "esc-50, urbansound8k."
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="Folder that the corpus was unpacked into.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Manifest to write (.jsonl).")],
    split: Annotated[str | None, typer.Option(help="Split of the corpus [default: all].")] = None,
) -> None:
    """Write the manifest of a public corpus: audio, text, language, speaker, length.

    Manifests of speech are inputs of mega-asr simulate, grade and bench. Manifests of noise can
    replace folders of noise in the recipe of a simulation (noise = ["musan.jsonl"]).
    """
    from megaasr.cli.progress import progress_bar
    from megaasr.corpora.layouts import LAYOUTS
    from megaasr.corpora.manifest import make_manifest
    from megaasr.errors import UsageError

    if corpus not in LAYOUTS:
        raise UsageError(f"{corpus} is not a supported corpus: {', '.join(LAYOUTS)}")
    with progress_bar("clips") as advance:
        result = make_manifest(
            LAYOUTS[corpus],
            folder,
            output,
            split=split,
            on_progress=lambda done, total, audio_s: advance(
                done, total, f"{audio_s / 3600:.2f} h"
            ),
        )
    typer.echo(f"{output}: {result.clips} clips, {result.audio_s / 3600:.2f} h")
    if result.problems is not None:
        typer.echo(f"{result.missing} could not be read: {result.problems}", err=True)
