"""`mega-asr`: runs the requested command, and turns errors into one line and an exit status.

Every command is a module with a `typer.Typer` named `app`, which is imported only when the command
runs. Its functions, not the module, import torch, transformers, numpy and other heavy libraries, so
that no `--help` waits for them. To add a command, add an entry to `COMMANDS`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from megaasr.errors import MegaASRError, UsageError


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command that is imported only when it runs.

    Attributes:
        name: name of the command.
        module: module that contains its `app`.
        panel: title of its group in `mega-asr --help`.
        help: its line in `mega-asr --help`.
    """

    name: str
    module: str
    panel: str
    help: str


COMMANDS = (
    LazyCommand(
        "transcribe",
        "megaasr.cli.transcribe",
        "Use",
        "Turn recordings into text, subtitles or JSON.",
    ),
    LazyCommand(
        "stream",
        "megaasr.cli.stream",
        "Use",
        "Transcribe a microphone, a pipe or a recording live.",
    ),
    LazyCommand(
        "inspect", "megaasr.cli.inspect", "Use", "Find out what is wrong with a recording."
    ),
    LazyCommand(
        "compare",
        "megaasr.cli.compare",
        "Use",
        "Show the texts of both branches of a model side by side.",
    ),
    LazyCommand("calibrate", "megaasr.cli.calibrate", "Use", "Fit the router to your own audio."),
    LazyCommand(
        "demo",
        "megaasr.cli.demo",
        "Use",
        "Transcribe the clips in the package, and score the texts.",
    ),
    LazyCommand(
        "serve",
        "megaasr.cli.serve",
        "Use",
        "Transcribe over HTTP, through OpenAI's interfaces.",
    ),
    LazyCommand("bench", "megaasr.cli.bench", "Measure", "Compare systems on a test set."),
    LazyCommand(
        "report",
        "megaasr.cli.report",
        "Measure",
        "Write the results of bench as a web page and tables.",
    ),
    LazyCommand("score", "megaasr.cli.score", "Measure", "Score a file of predictions."),
    LazyCommand(
        "manifest",
        "megaasr.cli.manifest",
        "Data",
        "List the clips of a public corpus in a manifest.",
    ),
    LazyCommand(
        "text", "megaasr.cli.text", "Data", "Collect natural English text from software packages."
    ),
    LazyCommand("synthesize", "megaasr.cli.synthesize", "Data", "Synthesise a speech corpus."),
    LazyCommand("simulate", "megaasr.cli.simulate", "Data", "Degrade recordings, reproducibly."),
    LazyCommand(
        "grade", "megaasr.cli.grade", "Data", "Measure the error of the base model on every clip."
    ),
    LazyCommand("train", "megaasr.cli.train", "Train", "Train a model from a recipe."),
    LazyCommand(
        "confidence", "megaasr.cli.confidence", "Train", "Fit the calibration of word confidence."
    ),
    LazyCommand(
        "branch-choice",
        "megaasr.cli.branch_choice",
        "Train",
        "Fit which branch's text is kept when both decode.",
    ),
    LazyCommand(
        "recipe", "megaasr.cli.recipe", "Train", "Run a whole pipeline, from text to report."
    ),
    LazyCommand(
        "merge", "megaasr.cli.merge", "Package", "Merge base and adapter into one checkpoint."
    ),
    LazyCommand(
        "quantize", "megaasr.cli.quantize", "Package", "Copy a model with 8-bit weights, for CPUs."
    ),
    LazyCommand(
        "pack", "megaasr.cli.pack", "Package", "Put base, adapter and router into one folder."
    ),
    LazyCommand(
        "publish",
        "megaasr.cli.publish",
        "Package",
        "Score a finished run, and write its model card.",
    ),
)

_NO_FOLDER = "a folder is needed there; choose another name"
_NO_RIGHT = "check the rights, or choose another folder"
# What to do about a refusal of the system.
_MENDS = {
    errno.EEXIST: _NO_FOLDER,
    errno.ENOTDIR: _NO_FOLDER,
    errno.EISDIR: "a file is needed there; choose another name",
    errno.ENOENT: "check the path",
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.EROFS: _NO_RIGHT,
    errno.ENOSPC: "free some space, and run the same command again",
}

# Markup of help texts; lines are wrapped to the width of the terminal.
_MARKUP: Literal["markdown"] = "markdown"


class _LazyGroup(TyperGroup):
    """A command group that lists its commands without importing them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for command in COMMANDS:
            self.add_command(
                TyperCommand(command.name, help=command.help, rich_help_panel=command.panel)
            )

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the requested command.

        Raises:
            UsageError: a recording was given in place of a command.
        """
        if self.get_command(ctx, _with_dashes(args[0])) is None and _is_audio_argument(args[0]):
            raise UsageError(
                f"no command {args[0]!r}; to transcribe it, run "
                f"mega-asr transcribe {shlex.join(args)}"
            )
        name, _, arguments = super().resolve_command(ctx, args)
        module = next(command.module for command in COMMANDS if command.name == name)
        command_app = import_module(module).app
        command_app.rich_markup_mode = _MARKUP
        command = typer.main.get_command(command_app)
        command.name = name
        return name, command, arguments


def _is_audio_argument(argument: str) -> bool:
    """Return whether an argument is probably a recording: `-`, an existing file or folder, or a
    name with an audio suffix."""
    from megaasr.audio.suffixes import AUDIO_SUFFIXES

    # os.path, because Path raises for too long names.
    exists = os.path.exists(argument)  # noqa: PTH110
    return argument == "-" or exists or Path(argument).suffix.lower() in AUDIO_SUFFIXES


def _with_dashes(token: str) -> str:
    """Return an option's name with dashes, so that `--output_dir` equals `--output-dir`."""
    return token.replace("_", "-")


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=_MARKUP,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": _with_dashes,  # every command inherits it
    },
)


def _print_version(requested: bool) -> None:
    if requested:
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
        arguments: command-line arguments without the name of the program; None for those of this
            process.

    Raises:
        SystemExit: always, with the exit status.
    """
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):  # unprintable file names must not raise errors
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        command = typer.main.get_command(app)
        with _one_line_warnings():
            command.main(args=None if arguments is None else list(arguments), prog_name="mega-asr")
    except UsageError as error:
        _fail(error, status=2)
    except MegaASRError as error:
        _fail(error, status=1)
    except OSError as error:  # a full disk or missing permissions, for example
        _fail(MegaASRError(_explained(error)), status=1)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        _close_quietly()


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Print our own warnings as notes of one line, without the line of code that warned."""
    default = warnings.formatwarning

    def as_note(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> str:
        if category.__module__.startswith("megaasr."):
            return f"note: {message}\n"
        return default(message, category, *args, **kwargs)

    warnings.formatwarning = as_note
    try:
        yield
    finally:
        warnings.formatwarning = default


def _explained(error: OSError) -> str:
    """Return the file, the reason and what to do about it."""
    if error.filename is None:
        return str(error)
    mend = _MENDS.get(error.errno or 0, "")
    return f"{os.fsdecode(error.filename)}: {error.strerror}{mend and f'; {mend}'}"


def _fail(error: MegaASRError, status: int) -> None:
    """Print an error in one red line, and exit."""
    from megaasr.records.subtitles import single_line

    colour = None if "NO_COLOR" not in os.environ else False
    with contextlib.suppress(OSError):  # stderr may be what cannot be written to
        typer.secho(f"mega-asr: error: {single_line(str(error))}", err=True, fg="red", color=colour)
    sys.exit(status)


class _ClosedOutput(io.TextIOBase):
    """Standard output that the shell closed: what a command prints would be lost.

    Args:
        placeholder: file that keeps the descriptor of standard output, lest another file gets it.
    """

    encoding = "utf-8"

    def __init__(self, placeholder: IO[str]) -> None:
        self._placeholder = placeholder

    def write(self, text: str) -> int:
        """Refuse the text.

        Raises:
            MegaASRError: always, unless the text is empty.
        """
        if text:
            raise MegaASRError(
                "standard output is closed, so that the result would be lost; redirect it to a "
                "file, or to /dev/null"
            )
        return 0


def _open_missing_streams() -> None:
    """Replace standard streams that the shell closed (`<&-`, `>&-`), which are None in Python."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            file = Path(os.devnull).open(mode)  # noqa: SIM115 (used until exit)
            setattr(sys, name, _ClosedOutput(file) if name == "stdout" else file)


def _close_quietly() -> None:
    """Flush the standard streams; discard what is left if the reader of a pipe is gone."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # or if the disk is full, which has been reported already
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
