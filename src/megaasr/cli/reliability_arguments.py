"""The options of `mega-asr transcribe` about how text is searched, checked and marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr.cli import options
from megaasr.transcribe.search import GREEDY, SearchOptions

if TYPE_CHECKING:
    from megaasr.transcribe.options import ReliabilityOptions


@dataclass(frozen=True, slots=True)
class ReliabilityArguments:
    """How text is searched, what checks it has to pass, and what becomes of unreliable text."""

    no_vad: Annotated[
        bool,
        typer.Option(
            "--no-vad",
            help="Disable voice-activity detection.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = False
    guard: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N",
            help="Threshold of a quality check, such as phrase_cycle=4 (docs/transcripts.md); inf "
            "or -inf disables the check.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = None
    compression_ratio_threshold: Annotated[
        float | None,
        typer.Option(
            help="Same as --guard compression_ratio=N (default 2.4).",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = None
    logprob_threshold: Annotated[
        float | None,
        typer.Option(
            help="Same as --guard low_logprob=N (default -1.0).",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = None
    decode: Annotated[
        options.SearchName,
        typer.Option(
            metavar="METHOD",
            help="How text is searched: greedy; best or consensus of several samples; or auto, the "
            "consensus where the audio is degraded or a check fails.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = options.SearchName.GREEDY
    samples: Annotated[
        int,
        typer.Option(
            help="Samples of a chunk for --decode.", rich_help_panel=options.RELIABILITY_PANEL
        ),
    ] = GREEDY.samples
    sampling_temperature: Annotated[
        float,
        typer.Option(
            help="Temperature of these samples.", rich_help_panel=options.RELIABILITY_PANEL
        ),
    ] = GREEDY.temperature
    utility: Annotated[
        options.UtilityName,
        typer.Option(
            metavar="WHAT",
            help="What the consensus is chosen by: expected word errors, or the reward of DG-WGPO.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = options.UtilityName.ERRORS
    alternatives: Annotated[
        int,
        typer.Option(
            help="Texts per segment that the JSON lists with their shares of the samples.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = 0
    no_retry: Annotated[
        bool,
        typer.Option(
            "--no-retry",
            help="Decode unreliable chunks only once.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = False
    unintelligible: Annotated[
        options.MarkingName,
        typer.Option(
            metavar="HOW",
            help="Spans of words that are more probably wrong than right: keep, mark as "
            "[unintelligible], or drop. The JSON always keeps and lists them.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = options.MarkingName.KEEP
    drop_unreliable: Annotated[
        bool,
        typer.Option(
            "--drop-unreliable",
            help="Remove text that stays unreliable after all attempts.",
            rich_help_panel=options.RELIABILITY_PANEL,
        ),
    ] = False

    def reliability_options(self) -> ReliabilityOptions:
        """Return the quality checks and their consequences.

        Raises:
            UsageError: `--guard` names no check, or gives no number.
        """
        from megaasr.transcribe.checks import CheckThresholds
        from megaasr.transcribe.options import ReliabilityOptions

        guards = list(self.guard or [])
        if self.compression_ratio_threshold is not None:
            guards.append(f"compression_ratio={self.compression_ratio_threshold}")
        if self.logprob_threshold is not None:
            guards.append(f"low_logprob={self.logprob_threshold}")
        return ReliabilityOptions(
            vad=not self.no_vad,
            thresholds=CheckThresholds().changed(guards),
            retry=not self.no_retry,
            drop_unreliable=self.drop_unreliable,
        )

    def search_options(self) -> SearchOptions:
        """Return how the text of a chunk is searched.

        Raises:
            UsageError: a number is out of range.
        """
        return SearchOptions(
            self.decode.value,
            samples=self.samples,
            temperature=self.sampling_temperature,
            utility=self.utility.value,
            alternatives=self.alternatives,
        )
