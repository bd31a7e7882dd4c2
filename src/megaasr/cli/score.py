"""`mega-asr score`: the error rates of a file of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from megaasr import strict_json
from megaasr.cli.options import NormalizerVersion

if TYPE_CHECKING:
    from megaasr.score.bench_scorer import Bucket, Scores

app = typer.Typer(add_completion=False)
_NORMALIZERS = ("bench", "default")


@app.command()
def score(
    predictions: Annotated[
        Path,
        typer.Argument(
            help="JSONL, CSV or TSV file with the fields answer (or text: the reference), "
            "prediction (or pred_text, hypothesis) and, if known, language or subset.",
            show_default=False,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    normalizer_version: NormalizerVersion = None,
) -> None:
    """Score a file of predictions, without audio or a model.

    Shows the numbers of the published scorer of Voices-in-the-Wild-Bench (by words, or characters
    in Chinese and other languages without spaces; case and punctuation ignored) and, beside them,
    those after full normalisation. Each record is scored by the rules of its language.
    """
    from megaasr.cli.languages import unknown_languages
    from megaasr.score.bench_scorer import bench_language, read_answers, score_records
    from megaasr.text.normalize import normalizer_version as version_of
    from megaasr.text.normalize import versioned

    names = {name: versioned(name, normalizer_version) for name in _NORMALIZERS}
    records = read_answers(predictions)
    unknown_languages(bench_language(record) for record in records)
    bench, normalized = (score_records(records, name) for name in names.values())
    if as_json:
        document = {
            "normalizers": {name: version_of(full_name) for name, full_name in names.items()},
            "bench": bench,
            "normalized": normalized,
        }
        typer.echo(strict_json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _show(bench, normalized)
    if not any(record["prediction"] for record in records):
        typer.echo(f"{predictions}: every prediction is empty; were they filled in?", err=True)


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
    overall = bench["overall"]
    if overall["clips_without_speech"]:
        typer.echo(
            f"{overall['inserted_without_speech']} words inserted in "
            f"{overall['clips_without_speech']} clips without speech"
            + ("; the rates count them" if overall["reference_length"] else "")
        )


def _cells(bench: Bucket, normalized: Bucket) -> list[str]:
    return [
        str(bench["count"]),
        str(bench["reference_length"]),
        str(bench["errors"]),
        _percent(bench),
        _percent(normalized),
    ]


def _percent(bucket: Bucket) -> str:
    """Return the error rate; `n/a` if there are no words to divide the errors by."""
    rate = bucket["error_rate"]
    return "n/a" if rate is None else f"{rate:.2f}"
