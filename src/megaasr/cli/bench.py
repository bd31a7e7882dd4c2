"""`mega-asr bench`: systems on a test set, with intervals, break-downs and comparisons."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megaasr.cli.languages import forced_language, unknown_languages
from megaasr.cli.options import (
    BatchSize,
    Device,
    EngineChoice,
    EngineName,
    ForcedLanguage,
    NormalizerVersion,
    Offline,
)
from megaasr.errors import UsageError

if TYPE_CHECKING:
    from megaasr.score.result import Result

app = typer.Typer(add_completion=False)
_MAX_NAMED = 5
"""Failed clips that are named; all are in predictions.jsonl and result.json."""


@app.command()
def bench(  # noqa: PLR0913, PLR0917 (options)
    test_set: Annotated[
        str,
        typer.Argument(
            help="Test set: a JSONL, CSV or TSV file of clips and references, a simulated data "
            "set, or a data set on the hub (owner/name).",
            show_default=False,
        ),
    ],
    system: Annotated[
        list[str],
        typer.Option(
            help="System to test; repeat the option for several. [NAME=]MODEL (MODEL+ADAPTER: with "
            "another adapter; MODEL@base, MODEL@robust: one branch only; benchmarking.md "
            "lists more variants), predictions:FILE, "
            "oracle:NAME,NAME (the better one for each clip), whisper:NAME, faster-whisper:NAME or "
            "pipeline:NAME.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    baseline: Annotated[
        str | None, typer.Option(help="Compare the others with this system [default: the first].")
    ] = None,
    audio_root: Annotated[
        Path | None,
        typer.Option(help="Folder that audio paths are relative to [default: the file's folder]."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Use only the first N clips.", min=1)] = None,
    language: ForcedLanguage = None,
    blocks: Annotated[
        str | None,
        typer.Option(
            help="Field of the records (such as speaker) whose clips are not independent; they "
            "are drawn together. id: every clip by itself [default: the copies of one sentence, "
            "by parent_id or text]."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.", min=0)] = 1,
    replications: Annotated[
        int, typer.Option(help="Number of bootstrap replications.", min=100)
    ] = 10_000,
    normalizer_version: NormalizerVersion = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Test live transcription at a simulated clock (docs/streaming.md). Systems are "
            "[NAME=]MODEL (MODEL@step=2: with options), released:MODEL, agreement2:MODEL "
            "and events:FILE.",
        ),
    ] = False,
    feed: Annotated[
        float, typer.Option(help="With --stream: seconds of audio that arrive together.")
    ] = 0.1,
    clock: Annotated[
        str,
        typer.Option(
            metavar="wall|cpu",
            help="With --stream: what computing is charged by; cpu is the time of all cores.",
        ),
    ] = "wall",
    batch_size: BatchSize = 8,
    device: Device = None,
    engine: EngineChoice = EngineName.TRANSFORMERS,
    offline: Offline = False,
) -> None:
    """Transcribe a test set with one or several systems, and score them.

    Writes predictions.jsonl (a killed run resumes from it), result.json (for `mega-asr report`),
    and the predictions in the formats of the Open ASR Leaderboard and of Voices-in-the-Wild-Bench.
    To add systems later, name all of them again with the same folder. Clips whose audio cannot be
    read, or that have no prediction, count as completely deleted; they are listed, and the exit
    status is 1.
    """
    from megaasr.cli.progress import progress_bar
    from megaasr.score.benchmark import RESULT_FILE, check_baseline, run_systems, score_systems
    from megaasr.score.hub import find_test_set
    from megaasr.score.summary import ScoringSettings
    from megaasr.score.systems import OURS, InferenceOptions, parse_systems
    from megaasr.score.test_set import read_test_set
    from megaasr.text.languages import canonical_language

    if stream:
        _bench_stream(test_set, system, output, audio_root, limit, language, feed, clock, device)
        return
    specs = parse_systems(system)
    check_baseline(baseline, specs)
    path = find_test_set(test_set, offline=offline)
    clips = read_test_set(path, audio_root=audio_root, limit=limit)
    settings = ScoringSettings(
        seed,
        replications,
        blocks=blocks,
        baseline=baseline,
        normalizer_version=normalizer_version,
    )
    headline = next(iter(settings.normalizers.values()))
    unknown_languages(clip.language for clip in clips.clips)
    # Other systems know other languages than our models.
    ours = any(spec.kind == OURS for spec in specs)
    code = forced_language(language) if ours else canonical_language(language)
    options = InferenceOptions(device, code, offline, batch_size, engine.value)
    systems = run_systems(
        specs,
        clips,
        output,
        options,
        normalizer=headline,
        progress=lambda: progress_bar("clips"),
    )
    typer.echo("counting errors and drawing intervals", err=True)
    command = shlex.join(["mega-asr", *sys.argv[1:]])
    result = score_systems(systems, clips, output, settings, command=command)
    _show(result)
    path = output / RESULT_FILE
    typer.echo(f"{path}; a page of it: mega-asr report {path} --output {output / 'report'}")
    failed = [summary.name for summary in result.systems if summary.failed]
    for name in failed:
        _show_failures(result, name)
    if failed:
        raise typer.Exit(1)


def _bench_stream(  # noqa: PLR0913, PLR0917 (the options that live systems have)
    test_set: str,
    system: list[str],
    output: Path,
    audio_root: Path | None,
    limit: int | None,
    language: str | None,
    feed: float,
    clock: str,
    device: str | None,
) -> None:
    """Test live systems, and print the most important measures."""
    from megaasr.cli.progress import progress_bar
    from megaasr.score.streaming.bench import RESULT_FILE, parse_live_systems, run_stream_bench
    from megaasr.score.test_set import read_test_set
    from megaasr.transcribe.recognizer import MegaASR

    if clock not in ("wall", "cpu"):
        raise UsageError(f"--clock {clock}: choose wall or cpu")
    specs = parse_live_systems(system)
    clips = read_test_set(Path(test_set), audio_root=audio_root, limit=limit)
    with progress_bar("clips") as on_progress:
        result = run_stream_bench(
            specs,
            clips,
            output,
            lambda name: MegaASR.from_pretrained(name, device=device),
            feed_s=feed,
            clock="cpu" if clock == "cpu" else "wall",
            language=forced_language(language),
            on_progress=on_progress,
        )
    for entry in result["systems"]:
        typer.echo(_live_line(entry["name"], entry["overall"]))
    if result["word_times"] == "offline":
        typer.echo(
            "the test set has no times of words: they are spread over the speech that offline "
            "recognition found, so latencies are estimates",
            err=True,
        )
    typer.echo(str(output / RESULT_FILE))


def _live_line(name: str, measures: dict[str, Any]) -> str:
    """Return the most important measures of a live system in one line."""

    def shown(key: str, form: str, factor: float = 1.0) -> str:
        value = measures.get(key)
        return "n/a" if value is None else format(factor * value, form)

    return (
        f"{name}: WER {shown('wer', '.1f', 100)} % (offline {shown('offline_wer', '.1f', 100)} %), "
        f"{measures['inserted_words']} words inserted, "
        f"emission {shown('emission_s_p50', '.2f')} s, "
        f"confirmation {shown('confirmation_s_p50', '.2f')} s, "
        f"p90 {shown('confirmation_s_p90', '.2f')} s, "
        f"finalisation {shown('finalisation_s_p50', '.2f')} s, "
        f"unstable words {shown('unstable_partial_words', '.2f')}, "
        f"confirmed text changed {measures['changed_confirmed']} times, "
        f"{shown('steps_per_audio_s', '.2f')} steps and {shown('real_time_factor', '.3f')} s of "
        "computing per second"
    )


def _show_failures(result: Result, system: str) -> None:
    """Print which clips a system failed on, and why."""
    failed = [
        (clip.id, error)
        for clip in result.clips
        if (error := clip.hypotheses[system].error) is not None
    ]
    names = ", ".join(name for name, _ in failed[:_MAX_NAMED])
    reasons = list(dict.fromkeys(error for _, error in failed))
    typer.echo(
        f"{system}: {len(failed)} of {len(result.clips)} clips failed and count as completely "
        f"deleted ({names}{', …' if len(failed) > _MAX_NAMED else ''}): {reasons[0]}"
        f"{', …' if len(reasons) > 1 else ''}",
        err=True,
    )


def _show(result: Result) -> None:
    """Print the headline rates and comparisons."""
    from megaasr.score.intervals import TOO_FEW

    for system in result.systems:
        for normalizer, rate in result.overall.rates[system.name].items():
            version = f"{normalizer} version {result.normalizers[normalizer]}"
            clips = f"{rate.clips} clips, {rate.blocks} independent"
            if rate.is_defined:
                interval = TOO_FEW if rate.interval is None else _points(rate.interval, ".2f")
                typer.echo(
                    f"{system.name}: {100 * rate.rate:.2f} % ({version}; 95 % interval: "
                    f"{interval}), {clips}"
                )
            else:
                typer.echo(f"{system.name}: n/a ({version}; the references have no words), {clips}")
        if rate.clips_without_speech:
            typer.echo(
                f"{system.name}: {rate.inserted_without_speech} words inserted in "
                f"{rate.clips_without_speech} clips without speech"
                + ("; the rate counts them" if rate.is_defined else "")
            )
        if system.rtfx is not None:
            typer.echo(f"{system.name}: {system.rtfx:.1f} times real time on {system.device}")
    for comparison in result.comparisons:
        if comparison.by == "overall":
            line = (
                f"{comparison.system} against {comparison.baseline} ({comparison.normalizer}): "
                f"{100 * comparison.difference:+.2f} points"
            )
            if comparison.interval is None:
                line += f" ({TOO_FEW} to compare)"
            else:
                line += (
                    f" ({_points(comparison.interval, '+.2f')}), better with probability "
                    f"{comparison.probability_of_improvement:.3f}, p {comparison.p_value:.2g}"
                )
            typer.echo(line)
    blocks, least = result.overall.rates[result.systems[0].name], result.bootstrap.min_blocks
    count = next(iter(blocks.values())).blocks
    if least is not None and count is not None and count < least:
        typer.echo(
            f"{TOO_FEW}: {count} independent ones, and intervals and comparisons need {least}. "
            "Copies of one sentence count once; --blocks id counts every clip, which makes "
            "intervals too narrow where copies share errors",
            err=True,
        )


def _points(interval: tuple[float, float], form: str) -> str:
    """Return both ends of an interval in per cent."""
    low, high = (format(100 * end, form) for end in interval)
    return f"{low} to {high}"
