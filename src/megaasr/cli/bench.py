"""`mega-asr bench`: systems on a test set, with intervals, break-downs and comparisons."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr.atomic import write_atomically
from megaasr.errors import UsageError

if TYPE_CHECKING:
    from megaasr.cli.bench_systems import Spec
    from megaasr.score.assembly import Entry
    from megaasr.score.result import Result
    from megaasr.score.test_set import TestSetFile

app = typer.Typer(add_completion=False)


@app.command()
def bench(  # noqa: PLR0913, PLR0917 (options)
    test_set: Annotated[
        str,
        typer.Argument(
            help="JSONL or CSV of clips and references, a simulated data set, or a data set on "
            "the hub (owner/name).",
            show_default=False,
        ),
    ],
    system: Annotated[
        list[str],
        typer.Option(
            help="[NAME=]MODEL (MODEL+ADAPTER: another adapter; MODEL@base, MODEL@robust: one "
            "branch), predictions:FILE, oracle:NAME,NAME (the better one for each clip), "
            "whisper:NAME, faster-whisper:NAME or pipeline:NAME; may be given several times.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the results.")],
    baseline: Annotated[
        str | None, typer.Option(help="Compare the others with this system [default: the first].")
    ] = None,
    audio_root: Annotated[
        Path | None, typer.Option(help="Where relative audio paths start [default: the file's].")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first clips.", min=1)] = None,
    language: Annotated[
        str | None, typer.Option(help="ISO code to force [default: as heard].")
    ] = None,
    blocks: Annotated[
        str | None,
        typer.Option(help="Field whose clips belong together (speaker) for the intervals."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.", min=0)] = 1,
    replications: Annotated[int, typer.Option(help="Of the bootstrap.", min=100)] = 10_000,
    batch_size: Annotated[int, typer.Option(help="Pieces heard at once.", min=1)] = 8,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps [default: the best available].")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
) -> None:
    """Transcribe a test set with one or several systems, and score them.

    Written are predictions.jsonl (a killed run goes on from it), result.json (for `mega-asr
    report`), and the predictions as the Open ASR Leaderboard and the bench want them. Systems may
    be added later by naming all of them again with the same folder. Clips that cannot be read
    count as left out in full, and are listed.
    """
    from megaasr.cli.bench_systems import parse_systems
    from megaasr.score.assembly import assemble
    from megaasr.score.exports import write_leaderboard, write_submission
    from megaasr.score.hub import find_test_set
    from megaasr.score.summary import Settings
    from megaasr.score.test_set import read_test_set

    specs = parse_systems(system)
    if baseline is not None and baseline not in [one.name for one in specs]:
        named = ", ".join(one.name for one in specs)
        raise UsageError(f"--baseline {baseline}: the systems are {named}")
    found = find_test_set(test_set, offline=offline)
    clips = read_test_set(found, audio_root=audio_root, limit=limit)
    options = _Options(device, language, offline, batch_size)
    entries = _run(specs, clips, output, options)
    typer.echo("counting errors and drawing intervals", err=True)
    settings = Settings(seed, replications, blocks=blocks, baseline=baseline)
    command = shlex.join(["mega-asr", *sys.argv[1:]])
    result = assemble(clips, entries, settings, command)
    path = output / "result.json"
    write_atomically(path, result.to_json())
    write_leaderboard(result, output)
    if clips.kind == "bench":
        write_submission(result, clips.clips, output)
    _show(result)
    typer.echo(f"{path}; a page of it: mega-asr report {path} --output {output / 'report'}")


@dataclass(frozen=True, slots=True)
class _Options:
    """How models run."""

    device: str | None
    language: str | None
    offline: bool
    batch_size: int


def _run(specs: Sequence[Spec], clips: TestSetFile, output: Path, options: _Options) -> list[Entry]:
    """Ask every system, or look its predictions up, and return all that was said."""
    from megaasr.cli.bench_systems import FILE, ORACLE, load_system
    from megaasr.cli.progress import progress_bar
    from megaasr.score.assembly import Entry
    from megaasr.score.from_file import look_up
    from megaasr.score.oracle import best_of
    from megaasr.score.predictions import PredictionLog
    from megaasr.score.running import PREDICTIONS_FILE, claim, run_system

    running = {
        spec.name: load_system(spec, **asdict(options))
        for spec in specs
        if spec.kind not in {FILE, ORACLE}
    }
    if running:
        clips.require_audio()
    claim(output, clips, list(running.values()))
    log = PredictionLog(output / PREDICTIONS_FILE)
    entries: list[Entry] = []
    for spec in specs:
        if spec.kind == ORACLE:
            among = [one.said for one in entries if one.name in spec.chosen_from]
            settings = {"systems": spec.model}
            entries.append(Entry(spec.name, ORACLE, best_of(among, clips.clips), None, settings))
            continue
        if spec.kind == FILE:
            said = look_up(Path(spec.model), clips.clips)
            entries.append(Entry(spec.name, FILE, said, settings={"file": spec.model}))
            continue
        one = running[spec.name]
        with progress_bar("clips") as advance:
            run_system(one, clips, log, on_progress=advance)
        said = {clip.id: log.known(spec.name, clip.id) for clip in clips.clips}
        entries.append(Entry(spec.name, spec.kind, said, one.device, one.settings))
    return entries


def _show(result: Result) -> None:
    """Print the headline."""
    (whole,) = result.groups_by("overall")
    for system in result.systems:
        for normalizer, rate in whole.rates[system.name].items():
            low, high = rate.interval
            typer.echo(
                f"{system.name}: {100 * rate.rate:.2f} % ({normalizer}; 95 % interval "
                f"{100 * low:.2f} to {100 * high:.2f}), {rate.clips} clips"
            )
        if system.rtfx is not None:
            typer.echo(f"{system.name}: {system.rtfx:.1f} times real time on {system.device}")
        if system.failed:
            typer.echo(f"{system.name}: {system.failed} clips failed, see {_LISTED}", err=True)
    for one in result.comparisons:
        if one.by == "overall":
            low, high = one.interval
            typer.echo(
                f"{one.system} against {one.baseline} ({one.normalizer}): "
                f"{100 * one.difference:+.2f} points ({100 * low:+.2f} to {100 * high:+.2f}), "
                f"better with probability {one.probability_of_improvement:.3f}"
            )


_LISTED = "`error` in predictions.jsonl"
