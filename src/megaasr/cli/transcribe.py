"""`mega-asr transcribe`: recordings to text, on the screen or in files."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from megaasr.audio.selection import ChannelChoice, Selection
from megaasr.cli import options
from megaasr.cli.audio_arguments import (
    UnusableFolder,
    expand,
    has_recordings_below,
    stated_durations,
)
from megaasr.cli.interruption import Interruption
from megaasr.cli.languages import forced_language
from megaasr.cli.screen import STOPPED, Screen, StdoutContent
from megaasr.cli.whisper_options import WhisperCommand
from megaasr.errors import UsageError
from megaasr.hub import HubOptions
from megaasr.model.hub import DEFAULT_MODEL, SHIPPED_LANGUAGES
from megaasr.model.prompt import language_name
from megaasr.records import FORMATS
from megaasr.records.subtitles import DEFAULT_LAYOUT, SubtitleLayout
from megaasr.transcribe.bundle import LazyModel, ModelOptions
from megaasr.transcribe.outputs import STANDARD_INPUT, AudioInput, OutputFolder
from megaasr.transcribe.search import GREEDY, SearchOptions

if TYPE_CHECKING:
    from megaasr.transcribe.audio_stream import Audio
    from megaasr.transcribe.options import TranscribeOptions
    from megaasr.transcribe.recognizer import MegaASR
    from megaasr.transcribe.session import Outcome


app = typer.Typer(add_completion=False)

ALL_FORMATS = "all"
"""Value of `--output-format` that stands for every format."""

EACH_CHANNEL = "each"
"""Value of `--channels` that transcribes each channel for itself."""

_DEFAULT_MODEL_NOTE = (
    "without --model this is small, which gets many words wrong even in clear speech; for real "
    "work: --model zhifeixie/Mega-ASR"
)


@app.command(cls=WhisperCommand)
def transcribe(  # noqa: PLR0913, PLR0917 (the options of whisper's command)
    audio: Annotated[
        list[str],
        typer.Argument(
            metavar="AUDIO",
            help="Recordings, folders of recordings, or - for standard input.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="A folder, a Hugging Face name, or a shipped model, small or tiny "
            "[default: small].",
            rich_help_panel=options.MODEL_PANEL,
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            help="Language to force: a code or a name, such as zh, zho, zh-CN or Chinese "
            "[default: detected]."
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            "-o",
            help="Write files here [default with -f: .].",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None,
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
    ] = None,
    track: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of the audio track, from 1 on [default: the one that players choose, or "
            "another if that one is silent].",
        ),
    ] = None,
    channels: Annotated[
        str,
        typer.Option(
            metavar="mix|left|right|each|N",
            help="What to use of several channels: their mix, one of them, or each for itself, "
            "which gives a transcript per channel.",
        ),
    ] = "mix",
    context: Annotated[
        str, typer.Option("--context", help="Names and terms that bias the model.")
    ] = "",
    initial_prompt: Annotated[str, typer.Option(hidden=True)] = "",
    batch_size: options.BatchSize = 8,
    device: options.Device = None,
    dtype: options.Dtype = None,
    route: options.BranchRoute = options.RouteName.AUTO,
    threshold: options.RouterThreshold = None,
    adapter: options.AdapterFolder = None,
    profile: options.Profile = None,
    encoder_attention: options.Attention = options.AttentionName.WINDOWED,
    align: options.AlignChoice = "model",
    no_vad: Annotated[
        bool,
        typer.Option(
            "--no-vad",
            help="Disable voice-activity detection.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = False,
    guard: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N",
            help="Threshold of a quality check, such as phrase_cycle=4 (docs/transcripts.md); inf "
            "or -inf disables the check.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = None,
    compression_ratio_threshold: Annotated[
        float | None,
        typer.Option(
            help="Same as --guard compression_ratio=N (default 2.4).",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = None,
    logprob_threshold: Annotated[
        float | None,
        typer.Option(
            help="Same as --guard low_logprob=N (default -1.0).",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = None,
    decode: Annotated[
        options.SearchName,
        typer.Option(
            metavar="METHOD",
            help="How text is searched: greedy; best or consensus of several samples; or auto, the "
            "consensus where the audio is degraded or a check fails.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = options.SearchName.GREEDY,
    samples: Annotated[
        int,
        typer.Option(
            help="Samples of a chunk for --decode.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = GREEDY.samples,
    sampling_temperature: Annotated[
        float,
        typer.Option(
            help="Temperature of these samples.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = GREEDY.temperature,
    utility: Annotated[
        options.UtilityName,
        typer.Option(
            metavar="WHAT",
            help="What the consensus is chosen by: expected word errors, or the reward of DG-WGPO.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = options.UtilityName.ERRORS,
    alternatives: Annotated[
        int,
        typer.Option(
            help="Texts per segment that the JSON lists with their shares of the samples.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = 0,
    no_retry: Annotated[
        bool,
        typer.Option(
            "--no-retry",
            help="Decode unreliable chunks only once.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = False,
    unintelligible: Annotated[
        options.MarkingName,
        typer.Option(
            metavar="HOW",
            help="Spans of words that are more probably wrong than right: keep, mark as "
            "[unintelligible], or drop. The JSON always keeps and lists them.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = options.MarkingName.KEEP,
    drop_unreliable: Annotated[
        bool,
        typer.Option(
            "--drop-unreliable",
            help="Remove text that stays unreliable after all attempts.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = False,
    threads: options.Threads = None,
    offline: options.Offline = False,
    revision: options.Revision = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Include subfolders of folders.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Skip recordings that an earlier run transcribed with the same settings.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = False,
    json_lines: Annotated[
        bool,
        typer.Option(
            "--json-lines",
            help="Print one JSON document per recording.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = False,
    max_line_width: Annotated[
        int,
        typer.Option(
            min=4, help="Columns of a subtitle's line.", rich_help_panel=options.OUTPUT_PANEL
        ),
    ] = DEFAULT_LAYOUT.columns,
    max_line_count: Annotated[
        int,
        typer.Option(min=1, help="Lines of a subtitle.", rich_help_panel=options.OUTPUT_PANEL),
    ] = DEFAULT_LAYOUT.lines,
    highlight_words: Annotated[
        str,
        typer.Option(
            metavar="True|False",
            help="Underline each word of srt and vtt while it is spoken.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = "False",
    word_timestamps: Annotated[str | None, typer.Option(hidden=True)] = None,
    verbose: Annotated[
        str | None,
        typer.Option(
            metavar="True|False",
            help="Print segments as they are decoded [default: on a terminal].",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None,
    task: Annotated[str, typer.Option(hidden=True)] = "transcribe",
) -> None:
    """Turn recordings into text.

    Without -o and -f the text is printed. With either, files are written with whisper's names,
    FOLDER/NAME.FORMAT: all formats with -o alone, to the current folder with -f alone. Recordings
    with the same name never overwrite each other: the later one keeps its suffix (talk.mp3.txt).
    With --recursive, folders are mirrored. The names of whisper's options work, with underscores
    too.
    """
    from megaasr.transcribe.checks import CheckThresholds
    from megaasr.transcribe.options import DecodeOptions, ReliabilityOptions, TranscribeOptions

    if task != "transcribe":
        raise UsageError(
            f"--task {task} is not supported: the model transcribes, it does not translate"
        )
    formats = _parse_formats(output_format or [ALL_FORMATS])
    writing = output_dir is not None or bool(output_format)
    code = forced_language(language)  # an unknown one is noticed before the model is loaded
    if resume and not writing:
        raise UsageError("--resume needs files to skip: add -o FOLDER or -f FORMAT")
    content, bar = _what_to_show(json_lines, verbose, writing=writing)
    layout = SubtitleLayout(
        max_line_width, max_line_count, _parse_bool("--highlight-words", highlight_words)
    )
    if word_timestamps is not None and not _parse_bool("--word-timestamps", word_timestamps):
        raise UsageError("words always have times; leave --word-timestamps out")
    if STANDARD_INPUT in audio and sys.stdin.isatty():
        raise UsageError(
            "- reads a recording from standard input, but that is a terminal; use - < FILE"
        )
    inputs = expand(audio, recursive=recursive)
    model_options = ModelOptions(
        name=model or DEFAULT_MODEL,
        device=device,
        dtype=dtype and dtype.value,
        batch_size=batch_size,
        threads=threads,
        encoder_attention=encoder_attention.value,
        align=align,
        adapter=adapter,
        route=route.value,
        threshold=threshold,
        hub=HubOptions(offline, revision),
    ).with_profile(profile)
    guards = list(guard or [])
    if compression_ratio_threshold is not None:
        guards.append(f"compression_ratio={compression_ratio_threshold}")
    if logprob_threshold is not None:
        guards.append(f"low_logprob={logprob_threshold}")
    transcribe_options = TranscribeOptions(
        model_options,
        DecodeOptions(code, context or initial_prompt),
        ReliabilityOptions(
            vad=not no_vad,
            thresholds=CheckThresholds().changed(guards),
            retry=not no_retry,
            drop_unreliable=drop_unreliable,
        ),
        Selection(track, "mix" if channels == EACH_CHANNEL else _parse_channel(channels)),
        each_channel=channels == EACH_CHANNEL,
        search=SearchOptions(
            decode.value, samples, sampling_temperature, utility.value, alternatives
        ),
    )
    folder = None
    if writing:
        folder = OutputFolder(
            output_dir or Path(),
            formats,
            transcribe_options.settings(),
            layout,
            unintelligible.value,
        )
        folder.assign_names(
            [recording for recording in inputs if isinstance(recording, AudioInput)]
        )
    screen = Screen(
        content,
        len(inputs),
        bar=bar,
        durations=lambda: stated_durations(inputs),
        by_channel=channels == EACH_CHANNEL,
        marking=unintelligible.value,
    )
    if model is None:
        screen.note(_DEFAULT_MODEL_NOTE)
    for argument in audio if not recursive else ():
        if has_recordings_below(argument):
            screen.note(
                f"{argument}: recordings in its subfolders are left out; --recursive includes them"
            )
    languages = SHIPPED_LANGUAGES.get(model_options.name)
    if code is not None and languages and code not in languages:
        supported = ", ".join(language_name(known_code) for known_code in languages)
        screen.warn(
            f"{model_options.name} knows {supported} only; with --language {language} its text is "
            "meaningless"
        )
    _Run(inputs, folder, screen, resume=resume)(transcribe_options)
    if screen.failed:
        raise typer.Exit(1)


class _Run:
    """One call of the command: passes recordings to the recognizer and reports what it returns.

    Args:
        inputs: recordings and unusable folders, in order.
        folder: output folder, or None.
        screen: shows progress and results in the order of the inputs.
        resume: skip recordings whose transcript is complete in `folder`.
    """

    def __init__(
        self,
        inputs: Sequence[AudioInput | UnusableFolder],
        folder: OutputFolder | None,
        screen: Screen,
        *,
        resume: bool,
    ) -> None:
        self._inputs = inputs
        self._folder = folder
        self._screen = screen
        self._resume = resume
        # Not reported yet, each with whether it was passed to the recognizer.
        self._started: deque[tuple[AudioInput | UnusableFolder, bool]] = deque()

    def __call__(self, options: TranscribeOptions) -> None:
        """Transcribe everything; a summary is shown however the run ends."""
        from megaasr.transcribe.recognizer import MegaASR

        status = STOPPED
        model = LazyModel(options.model)
        try:
            with self._screen, Interruption() as interruption:
                asr = MegaASR.from_bundle(
                    model.bundle(), options.model, options.reliability, options.search
                )
                for outcome in self._outcomes(asr, options):
                    self._report(outcome)
                    interruption.check()
                self._report_skipped()
            status = ""
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            self._screen.summarize(status, loading_s=model.loading_s)

    def _outcomes(self, asr: MegaASR, options: TranscribeOptions) -> Iterator[Outcome]:
        """Yield the results in the order of the inputs; segments are shown before them."""
        language, context = options.decode.language, options.decode.context
        if not options.each_channel:
            yield from asr.transcribe_many(
                self._audios(),
                language=language,
                context=context,
                selection=options.selection,
                on_segment=lambda _, segment: self._screen.segment(self._current(), segment),
            )
            return
        track = options.selection.track
        for audio in self._audios():
            outcome = asr.channel_outcome(audio, track=track, language=language, context=context)
            for transcript in outcome.transcripts() if outcome.error is None else ():
                for segment in transcript.segments:
                    self._screen.segment(f"{self._current()} ({transcript.channel})", segment)
            yield outcome

    def _audios(self) -> Iterator[Audio]:
        """Yield the recordings that have to be transcribed."""
        for recording in self._inputs:
            if isinstance(recording, UnusableFolder):
                self._started.append((recording, False))
                continue
            skip = self._resume and self._folder is not None and self._folder.is_done(recording)
            if not skip and self._folder is not None:
                self._folder.hash_input(recording)
            self._started.append((recording, not skip))
            if not skip:
                path = recording.audio
                yield sys.stdin.buffer if path == STANDARD_INPUT else path

    def _current(self) -> str:
        """Return the path of the recording being transcribed: the first one not reported yet."""
        self._report_skipped()
        return self._started[0][0].audio

    def _report_skipped(self) -> None:
        """Report the recordings next in order that the recognizer did not receive."""
        while self._started and not self._started[0][1]:
            recording, _ = self._started.popleft()
            if isinstance(recording, UnusableFolder):
                self._screen.fail(recording.audio, recording.reason)
            else:
                self._screen.skip(recording.audio)

    def _report(self, outcome: Outcome) -> None:
        """Write and show the result of the recording that is next in order."""
        self._report_skipped()
        recording, _ = self._started.popleft()
        if outcome.error is not None:
            self._screen.fail(recording.audio, outcome.error.reason)
            return
        transcripts = [
            transcript.with_audio(recording.audio) for transcript in outcome.transcripts()
        ]
        if self._folder is not None and isinstance(recording, AudioInput):
            try:
                self._folder.write(recording, transcripts)
            except OSError as error:
                file = f"{error.filename}: " if error.filename else ""
                reason = f"the transcript cannot be written: {file}{error.strerror or error}"
                self._screen.fail(recording.audio, reason)
                return
        self._screen.transcripts(recording.audio, transcripts)


def _parse_channel(text: str) -> ChannelChoice:
    """Return the value of `--channels`.

    Raises:
        UsageError: it is neither a name nor a number from 1 on.
    """
    if text in ("mix", "left", "right"):
        return cast("ChannelChoice", text)
    if text.isdecimal() and int(text):
        return int(text)
    raise UsageError(
        f"--channels {text}: choose mix, left, right, {EACH_CHANNEL}, or the number of a channel "
        "from 1 on"
    )


def _parse_formats(values: Sequence[str]) -> tuple[str, ...]:
    """Return the distinct formats in the values of `--output-format`, in order.

    Args:
        values: names of formats, or several names separated by commas.

    Raises:
        UsageError: a name is not one of a format, and not `all`.
    """
    formats: list[str] = []
    for name in (part.strip() for value in values for part in value.split(",")):
        if name not in (*FORMATS, ALL_FORMATS):
            choices = ", ".join((*FORMATS, ALL_FORMATS))
            raise UsageError(f"unknown output format {name!r}; choose one of {choices}")
        formats += FORMATS if name == ALL_FORMATS else [name]
    return tuple(dict.fromkeys(formats))


def _parse_bool(option: str, text: str) -> bool:
    """Return the value of an option that takes True or False, as whisper's do.

    Raises:
        UsageError: the text is neither.
    """
    if text.lower() not in ("true", "false"):
        raise UsageError(f"{option} {text} is neither True nor False")
    return text.lower() == "true"


def _what_to_show(
    json_lines: bool, verbose: str | None, *, writing: bool
) -> tuple[StdoutContent, bool]:
    """Return what is printed to stdout, and whether a progress bar is allowed.

    Raises:
        UsageError: `verbose` is neither true nor false.
    """
    show_lines = None if verbose is None else _parse_bool("--verbose", verbose)
    if json_lines:
        return StdoutContent.JSON, show_lines is not False
    if show_lines or (show_lines is None and sys.stdout.isatty()):
        return StdoutContent.SEGMENTS, True
    return StdoutContent.NOTHING if writing else StdoutContent.TEXT, show_lines is not False
