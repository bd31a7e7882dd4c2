"""`mega-asr calibrate`: fit the router's threshold on one's own labelled clips."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megaasr.atomic import write_atomically
from megaasr.cli.languages import forced_language, unknown_languages
from megaasr.cli.options import BatchSize, Device, ForcedLanguage, Offline
from megaasr.errors import UsageError

if TYPE_CHECKING:
    from megaasr.score.calibration import RoutingCalibration

app = typer.Typer(add_completion=False)

CLIPS_FILE, PROFILE_FILE, PAGE_FILE = "clips.jsonl", "profile.json", "calibration.html"


@app.command()
def calibrate(  # noqa: PLR0913, PLR0917 (options)
    data: Annotated[
        Path,
        typer.Option(
            help="Clips with references: a JSONL, CSV or TSV file, or a data set.", exists=True
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")],
    model: Annotated[str, typer.Option(help="Model with an adapter and a router.")] = "tiny",
    blocks: Annotated[
        str | None,
        typer.Option(
            help="Field of the records (such as speaker) whose clips stay together in folds and "
            "draws [default: the copies of one sentence, by parent_id or text]."
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Number of cross-validation folds.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of folds and bootstrap draws.")] = 1,
    limit: Annotated[int | None, typer.Option(min=2, help="Use only the first N clips.")] = None,
    language: ForcedLanguage = None,
    batch_size: BatchSize = 16,
    device: Device = None,
    offline: Offline = False,
) -> None:
    """Find out whether routing helps on your audio, and with which threshold.

    Both branches transcribe every clip; the threshold is fitted by the error rate that routing
    gives, and evaluated by cross-validation. The setting in use is kept unless another is better
    beyond chance, which takes at least 20 independent clips. Writes profile.json (for `mega-asr
    transcribe --profile` and MegaASR.load), calibration.html (the error rate at every threshold)
    and clips.jsonl, from which a killed run resumes. Clips that cannot be transcribed are left out
    and listed, and the exit status is 1.
    """
    from megaasr.cli.progress import progress_bar
    from megaasr.hub import HubOptions
    from megaasr.model.hub import find_model_parts
    from megaasr.model.parts import part_hashes
    from megaasr.report.calibration_page import calibration_page
    from megaasr.route.decision import THRESHOLD
    from megaasr.route.profile import RoutingProfile
    from megaasr.score.blocks import blocks_of
    from megaasr.score.branch_errors import BranchErrors
    from megaasr.score.calibration import calibrate as fit
    from megaasr.score.systems import InferenceOptions, load_both_branches
    from megaasr.score.test_set import read_test_set

    code = forced_language(language)
    test_set = read_test_set(data, limit=limit)
    unknown_languages(clip.language for clip in test_set.clips)
    hashes = part_hashes(find_model_parts(model, HubOptions(offline)))
    router = hashes.get("router_sha256")
    if router is None:
        raise UsageError(f"{model} has no router; there is no threshold to fit")
    block_of_clip = blocks_of(test_set.clips, blocks)
    test_set.require_audio()
    settings = {"model": model, **hashes, "language": code, "data": test_set.sha256}
    output.mkdir(parents=True, exist_ok=True)
    errors = BranchErrors(test_set, output / CLIPS_FILE, settings)
    if errors.missing:
        options = InferenceOptions(device, code, offline, batch_size)
        with progress_bar("clips") as advance:
            errors.measure(
                lambda: load_both_branches(model, options), language=code, on_progress=advance
            )
    for name, reason in errors.failed.items():
        typer.echo(f"{name} is left out: {reason}", err=True)
    try:
        calibration = fit(errors.clips(block_of_clip), default=THRESHOLD, folds=folds, seed=seed)
    except ValueError as error:
        raise UsageError(f"{data}: {error}") from error
    profile = RoutingProfile(
        route=calibration.route,
        threshold=calibration.recommended_threshold,
        model=model,
        router_sha256=router,
        measured=_measured(data, calibration),
    )
    profile.write(output / PROFILE_FILE)
    page = calibration_page(calibration, model, data.name, THRESHOLD)
    write_atomically(output / PAGE_FILE, page)
    _show(calibration, THRESHOLD)
    typer.echo(f"{output / PROFILE_FILE}: mega-asr transcribe --profile; {output / PAGE_FILE}")
    if errors.failed:
        count = len(errors.failed)
        typer.echo(f"{count} clip{'s' if count > 1 else ''} could not be transcribed", err=True)
        raise typer.Exit(1)


def _measured(data: Path, calibration: RoutingCalibration) -> dict[str, Any]:
    """Return what the profile records about its own quality."""
    return {
        "data": str(data),
        "clips": calibration.clips,
        "blocks": calibration.blocks,
        "words": calibration.words,
        "rates": {system: round(rate, 5) for system, rate in calibration.rates.items()},
        "changed": calibration.change is not None,
        "fitted_threshold": calibration.threshold,
        "threshold_interval": calibration.threshold_interval,
        "comparisons": {
            system: asdict(comparison) for system, comparison in calibration.comparisons.items()
        },
        "against_default": {
            change: asdict(comparison) for change, comparison in calibration.against_default.items()
        },
        "advice": calibration.advice,
    }


_EXPLANATIONS = {
    "routed": "each clip with the threshold that other clips chose",
    "fitted": "with the threshold that these very clips chose: too good",
    "default": "with the threshold in use now",
    "oracle": "with the better branch for each clip",
}


def _show(calibration: RoutingCalibration, default: float) -> None:
    from megaasr.report.calibration_page import threshold_range
    from megaasr.report.wording import format_interval

    for system, rate in calibration.rates.items():
        interval = format_interval(calibration.intervals[system])
        explanation = f"; {_EXPLANATIONS[system]}" if system in _EXPLANATIONS else ""
        typer.echo(f"{system}: {100 * rate:.2f} % (95 %: {interval}{explanation})")
    typer.echo(
        f"best threshold on these clips: {calibration.threshold:.3f} "
        f"({threshold_range(calibration)}), now {default:g}"
    )
    typer.echo(calibration.advice)
