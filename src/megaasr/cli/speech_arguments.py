"""The options of `mega-asr transcribe` about the recordings: what is spoken, and where in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import typer

from megaasr.audio.selection import ChannelChoice, Selection
from megaasr.cli import options
from megaasr.cli.languages import forced_language
from megaasr.errors import UsageError

if TYPE_CHECKING:
    from megaasr.transcribe.options import DecodeOptions

EACH_CHANNEL = "each"
"""Value of `--channels` that transcribes each channel for itself."""


@dataclass(frozen=True, slots=True)
class SpeechArguments:
    """What is spoken in the recordings, and which of their sound is used."""

    language: options.Language = None
    track: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of the audio track, from 1 on [default: the one that players choose, or "
            "another if that one is silent].",
        ),
    ] = None
    channels: Annotated[
        str,
        typer.Option(
            metavar="mix|left|right|each|N",
            help="What to use of several channels: their mix, one of them, or each for itself, "
            "which gives a transcript per channel.",
        ),
    ] = "mix"
    context: options.Context = ""
    initial_prompt: Annotated[str, typer.Option(hidden=True)] = ""
    task: Annotated[str, typer.Option(hidden=True)] = "transcribe"

    @property
    def each_channel(self) -> bool:
        """Whether each channel is transcribed for itself."""
        return self.channels == EACH_CHANNEL

    def decode_options(self) -> DecodeOptions:
        """Return what the model is told about the speech.

        Raises:
            UsageError: the model does not know the language, or the task is not to transcribe.
        """
        from megaasr.transcribe.options import DecodeOptions

        if self.task != "transcribe":
            raise UsageError(
                f"--task {self.task} is not supported: the model transcribes, it does not translate"
            )
        return DecodeOptions(forced_language(self.language), self.context or self.initial_prompt)

    def selection(self) -> Selection:
        """Return the audio track and the channels that are used.

        Raises:
            UsageError: `--channels` is neither a name nor a number from 1 on.
        """
        return Selection(self.track, "mix" if self.each_channel else self._channel())

    def _channel(self) -> ChannelChoice:
        if self.channels in ("mix", "left", "right"):
            return cast("ChannelChoice", self.channels)
        if self.channels.isdecimal() and int(self.channels):
            return int(self.channels)
        raise UsageError(
            f"--channels {self.channels}: choose mix, left, right, {EACH_CHANNEL}, or the number "
            "of a channel from 1 on"
        )
