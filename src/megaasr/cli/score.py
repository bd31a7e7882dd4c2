"""`mega-asr score`: the error rates of a file of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr import strict_json

if TYPE_CHECKING:
    from megaasr.score.bench_scorer import Bucket, Scores

app = typer.Typer(add_completion=False)
_SECOND_NORMALIZER = "default"


@app.command()
def score(
    predictions: Annotated[
        Path,
        typer.Argument(
            help="JSONL file with the fields answer (or text: the reference), prediction (or "
            "pred_text) and, if known, subset.",
            show_default=False,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Score a file of predictions, without audio or a model.

    Shows the numbers of the published scorer of Voices-in-the-Wild-Bench (English by words, Chinese
    by characters, case and punctuation ignored) and, beside them, those after full normalisation.
    """
    from megaasr.score.bench_scorer import read_answers, score_records

    records = read_answers(predictions)
    scores = {
        "bench": score_records(records),
        "normalized": score_records(records, _SECOND_NORMALIZER),
    }
    if as_json:
        typer.echo(strict_json.dumps(scores, indent=2, ensure_ascii=False))
        return
    _show(scores["bench"], scores["normalized"])


def _show(bench: Scores, normalized: Scores) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "clips", "tokens", "errors", "bench %", "normalised %")
    for column in table.columns[1:]:
        column.justify = "right"
    rows = [("overall", bench["overall"], normalized["overall"])]
    rows += [
        (name, bucket, normalized["by_language"][name])
        for name, bucket in bench["by_language"].items()
    ]
    rows += [
        (
            f"{category or 'no category'} / {origin}",
            bucket,
            normalized["breakdown"][category][origin],
        )
        for category, cells in bench["breakdown"].items()
        for origin, bucket in cells.items()
        if bucket["count"]
    ]
    for name, bench_bucket, normalized_bucket in rows:
        table.add_row(name, *_cells(bench_bucket, normalized_bucket))
    Console().print(table)


def _cells(bench: Bucket, normalized: Bucket) -> list[str]:
    return [
        str(bench["count"]),
        str(bench["reference_length"]),
        str(bench["errors"]),
        f"{bench['error_rate']:.2f}",
        f"{normalized['error_rate']:.2f}",
    ]
