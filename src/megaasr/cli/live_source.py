"""What `mega-asr stream` transcribes: a microphone, standard input or a recording."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from megaasr.cli.live_display import LiveDisplay
from megaasr.errors import UsageError

if TYPE_CHECKING:
    from megaasr.audio.waveform import Samples

MICROPHONE = "microphone"
STANDARD_INPUT = "-"
FILE_BLOCK_S = 0.5
"""Length of the blocks that a recording is read in, seconds."""


@dataclass(frozen=True, slots=True)
class LiveSource:
    """What is transcribed.

    Attributes:
        blocks: blocks of samples, float32 of shape [time].
        rate: samples per second.
        is_live: whether the source waits for nobody.
    """

    blocks: Iterator[Samples]
    rate: int
    is_live: bool

    def begun(self) -> LiveSource:
        """Wait for the first block, and return the source with it.

        Raises:
            AudioError, UsageError: the source cannot be used.
        """
        first = next(self.blocks, None)
        return self if first is None else replace(self, blocks=chain([first], self.blocks))


@dataclass(frozen=True, slots=True)
class SourceArguments:
    """How the source is read."""

    rate: Annotated[
        int | None,
        typer.Option(
            help="Standard input holds raw samples, so many in a second [default: it holds a "
            "container, such as WAV, that ffmpeg reads]."
        ),
    ] = None
    sample_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="Of raw samples: s16le, s16be, s32le, f32le or u8 [default: s16le].",
        ),
    ] = None
    channels: Annotated[
        int | None,
        typer.Option(
            help="Interleaved channels of raw samples, which are mixed [default: 1].", min=1
        ),
    ] = None
    pace: Annotated[
        float,
        typer.Option(
            help="Seconds of a recording in a second: 1 is real time, 0 as fast as possible.", min=0
        ),
    ] = 0.0

    def open(self, source: str, display: LiveDisplay) -> LiveSource:
        """Return the source that the command line names.

        Args:
            source: the argument: `microphone`, `microphone:NAME`, `-`, or a path.
            display: shows that samples of the microphone were lost.

        Raises:
            UsageError: options that do not belong to the source, or standard input is a terminal.
            AudioError: there is no such file.
        """
        from megaasr.audio.files import blocks
        from megaasr.audio.live import read_container, read_pcm
        from megaasr.audio.waveform import SAMPLE_RATE
        from megaasr.stream.microphone import microphone_blocks
        from megaasr.stream.read_ahead import paced

        if self.rate is not None and source != STANDARD_INPUT:
            raise UsageError("--rate is that of raw samples from standard input: use - as SOURCE")
        if self.rate is None and not (self.sample_format is None and self.channels is None):
            raise UsageError("--format and --channels describe raw samples: add their --rate")
        name, _, device = source.partition(":")
        is_microphone = name == MICROPHONE and not Path(source).exists()
        if self.pace and (is_microphone or source == STANDARD_INPUT):
            raise UsageError(f"{source} has its own pace; --pace is for recordings")
        if source == STANDARD_INPUT:
            if sys.stdin.isatty():
                raise UsageError("- reads audio from standard input, but that is a terminal")
            stdin = _standard_input()
            if self.rate is not None:
                pcm = read_pcm(stdin, self.sample_format or "s16le", self.channels or 1)
                return LiveSource(pcm, self.rate, True)
            return LiveSource(read_container(stdin, "<stdin>"), SAMPLE_RATE, True)
        if is_microphone:
            lost = "the system lost samples of the microphone: the machine is overloaded"
            spoken = microphone_blocks(device or None, lambda: display.warn(lost))
            return LiveSource(spoken, SAMPLE_RATE, True)
        # A file that cannot be read is noticed before the model is loaded.
        recording = LiveSource(blocks(source, block_s=FILE_BLOCK_S), SAMPLE_RATE, False).begun()
        if not self.pace:
            return recording
        return LiveSource(paced(recording.blocks, SAMPLE_RATE, self.pace), SAMPLE_RATE, True)


def _standard_input() -> IO[bytes]:
    """Return standard input without its buffer.

    A thread that waits for data in a buffer holds its lock, and Python, which wants that lock when
    it ends, crashes.
    """
    buffered: IO[bytes] = sys.stdin.buffer
    unbuffered: IO[bytes] = getattr(buffered, "raw", buffered)
    return unbuffered
