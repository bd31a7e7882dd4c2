"""`mega-asr simulate calibrate`: fit how hard compounds are to a recogniser."""

from __future__ import annotations

import hashlib
import shlex
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megaasr.cli.options import Device, ForcedLanguage, Offline

if TYPE_CHECKING:
    from megaasr.score.difficulty import CellWorker
    from megaasr.score.test_set import TestClip

LOG_FILE, CLAIM_FILE, REPORT_FILE = "cells.jsonl", "calibration-inputs.json", "calibration.json"


def calibrate(  # noqa: PLR0913, PLR0917 (every option of a command is an argument)
    data: Annotated[
        list[Path],
        typer.Argument(help="Clean speech with transcripts: manifests (JSONL, CSV, TSV)."),
    ],
    system: Annotated[
        str, typer.Option(help="Recogniser that judges, as for `mega-asr bench --system`.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    speaker: Annotated[
        list[str] | None,
        typer.Option(
            help="Use only clips of these speakers, such as 'kokoro:*'; repeatable [default: all]."
        ),
    ] = None,
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            help="Compound to fit, repeatable; others keep their positions [default: all 47]."
        ),
    ] = None,
    clips: Annotated[
        int, typer.Option(min=1, help="Clips for the fit, drawn from all manifests.")
    ] = 32,
    check_clips: Annotated[
        int, typer.Option(min=1, help="Other clips, on which the fitted positions are checked.")
    ] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the clips and of their noise.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
    shipped: Annotated[
        bool, typer.Option(help="Check the positions that ship with the package; fit nothing.")
    ] = False,
    literal: Annotated[
        bool, typer.Option(help="Also measure the compounds of --compounds literal.")
    ] = False,
    language: ForcedLanguage = None,
    device: Device = None,
    offline: Offline = False,
) -> None:
    """Fit the parameters of compounds so that they are as hard as their conditions.

    Writes compound_positions.json, the table that the simulator reads, and calibration.json with
    the error rates of all 54 scenarios at three severities on other clips, with intervals. A
    killed run resumes from cells.jsonl.
    """
    from megaasr import strict_json
    from megaasr.atomic import write_atomically
    from megaasr.cli.progress import progress_bar
    from megaasr.score.compound_calibration import (
        Calibration,
        max_cells,
        summarise,
        with_conditions,
    )
    from megaasr.score.difficulty import CellLog, CellWorker
    from megaasr.score.systems import InferenceOptions, parse_systems
    from megaasr.simulate.positions import POSITIONS_FILE, Compounds, fitted_positions
    from megaasr.simulate.scenarios import SCENARIOS, find_scenario
    from megaasr.text.languages import canonical_language

    (spec,) = parse_systems([system])
    options = InferenceOptions(device, canonical_language(language), offline)
    usable = _read_clips(data, speaker or ["*"])
    parts = _draw_clips(usable, clips, check_clips, seed)
    scenarios = SCENARIOS
    if scenario:
        scenarios = with_conditions([find_scenario(name) for name in scenario])
    worker = CellWorker(spec, options, Path(), parts, seed)
    provenance = _provenance(worker, data)
    _claim(output, provenance)
    report: dict[str, Any] = {"provenance": provenance}
    with progress_bar("cells") as advance:
        kinds = (Compounds.CALIBRATED, Compounds.LITERAL) if literal else (Compounds.CALIBRATED,)
        limit = max_cells(scenarios, fitted=not shipped, checks=len(kinds))
        numbers = count(1)
        calibration = Calibration(
            worker,
            CellLog(output / LOG_FILE),
            workers,
            lambda cell: advance(next(numbers), limit, "at most"),
            scenarios,
        )
        table = fitted_positions() if shipped else calibration.fit()
        if not shipped:
            table = {**table, "provenance": provenance}
            write_atomically(output / POSITIONS_FILE, strict_json.dumps(table, indent=1) + "\n")
        for compounds in kinds:
            rows = calibration.check(table, compounds)
            report[compounds.value] = {"summary": summarise(rows), "rows": rows}
    write_atomically(output / REPORT_FILE, strict_json.dumps(report, indent=1) + "\n")
    for compounds in kinds:
        summary = report[compounds.value]["summary"]
        times = "no errors" if summary["ratio"] is None else f"{summary['ratio']:.2f} times"
        typer.echo(
            f"{compounds.value}: singles {100 * summary['singles']:.1f} %, compounds "
            f"{100 * summary['compounds']:.1f} % ({times}); not rising: "
            f"{', '.join(summary['not_rising']) or 'none'}; above 60 % at the lowest severity: "
            f"{', '.join(summary['above_60_percent_at_lowest']) or 'none'}"
        )
    typer.echo(f"{output / REPORT_FILE}")


def _read_clips(data: list[Path], speakers: list[str]) -> list[TestClip]:
    """Return the clips with a transcript of some speakers, with absolute paths of their audio."""
    from fnmatch import fnmatchcase

    from megaasr.score.test_set import read_test_set

    usable: list[TestClip] = []
    for path in data:
        test_set = read_test_set(path)
        usable += [
            replace(clip, audio=str((test_set.audio_root / clip.audio).resolve()), record=None)
            for clip in test_set.clips
            if clip.text.strip()
            and any(fnmatchcase(clip.speaker or "", pattern) for pattern in speakers)
        ]
    return usable


def _draw_clips(
    usable: list[TestClip], clips: int, check_clips: int, seed: int
) -> dict[str, tuple[TestClip, ...]]:
    """Draw disjoint clips for the fit and for its check."""
    import numpy as np

    from megaasr.errors import UsageError

    if len(usable) < clips + check_clips:
        raise UsageError(
            f"{len(usable)} clips of these speakers with a transcript are fewer than the "
            f"{clips + check_clips} that --clips and --check-clips ask for; give more data, or ask "
            "for fewer"
        )
    order = np.random.default_rng(seed).permutation(len(usable))
    selected = [usable[int(index)] for index in order[: clips + check_clips]]
    return {"fit": tuple(selected[:clips]), "check": tuple(selected[clips:])}


def _provenance(worker: CellWorker, data: list[Path]) -> dict[str, Any]:
    """Return everything that the measured rates depend on."""
    from megaasr.hashing import file_sha256
    from megaasr.score.difficulty import NORMALIZER
    from megaasr.score.systems import load_system
    from megaasr.versions import package_version

    settings = dict(load_system(worker.spec, worker.options).settings)
    settings["model"] = Path(str(settings["model"])).name
    return {
        "command": shlex.join(["mega-asr", *sys.argv[1:]]),
        "megaasr": package_version("megaasr"),
        "system": {"kind": worker.spec.kind, **settings},
        # Manifests in different folders may have the same name.
        "data": {f"{number} {path.name}": file_sha256(path) for number, path in enumerate(data, 1)},
        "clips": {name: len(clips) for name, clips in worker.parts.items()},
        "clips_sha256": _clips_sha256(worker.parts),
        "seed": worker.seed,
        "normalizer": NORMALIZER,
    }


def _clips_sha256(parts: dict[str, tuple[TestClip, ...]]) -> str:
    """Return a hash of the drawn clips: of their ids, languages and transcripts, in order."""
    from megaasr import strict_json

    ids_and_texts = {
        name: [(clip.id, clip.language, clip.text) for clip in clips]
        for name, clips in parts.items()
    }
    return hashlib.sha256(strict_json.dumps(ids_and_texts).encode()).hexdigest()


def _claim(output: Path, provenance: dict[str, Any]) -> None:
    from megaasr import strict_json
    from megaasr.folder_claim import FolderClaim

    claim = FolderClaim(output, CLAIM_FILE, "holds a calibration of other inputs", LOG_FILE)
    inputs = {name: value for name, value in provenance.items() if name != "command"}
    claim.claim(strict_json.dumps(inputs, indent=1))
