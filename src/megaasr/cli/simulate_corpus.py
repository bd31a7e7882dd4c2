"""`mega-asr simulate corpus` and `webdataset`: build and export data sets of degraded speech."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr import strict_json

if TYPE_CHECKING:
    from megaasr.progress import OnRemarkedProgress
    from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe

_DEGRADED = ("single", "favoured", "rest")


def corpus(  # noqa: PLR0913, PLR0917 (every option of a command is an argument)
    manifest: Annotated[
        Path, typer.Argument(help="JSONL manifest of clean utterances: id, audio, text.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the data set.")],
    recipe: Annotated[
        str, typer.Option(help="TOML file or shipped recipe; the options below override it.")
    ] = "simulate-default",
    num_clips: Annotated[
        int | None,
        typer.Option("--num-clips", "-n", help="Number of clips [default: one per utterance]."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of processes [default: number of cores].")
    ] = None,
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
            help="0 (easy) to 1 (hard) for every clip, or the distribution to draw from: linear, "
            "sqrt-forward, sqrt-backward, gaussian-mid."
        ),
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="flac or wav [default: flac].")
    ] = None,
    shard_size: Annotated[int | None, typer.Option(help="Clips per shard.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random choice.")] = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(help="Folder of noises, repeatable; or builtin:babble."),
    ] = None,
    room_responses: Annotated[
        str | None,
        typer.Option(help="Folder of measured room responses, instead of synthetic reverb."),
    ] = None,
    compounds: Annotated[
        str | None,
        typer.Option(
            help="calibrated: compounds are as hard as their conditions; literal: compounds use "
            "the ranges of single conditions [default: calibrated]."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="field=value, overrides the recipe and the options; repeatable."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Print the resolved recipe and stop.")] = False,
) -> None:
    """Build a data set of degraded speech in Parquet shards; resumes an interrupted build."""
    from megaasr.config import load_recipe
    from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe

    overrides = _overrides(
        num_clips=num_clips,
        format=format_,
        shard_size=shard_size,
        seed=seed,
        noise=noise or None,
        room_responses=room_responses,
        compounds=compounds,
    )
    overrides += _mix_overrides(mix) if mix is not None else []
    overrides += _severity_overrides(severity) if severity is not None else []
    plan = load_recipe(SimulatedCorpusRecipe, recipe, [*overrides, *(set_ or [])])
    if dry_run:
        typer.echo(plan.resolved_json())
        return
    with _needing_pyarrow():
        from megaasr.simulate.corpus.build import build_corpus
    if plan.noise or plan.room_responses or plan.talkers:
        _cache_sources(plan)
    with _progress("clips") as show:
        report = build_corpus(manifest, output, plan, workers=workers, on_progress=show)
    for remark in report.remarks:
        typer.echo(f"note: {remark}", err=True)
    typer.echo(
        f"{output}: {report.clips} clips, {report.audio_s / 3600:.2f} h, {report.shards} shards; "
        f"{report.sources_broken} sources failed"
    )
    if report.clips_without_effect:
        typer.echo(
            f"{report.clips_without_effect} clips are left out, since their noise would be silent: "
            f"see {output / 'errors.jsonl'}",
            err=True,
        )
    if report.sources_broken:
        typer.echo(f"failed: see {output / 'errors.jsonl'}", err=True)
        raise typer.Exit(1)


def webdataset(
    source: Annotated[
        Path, typer.Argument(metavar="CORPUS", help="Folder of a finished data set.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the tar files.")],
    shard_size: Annotated[int, typer.Option(min=1, help="Clips per tar file.")] = 1000,
) -> None:
    """Export a data set as WebDataset tar files; resumes an interrupted export."""
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


def _cache_sources(plan: SimulatedCorpusRecipe) -> None:
    """Decode noises and room responses before the build starts, with their own progress bar."""
    from megaasr.cli.progress import progress_bar
    from megaasr.simulate.corpus.sources import open_sources

    with progress_bar("recordings") as advance:
        open_sources(plan, lambda done, total: advance(done, total, "decoded once, then cached"))


class _ShowProgress:
    """Shows the progress with the speed of this run and, outside a terminal, the time left."""

    def __init__(self, advance: OnRemarkedProgress) -> None:
        self._advance = advance
        self._start: tuple[float, int] | None = None

    def __call__(self, done: int, total: int, audio_s: float | None) -> None:
        now = time.monotonic()
        if self._start is None:
            self._start = now, done
        elapsed_s, clips = now - self._start[0], done - self._start[1]
        remarks = [] if audio_s is None else [f"{audio_s / 3600:.2f} h"]
        if elapsed_s > 0 and clips:
            remarks.append(f"{clips / elapsed_s:.1f} clips/s")
            if not sys.stderr.isatty():  # in a terminal, the bar shows the time left
                remarks.append(f"{_clock((total - done) * elapsed_s / clips)} left")
        self._advance(done, total, ", ".join(remarks))


@contextmanager
def _progress(unit: str) -> Iterator[_ShowProgress]:
    from megaasr.cli.progress import progress_bar

    with progress_bar(unit) as advance:
        yield _ShowProgress(advance)


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
    """Return options as overrides of a recipe; options that are None keep the recipe's value."""
    return [
        # A JSON value is a TOML value as well.
        f"{field}={strict_json.dumps(value, ensure_ascii=False)}"
        for field, value in values.items()
        if value is not None
    ]


def _mix_overrides(text: str) -> list[str]:
    from megaasr.errors import UsageError

    kind, _, severities = text.partition(":")
    if kind == "grid":
        _require_numbers(text, severities)
        overrides = ["mix.severities=[" + severities + "]"] if severities else []
        return ['mix.kind="grid"', *overrides]
    parts = [part.strip() for part in text.split(",")]
    if "=" not in text:
        return ['mix.kind="listed"', *_overrides(**{"mix.scenarios": parts})]
    shares = {name.strip(): share for name, _, share in (part.partition("=") for part in parts)}
    for name in shares:
        if name not in (*_DEGRADED, "clean"):
            raise UsageError(f"--mix {text}: {name} is none of {', '.join(_DEGRADED)}, clean")
    if shares.keys() & set(_DEGRADED):  # groups that are not named have no share
        shares = {**dict.fromkeys(_DEGRADED, "0"), **shares}
    return ['mix.kind="shares"', *(f"mix.{name}={share}" for name, share in shares.items())]


def _require_numbers(text: str, severities: str) -> None:
    from megaasr.errors import UsageError

    try:
        [float(part) for part in severities.split(",") if severities]
    except ValueError as error:
        raise UsageError(
            f"--mix {text}: the severities after the colon are numbers from 0 to 1, such as "
            "grid:0.2,0.8"
        ) from error


def _severity_overrides(text: str) -> list[str]:
    from megaasr.errors import UsageError
    from megaasr.simulate.severity import SeverityCurve, check_severity

    if text in list(SeverityCurve):
        return _overrides(mapping=text)
    try:
        return _overrides(severity=check_severity(float(text)))
    except ValueError as error:
        curves = ", ".join(SeverityCurve)
        raise UsageError(f"--severity {text}: a number from 0 to 1, or one of {curves}") from error


def _clock(seconds: float) -> str:
    minutes, whole_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole_seconds:02d}"
