"""`mega-asr inspect`: report what is wrong with a recording and how to improve it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr import strict_json
from megaasr.cli.options import Offline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from megaasr.audio.quality import Quality
    from megaasr.audio.waveform import Samples
    from megaasr.cli.inspection import Inspection
    from megaasr.route.router import Router

app = typer.Typer(add_completion=False)
_WINDOW_S = 2.0


@app.command()
def inspect(
    audio: Annotated[
        list[str], typer.Argument(metavar="AUDIO", help="Recordings, and folders of recordings.")
    ],
    model: Annotated[str, typer.Option(help="Model whose router rates the degradation.")] = "tiny",
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", help="Write a picture of level, speech and degradation over time."
        ),
    ] = None,
    json_lines: Annotated[
        bool, typer.Option("--json-lines", help="Print one JSON document per recording.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Include the subfolders of folders.")
    ] = False,
    offline: Offline = False,
) -> None:
    """Measure recordings, name what is wrong with them, and say what to do about it.

    Named are: silent or cancelling channels, wrong scale, offset, hum, missing speech, low level,
    clipping, noise, reverberation, missing bands, and dropouts. All measures are estimates. Only
    the first half hour of a longer recording is measured. With a model that has a router, its
    probability of degraded audio over time is shown, too.
    """
    from megaasr.cli.audio_arguments import UnusableFolder, expand
    from megaasr.cli.inspection import inspect_recording
    from megaasr.errors import AudioError, UsageError
    from megaasr.hub import HubOptions
    from megaasr.model.hub import find_model_parts
    from megaasr.route.router import find_router

    inputs = expand(audio, recursive=recursive)
    if picture is not None and len(inputs) > 1:
        raise UsageError("--picture shows a single recording; name only one")
    router = find_router(find_model_parts(model, HubOptions(offline)))
    failed = False
    for item in inputs:
        try:
            if isinstance(item, UnusableFolder):
                raise UsageError(f"{item.audio}: {item.reason}")
            inspection = inspect_recording(item.audio)
        except (AudioError, UsageError) as error:
            typer.echo(f"mega-asr: error: {error}", err=True)
            failed = True
            continue
        degraded = _degradation(router, inspection.mono)
        _show(item.audio, inspection, degraded, json_lines=json_lines)
        if picture is not None:
            _draw(picture, inspection.mono, inspection.speech, degraded)
            typer.echo(f"{picture}: level, speech and degradation over time", err=json_lines)
    if failed:
        raise typer.Exit(1)


def _degradation(router: Router | None, mono: Samples) -> list[tuple[float, float, float]]:
    """Return start and end in seconds and the probability of degraded audio of every window."""
    return router.probabilities(mono, _WINDOW_S) if router is not None else []


def _show(
    path: str,
    inspection: Inspection,
    degraded: list[tuple[float, float, float]],
    *,
    json_lines: bool,
) -> None:
    from dataclasses import asdict

    from megaasr.route.decision import THRESHOLD

    tips = [problem.advice for problem in inspection.problems]
    if degraded and _mean(degraded) >= THRESHOLD and not tips:
        tips.append("The router rates it as degraded, although no single measure stands out.")
    if json_lines:
        document = {
            "audio": path,
            **asdict(inspection.quality),
            "dropouts_per_min": inspection.quality.dropouts_per_min,
            "degraded": degraded,
            "problems": [problem.name for problem in inspection.problems],
            "advice": tips,
        }
        typer.echo(strict_json.dumps(document, ensure_ascii=False))
        return
    typer.echo(path)
    for name, value in [*_measures(inspection.quality), *_router_rows(degraded)]:
        typer.echo(f"  {name:30}{value}")
    for tip in tips or ["No problem was found."]:
        typer.echo(f"  - {tip}")


def _measures(quality: Quality) -> list[tuple[str, str]]:
    def shown(value: float | None, unit: str, digits: int = 1) -> str:
        return "not measurable" if value is None else f"{value:.{digits}f} {unit}"

    rows = [
        ("length", shown(quality.duration_s, "s")),
        ("speech", shown(100 * quality.speech_ratio, "% of the time", 0)),
        ("peak", shown(quality.peak_dbfs, "dBFS")),
        ("speech level", shown(quality.speech_dbfs, "dBFS")),
        ("signal-to-noise (estimate)", shown(quality.snr_db, "dB")),
        ("clipped samples", shown(100 * quality.clipped_share, "%", 3)),
        ("bandwidth", shown(quality.bandwidth_hz, "Hz", 0)),
        ("reverberation time (estimate)", shown(quality.reverberation_s, "s")),
        ("dropouts", shown(quality.dropouts_per_min, "a minute")),
    ]
    if quality.channels.count > 1:
        rows.insert(1, ("channels", str(quality.channels.count)))
    return rows


def _router_rows(degraded: list[tuple[float, float, float]]) -> list[tuple[str, str]]:
    if not degraded:
        return []
    start, end, worst = max(degraded, key=lambda window: window[2])
    return [
        ("degraded, by the router", f"{_mean(degraded):.2f} on average"),
        ("", f"{worst:.2f} at worst, from {start:.1f} to {end:.1f} s"),
    ]


def _mean(degraded: list[tuple[float, float, float]]) -> float:
    """Return the mean probability, weighted by the length of each window."""
    seconds = sum(end - start for start, end, _ in degraded)
    return sum((end - start) * probability for start, end, probability in degraded) / seconds


def _draw(
    path: Path,
    samples: NDArray[np.float32],
    speech: NDArray[np.float32],
    degraded: list[tuple[float, float, float]],
) -> None:
    """Draw level, speech and degradation over time.

    Raises:
        UsageError: matplotlib is not installed.
    """
    import numpy as np

    from megaasr.audio.waveform import SAMPLE_RATE
    from megaasr.errors import UsageError

    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ModuleNotFoundError as error:
        raise UsageError("--picture needs matplotlib: pip install 'megaasr[simulate]'") from error
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(11, 5), sharex=True)
    hop = 512
    frames = samples[: samples.size // hop * hop].reshape(-1, hop).astype(np.float64)
    level = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-9)
    upper.plot(np.arange(len(level)) * hop / SAMPLE_RATE, level, color="#1f5f99", linewidth=0.8)
    upper.set_ylabel("level, dBFS")
    time_s = np.arange(len(speech)) * hop / SAMPLE_RATE
    lower.fill_between(time_s, speech, step="post", color="#b9d3b0", label="speech")
    if degraded:
        edges = [start for start, _, _ in degraded] + [degraded[-1][1]]
        lower.stairs(
            [p for _, _, p in degraded],
            edges,
            baseline=None,
            color="#8a2b52",
            linewidth=2,
            label="degraded",
        )
    lower.set(ylabel="probability", ylim=(0, 1.02), xlabel="seconds")
    lower.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    for axis in (upper, lower):
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
