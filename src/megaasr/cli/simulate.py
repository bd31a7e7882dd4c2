"""`mega-asr simulate`: degrade speech as rooms, transmission and noise do, reproducibly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megaasr import strict_json
from megaasr.cli.options import ForcedLanguage
from megaasr.cli.simulate_calibrate import calibrate
from megaasr.cli.simulate_corpus import corpus, webdataset
from megaasr.cli.simulate_nonspeech import nonspeech
from megaasr.errors import UsageError
from megaasr.simulate.positions import Compounds
from megaasr.simulate.severity import SeverityCurve

if TYPE_CHECKING:
    from megaasr.audio.waveform import Waveform
    from megaasr.simulate.noise_pool import NoisePool
    from megaasr.simulate.provenance import Provenance
    from megaasr.simulate.sample_cache import RecordingFailure
    from megaasr.simulate.scenarios import Scenario
    from megaasr.simulate.simulator import Simulator
    from megaasr.simulate.talkers import TalkerPool

_PIPE_WIDTH = 200  # characters: outside a terminal, every scenario is on one line

_WRITABLE = (".wav", ".flac")

app = typer.Typer(add_completion=False, no_args_is_help=True)

NoisePath = Annotated[
    Path | None,
    typer.Option(
        "--noise", help="Audio file, folder, or builtin:babble [default: all built-in noises]."
    ),
]
RoomFolder = Annotated[
    Path | None,
    typer.Option(
        "--room-responses",
        help="Folder of measured room responses, instead of synthetic reverberation.",
    ),
]

TalkerFolders = Annotated[
    list[Path] | None,
    typer.Option(
        "--talkers",
        help="Folder or manifest of other people's speech for competing_talker; repeatable "
        "[default: built-in synthetic talkers].",
    ),
]

CompoundRanges = Annotated[
    Compounds,
    typer.Option(
        help="Parameters of compounds: milder ones, so that compounds are as hard as their "
        "conditions, or (literal) the ranges of single conditions."
    ),
]


@app.callback()
def _group() -> None:
    """Simulate bad recordings: 7 conditions, 54 scenarios, and a severity from 0 to 1."""


@app.command()
def scenarios(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    extra: Annotated[
        bool, typer.Option("--extra", help="List the extra conditions, which are not of the paper.")
    ] = False,
) -> None:
    """List the 54 scenarios with their name, chain and group, or the extra conditions."""
    from megaasr.simulate.describe import describe_chain, describe_condition
    from megaasr.simulate.scenarios import EXTRA_SCENARIOS, SCENARIOS

    scenarios_ = EXTRA_SCENARIOS if extra else SCENARIOS
    if json_:
        listed = [_scenario_json(scenario) for scenario in scenarios_]
        typer.echo(strict_json.dumps(listed, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPE_WIDTH)
    for group in dict.fromkeys(scenario.group for scenario in scenarios_):
        members = [scenario for scenario in scenarios_ if scenario.group == group]
        title = f"{'extra conditions' if extra else group} ({len(members)})"
        table = Table("scenario", "what happens, in this order", title=title, title_justify="left")
        table.columns[0].no_wrap = True
        for scenario in members:
            steps = describe_chain([step.kind for _, step in scenario.chain])
            if len(scenario.conditions) == 1:
                steps = f"{describe_condition(scenario.name)} ({steps})"
            table.add_row(scenario.name, steps)
        console.print(table)


@app.command()
def apply(  # noqa: PLR0913, PLR0917 (every option of a command is an argument)
    source: Annotated[Path, typer.Argument(metavar="IN", help="The clean recording.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: .wav or .flac.")],
    scenario: Annotated[str, typer.Option(help="Conditions joined by +, such as echo+noise.")],
    severity: Annotated[
        float | None, typer.Option(help="0 (easy) to 1 (hard) [default: drawn].")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    noise: NoisePath = None,
    room_responses: RoomFolder = None,
    mapping: Annotated[
        SeverityCurve | None,
        typer.Option(help="Distribution of a drawn severity [default: linear]."),
    ] = None,
    speed: Annotated[
        float, typer.Option(help="Speed relative to the recording, 0.5 to 2, at the same pitch.")
    ] = 1.0,
    compounds: CompoundRanges = Compounds.CALIBRATED,
    talkers: TalkerFolders = None,
    codec: Annotated[
        list[str] | None,
        typer.Option(help="Codec that may be drawn; repeatable [default: all, see the docs]."),
    ] = None,
) -> None:
    """Degrade a recording; writes OUT, and OUT.json, from which replay reproduces it.

    OUT has 16 kHz and 16 bits. The same file name, options and seed give the same bytes.
    """
    from dataclasses import replace

    from megaasr.simulate.describe import describe_steps
    from megaasr.simulate.provenance import Provenance

    if severity is not None and mapping is not None:
        raise UsageError("--mapping is for severities that are drawn; leave out it or --severity")
    _check_output(output, source)
    simulator = replace(
        _simulator(noise, room_responses, compounds, talkers),
        codecs=None if codec is None else tuple(codec),
    )
    draw = simulator.draw(
        seed=seed,
        scenario=scenario,
        severity=severity,
        utterance=_name(source),
        severity_curve=mapping or SeverityCurve.LINEAR,
        speed=speed,
    )
    clean = _read(source)
    simulated = simulator.apply(clean, draw)
    provenance = Provenance.of(_name(source), clean.samples, draw, simulated)
    _write(output, simulated.waveform, provenance)
    if simulated.removed_offset:
        typer.echo(
            f"note: {source}: a constant offset of {100 * simulated.removed_offset:.0f} % of full "
            "scale was removed first",
            err=True,
        )
    typer.echo(
        f"{output}: {draw.scenario} at severity {draw.severity:.2f}: "
        f"{'; '.join(describe_steps(draw, simulated.measurements)) or 'nothing done'}; "
        f"{simulated.clipped_samples} samples clipped"
    )


@app.command()
def replay(
    log: Annotated[Path, typer.Argument(metavar="OUT.json", help="Log that `apply` wrote.")],
    source: Annotated[Path, typer.Option("--input", help="The clean recording.")],
    output: Annotated[
        Path | None, typer.Option(help="File to write [default: name of the log without .json].")
    ] = None,
    noise: NoisePath = None,
    room_responses: RoomFolder = None,
    talkers: TalkerFolders = None,
    force: Annotated[
        bool, typer.Option(help="Write the file even if its samples differ from the log.")
    ] = False,
) -> None:
    """Reproduce a degraded recording, byte for byte, from its log and the clean recording."""
    from megaasr.audio.files import write
    from megaasr.simulate.provenance import Provenance

    provenance = Provenance.read(log)
    if output is None:
        output = log.with_suffix("")
        if log.suffix != ".json" or output.suffix.lower() not in _WRITABLE:
            raise UsageError(
                f"{log}: its name does not end in .wav.json or .flac.json; name the file to write: "
                "--output"
            )
    _check_output(output, source)
    clean = _read(source)
    provenance.check_input(source, clean.samples)
    simulator = _simulator(noise, room_responses, talkers=talkers)
    simulated = simulator.apply(clean, provenance.draw)
    if not force:
        provenance.check_output(simulated.waveform.samples)
    write(output, simulated.waveform)
    typer.echo(f"{output}: reproduced from {log}")


@app.command()
def gallery(  # noqa: PLR0913, PLR0917 (every option of a command is an argument)
    source: Annotated[Path, typer.Argument(metavar="IN", help="The clean recording.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of index.html.")],
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            help="Scenario of a row; repeatable; all for the 54 [default: the conditions and some "
            "compounds]."
        ),
    ] = None,
    severity: Annotated[
        list[float] | None,
        typer.Option(help="Severity of a column; repeatable [default: 0.1 0.5 0.9]."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    seconds: Annotated[
        float, typer.Option(min=0.5, max=60, help="Length of the excerpt in seconds.")
    ] = 10.0,
    noise: NoisePath = None,
    room_responses: RoomFolder = None,
    compounds: CompoundRanges = Compounds.CALIBRATED,
    system: Annotated[
        str | None,
        typer.Option(
            help="Recogniser whose text stands under every clip, as for `mega-asr bench --system`."
        ),
    ] = None,
    language: ForcedLanguage = None,
) -> None:
    """Make an HTML page to listen to and look at every condition; one file, which works offline."""
    from megaasr.atomic import write_atomically
    from megaasr.audio.waveform import Waveform
    from megaasr.report.gallery import SEVERITIES, Gallery, default_scenarios
    from megaasr.simulate.scenarios import find_scenario, scenario_names

    names = scenario or default_scenarios()
    names = scenario_names() if "all" in names else names
    rows = list(dict.fromkeys(find_scenario(name) for name in names))
    severities = tuple(dict.fromkeys(severity or SEVERITIES))
    clean = _read(source)
    with _transcriber(system, language, 1 + len(rows) * len(severities)) as transcribe:
        page = Gallery(
            Waveform(clean.samples[: round(seconds * clean.sample_rate)], clean.sample_rate),
            _name(source),
            _simulator(noise, room_responses, compounds),
            rows,
            severities,
            seed,
            transcribe,
        ).page()
    output.mkdir(parents=True, exist_ok=True)
    index = output / "index.html"
    write_atomically(index, page)
    count = f"{len(rows)} scenario{'s' if len(rows) > 1 else ''}"
    typer.echo(f"{index}: {count}, {len(page) / 1e6:.1f} MB; open it in a browser")


# Last in the help; they import pyarrow only when they run.
app.command()(corpus)
app.command()(webdataset)
app.command()(calibrate)
app.command()(nonspeech)


def _scenario_json(scenario: Scenario) -> dict[str, Any]:
    chain = [
        {"condition": condition.name, "primitive": step.kind, "parameters": _plain(step.parameters)}
        | ({} if step.gate is None else {"from_position_above": step.gate})
        for condition, step in scenario.chain
    ]
    from megaasr.simulate.positions import fitted_positions, position

    positions = {str(m): position(scenario, m) for m in fitted_positions()["severities"]}
    head = {"name": scenario.name, "group": scenario.group, "positions": positions}
    return {**head, "chain": chain}


def _plain(parameters: Any) -> dict[str, Any]:
    """Return the parameters of a step as JSON: constants, and ranges with their attributes."""
    from dataclasses import asdict, is_dataclass

    return {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in parameters.items()
    }


def _simulator(
    noise: Path | None,
    room_responses: Path | None,
    compounds: Compounds = Compounds.CALIBRATED,
    talkers: Sequence[Path] | None = None,
) -> Simulator:
    from megaasr.simulate.simulator import Simulator

    rooms = None
    if room_responses is not None:
        from megaasr.simulate.room_responses import MeasuredRooms

        rooms = MeasuredRooms.from_folders([room_responses])
        _warn_about(rooms.failures)
    return Simulator(_noise_pool(noise), rooms, compounds, talkers=_talker_pool(talkers))


@contextmanager
def _transcriber(
    system: str | None, language: str | None, total: int
) -> Iterator[Callable[[Waveform], str] | None]:
    """Yield the recogniser of a page with a number of clips; None if there is no `system`."""
    if system is None:
        if language is not None:
            raise UsageError("--language is the language of --system; name a system too")
        yield None
        return
    from itertools import count

    from megaasr.cli.progress import progress_bar
    from megaasr.score.systems import InferenceOptions, load_system, parse_systems
    from megaasr.text.languages import canonical_language

    (spec,) = parse_systems([system])
    loaded = load_system(spec, InferenceOptions(language=canonical_language(language)))
    numbers = count(1)
    with progress_bar("clips") as advance:

        def transcribe(waveform: Waveform) -> str:
            (prediction,) = loaded.predict([waveform])
            advance(next(numbers), total, system)
            return prediction.text if prediction.error is None else f"({prediction.error})"

        yield transcribe
    loaded.close()


def _talker_pool(talkers: Sequence[Path] | None) -> TalkerPool:
    from megaasr.cli.progress import progress_bar
    from megaasr.simulate.talkers import TalkerPool

    if not talkers:
        return TalkerPool()
    with progress_bar("talkers") as advance:
        pool = TalkerPool.from_folders(
            talkers,
            on_progress=lambda done, total: advance(done, total, "decoded once, then cached"),
        )
    _warn_about(pool.failures)
    return pool


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
            [noise],
            on_progress=lambda done, total: advance(done, total, "decoded once, then cached"),
        )
    _warn_about(pool.failures)
    return pool


def _warn_about(failures: Sequence[RecordingFailure]) -> None:
    if failures:
        first = f"{failures[0].name}: {failures[0].reason}"
        typer.echo(f"note: {len(failures)} recordings cannot be used; the first, {first}", err=True)


def _read(source: Path) -> Waveform:
    from megaasr.audio.files import read

    return read(source)


def _name(source: Path) -> str:
    """Return the name of a file; bytes that are not UTF-8 become question marks."""
    return source.name.encode("utf-8", "replace").decode("utf-8")


def _check_output(output: Path, source: Path) -> None:

    if output.suffix.lower() not in _WRITABLE:
        raise UsageError(f"{output}: only .wav and .flac can be written; change the suffix")
    if output.parent.exists() and not output.parent.is_dir():
        raise UsageError(f"{output}: {output.parent} is a file, not a folder; choose another name")
    if output.exists() and source.exists() and output.samefile(source):
        raise UsageError(f"{output}: this is the clean recording itself; choose another name")


def _write(output: Path, waveform: Waveform, provenance: Provenance) -> None:
    """Write the audio first and then the log, so that a log always belongs to its audio."""
    from megaasr.atomic import write_atomically
    from megaasr.audio.files import write

    path = output.with_name(f"{output.name}.json")
    path.unlink(missing_ok=True)
    write(output, waveform)
    write_atomically(path, provenance.to_json())
