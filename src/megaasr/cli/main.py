"""`mega-asr`: finds the command that was asked for, and turns errors into one line and a status.

A command lives in a module of its own with a `typer.Typer` called `app`, and is imported when it
is run; a command imports torch, transformers, numpy and other heavy libraries in its functions, so
that no `--help` waits for them. To add a command, add a line to `COMMANDS`.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from megaasr.errors import MegaASRError, UsageError


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command that is imported when it is run.

    Attributes:
        name: what is typed after `mega-asr`.
        module: where its `app` is.
        help: one line for `mega-asr --help`.
    """

    name: str
    module: str
    help: str


COMMANDS = (
    LazyCommand("transcribe", "megaasr.cli.transcribe", "Turn recordings into text."),
    LazyCommand("compare", "megaasr.cli.compare", "Show both branches of a model side by side."),
    LazyCommand("calibrate", "megaasr.cli.calibrate", "Fit the router to your own audio."),
    LazyCommand("inspect", "megaasr.cli.inspect", "Say what is wrong with a recording."),
    LazyCommand("demo", "megaasr.cli.demo", "Transcribe the shipped clips and score them."),
    LazyCommand("text", "megaasr.cli.text", "Collect natural English text from packages."),
    LazyCommand("synthesize", "megaasr.cli.synthesize", "Make a corpus of synthesised speech."),
    LazyCommand("manifest", "megaasr.cli.manifest", "List a public corpus as it is published."),
    LazyCommand("simulate", "megaasr.cli.simulate", "Make recordings worse, replayably."),
    LazyCommand("grade", "megaasr.cli.grade", "Measure the base model's error on every clip."),
    LazyCommand("merge", "megaasr.cli.merge", "Make one checkpoint of base and adapter."),
    LazyCommand("pack", "megaasr.cli.pack", "Put base, adapter and router into one folder."),
    LazyCommand("train", "megaasr.cli.train", "Train a model from a recipe."),
    LazyCommand("recipe", "megaasr.cli.recipe", "Run a whole pipeline, from text to report."),
    LazyCommand("bench", "megaasr.cli.bench", "Compare systems on a test set."),
    LazyCommand("report", "megaasr.cli.report", "Make a page and tables of results."),
    LazyCommand("score", "megaasr.cli.score", "Score a file of predictions."),
    LazyCommand("confidence", "megaasr.cli.confidence", "Fit how sure words are."),
    LazyCommand("publish", "megaasr.cli.publish", "Score a finished run and write its model card."),
)

_MARKUP: Literal["markdown"] = (
    "markdown"  # of help texts: their lines are filled again to the terminal's width
)


class _LazyGroup(TyperGroup):
    """A group that lists its commands without importing them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for command in COMMANDS:
            self.add_command(TyperCommand(command.name, help=command.help))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is to be run, and only that one for real."""
        name, _, rest = super().resolve_command(ctx, args)
        module = next(command.module for command in COMMANDS if command.name == name)
        loaded = import_module(module).app
        loaded.rich_markup_mode = _MARKUP
        command = typer.main.get_command(loaded)
        command.name = name
        return name, command, rest


def _with_dashes(token: str) -> str:
    """Make `--output_dir` and `--output-dir` the same option."""
    return token.replace("_", "-")


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=_MARKUP,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": _with_dashes,  # inherited by every command
    },
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from megaasr import __version__

        typer.echo(f"mega-asr {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Speech recognition for bad recordings.

    Options may be written with dashes or underscores. Exit status: 0 if everything worked,
    1 if something failed, 2 for wrong usage, 130 after Ctrl-C.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; the entry point of `mega-asr`.

    Args:
        arguments: what was typed after `mega-asr`; by default this process's arguments.

    Raises:
        SystemExit: always, with the exit status.
    """
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):  # a name that is not text must not stop the run
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        command = typer.main.get_command(app)
        command.main(args=None if arguments is None else list(arguments), prog_name="mega-asr")
    except UsageError as error:
        _fail(error, status=2)
    except MegaASRError as error:
        _fail(error, status=1)
    except OSError as error:  # a full disk, a folder closed to us, ...
        _fail(MegaASRError(str(error)), status=1)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        _close_quietly()


def _fail(error: MegaASRError, status: int) -> None:
    """Say what is wrong in one red line, and exit."""
    from megaasr.records.subtitles import clean

    colour = None if "NO_COLOR" not in os.environ else False
    with contextlib.suppress(OSError):  # perhaps it is stderr that cannot be written
        typer.secho(f"mega-asr: error: {clean(str(error))}", err=True, fg="red", color=colour)
    sys.exit(status)


def _open_missing_streams() -> None:
    """Put nothing where a shell closed a stream (`<&-`, `>&-`): Python has None there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 (until the end)


def _close_quietly() -> None:
    """Send what is still to be printed to nobody, if the reader of a pipe has gone."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # or if the disk is full, which was reported when it was printed
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
