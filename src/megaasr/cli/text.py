"""`mega-asr text`: collect natural English sentences from packages and templates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def text(
    recipe: Annotated[str, typer.Argument(help="TOML file or shipped recipe (text-small).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the text corpus.")],
    exclude: Annotated[
        list[Path] | None,
        typer.Option(
            help="Test texts to exclude: a manifest, a .sha256 file, or a text file; repeatable."
        ),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of downloaded packages [default: OUTPUT/packages].")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="field=value, overrides the recipe; repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Print the resolved recipe and stop.")] = False,
) -> None:
    """Collect English sentences from packages; writes sentences.jsonl and sources.json.

    The handwritten and generated sentences of tiny's test split are always excluded.
    """
    from megaasr.config import load_recipe
    from megaasr.synthesize.open_text import TextRecipe, collect_sentences, read_excluded
    from megaasr.synthesize.plan import CorpusRecipe, handwritten_sentences, plan_corpus

    plan = load_recipe(TextRecipe, recipe, set_ or [])
    if dry_run:
        typer.echo(plan.resolved_json())
        return
    tiny = plan_corpus(load_recipe(CorpusRecipe, "synthesize-tiny"))
    excluded = set(handwritten_sentences())
    excluded |= {clip.text for clip in tiny if clip.split == "test" and clip.kind == "sentence"}
    texts, hashes = read_excluded(exclude or [])
    summary = collect_sentences(
        plan,
        output,
        texts | excluded,
        exclude_hashes=hashes,
        cache=cache,
        on_source=lambda name, count: typer.echo(f"{name}: {count} sentences"),
    )
    typer.echo(
        f"{output}: {summary.sentences} sentences, {summary.words} words, "
        f"{summary.distinct_words} distinct words, {summary.everyday_share:.0%} everyday"
    )
