"""`mega-asr simulate`: make speech worse, as rooms, lines and noise do, and make it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megaasr.cli.simulate_corpus import corpus, webdataset
from megaasr.simulate.severity import Mapping

if TYPE_CHECKING:
    from megaasr.audio.waveform import Waveform
    from megaasr.simulate.noise_pool import NoisePool
    from megaasr.simulate.sample_store import Failure
    from megaasr.simulate.scenarios import Scenario
    from megaasr.simulate.simulator import Simulator

_PIPE_WIDTH = 200  # characters: where nobody reads a table on a screen, a scenario is one line

app = typer.Typer(add_completion=False, no_args_is_help=True)

NoisePath = Annotated[
    Path | None,
    typer.Option(
        "--noise", help="Audio file, folder of them, or builtin:babble [default: all built-in]."
    ),
]
RoomFolder = Annotated[
    Path | None,
    typer.Option("--room-responses", help="Folder of measured rooms, in place of synthetic ones."),
]


@app.callback()
def _group() -> None:
    """Simulate bad recordings: 7 conditions, 54 scenarios, one severity from 0 to 1."""


@app.command()
def scenarios(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the 54 scenarios: name, chain, group."""
    from megaasr.simulate.scenarios import SCENARIOS

    if json_:
        listed = [_scenario_json(scenario) for scenario in SCENARIOS]
        typer.echo(json.dumps(listed, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPE_WIDTH)
    for group in dict.fromkeys(scenario.group for scenario in SCENARIOS):
        members = [scenario for scenario in SCENARIOS if scenario.group == group]
        table = Table("scenario", "chain", title=f"{group} ({len(members)})", title_justify="left")
        table.columns[0].no_wrap = True
        for scenario in members:
            table.add_row(scenario.name, ", ".join(step.kind for _, step in scenario.chain))
        console.print(table)


@app.command()
def apply(  # noqa: PLR0913, PLR0917 (every option of a command is an argument)
    source: Annotated[Path, typer.Argument(metavar="IN", help="The clean recording.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="To be written: .wav or .flac.")],
    scenario: Annotated[str, typer.Option(help="Conditions joined by +, such as echo+noise.")],
    severity: Annotated[
        float | None, typer.Option(help="0 (easy) to 1 (hard) [default: drawn by the seed].")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    noise: NoisePath = None,
    room_responses: RoomFolder = None,
    mapping: Annotated[
        Mapping | None, typer.Option(help="How a severity is drawn [default: linear].")
    ] = None,
    speed: Annotated[
        float, typer.Option(help="How many times as fast, 0.5 to 2, the pitch kept.")
    ] = 1.0,
) -> None:
    """Degrade a recording; writes OUT and OUT.json, from which it can be made again.

    OUT has 16 kHz and 16 bit. The same file name, options and seed give the same bytes.
    """
    from megaasr.errors import UsageError
    from megaasr.simulate.describe import describe_steps
    from megaasr.simulate.log import SimulationLog

    if severity is not None and mapping is not None:
        raise UsageError("--mapping is for severities that are drawn; leave it or --severity out")
    _check_output(output, source)
    simulator = _simulator(noise, room_responses)
    draw = simulator.draw(
        seed=seed,
        scenario=scenario,
        severity=severity,
        utterance=_name(source),
        mapping=mapping or Mapping.LINEAR,
        speed=speed,
    )
    clean = _read(source)
    simulated = simulator.apply(clean, draw)
    log = SimulationLog.of(_name(source), clean.samples, draw, simulated)
    _write(output, simulated.waveform, log)
    typer.echo(
        f"{output}: {draw.scenario} at severity {draw.severity:.2f}: "
        f"{'; '.join(describe_steps(draw, simulated.notes)) or 'nothing done'}; "
        f"{simulated.clipped_samples} samples clipped"
    )


@app.command()
def replay(
    log: Annotated[Path, typer.Argument(metavar="OUT.json", help="What `apply` wrote.")],
    source: Annotated[Path, typer.Option("--input", help="The clean recording.")],
    output: Annotated[
        Path | None, typer.Option(help="To be written [default: the log's name without .json].")
    ] = None,
    noise: NoisePath = None,
    room_responses: RoomFolder = None,
    force: Annotated[bool, typer.Option(help="Write even if other samples come out.")] = False,
) -> None:
    """Make a degraded recording again from its log and the clean recording: the same bytes."""
    from megaasr.audio.files import write
    from megaasr.errors import UsageError
    from megaasr.simulate.log import SimulationLog

    if output is None:
        if log.suffix != ".json":
            raise UsageError(f"{log}: its name does not end in .json; say what to write: --output")
        output = log.with_suffix("")
    _check_output(output, source)
    logged = SimulationLog.read(log)
    clean = _read(source)
    logged.check_input(source, clean.samples)
    simulated = _simulator(noise, room_responses).apply(clean, logged.draw)
    if not force:
        logged.check_output(simulated.waveform.samples)
    write(output, simulated.waveform)
    typer.echo(f"{output}: made again from {log}")


@app.command()
def gallery(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The clean recording.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for index.html.")],
    scenario: Annotated[
        list[str] | None, typer.Option(help="A row; may be repeated [default: all conditions].")
    ] = None,
    severity: Annotated[
        list[float] | None, typer.Option(help="A column; may be repeated [default: 0.1 0.5 0.9].")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    seconds: Annotated[
        float, typer.Option(min=0.5, max=60, help="How much of the recording to take.")
    ] = 10.0,
    noise: NoisePath = None,
    room_responses: RoomFolder = None,
) -> None:
    """Make a page to hear and see every condition; one file, for any browser, offline."""
    from megaasr.atomic import write_atomically
    from megaasr.audio.waveform import Waveform
    from megaasr.report.gallery import SEVERITIES, Gallery, default_scenarios
    from megaasr.simulate.scenarios import find_scenario

    rows = list(dict.fromkeys(find_scenario(name) for name in scenario or default_scenarios()))
    clean = _read(source)
    page = Gallery(
        Waveform(clean.samples[: round(seconds * clean.sample_rate)], clean.sample_rate),
        _name(source),
        _simulator(noise, room_responses),
        rows,
        tuple(dict.fromkeys(severity or SEVERITIES)),
        seed,
    ).page()
    output.mkdir(parents=True, exist_ok=True)
    index = output / "index.html"
    write_atomically(index, page)
    typer.echo(f"{index}: {len(rows)} scenarios, {len(page) / 1e6:.1f} MB; open it in a browser")


# Last in the help; they import pyarrow only when they are run.
app.command()(corpus)
app.command()(webdataset)


def _scenario_json(scenario: Scenario) -> dict[str, Any]:
    chain = [
        {"condition": condition.name, "primitive": step.kind, "parameters": _plain(step.parameters)}
        | ({} if step.gate is None else {"from_severity_above": step.gate})
        for condition, step in scenario.chain
    ]
    return {"name": scenario.name, "group": scenario.group, "chain": chain}


def _plain(parameters: Any) -> dict[str, Any]:
    """Return a step's parameters for JSON: constants, {easy, hard, core} or {options, core}."""
    from dataclasses import asdict, is_dataclass

    return {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in parameters.items()
    }


def _simulator(noise: Path | None, room_responses: Path | None) -> Simulator:
    from megaasr.simulate.simulator import Simulator

    rooms = None
    if room_responses is not None:
        from megaasr.simulate.room_responses import MeasuredRooms

        rooms = MeasuredRooms.from_folders([room_responses])
        _warn_of(rooms.failures)
    return Simulator(_noise_pool(noise), rooms)


def _noise_pool(noise: Path | None) -> NoisePool:
    from megaasr.cli.progress import progress_bar
    from megaasr.simulate.noise_generators import BUILTIN
    from megaasr.simulate.noise_pool import NoisePool

    if noise is None:
        return NoisePool()
    if str(noise).startswith(BUILTIN):
        return NoisePool().narrowed(str(noise))
    with progress_bar("noises") as advance:
        pool = NoisePool.from_folders(
            [noise], on_progress=lambda done, total: advance(done, total, "decoded once, then kept")
        )
    _warn_of(pool.failures)
    return pool


def _warn_of(failures: Sequence[Failure]) -> None:
    if failures:
        first = f"{failures[0].name}: {failures[0].reason}"
        typer.echo(f"note: {len(failures)} recordings cannot be used; the first, {first}", err=True)


def _read(source: Path) -> Waveform:
    from megaasr.audio.files import read

    return read(source)


def _name(source: Path) -> str:
    """Return the file's name; bytes in it that are no UTF-8 become question marks."""
    return source.name.encode("utf-8", "replace").decode("utf-8")


def _check_output(output: Path, source: Path) -> None:
    from megaasr.errors import UsageError

    if output.suffix.lower() not in (".wav", ".flac"):
        raise UsageError(f"{output}: only .wav and .flac can be written; change its ending")
    if output.exists() and source.exists() and output.samefile(source):
        raise UsageError(f"{output}: this is the clean recording itself; choose another name")


def _write(output: Path, waveform: Waveform, log: Any) -> None:
    """Write the audio and, only when it is there, the log; a log always fits its audio."""
    from megaasr.atomic import write_atomically
    from megaasr.audio.files import write

    path = output.with_name(f"{output.name}.json")
    path.unlink(missing_ok=True)
    write(output, waveform)
    write_atomically(path, log.to_json())
