"""`mega-asr confidence`: calibrate word confidences on clips with references."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megaasr import strict_json
from megaasr.cli.languages import unknown_languages
from megaasr.cli.options import BatchSize

if TYPE_CHECKING:
    from megaasr.score.word_hits import WordProbabilities
    from megaasr.transcribe.confidence import Calibration
    from megaasr.transcribe.recognizer import MegaASR

app = typer.Typer(add_completion=False)

_BANDS = 5  # of severity


@app.command()
def confidence(
    data: Annotated[
        Path, typer.Argument(help="Clips with references, to fit the calibration on.", exists=True)
    ],
    check: Annotated[
        Path, typer.Option(help="Other clips, to evaluate the calibration on.", exists=True)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    model: Annotated[str, typer.Option(help="Name or folder of the model to calibrate.")] = "tiny",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use only the first N clips of each list.")
    ] = None,
    batch_size: BatchSize = 16,
) -> None:
    """Calibrate the confidence of words, and draw a reliability diagram.

    Writes confidence.json (keep it beside the model's weights), reliability.json and
    reliability.png, and tells what --unintelligible shows and hides at every limit of confidence.
    Clips that cannot be transcribed are left out and listed, and the exit status is 1.
    """
    from megaasr.atomic import write_atomically
    from megaasr.report.reliability_diagram import draw_reliability_diagram
    from megaasr.score.operating_points import operating_points
    from megaasr.transcribe.confidence import (
        CALIBRATION_FILE,
        expected_calibration_error,
        fit_calibration,
    )
    from megaasr.transcribe.recognizer import MegaASR

    asr = MegaASR.load(model, batch_size=batch_size)
    output.mkdir(parents=True, exist_ok=True)
    fit = _measure(asr, data, limit)
    calibration = fit_calibration(fit.probabilities.tolist(), fit.correct.tolist(), fit.facts)
    write_atomically(output / CALIBRATION_FILE, calibration.to_json())
    checked = _measure(asr, check, limit)
    probabilities, correct = checked.probabilities, checked.correct
    confidences = checked.confidences(calibration)
    report: dict[str, Any] = {
        "model": model,
        "fitted_on": {
            "clips": str(data),
            "words": len(fit.probabilities),
            "right": float(fit.correct.mean()),
        },
        "checked_on": {
            "clips": str(check),
            "words": len(probabilities),
            "right": float(correct.mean()),
        },
        "error_before": expected_calibration_error(probabilities, correct),
        "error_after": expected_calibration_error(confidences, correct),
    }
    points = operating_points(checked.clips, calibration)
    report["severities"] = _errors_by_severity(checked, calibration)
    report["operating_points"] = [point.to_record() for point in points]
    write_atomically(output / "reliability.json", strict_json.dumps(report, indent=1) + "\n")
    typer.echo(
        f"{len(probabilities)} words, {100 * correct.mean():.1f} % right; calibration error "
        f"{100 * report['error_before']:.1f} before, {100 * report['error_after']:.1f} after "
        "(points)"
    )
    for name, row in report["severities"].items():
        typer.echo(f"severity {name}: {row['words']} words, {100 * row['error_after']:.1f} after")
    typer.echo("below  precision  recall    F1  wrong shown  right hidden  (%)")
    for point in points:
        typer.echo(
            f"{point.limit:5.2f} {100 * point.precision:10.1f} {100 * point.recall:7.1f} "
            f"{100 * point.f1:5.1f} {100 * point.wrong_shown_share:12.1f} "
            f"{100 * point.right_hidden_share:13.1f}"
        )
    draw_reliability_diagram(output / "reliability.png", probabilities, confidences, correct)
    typer.echo(
        f"{output / CALIBRATION_FILE}: keep it beside the weights; {output / 'reliability.png'}"
    )
    if fit.failed or checked.failed:
        raise typer.Exit(1)


def _errors_by_severity(
    words: WordProbabilities, calibration: Calibration
) -> dict[str, dict[str, float]]:
    """Return the calibration error within each fifth of the severities that has words."""
    from megaasr.transcribe.confidence import expected_calibration_error

    errors = {}
    for fifth in range(_BANDS):
        low, high = fifth / _BANDS, (fifth + 1) / _BANDS
        band = words.within(low, high if fifth < _BANDS - 1 else 1.01)
        if len(band.probabilities):
            confidences = band.confidences(calibration)
            error = expected_calibration_error(confidences, band.correct)
            errors[f"{low:.1f}-{high:.1f}"] = {"words": len(confidences), "error_after": error}
    return errors


def _measure(asr: MegaASR, data: Path, limit: int | None) -> WordProbabilities:
    from megaasr.cli.progress import progress_bar
    from megaasr.score.test_set import read_test_set
    from megaasr.score.word_hits import measure_word_probabilities

    test_set = read_test_set(data, limit=limit)
    unknown_languages(clip.language for clip in test_set.clips)
    with progress_bar("clips") as advance:
        words = measure_word_probabilities(asr, test_set, on_progress=advance)
    for name, reason in words.failed.items():
        typer.echo(f"{name} is left out: {reason}", err=True)
    return words
