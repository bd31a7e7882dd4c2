"""Benchmark systems on a test set: run them, score their predictions, write the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from megaasr.atomic import write_atomically
from megaasr.errors import UsageError
from megaasr.progress import OnRemarkedProgress
from megaasr.score.assembly import SystemPredictions, assemble
from megaasr.score.exports import write_leaderboard, write_submission
from megaasr.score.from_file import match_predictions
from megaasr.score.oracle import choose_best
from megaasr.score.predictions import PredictionLog
from megaasr.score.result import Result
from megaasr.score.running import PREDICTIONS_FILE, claim, run_system
from megaasr.score.summary import NORMALIZERS, ScoringSettings
from megaasr.score.systems import FILE, ORACLE, InferenceOptions, SystemSpec, load_system
from megaasr.score.test_set import TestSetFile

RESULT_FILE = "result.json"

ProgressContext = Callable[[], AbstractContextManager[OnRemarkedProgress]]
"""Returns a context manager that reports the progress of one system."""


def _no_progress() -> AbstractContextManager[OnRemarkedProgress]:
    return nullcontext(lambda done, total, remark: None)


def run_systems(
    specs: Sequence[SystemSpec],
    test_set: TestSetFile,
    output: Path,
    options: InferenceOptions,
    *,
    normalizer: str = NORMALIZERS[0],
    progress: ProgressContext = _no_progress,
) -> list[SystemPredictions]:
    """Return the predictions of all systems, in order; a repeated call resumes.

    Args:
        specs: the systems, as `parse_systems` returns them.
        test_set: the test set.
        output: the benchmark's folder; predictions are appended to `predictions.jsonl` in it.
        options: device, language, batch size and network access of the models.
        normalizer: the normaliser by which an oracle chooses, see `ScoringSettings.normalizers`.
        progress: reports the progress of one system.

    Raises:
        UsageError: the folder belongs to another benchmark, the audio is missing, or a system
            cannot be run.
        ModelError: a model does not exist or fails.
        RecordError: a file of predictions cannot be read.
    """
    systems = {
        spec.name: load_system(spec, options) for spec in specs if spec.kind not in {FILE, ORACLE}
    }
    if systems:
        test_set.require_audio()
    claim(output, test_set, list(systems.values()))
    log = PredictionLog(output / PREDICTIONS_FILE)
    finished: list[SystemPredictions] = []
    for spec in specs:
        if spec.kind == ORACLE:
            candidates = [s.predictions for s in finished if s.name in spec.candidates]
            best = choose_best(candidates, test_set.clips, normalizer)
            settings = {"systems": spec.model}
            finished.append(SystemPredictions(spec.name, ORACLE, best, settings=settings))
        elif spec.kind == FILE:
            matched = match_predictions(Path(spec.model), test_set.clips)
            settings = {"file": spec.model}
            finished.append(SystemPredictions(spec.name, FILE, matched, settings=settings))
        else:
            system = systems[spec.name]
            with progress() as on_progress:
                predictions = run_system(system, test_set, log, on_progress=on_progress)
            finished.append(
                SystemPredictions(
                    name=spec.name,
                    kind=spec.kind,
                    predictions=predictions,
                    device=system.device,
                    settings=system.settings,
                )
            )
    return finished


def score_systems(
    systems: Sequence[SystemPredictions],
    test_set: TestSetFile,
    output: Path,
    settings: ScoringSettings,
    *,
    command: str,
) -> Result:
    """Score the predictions of systems and write `result.json` and the public formats.

    Args:
        systems: the systems, as `run_systems` returns them.
        test_set: the test set.
        output: the benchmark's folder.
        settings: settings of intervals and comparisons.
        command: the command line, for the record.

    Raises:
        UsageError: a record has no field `settings.blocks`, or no system has the baseline's name.
    """
    result = assemble(test_set, systems, settings, command)
    write_atomically(output / RESULT_FILE, result.to_json())
    write_leaderboard(result, output)
    if test_set.kind == "bench":
        write_submission(result, test_set.clips, output)
    return result


def check_baseline(baseline: str | None, specs: Sequence[SystemSpec]) -> None:
    """Check that a baseline is one of the systems, before any of them runs.

    Raises:
        UsageError: it is not.
    """
    names = [spec.name for spec in specs]
    if baseline is not None and baseline not in names:
        raise UsageError(f"--baseline {baseline}: the systems are {', '.join(names)}")
