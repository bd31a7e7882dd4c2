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

app = typer.Typer(add_completion=False)
_WINDOW_S = 2.0
_MAX_S = 1800.0


@app.command()
def inspect(
    audio: Annotated[list[str], typer.Argument(metavar="AUDIO", help="Recordings.")],
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
    offline: Offline = False,
) -> None:
    """Measure recordings: speech, loudness, noise, clipping, bandwidth, dropouts, reverberation.

    All measures are estimates. Only the first half hour of a longer recording is measured. With a
    model that has a router, its probability of degraded audio over time is shown, too.
    """
    from dataclasses import asdict

    from megaasr.audio.files import read
    from megaasr.audio.quality import advice, measure_quality
    from megaasr.audio.waveform import SAMPLE_RATE
    from megaasr.errors import AudioError, UsageError
    from megaasr.hub import HubOptions
    from megaasr.model.hub import find_model_parts
    from megaasr.route.decision import THRESHOLD
    from megaasr.route.router import find_router
    from megaasr.transcribe.speech_activity import detect_speech

    if picture is not None and len(audio) > 1:
        raise UsageError("--picture shows a single recording; name only one")
    router = find_router(find_model_parts(model, HubOptions(offline)))
    failed = False
    for path in audio:
        try:
            samples = read(path, sample_rate=SAMPLE_RATE).samples[: int(_MAX_S * SAMPLE_RATE)]
            speech = detect_speech(samples)
            quality = measure_quality(samples, speech)
        except (AudioError, UsageError) as error:
            typer.echo(f"mega-asr: error: {error}", err=True)
            failed = True
            continue
        degraded = router.probabilities(samples, _WINDOW_S) if router is not None else []
        tips = advice(quality)
        if degraded and _mean(degraded) >= THRESHOLD and not tips:
            tips.append("The router rates it as degraded, although no single measure stands out.")
        if json_lines:
            document = {"audio": path, **asdict(quality), "degraded": degraded, "advice": tips}
            typer.echo(strict_json.dumps(document, ensure_ascii=False))
        else:
            _show(path, quality, degraded, tips)
        if picture is not None:
            _draw(picture, samples, speech, degraded)
            typer.echo(f"{picture}: level, speech and degradation over time", err=json_lines)
    if failed:
        raise typer.Exit(1)


def _show(
    path: str, quality: Quality, degraded: list[tuple[float, float, float]], tips: list[str]
) -> None:
    def shown(value: float | None, unit: str, digits: int = 1) -> str:
        return "not measurable" if value is None else f"{value:.{digits}f} {unit}"

    typer.echo(path)
    rows = [
        ("length", shown(quality.duration_s, "s")),
        ("speech", shown(100 * quality.speech_ratio, "% of the time", 0)),
        ("peak", shown(quality.peak_dbfs, "dBFS")),
        ("speech level", shown(quality.speech_dbfs, "dBFS")),
        ("signal-to-noise (estimate)", shown(quality.snr_db, "dB")),
        ("clipped samples", shown(100 * quality.clipped_share, "%", 3)),
        ("bandwidth", shown(quality.bandwidth_hz, "Hz", 0)),
        ("dropouts", shown(quality.dropouts_per_min, "a minute")),
        ("reverberation time (estimate)", shown(quality.reverberation_s, "s", 2)),
    ]
    if degraded:
        mean = _mean(degraded)
        worst = max(degraded, key=lambda window: window[2])
        rows.append(("degraded, by the router", f"{mean:.2f} on average"))
        rows.append(("", f"{worst[2]:.2f} at worst, from {worst[0]:.1f} to {worst[1]:.1f} s"))
    for name, value in rows:
        typer.echo(f"  {name:30}{value}")
    for tip in tips or ["No obvious problem was found."]:
        typer.echo(f"  - {tip}")


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
