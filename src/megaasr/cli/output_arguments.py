"""The options of `mega-asr transcribe` about files and the screen."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr.cli import options
from megaasr.cli.screen import StdoutContent
from megaasr.errors import UsageError
from megaasr.records import FORMATS
from megaasr.records.marking import Marking
from megaasr.records.subtitles import DEFAULT_LAYOUT, SubtitleLayout
from megaasr.transcribe.outputs import OutputFolder

if TYPE_CHECKING:
    from megaasr.transcribe.options import TranscribeOptions

ALL_FORMATS = "all"
"""Value of `--output-format` that stands for every format."""


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """What becomes of the transcripts.

    Attributes:
        folder: folder for the files; None to write none.
        formats: formats of the files.
        layout: how subtitles look.
        content: what is printed to stdout.
        bar: whether a progress bar is allowed.
    """

    folder: Path | None
    formats: tuple[str, ...]
    layout: SubtitleLayout
    content: StdoutContent
    bar: bool

    def open_folder(self, request: TranscribeOptions, marking: Marking) -> OutputFolder | None:
        """Return the output folder, which is created if need be; None if no files are written.

        Args:
            request: everything but the recording that determines a transcript.
            marking: what is written in place of unintelligible words.

        Raises:
            UsageError: the folder cannot be created or written to.
        """
        if self.folder is None:
            return None
        settings = request.settings()
        return OutputFolder(self.folder, self.formats, settings, self.layout, marking)


@dataclass(frozen=True, slots=True)
class OutputArguments:
    """Which files are written, and what is displayed."""

    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            "-o",
            help="Write files here [default with -f: .].",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None
    output_format: Annotated[
        list[str] | None,
        typer.Option(
            "--output-format",
            "-f",
            metavar="FORMAT",
            help=f"Format of the files: {', '.join(FORMATS)}, or all. Several are separated by "
            "commas, or the option is repeated [default with -o: all].",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Skip recordings that an earlier run transcribed with the same settings.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = False
    json_lines: Annotated[
        bool,
        typer.Option(
            "--json-lines",
            help="Print one JSON document per recording.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = False
    max_line_width: Annotated[
        int,
        typer.Option(
            min=4, help="Columns of a subtitle's line.", rich_help_panel=options.OUTPUT_PANEL
        ),
    ] = DEFAULT_LAYOUT.columns
    max_line_count: Annotated[
        int,
        typer.Option(min=1, help="Lines of a subtitle.", rich_help_panel=options.OUTPUT_PANEL),
    ] = DEFAULT_LAYOUT.lines
    highlight_words: Annotated[
        str,
        typer.Option(
            metavar="True|False",
            help="Underline each word of srt and vtt while it is spoken.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = "False"
    word_timestamps: Annotated[str | None, typer.Option(hidden=True)] = None
    verbose: Annotated[
        str | None,
        typer.Option(
            metavar="True|False",
            help="Print segments as they are decoded [default: on a terminal].",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None

    def plan(self) -> OutputPlan:
        """Return what these options ask for.

        Raises:
            UsageError: a value is none of its option, or options contradict each other.
        """
        formats = self._formats()
        writing = self.output_dir is not None or bool(self.output_format)
        if self.resume and not writing:
            raise UsageError("--resume needs files to skip: add -o FOLDER or -f FORMAT")
        content, bar = self._what_to_show(writing=writing)
        layout = SubtitleLayout(
            self.max_line_width,
            self.max_line_count,
            _parse_bool("--highlight-words", self.highlight_words),
        )
        words = self.word_timestamps
        if words is not None and not _parse_bool("--word-timestamps", words):
            raise UsageError("words always have times; leave --word-timestamps out")
        folder = self.output_dir or Path()
        return OutputPlan(folder if writing else None, formats, layout, content=content, bar=bar)

    def _formats(self) -> tuple[str, ...]:
        """Return the distinct formats, in the order in which they are named.

        Raises:
            UsageError: a name is not one of a format, and not `all`.
        """
        formats: list[str] = []
        values = self.output_format or [ALL_FORMATS]
        for name in (part.strip() for value in values for part in value.split(",")):
            if name not in (*FORMATS, ALL_FORMATS):
                choices = ", ".join((*FORMATS, ALL_FORMATS))
                raise UsageError(f"unknown output format {name!r}; choose one of {choices}")
            formats += FORMATS if name == ALL_FORMATS else [name]
        return tuple(dict.fromkeys(formats))

    def _what_to_show(self, *, writing: bool) -> tuple[StdoutContent, bool]:
        """Return what is printed to stdout, and whether a progress bar is allowed.

        Raises:
            UsageError: `--verbose` is neither true nor false.
        """
        show_lines = None if self.verbose is None else _parse_bool("--verbose", self.verbose)
        if self.json_lines:
            return StdoutContent.JSON, show_lines is not False
        if show_lines or (show_lines is None and sys.stdout.isatty()):
            return StdoutContent.SEGMENTS, True
        return StdoutContent.NOTHING if writing else StdoutContent.TEXT, show_lines is not False


def _parse_bool(option: str, text: str) -> bool:
    """Return the value of an option that takes True or False, as whisper's do.

    Raises:
        UsageError: the text is neither.
    """
    if text.lower() not in ("true", "false"):
        raise UsageError(f"{option} {text} is neither True nor False")
    return text.lower() == "true"
