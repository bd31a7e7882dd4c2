"""The acoustic simulator; peers: pedalboard + pyloudnorm + librosa, and audiomentations."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import Row, Settings, Table
from benchmarks.timing import Runs, in_turn, say

if TYPE_CHECKING:
    from benchmarks.simulator_stage import Stage

OURS, REFERENCE, AUGMENTATIONS = "megaasr", "reference", "audiomentations"
_NEEDS = {
    REFERENCE: ("pedalboard", "pyloudnorm", "librosa"),
    AUGMENTATIONS: ("audiomentations", "loudness"),
}
_SINGLES = "mean of the 7"
_ALL = "mean of the 54"
_SIZES = {
    count: f"mean of the {number} of {count}"
    for count, number in ((2, 18), (3, 13), (4, 13), (5, 3))
}
_NOISE = "built-in noise: "
_FILES, _WORKERS = "FLAC to FLAC", "FLAC to FLAC, {} worker(s)"


@dataclass(frozen=True, slots=True)
class _Amounts:
    lengths_s: Sequence[float] = (10, 11, 12, 13, 14, 15)
    clips: int = 12
    noises: int = 8
    noise_s: float = 30
    repeats: int = 5
    file_rounds: int = 4


_QUICK = _Amounts(lengths_s=(2, 3), clips=2, noises=2, noise_s=5, repeats=1, file_rounds=1)


def run(settings: Settings) -> tuple[Mapping[str, Any], list[Row]]:
    """Degrade the same clips with all of them, in turn; only ours also draws within its time."""
    from benchmarks.simulator_stage import Stage
    from megaasr.simulate import kernels

    amounts = _QUICK if settings.quick else _Amounts()
    missing = {name: _missing(needs) for name, needs in _NEEDS.items()}
    for name, packages in missing.items():
        if packages:
            say(f"simulator: {name} is left out, not installed: {', '.join(packages)}")
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), amounts.lengths_s, amounts.clips)
        stage.make_noises(amounts.noises, amounts.noise_s)
        peers = [name for name, packages in missing.items() if not packages]
        rows = _in_memory(stage, peers, amounts.repeats)
        rows += _means(rows)
        say("simulator: built-in noises")
        rows += _noises(amounts.repeats)
        say("simulator: files")
        rows += _files(stage, REFERENCE in peers, amounts)
    used = {**asdict(amounts), "loops": kernels.name(), "not_installed": missing}
    return used, rows


def _missing(packages: Sequence[str]) -> list[str]:
    return [package for package in packages if find_spec(package) is None]


def _in_memory(stage: Stage, peers: Sequence[str], repeats: int) -> list[Row]:
    """Measure every scenario by itself."""
    from megaasr.simulate.scenarios import SCENARIOS

    degrade = stage.peers(peers)
    rows: list[Row] = []
    for scenario in SCENARIOS:
        say(f"simulator: {scenario.name}")
        jobs: dict[str, Callable[[], object]] = {OURS: partial(stage.ours, scenario.name)}
        for name in peers:
            if name == REFERENCE or len(scenario.conditions) == 1:
                jobs[name] = degrade[name](scenario.name)
        runs = in_turn(jobs, repeats)
        for name in jobs:
            rows.append(_row(scenario.name, name, stage.audio_s, runs, len(scenario.conditions)))
    return rows


def _row(what: str, system: str, audio_s: float, runs: Mapping[str, Runs], size: int) -> Row:
    own, ours = runs[system], runs[OURS]
    return {
        "what": what,
        "conditions": size,
        "system": system,
        "audio_s": round(audio_s, 2),
        **own.fields(),
        "rtfx_cpu": round(audio_s / own.cpu, 2),
        "rtfx_wall": round(audio_s / own.wall, 2),
        "ours_times_this_cpu": round(own.cpu / ours.cpu, 3),
    }


def _means(rows: Sequence[Row]) -> list[Row]:
    """Average the RTFx of scenarios, as findings about such tools are usually given."""
    groups = {_SINGLES: (1,), **{label: (size,) for size, label in _SIZES.items()}}
    means: list[Row] = []
    for what, sizes in {**groups, _ALL: (1, 2, 3, 4, 5)}.items():
        rtfx = {
            system: [
                row["rtfx_cpu"]
                for row in rows
                if row["system"] == system and row["conditions"] in sizes
            ]
            for system in (OURS, REFERENCE, AUGMENTATIONS)
        }
        ours = sum(rtfx[OURS]) / len(rtfx[OURS])
        for system, values in rtfx.items():
            if len(values) == len(rtfx[OURS]):
                mean = sum(values) / len(values)
                means.append(
                    {
                        "what": what,
                        "system": system,
                        "rtfx_cpu": round(mean, 2),
                        "ours_times_this_cpu": round(ours / mean, 3),
                    }
                )
    return means


def _noises(repeats: int) -> list[Row]:
    """Make every built-in noise anew, as each process does that uses it."""
    from megaasr.audio.waveform import SAMPLE_RATE
    from megaasr.simulate.noise_generators import NAMES, builtin_noise

    runs = in_turn({name: partial(builtin_noise.__wrapped__, name) for name in NAMES}, repeats)
    return [
        _row(_NOISE + name, OURS, len(builtin_noise(name)) / SAMPLE_RATE, {OURS: runs[name]}, 0)
        for name in NAMES
    ]


def _files(stage: Stage, with_reference: bool, amounts: _Amounts) -> list[Row]:
    """Measure from file to file, every scenario once a round; then over worker processes."""
    tasks = stage.file_tasks(amounts.file_rounds)
    jobs: dict[str, Callable[[], object]] = {OURS: partial(stage.ours_files, tasks)}
    if with_reference:
        jobs[REFERENCE] = stage.reference_files(tasks)
    runs = in_turn(jobs, amounts.repeats)
    audio_s = stage.task_audio_s(tasks)
    rows = [_row(_FILES, name, audio_s, runs, 0) for name in jobs]
    with stage.workers(1) as one_worker, stage.workers(2) as two_workers:
        by_workers = in_turn(
            {"1": partial(one_worker, tasks), "2": partial(two_workers, tasks)}, amounts.repeats
        )
    for count, worker_runs in by_workers.items():
        rows.append(
            {
                "what": _WORKERS.format(count),
                "system": OURS,
                "audio_s": round(audio_s, 2),
                "workers": int(count),
                "wall_s": round(worker_runs.wall, 5),
                "wall_s_runs": [round(value, 5) for value in worker_runs.wall_s],
                "rtfx_wall": round(audio_s / worker_runs.wall, 2),
                "times_one_worker": round(by_workers["1"].wall / worker_runs.wall, 3),
            }
        )
    return rows


def table(entry: Mapping[str, Any]) -> Table:
    """One line for each condition, then the means, then files."""
    used = entry["settings"]
    by: dict[str, dict[str, Row]] = {}
    for row in entry["rows"]:
        by.setdefault(row["what"], {})[row["system"]] = row
    singles = [row["what"] for row in entry["rows"] if row.get("conditions") == 1]
    shown = [*dict.fromkeys(singles), _SINGLES, *_SIZES.values(), _ALL, _FILES]
    lines = [[what, *_cells(by[what])] for what in shown]
    two = by[_WORKERS.format(2)][OURS]
    noises = [systems[OURS]["cpu_s"] for what, systems in by.items() if what.startswith(_NOISE)]
    absent = [
        f"{name} was not measured (not installed: {', '.join(packages)})"
        for name, packages in used["not_installed"].items()
        if packages
    ]
    note = (
        f"Seconds of audio per CPU second, one thread, {used['clips']} clips of "
        f"{min(used['lengths_s'])} to {max(used['lengths_s'])} s in memory, severities spread "
        "evenly, the same for ours and the reference; ours draws within its time. Reference: "
        "pedalboard, pyloudnorm and librosa, the same chains; audiomentations: its closest "
        "transforms. FLAC to FLAC: all 54 scenarios from file to file. Over 2 worker processes "
        f"files go {two['times_one_worker']:.2f} times as fast as with one (wall time). Medians of "
        f"{used['repeats']} run(s) after a warm-up; {used['loops']} loops."
        + (f" Built-in noises are made in up to {1000 * max(noises):.0f} CPU ms." if noises else "")
        + "".join(f" {sentence}." for sentence in absent)
    )
    head = (
        "scenarios",
        "megaasr",
        "reference",
        "× reference",
        "audiomentations",
        "× audiomentations",
    )
    return Table("simulator: degrading speech", note, head, lines)


def _cells(systems: Mapping[str, Row]) -> list[str]:
    cells = [f"{systems[OURS]['rtfx_cpu']:.0f}"]
    for name in (REFERENCE, AUGMENTATIONS):
        row = systems.get(name)
        cells += (
            [f"{row['rtfx_cpu']:.0f}", f"{row['ours_times_this_cpu']:.2f}"] if row else ["–", "–"]
        )
    return cells
