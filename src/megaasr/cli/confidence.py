"""`mega-asr confidence`: fit how sure words are on clips whose words are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megaasr.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from megaasr.transcribe.recognizer import MegaASR

app = typer.Typer(add_completion=False)


@app.command()
def confidence(
    data: Annotated[Path, typer.Argument(help="Clips with their words, to fit on.", exists=True)],
    check: Annotated[Path, typer.Option(help="Other clips, to see how good it is.", exists=True)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the results.")],
    model: Annotated[str, typer.Option(help="The model, with its router if it has one.")] = "tiny",
    limit: Annotated[int | None, typer.Option(min=1, help="So many clips of each.")] = None,
    batch_size: Annotated[int, typer.Option(help="Pieces heard at once.", min=1)] = 16,
) -> None:
    """Fit the confidence of words, and draw a reliability diagram.

    Written are confidence.json (to be kept beside the model's weights), reliability.json and
    reliability.png.
    """
    import numpy as np

    from megaasr.atomic import write_atomically
    from megaasr.transcribe.confidence import FILE, expected_calibration_error, fit
    from megaasr.transcribe.recognizer import MegaASR

    asr = MegaASR.load(model, batch_size=batch_size)
    output.mkdir(parents=True, exist_ok=True)
    known, right = _words(asr, data, limit)
    calibration = fit(known.tolist(), right.tolist())
    write_atomically(output / FILE, calibration.to_json())
    seen, good = _words(asr, check, limit)
    sure = np.array([calibration(float(one)) for one in seen])
    found: dict[str, Any] = {
        "model": model,
        "fitted_on": {"clips": str(data), "words": len(known), "right": float(right.mean())},
        "checked_on": {"clips": str(check), "words": len(seen), "right": float(good.mean())},
        "error_before": expected_calibration_error(seen, good),
        "error_after": expected_calibration_error(sure, good),
    }
    write_atomically(output / "reliability.json", json.dumps(found, indent=1) + "\n")
    typer.echo(
        f"{len(seen)} words, {100 * good.mean():.1f} % right; calibration error "
        f"{100 * found['error_before']:.1f} before, {100 * found['error_after']:.1f} after (points)"
    )
    _draw(output / "reliability.png", seen, sure, good)
    typer.echo(f"{output / FILE}: keep it beside the weights; {output / 'reliability.png'}")


def _words(
    asr: MegaASR, data: Path, limit: int | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the model's probability of each recognised word, and whether it was right."""
    import numpy as np

    from megaasr.audio.clips import read_clip
    from megaasr.cli.progress import progress_bar
    from megaasr.score.test_set import read_test_set
    from megaasr.score.word_hits import right_words

    test_set = read_test_set(data, limit=limit)
    plain = asr.with_uncalibrated_confidence()
    probabilities: list[float] = []
    right: list[bool] = []
    with progress_bar("clips") as advance:
        sounds = (read_clip(test_set.audio_root, clip.audio) for clip in test_set.clips)
        for number, outcome in enumerate(plain.transcribe_many(sounds)):
            clip = test_set.clips[number]
            advance(number + 1, len(test_set.clips), data.name)
            if outcome.transcript is None or not clip.text:
                continue
            words = [word for one in outcome.transcript.segments for word in one.words]
            hits = right_words(clip.text, [word.text for word in words], clip.language)
            if hits is not None:
                probabilities += [word.confidence or 0.0 for word in words]
                right += hits
    if not probabilities:
        raise UsageError(f"{data}: not a word was recognised")
    return np.array(probabilities), np.array(right)


def _draw(
    path: Path,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    right: NDArray[np.bool_],
) -> None:
    import numpy as np

    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ModuleNotFoundError as error:
        raise UsageError("the picture needs matplotlib: pip install 'megaasr[train]'") from error
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(6, 7), height_ratios=(3, 1), sharex=True)
    upper.plot([0, 1], [0, 1], color="#999", linewidth=1, linestyle="--")
    edges = np.linspace(0, 1, 11)
    for name, values, colour, mark in (
        ("model's probability", before, "#b23a48", "s"),
        ("calibrated", after, "#1f5f99", "o"),
    ):
        place = np.minimum((values * 10).astype(int), 9)
        bins = [at for at in range(10) if (place == at).sum() >= 20]
        x = [float(values[place == at].mean()) for at in bins]
        y = [float(right[place == at].mean()) for at in bins]
        upper.plot(x, y, color=colour, marker=mark, label=name)
        lower.hist(values, edges, histtype="step", color=colour, linewidth=1.5)
    upper.set(ylabel="share of words that are right", ylim=(0, 1), title="Reliability of words")
    upper.legend(frameon=False, loc="upper left")
    lower.set(xlabel="confidence", ylabel="words", xlim=(0, 1))
    for axis in (upper, lower):
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
