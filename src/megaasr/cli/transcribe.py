"""`mega-asr transcribe`: recordings to text, on the screen or in files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr.cli import options
from megaasr.cli.argument_groups import grouped
from megaasr.cli.audio_arguments import expand, has_recordings_below, stated_durations
from megaasr.cli.model_arguments import ModelArguments
from megaasr.cli.output_arguments import OutputArguments
from megaasr.cli.reliability_arguments import ReliabilityArguments
from megaasr.cli.screen import Screen
from megaasr.cli.speech_arguments import SpeechArguments
from megaasr.cli.transcription_run import TranscriptionRun
from megaasr.cli.whisper_options import WhisperCommand
from megaasr.errors import UsageError
from megaasr.model.hub import language_note
from megaasr.transcribe.outputs import STANDARD_INPUT, AudioInput

if TYPE_CHECKING:
    from megaasr.records.marking import Marking

app = typer.Typer(add_completion=False)

_DEFAULT_MODEL_NOTE = (
    "without --model this is small, which gets many words wrong even in clear speech; for real "
    "work: --model zhifeixie/Mega-ASR"
)


@app.command(cls=WhisperCommand)
@grouped
def transcribe(
    audio: Annotated[
        list[str],
        typer.Argument(
            metavar="AUDIO",
            help="Recordings, folders of recordings, or - for standard input.",
            show_default=False,
        ),
    ],
    *,
    model: options.ModelName = None,
    batch_size: options.ChosenBatchSize = None,
    loading: ModelArguments,
    speech: SpeechArguments,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Include subfolders of folders.")
    ] = False,
    output: OutputArguments,
    reliability: ReliabilityArguments,
) -> None:
    """Turn recordings into text.

    Without -o and -f the text is printed. With either, files are written with whisper's names,
    FOLDER/NAME.FORMAT: all formats with -o alone, to the current folder with -f alone. Recordings
    with the same name never overwrite each other: the later one keeps its suffix (talk.mp3.txt).
    With --recursive, folders are mirrored. The names of whisper's options work, with underscores
    too.
    """
    from megaasr.transcribe.options import TranscribeOptions

    decode = speech.decode_options()  # an unknown language is noticed before the model is loaded
    plan = output.plan()
    if STANDARD_INPUT in audio and sys.stdin.isatty():
        raise UsageError(
            "- reads a recording from standard input, but that is a terminal; use - < FILE"
        )
    inputs = expand(audio, recursive=recursive)
    request = TranscribeOptions(
        loading.model_options(model, batch_size),
        decode,
        reliability.reliability_options(),
        speech.selection(),
        each_channel=speech.each_channel,
        search=reliability.search_options(),
    )
    marking: Marking = reliability.unintelligible.value
    folder = plan.open_folder(request, marking)
    if folder is not None:
        folder.assign_names([item for item in inputs if isinstance(item, AudioInput)])
    screen = Screen(
        plan.content,
        len(inputs),
        bar=plan.bar,
        durations=lambda: stated_durations(inputs),
        by_channel=speech.each_channel,
        marking=marking,
    )
    if model is None:
        screen.note(_DEFAULT_MODEL_NOTE)
    for argument in audio if not recursive else ():
        if has_recordings_below(argument):
            screen.note(
                f"{argument}: recordings in its subfolders are left out; --recursive includes them"
            )
    if (note := language_note(request.model.name, request.decode.language)) is not None:
        screen.warn(note)
    TranscriptionRun(inputs, folder, screen, resume=output.resume)(request)
    if screen.failed:
        raise typer.Exit(1)
