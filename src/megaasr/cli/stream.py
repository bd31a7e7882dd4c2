"""`mega-asr stream`: live transcription of a microphone, a pipe or a recording."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr.cli import options
from megaasr.cli.argument_groups import grouped
from megaasr.cli.interruption import FirstInterruption
from megaasr.cli.languages import forced_language
from megaasr.cli.live_display import LiveDisplay
from megaasr.cli.live_source import FILE_BLOCK_S, LiveSource, SourceArguments
from megaasr.cli.model_arguments import ModelArguments
from megaasr.errors import AudioError
from megaasr.model.hub import language_note
from megaasr.transcribe.search import SearchOptions

if TYPE_CHECKING:
    from megaasr.audio.waveform import Samples
    from megaasr.stream.event_files import EventFiles
    from megaasr.stream.events import Event
    from megaasr.stream.options import StreamOptions
    from megaasr.stream.recording import Recording
    from megaasr.stream.session import StreamSession

app = typer.Typer(add_completion=False)

MAX_LAG_S = 2.0
"""Partial texts are left out while the model is so many seconds behind the audio."""
_WARN_LAG_S = 30.0


@dataclass(frozen=True, slots=True)
class SessionArguments:
    """How utterances are found and decoded; `megaasr.stream.options` as options of the command."""

    end_silence: Annotated[
        float, typer.Option(help="Seconds of silence that end an utterance.")
    ] = 0.6
    step: Annotated[
        float, typer.Option(help="Seconds of speech from one partial text to the next.")
    ] = 1.0
    speech_threshold: Annotated[
        float, typer.Option(help="Probability from which a frame counts as speech.")
    ] = 0.5
    encoding: Annotated[
        options.EncodingName,
        typer.Option(
            metavar="HOW",
            help="What a partial text encodes: windowed, complete windows of 8 s once; or global, "
            "the utterance again. Models without such windows, as small, encode all of it.",
        ),
    ] = options.EncodingName.WINDOWED
    commit: Annotated[
        options.CommitName,
        typer.Option(
            metavar="WHEN",
            help="When partial text becomes stable: agreement of two texts, rollback (all but the "
            "last words), or final (never before the end).",
        ),
    ] = options.CommitName.AGREEMENT
    no_partials: Annotated[
        bool, typer.Option("--no-partials", help="Show utterances only when they are complete.")
    ] = False
    context: options.Context = ""
    carry_context: Annotated[
        bool,
        typer.Option(
            "--carry-context", help="The last text is context of the next utterance. It can drift."
        ),
    ] = False

    def stream_options(self, sample_rate: int, language: str | None) -> StreamOptions:
        """Return the options of the session.

        Args:
            sample_rate: samples per second of the source.
            language: the value of `--language`.

        Raises:
            UsageError: the model does not know the language, or a number is out of range.
        """
        from megaasr.stream.options import StreamOptions

        return StreamOptions(
            sample_rate=sample_rate,
            language=forced_language(language),
            context=self.context,
            end_silence_s=self.end_silence,
            step_s=self.step,
            partials=not self.no_partials,
            encoding=self.encoding.value,
            commit=self.commit.value,
            carry_context=self.carry_context,
            threshold=self.speech_threshold,
        )


@app.command()
@grouped
def stream(  # noqa: PLR0913 (options)
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="microphone (or microphone:NAME), - for standard input, or a recording.",
            show_default=False,
        ),
    ],
    *,
    model: options.ModelName = None,
    language: options.ForcedLanguage = None,
    loading: ModelArguments,
    reading: SourceArguments,
    live: SessionArguments,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            help="A file that grows, by its suffix: .jsonl (all events), .srt, .vtt, .tsv or .txt, "
            "with a journal beside it. Repeat it for several.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            "--record",
            help="Keep the audio in this WAV file.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None,
    json_lines: Annotated[
        bool,
        typer.Option(
            "--json-lines",
            help="Print every event as a line of JSON.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = False,
    decode: Annotated[
        options.SearchName,
        typer.Option(
            metavar="METHOD",
            help="How the final text is searched: greedy, best, consensus or auto "
            "(docs/transcripts.md).",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = options.SearchName.GREEDY,
) -> None:
    """Transcribe live: text appears while somebody speaks, and is final after a pause.

    On a terminal, text that may still change is dim. Ctrl-C ends the session and waits for the
    last utterance; a second one interrupts. What was final is in the files even if the process is
    killed. docs/streaming.md explains events and options.
    """
    from megaasr.stream.event_files import EventFiles, require_new
    from megaasr.stream.recording import Recording
    from megaasr.stream.session import StreamSession
    from megaasr.transcribe.bundle import open_bundle
    from megaasr.transcribe.recognizer import MegaASR

    paths = output or []
    is_kept = bool(paths) or record is not None
    display = LiveDisplay(json_lines=json_lines, is_only_output=not is_kept)
    opened = reading.open(source, display)
    stream_options = live.stream_options(opened.rate, language)
    model_options = loading.model_options(model)
    require_new(paths, record)
    if (note := language_note(model_options.name, stream_options.language)) is not None:
        display.warn(note)
    asr = MegaASR.from_bundle(
        open_bundle(model_options, lambda plan: display.note(f"{model_options.name} {plan}")),
        model_options,
        search=SearchOptions(decode.value),
    )
    session = StreamSession(asr, stream_options)
    opened = opened.begun()  # a start that fails must not leave files, which the next one refuses
    header = {"source": source, "model": model_options.name, "sample_rate": opened.rate}
    with ExitStack() as stack:
        files = stack.enter_context(EventFiles(paths, header))
        recording = None
        if record is not None:
            recording = stack.enter_context(Recording(record, opened.rate, display.warn))
        _run(session, opened, files, recording, display)


def _run(
    session: StreamSession,
    source: LiveSource,
    files: EventFiles,
    recording: Recording | None,
    display: LiveDisplay,
) -> None:
    """Feed a session with a source until it ends or Ctrl-C is pressed, and show the events.

    Raises:
        AudioError: the source failed; what came before is final.
    """
    from megaasr.stream.read_ahead import ReadAhead

    def report(events: Iterator[Event]) -> None:
        for event in events:
            files.write(event)
            display.show(event)

    blocks = source.blocks if recording is None else _recorded(source.blocks, recording)
    limit_s = None if source.is_live else FILE_BLOCK_S
    ahead = ReadAhead(blocks, source.rate, limit_s=limit_s)
    partials, is_warned = session.partials, False
    failure: AudioError | None = None
    with FirstInterruption(ahead.stop), ahead:
        try:
            for block in ahead:
                lag_s = ahead.waiting_s if source.is_live else 0.0
                session.partials = partials and lag_s <= MAX_LAG_S
                if lag_s > _WARN_LAG_S and not is_warned:
                    is_warned = True
                    display.warn(f"the model is {lag_s:.0f} s behind the audio")
                report(session.feed(block))
        except AudioError as error:
            failure = error
        report(session.finish())
    display.finish(session.fed_s)
    if failure is not None:
        raise failure


def _recorded(blocks: Iterator[Samples], recording: Recording) -> Iterator[Samples]:
    """Pass blocks on once they are recorded."""
    for block in blocks:
        recording.write(block)
        yield block
