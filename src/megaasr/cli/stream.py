"""`mega-asr stream`: live transcription of a microphone, a pipe or a recording."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr.cli import options
from megaasr.cli.interruption import FirstInterruption
from megaasr.cli.languages import forced_language
from megaasr.cli.live_display import LiveDisplay
from megaasr.errors import AudioError, UsageError
from megaasr.hub import HubOptions
from megaasr.model.hub import DEFAULT_MODEL
from megaasr.transcribe.bundle import ModelOptions
from megaasr.transcribe.search import SearchOptions

if TYPE_CHECKING:
    from megaasr.audio.waveform import Samples
    from megaasr.stream.event_files import EventFiles
    from megaasr.stream.events import Event
    from megaasr.stream.recording import Recording
    from megaasr.stream.session import StreamSession

app = typer.Typer(add_completion=False)

MICROPHONE = "microphone"
STANDARD_INPUT = "-"
MAX_LAG_S = 2.0
"""Partial texts are left out while the model is so many seconds behind the audio."""
_WARN_LAG_S = 30.0
_FILE_BLOCK_S = 0.5


@app.command()
def stream(  # noqa: PLR0913, PLR0917 (options)
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="microphone (or microphone:NAME), - for standard input, or a recording.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="A folder, a Hugging Face name, or a shipped model, small or tiny.",
            rich_help_panel=options.MODEL_PANEL,
        ),
    ] = DEFAULT_MODEL,
    language: options.ForcedLanguage = None,
    rate: Annotated[
        int | None,
        typer.Option(
            help="Standard input holds raw samples, so many in a second [default: it holds a "
            "container, such as WAV, that ffmpeg reads]."
        ),
    ] = None,
    sample_format: Annotated[
        str,
        typer.Option(
            "--format", metavar="FORMAT", help="Of raw samples: s16le, s16be, s32le, f32le or u8."
        ),
    ] = "s16le",
    channels: Annotated[
        int, typer.Option(help="Interleaved channels of raw samples; they are mixed.", min=1)
    ] = 1,
    pace: Annotated[
        float,
        typer.Option(
            help="Seconds of a recording in a second: 1 is real time, 0 as fast as possible.", min=0
        ),
    ] = 0.0,
    end_silence: Annotated[
        float, typer.Option(help="Seconds of silence that end an utterance.")
    ] = 0.6,
    step: Annotated[
        float, typer.Option(help="Seconds of speech from one partial text to the next.")
    ] = 1.0,
    speech_threshold: Annotated[
        float, typer.Option(help="Probability from which a frame counts as speech.")
    ] = 0.5,
    encoding: Annotated[
        options.EncodingName,
        typer.Option(
            metavar="HOW",
            help="What a partial text encodes: windowed, complete windows of 8 s once; or global, "
            "the utterance again. Models without such windows, as small, encode all of it.",
        ),
    ] = options.EncodingName.WINDOWED,
    commit: Annotated[
        options.CommitName,
        typer.Option(
            metavar="WHEN",
            help="When partial text becomes stable: agreement of two texts, rollback (all but the "
            "last words), or final (never before the end).",
        ),
    ] = options.CommitName.AGREEMENT,
    no_partials: Annotated[
        bool, typer.Option("--no-partials", help="Show utterances only when they are complete.")
    ] = False,
    context: Annotated[
        str, typer.Option("--context", help="Names and terms that bias the model.")
    ] = "",
    carry_context: Annotated[
        bool,
        typer.Option(
            "--carry-context", help="The last text is context of the next utterance. It can drift."
        ),
    ] = False,
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
    device: options.Device = None,
    dtype: options.Dtype = None,
    route: options.BranchRoute = options.RouteName.AUTO,
    threshold: options.RouterThreshold = None,
    adapter: options.AdapterFolder = None,
    profile: options.Profile = None,
    encoder_attention: options.Attention = options.AttentionName.WINDOWED,
    align: options.AlignChoice = "model",
    decode: Annotated[
        options.SearchName,
        typer.Option(
            metavar="METHOD",
            help="How the final text is searched: greedy, best, consensus or auto "
            "(docs/transcripts.md).",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = options.SearchName.GREEDY,
    threads: options.Threads = None,
    offline: options.Offline = False,
    revision: options.Revision = None,
) -> None:
    """Transcribe live: text appears while somebody speaks, and is final after a pause.

    On a terminal, text that may still change is dim. Ctrl-C ends the session and waits for the
    last utterance; a second one interrupts. What was final is in the files even if the process is
    killed. docs/streaming.md explains events and options.
    """
    from megaasr.stream.event_files import EventFiles
    from megaasr.stream.options import StreamOptions
    from megaasr.stream.recording import Recording
    from megaasr.stream.session import StreamSession
    from megaasr.transcribe.bundle import open_bundle
    from megaasr.transcribe.recognizer import MegaASR

    display = LiveDisplay(json_lines=json_lines)
    opened = _open_source(source, rate, sample_format, channels, pace, display)
    stream_options = StreamOptions(
        sample_rate=opened.rate,
        language=forced_language(language),
        context=context,
        end_silence_s=end_silence,
        step_s=step,
        partials=not no_partials,
        encoding=encoding.value,
        commit=commit.value,
        carry_context=carry_context,
        threshold=speech_threshold,
    )
    model_options = ModelOptions(
        name=model,
        device=device,
        dtype=dtype and dtype.value,
        threads=threads,
        encoder_attention=encoder_attention.value,
        align=align,
        adapter=adapter,
        route=route.value,
        threshold=threshold,
        hub=HubOptions(offline, revision),
    ).with_profile(profile)
    header = {"source": source, "model": model, "sample_rate": opened.rate}
    with ExitStack() as stack:
        files = stack.enter_context(EventFiles(output or [], header))
        recording = None
        if record is not None:
            recording = stack.enter_context(Recording(record, opened.rate))
        asr = MegaASR.from_bundle(
            open_bundle(model_options), model_options, search=SearchOptions(decode.value)
        )
        _run(StreamSession(asr, stream_options), opened, files, recording, display)


@dataclass(frozen=True, slots=True)
class _Source:
    """What is transcribed.

    Attributes:
        blocks: blocks of samples, float32 of shape [time].
        rate: samples per second.
        is_live: whether the source waits for nobody.
    """

    blocks: Iterator[Samples]
    rate: int
    is_live: bool


def _open_source(
    source: str,
    rate: int | None,
    sample_format: str,
    channels: int,
    pace: float,
    display: LiveDisplay,
) -> _Source:
    """Return the source that the command line names.

    Raises:
        UsageError: options that do not belong to the source, or standard input is a terminal.
        AudioError: there is no such file.
    """
    from megaasr.audio.files import blocks
    from megaasr.audio.live import read_container, read_pcm
    from megaasr.audio.waveform import SAMPLE_RATE
    from megaasr.stream.microphone import microphone_blocks
    from megaasr.stream.read_ahead import paced

    if rate is not None and source != STANDARD_INPUT:
        raise UsageError("--rate is that of raw samples from standard input: use - as SOURCE")
    name, _, device = source.partition(":")
    is_microphone = name == MICROPHONE and not Path(source).exists()
    if pace and (is_microphone or source == STANDARD_INPUT):
        raise UsageError(f"{source} has its own pace; --pace is for recordings")
    if source == STANDARD_INPUT:
        if sys.stdin.isatty():
            raise UsageError("- reads audio from standard input, but that is a terminal")
        stdin = sys.stdin.buffer
        if rate is not None:
            return _Source(read_pcm(stdin, sample_format, channels), rate, True)
        return _Source(read_container(stdin, "<stdin>"), SAMPLE_RATE, True)
    if is_microphone:
        lost = "the system lost samples of the microphone: the machine is overloaded"
        spoken = microphone_blocks(device or None, lambda: display.warn(lost))
        return _Source(spoken, SAMPLE_RATE, True)
    recording = blocks(source, block_s=_FILE_BLOCK_S)
    recording = chain([next(recording)], recording)  # a file that cannot be read is noticed now
    if pace:
        return _Source(paced(recording, SAMPLE_RATE, pace), SAMPLE_RATE, True)
    return _Source(recording, SAMPLE_RATE, False)


def _run(
    session: StreamSession,
    source: _Source,
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
    limit_s = None if source.is_live else _FILE_BLOCK_S
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
    if recording is not None and recording.is_full:
        display.warn("the recording is as long as a WAV file can be; the rest is not in it")
    display.finish(session.fed_s)
    if failure is not None:
        raise failure


def _recorded(blocks: Iterator[Samples], recording: Recording) -> Iterator[Samples]:
    """Pass blocks on once they are recorded."""
    for block in blocks:
        recording.write(block)
        yield block
