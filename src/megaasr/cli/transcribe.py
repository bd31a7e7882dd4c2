"""`mega-asr transcribe`: recordings to text, on the screen or in files."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr.cli.audio_arguments import UnusableFolder, expand
from megaasr.cli.interruption import Interruption
from megaasr.cli.lazy_model import Branch, ModelWhenNeeded
from megaasr.cli.screen import STOPPED, Lines, Screen
from megaasr.cli.whisper_options import WhisperCommand
from megaasr.errors import UsageError
from megaasr.model.hub import SHIPPED, find_model
from megaasr.model.prompt import language_name
from megaasr.transcribe.outputs import STANDARD_INPUT, AudioInput, OutputFolder
from megaasr.transcribe.subtitles import FORMATS

if TYPE_CHECKING:
    from megaasr.route.decision import RouteChoice
    from megaasr.transcribe.guard import Caution
    from megaasr.transcribe.recording import Audio, Outcome


class _Format(StrEnum):
    """What `--output-format` takes."""

    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    TSV = "tsv"
    JSON = "json"
    ALL = "all"


class _Route(StrEnum):
    """What `--route` takes."""

    AUTO = "auto"
    BASE = "base"
    ROBUST = "robust"
    BOTH = "both"


class _Attention(StrEnum):
    """What `--encoder-attention` takes."""

    WINDOWED = "windowed"
    GLOBAL = "global"


app = typer.Typer(add_completion=False)

_TOY = (
    "without --model this is tiny, a demonstration model that cannot transcribe people; for real "
    "recordings: --model zhifeixie/Mega-ASR"
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
            help="A folder, a Hugging Face name, or tiny, the test model [default: tiny]."
        ),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="ISO code or English name to force [default: as heard].")
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="Write files here [default with -f: .]."),
    ] = None,
    output_format: Annotated[
        _Format | None,
        typer.Option("--output-format", "-f", help="What to write [default with -o: all]."),
    ] = None,
    context: Annotated[
        str, typer.Option("--context", help="Names and words that the model should expect.")
    ] = "",
    initial_prompt: Annotated[str, typer.Option(hidden=True)] = "",
    batch_size: Annotated[int, typer.Option(help="Pieces heard at once.", min=1)] = 8,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps [default: the best available].")
    ] = None,
    route: Annotated[
        _Route,
        typer.Option(
            help="Which branch hears a piece; auto: the router decides; base, robust: this one "
            "alone; both: each piece is heard by both, and the surer text is kept (where they "
            "differ: mega-asr compare)."
        ),
    ] = _Route.AUTO,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Probability of degraded audio from which on auto is robust.", min=0, max=1
        ),
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="Adapter folder, instead of the model's own.")
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            help="Route and threshold as mega-asr calibrate fitted them; --route, --threshold win."
        ),
    ] = None,
    encoder_attention: Annotated[
        _Attention,
        typer.Option(help="Windowed as Qwen designed it, or global as in the paper's figures."),
    ] = _Attention.WINDOWED,
    no_vad: Annotated[
        bool, typer.Option("--no-vad", help="Let the model hear where nobody speaks, too.")
    ] = False,
    guard: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Threshold of a guard, such as phrase_cycle=4 (docs/transcripts.md); inf or -inf "
            "switches it off.",
        ),
    ] = None,
    compression_ratio_threshold: Annotated[
        float | None, typer.Option(help="As --guard compression_ratio=2.4.")
    ] = None,
    logprob_threshold: Annotated[
        float | None, typer.Option(help="As --guard low_logprob=-1.0.")
    ] = None,
    no_retry: Annotated[
        bool, typer.Option("--no-retry", help="Hear suspicious pieces only once.")
    ] = False,
    drop_unreliable: Annotated[
        bool, typer.Option("--drop-unreliable", help="Leave texts out that stay suspicious.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads [default: torch's choice].", min=1)
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Look in folders below folders too.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Skip what an earlier run wrote from the same input."),
    ] = False,
    json_lines: Annotated[
        bool, typer.Option("--json-lines", help="Print one JSON document for each recording.")
    ] = False,
    verbose: Annotated[
        str | None,
        typer.Option(metavar="True|False", help="Live lines [default: on a terminal]."),
    ] = None,
    task: Annotated[str, typer.Option(hidden=True)] = "transcribe",
) -> None:
    """Turn recordings into text.

    Without -o and -f the text is printed. With either, files are written as whisper names them,
    FOLDER/NAME.FORMAT: all formats if only -o is given, in the current folder if only -f is.
    Recordings with the same name never overwrite each other: the later one keeps its suffix
    (talk.mp3.txt). With --recursive, folders are mirrored. Whisper's names of options work, with
    underscores too.
    """
    if task != "transcribe":
        raise UsageError(f"--task {task} is not possible: the model writes what was said, as said")
    writing = output_dir is not None or output_format is not None
    if language is not None:
        language_name(language)  # an unknown one is noticed before seconds go into loading
    if resume and not writing:
        raise UsageError("--resume needs files to skip: add -o FOLDER or -f FORMAT")
    lines, bar = _what_to_show(json_lines, verbose, writing=writing)
    if STANDARD_INPUT in audio and sys.stdin.isatty():
        raise UsageError("- reads a recording from standard input, but that is the keyboard")
    words = context or initial_prompt
    inputs = expand(audio, recursive=recursive)
    name = model or SHIPPED[0]
    chosen: RouteChoice = route.value
    if profile is not None:
        from megaasr.route.profile import RoutingProfile

        fitted = RoutingProfile.read(profile)
        fitted.require(name, offline=offline)
        chosen, threshold = fitted.over(chosen, threshold)
    settings = {"model": _identity(name), "language": language, "context": words}
    if chosen != "auto" or threshold is not None or adapter is not None:
        settings["route"] = [
            chosen,
            threshold,
            None if adapter is None else _identity(str(adapter)),
        ]
    caution = _caution(
        guard or [],
        compression_ratio_threshold,
        logprob_threshold,
        vad=not no_vad,
        retry=not no_retry,
        drop_unreliable=drop_unreliable,
    )
    if (
        guard
        or no_vad
        or no_retry
        or drop_unreliable
        or caution.thresholds != _caution([]).thresholds
    ):
        settings["caution"] = asdict(caution)
    if encoder_attention is not _Attention.WINDOWED:
        settings["encoder_attention"] = str(encoder_attention)
    folder = _planned(inputs, output_dir, output_format, settings) if writing else None
    branch = Branch(chosen, threshold, adapter, encoder_attention.value)
    speech_model = ModelWhenNeeded(name, device, offline, batch_size, threads, branch)
    screen = Screen(lines, len(inputs), bar=bar)
    if model is None:
        screen.note(_TOY)
    run = _Run(inputs, folder, screen, caution, resume=resume)
    run(speech_model, batch_size, language, words)
    if screen.failed:
        raise typer.Exit(1)


class _Run:
    """The recordings of one call, on their way to the recognizer and back.

    Args:
        inputs: the recordings, and folders without any.
        folder: where the transcripts go, or None.
        screen: told about everything, in the order of the inputs.
        caution: about texts that may not be what was said.
        resume: skip what `folder` has already.
    """

    def __init__(
        self,
        inputs: Sequence[AudioInput | UnusableFolder],
        folder: OutputFolder | None,
        screen: Screen,
        caution: Caution,
        *,
        resume: bool,
    ) -> None:
        self._inputs = inputs
        self._folder = folder
        self._screen = screen
        self._caution = caution
        self._resume = resume
        # Taken from `inputs` and not reported yet; the recognizer reads ahead.
        self._begun: deque[tuple[AudioInput | UnusableFolder, bool]] = deque()

    def __call__(
        self, model: ModelWhenNeeded, batch_size: int, language: str | None, context: str
    ) -> None:
        """Transcribe everything and show a summary, whatever happens."""
        from megaasr.transcribe.recognizer import MegaASR

        ended = STOPPED
        try:
            with self._screen, Interruption() as interruption:
                asr = MegaASR(
                    model,
                    batch_size=batch_size,
                    router=model,
                    route=model.branch.route,
                    detector=model.detect if self._caution.vad else None,
                    caution=self._caution,
                    calibration=model.confidence,
                )
                outcomes = asr.transcribe_many(
                    self._audios(),
                    language=language,
                    context=context,
                    on_segment=lambda _, segment: self._screen.segment(self._current(), segment),
                )
                for outcome in outcomes:
                    self._report(outcome)
                    interruption.check()
                self._report_untouched()
            ended = ""
        except KeyboardInterrupt:
            ended = "interrupted"
            raise
        finally:
            self._screen.summarize(ended, loading_s=model.loading_s)

    def _audios(self) -> Iterator[Audio]:
        """Yield what has to be transcribed."""
        for one in self._inputs:
            if isinstance(one, UnusableFolder):
                self._begun.append((one, False))
                continue
            wanted = not (self._resume and self._folder and self._folder.is_done(one))
            if wanted and self._folder is not None:
                self._folder.begin(one)
            self._begun.append((one, wanted))
            if wanted:
                yield sys.stdin.buffer if one.audio == STANDARD_INPUT else one.audio

    def _current(self) -> str:
        """Return the recording that the recognizer speaks of: the first that it was given."""
        self._report_untouched()
        return self._begun[0][0].audio

    def _report_untouched(self) -> None:
        """Report what the recognizer was not given, as far as it is next in order."""
        while self._begun and not self._begun[0][1]:
            one, _ = self._begun.popleft()
            if isinstance(one, UnusableFolder):
                self._screen.fail(one.audio, one.reason)
            else:
                self._screen.skip(one.audio)

    def _report(self, outcome: Outcome) -> None:
        """Write and show what became of the recording that is next in order."""
        self._report_untouched()
        one, _ = self._begun.popleft()
        if outcome.error is not None:
            self._screen.fail(one.audio, outcome.error.reason)
            return
        transcript = outcome.unwrap().with_audio(one.audio)
        if self._folder is not None and isinstance(one, AudioInput):
            try:
                self._folder.write(one, transcript)
            except OSError as error:
                where = f"{error.filename}: " if error.filename else ""
                reason = f"the transcript cannot be written: {where}{error.strerror or error}"
                self._screen.fail(one.audio, reason)
                return
        self._screen.transcript(one.audio, transcript)


def _what_to_show(json_lines: bool, verbose: str | None, *, writing: bool) -> tuple[Lines, bool]:
    """Return what goes to stdout, and whether there may be a progress bar.

    Raises:
        UsageError: if `verbose` is neither true nor false.
    """
    if verbose is not None and verbose.lower() not in ("true", "false"):
        raise UsageError(f"--verbose {verbose} is neither True nor False")
    chatty = None if verbose is None else verbose.lower() == "true"
    if json_lines:
        return Lines.JSON, chatty is not False
    if chatty or (chatty is None and sys.stdout.isatty()):
        return Lines.LIVE, True
    return Lines.NOTHING if writing else Lines.TEXT, chatty is not False


def _planned(
    inputs: Sequence[AudioInput | UnusableFolder],
    output_dir: Path | None,
    output_format: _Format | None,
    settings: Mapping[str, object],
) -> OutputFolder:
    """Return the folder for the outputs, with a name for every input.

    Raises:
        UsageError: if the folder cannot be written in.
    """
    formats = FORMATS if output_format in (None, _Format.ALL) else [str(output_format)]
    folder = OutputFolder(output_dir or Path(), formats, settings)
    folder.plan([one for one in inputs if isinstance(one, AudioInput)])
    return folder


def _identity(model: str) -> object:
    """Return what tells one model from another for `--resume`: a folder may change its files."""
    folder = find_model(model) if model in SHIPPED else Path(os.path.expanduser(model))  # noqa: PTH111
    if not os.path.isdir(folder):  # noqa: PTH112 (Path raises for a name that is too long)
        return model
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    stats = [
        (path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns)
        for path in files
    ]
    return [str(folder.resolve()), stats]


def _caution(
    guards: list[str],
    compression_ratio: float | None = None,
    logprob: float | None = None,
    **switches: bool,
) -> Caution:
    """Return what the options say about suspicious texts."""
    from megaasr.transcribe.guard import Caution, GuardThresholds

    settings = list(guards)
    if compression_ratio is not None:
        settings.append(f"compression_ratio={compression_ratio}")
    if logprob is not None:
        settings.append(f"low_logprob={logprob}")
    return Caution(thresholds=GuardThresholds().changed(settings), **switches)
