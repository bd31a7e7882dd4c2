"""`mega-asr train find-heads`: which heads of a model tell when words are spoken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr.cli.options import Device, Offline

if TYPE_CHECKING:
    from megaasr.model.head_search import TimedClip


def find_heads(
    model: Annotated[str, typer.Argument(help="Model: a shipped one, a folder or a hub id.")],
    data: Annotated[Path, typer.Option(help="Manifest of clips with timed words.", exists=True)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the result.")],
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of clips.")] = 100,
    device: Device = None,
    offline: Offline = False,
) -> None:
    """Find the heads of a decoder that follow the speech, on clips with timed words.

    Writes alignment_heads.json (keep it beside the model's weights), which gives words their true
    times. The clips must be ones that the model understands.
    """
    from megaasr.hub import HubOptions
    from megaasr.model.alignment_heads import HEADS_FILE, write_heads
    from megaasr.model.head_search import find_alignment_heads
    from megaasr.model.loading import load_model

    clips = _timed_clips(data, limit)
    loaded = load_model(model, device=device, hub=HubOptions(offline), time_words=False)
    search = find_alignment_heads(loaded, clips)
    for count, error_s in enumerate(search.median_errors_s, start=1):
        typer.echo(f"the best {count}: words are off by {1000 * error_s:.0f} ms in the median")
    for head in search.heads.heads:
        share = search.shares[head.layer, head.head]
        typer.echo(f"layer {head.layer}, head {head.head}: {100 * share:.0f} % on the spoken word")
    typer.echo(f"their attention is {1000 * search.heads.delay_s:.0f} ms late")
    output.mkdir(parents=True, exist_ok=True)
    write_heads(output, search.heads)
    typer.echo(f"{output / HEADS_FILE}: keep it beside the weights")


def _timed_clips(data: Path, limit: int) -> list[TimedClip]:
    from megaasr.audio.clips import read_clip
    from megaasr.errors import UsageError
    from megaasr.model.head_search import TimedClip
    from megaasr.model.interface import MAX_CHUNK_S
    from megaasr.records import read_manifest
    from megaasr.records.timed_words import read_timed_words

    clips: list[TimedClip] = []
    for utterance in read_manifest(data):
        words = read_timed_words(utterance.extra)
        if words and words[-1][2] <= MAX_CHUNK_S:
            waveform = read_clip(data.parent, utterance.audio)
            if waveform.duration_s <= MAX_CHUNK_S:
                bounds = tuple((start, end) for _, start, end in words)
                texts = tuple(text for text, _, _ in words)
                clips.append(TimedClip(waveform.samples, texts, bounds, utterance.language or "en"))
        if len(clips) == limit:
            break
    if not clips:
        raise UsageError(
            f"{data}: no record lists its words with times; dev and test of mega-asr synthesize do"
        )
    return clips
