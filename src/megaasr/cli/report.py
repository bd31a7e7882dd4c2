"""`mega-asr report`: a page and Markdown tables of benchmark results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def report(
    results: Annotated[
        list[Path],
        typer.Argument(help="result.json of `mega-asr bench`; several for one report."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the report.")],
    baseline: Annotated[
        str | None,
        typer.Option(help="System to compare the others with [default: the benchmark's]."),
    ] = None,
    audio_root: Annotated[
        Path | None,
        typer.Option(
            help="Folder that audio paths are relative to [default: as in the benchmark, or beside "
            "its test set or result]."
        ),
    ] = None,
    behind: Annotated[
        str | None,
        typer.Option(
            metavar="SYSTEM",
            help="List the clips on which this system makes more errors than the baseline.",
        ),
    ] = None,
    clips: Annotated[
        int, typer.Option(min=1, help="Number of clips to list for --behind at most.")
    ] = 20,
) -> None:
    """Make index.html, which opens from disk and needs nothing else, and tables.md for a README.

    Systems of several results on the same test set are shown side by side.
    """
    from megaasr.atomic import write_atomically
    from megaasr.report.benchmark_page import BehindBaseline, benchmark_page
    from megaasr.report.benchmark_tables import all_tables
    from megaasr.report.side_by_side import side_by_side
    from megaasr.report.sounds import SoundSearch
    from megaasr.report.tables import plain_markdown
    from megaasr.score.result import Result

    merged = side_by_side([Result.read(path) for path in results], baseline)
    output.mkdir(parents=True, exist_ok=True)
    page, tables = output / "index.html", output / "tables.md"
    behind_baseline = BehindBaseline(behind, clips) if behind else None
    sounds = SoundSearch(audio_root, [path.parent for path in results])
    write_atomically(page, benchmark_page(merged, sounds, behind_baseline))
    parts = []
    for result in merged:
        parts.append(f"## {plain_markdown(result.test_set.name)}\n")
        parts += [f"{table.markdown()}\n" for table in all_tables(result)]
    write_atomically(tables, "\n".join(parts))
    size_mb = page.stat().st_size / 1e6
    typer.echo(f"{page}: {len(merged)} test set(s), {size_mb:.1f} MB; open it in a browser")
    typer.echo(f"{tables}: the same tables in Markdown")
    missing = sounds.describe_missing()
    if missing is not None:
        typer.echo(f"mega-asr: warning: {missing}", err=True)
