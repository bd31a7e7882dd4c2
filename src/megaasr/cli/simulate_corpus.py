"""`mega-asr simulate corpus` and `webdataset`: build a data set of degraded speech, export it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from megaasr.progress import OnRemarkedProgress
    from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe

_DEGRADED = ("single", "favoured", "rest")


def corpus(  # noqa: PLR0913, PLR0917 (every option of a command is an argument)
    manifest: Annotated[Path, typer.Argument(help="Clean utterances: JSONL with id, audio, text.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The data set's folder.")],
    recipe: Annotated[
        str, typer.Option(help="TOML file or shipped recipe; the options below change it.")
    ] = "simulate-default",
    num_clips: Annotated[
        int | None, typer.Option("--num-clips", "-n", help="Clips [default: one per utterance].")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes [default: cores].")] = None,
    mix: Annotated[
        str | None,
        typer.Option(
            help="Shares of the clips as NAME=X,NAME=X (single, favoured, rest, clean); or "
            "scenarios separated by commas; or, for a test set, grid or grid:SEVERITIES (such as "
            "grid:0.2,0.8)."
        ),
    ] = None,
    severity: Annotated[
        str | None,
        typer.Option(
            help="0 (easy) to 1 (hard) for every clip; or how it is drawn: linear, sqrt-forward, "
            "sqrt-backward, gaussian-mid."
        ),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="flac or wav [default: flac].")
    ] = None,
    shard_size: Annotated[int | None, typer.Option(help="Clips in a shard.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of every random choice.")] = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(help="Folder of noises, may be repeated; or builtin:babble."),
    ] = None,
    room_responses: Annotated[
        str | None, typer.Option(help="Folder of measured rooms, in place of synthetic ones.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="field=value, over recipe and options.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Print the resolved recipe and stop.")] = False,
) -> None:
    """Build a data set of degraded speech in Parquet shards; resumes where it was stopped."""
    from megaasr.config import load_recipe
    from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe

    overrides = _overrides(
        num_clips=num_clips,
        format=format_,
        shard_size=shard_size,
        seed=seed,
        noise=noise or None,
        room_responses=room_responses,
    )
    overrides += _mix_overrides(mix) if mix is not None else []
    overrides += _severity_overrides(severity) if severity is not None else []
    plan = load_recipe(SimulatedCorpusRecipe, recipe, [*overrides, *(set_ or [])])
    if dry_run:
        typer.echo(plan.resolved_json())
        return
    with _needing_pyarrow():
        from megaasr.simulate.corpus.build import build_corpus
    if plan.noise or plan.room_responses:
        _store_sources(plan)
    with _progress("clips") as show:
        report = build_corpus(manifest, output, plan, workers=workers, on_progress=show)
    for remark in report.remarks:
        typer.echo(f"note: {remark}", err=True)
    typer.echo(
        f"{output}: {report.clips} clips, {report.audio_s / 3600:.2f} h, {report.shards} shards; "
        f"{report.sources_broken} sources failed"
    )
    if report.sources_broken:
        typer.echo(f"failed: see {output / 'errors.jsonl'}", err=True)
        raise typer.Exit(1)


def webdataset(
    source: Annotated[Path, typer.Argument(metavar="CORPUS", help="A finished data set.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the tar files.")],
    shard_size: Annotated[int, typer.Option(min=1, help="Clips in a tar file.")] = 1000,
) -> None:
    """Export a data set as WebDataset tar files; resumes where it was stopped."""
    with _needing_pyarrow():
        from megaasr.simulate.corpus.webdataset import export_webdataset
    with _progress("clips") as show:
        count = export_webdataset(
            source,
            output,
            shard_size=shard_size,
            on_progress=lambda done, total: show(done, total, None),
        )
    typer.echo(f"{output}: {count} tar files")


def _store_sources(plan: SimulatedCorpusRecipe) -> None:
    """Decode noises and room responses before the build asks for them, with a bar of their own."""
    from megaasr.cli.progress import progress_bar
    from megaasr.simulate.corpus.sources import open_sources

    with progress_bar("recordings") as advance:
        open_sources(plan, lambda done, total: advance(done, total, "decoded once, then kept"))


class _Show:
    """Progress with the rate and the time left of this sitting."""

    def __init__(self, advance: OnRemarkedProgress) -> None:
        self._advance = advance
        self._began: tuple[float, int] | None = None

    def __call__(self, done: int, total: int, audio_s: float | None) -> None:
        now = time.monotonic()
        if self._began is None:
            self._began = now, done
        elapsed_s, made = now - self._began[0], done - self._began[1]
        remarks = [] if audio_s is None else [f"{audio_s / 3600:.2f} h"]
        if elapsed_s > 0 and made:
            remarks.append(f"{made / elapsed_s:.1f} clips/s")
            if not sys.stderr.isatty():  # where it is, the bar shows it
                remarks.append(f"{_clock((total - done) * elapsed_s / made)} left")
        self._advance(done, total, ", ".join(remarks))


@contextmanager
def _progress(unit: str) -> Iterator[_Show]:
    from megaasr.cli.progress import progress_bar

    with progress_bar(unit) as advance:
        yield _Show(advance)


@contextmanager
def _needing_pyarrow() -> Iterator[None]:
    from megaasr.errors import UsageError

    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pyarrow":
            raise
        raise UsageError("data sets need pyarrow: pip install 'megaasr[simulate]'") from error


def _overrides(**values: object) -> list[str]:
    """Write options as the overrides of a recipe; None leaves the recipe's value."""
    return [
        # A JSON value is a TOML value as well.
        f"{field}={json.dumps(value, ensure_ascii=False)}"
        for field, value in values.items()
        if value is not None
    ]


def _mix_overrides(text: str) -> list[str]:
    from megaasr.errors import UsageError

    kind, _, severities = text.partition(":")
    if kind == "grid":
        given = ["mix.severities=[" + severities + "]"] if severities else []
        return ['mix.kind="grid"', *given]
    parts = [part.strip() for part in text.split(",")]
    if "=" not in text:
        return ['mix.kind="listed"', *_overrides(**{"mix.scenarios": parts})]
    shares = {name.strip(): share for name, _, share in (part.partition("=") for part in parts)}
    for name in shares:
        if name not in (*_DEGRADED, "clean"):
            raise UsageError(f"--mix {text}: {name} is none of {', '.join(_DEGRADED)}, clean")
    if shares.keys() & set(_DEGRADED):  # what is not named gets nothing
        shares = {**dict.fromkeys(_DEGRADED, "0"), **shares}
    return ['mix.kind="shares"', *(f"mix.{name}={share}" for name, share in shares.items())]


def _severity_overrides(text: str) -> list[str]:
    from megaasr.errors import UsageError
    from megaasr.simulate.severity import Mapping

    if text in list(Mapping):
        return _overrides(mapping=text)
    try:
        return _overrides(severity=float(text))
    except ValueError as error:
        known = ", ".join(Mapping)
        raise UsageError(f"--severity {text}: a number from 0 to 1, or one of {known}") from error


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
