"""`mega-asr publish`: measure a finished run on the test split and write it with its card."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megaasr.atomic import write_atomically
from megaasr.errors import UsageError

if TYPE_CHECKING:
    from megaasr.config import Recipe

app = typer.Typer(add_completion=False)


@app.command()
def publish(
    run: Annotated[
        Path,
        typer.Argument(
            help="Run folder of `mega-asr train base`, or folder of `mega-asr recipe small`."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the model goes.")],
    corpus: Annotated[
        Path | None,
        typer.Option(help="After `train base`: the corpus folder; its test split is scored."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps [default: the best available].")
    ] = None,
) -> None:
    """Copy the stored weights and write `results.json` and the model card.

    The card of small takes its figures from the benchmarks in the recipe's folder; after
    `train base` the test split of the corpus is scored here.
    """
    if (run / "decoder" / "model").is_dir():
        _publish_small(run, output)
    elif corpus is None:
        raise UsageError("after `mega-asr train base`, name the corpus too: --corpus FOLDER")
    else:
        _publish_base(run, corpus, output, device)


def _publish_small(run: Path, output: Path) -> None:
    from safetensors import safe_open

    from megaasr.report.small_card import small_card, small_facts, small_results

    lists = small_results(run)
    _copy_model(run / "decoder" / "model", output)
    facts = small_facts(run, output)
    with safe_open(output / "model.safetensors", "numpy") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118
    facts["millions"] = sum(math.prod(shape) for shape in shapes) / 1e6
    results = json.dumps({"facts": facts, "lists": lists}, indent=2) + "\n"
    write_atomically(output / "results.json", results)
    write_atomically(output / "README.md", small_card(facts, lists))
    typer.echo(f"{output}: the model and its card")


def _copy_model(source: Path, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        shutil.copy2(file, output / file.name)


def _publish_base(run: Path, corpus: Path, output: Path, device: str | None) -> None:
    from megaasr.cli.progress import progress_bar
    from megaasr.hub import HubOptions
    from megaasr.model.loading import load_model
    from megaasr.report.model_card import model_card, results_table
    from megaasr.score.manifest import score_manifest, summarize

    _check_inputs(run, corpus)  # before anything is copied over an older model
    _copy_model(run / "model", output)
    model = load_model(str(output), device=device, hub=HubOptions(offline=True), batch_size=32)
    with progress_bar("clips") as advance:
        scored, seconds = score_manifest(
            model, corpus / "test.jsonl", on_progress=lambda done, of: advance(done, of, "scored")
        )
    results = summarize(scored)
    facts = _facts(run, corpus, output)
    facts["millions"] = sum(p.numel() for p in model.model.parameters()) / 1e6
    results |= {"facts": facts, "rtfx": round(results["audio_s"] / seconds, 1)}
    (output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    (output / "README.md").write_text(model_card(facts, results), encoding="utf-8")
    predictions = run / "predictions.jsonl"
    with predictions.open("w", encoding="utf-8") as lines:
        for clip in scored:
            row = {
                "id": clip.utterance.id,
                "text": clip.utterance.text,
                "prediction": clip.recognition.text,
                "errors": clip.counts.errors,
            }
            lines.write(json.dumps(row) + "\n")
    typer.echo(results_table(results))
    typer.echo(f"no-speech clips: {results['nonspeech']}\nevery clip: {predictions}")


def _check_inputs(run: Path, corpus: Path) -> None:
    """Raise unless every file is there that scoring and the card read.

    Raises:
        TrainingError: naming the first that is missing.
    """
    from megaasr.errors import TrainingError

    if not (run / "model" / "model.safetensors").is_file():
        raise TrainingError(f"{run} holds no finished model; mega-asr train base writes model/")
    of_run = (run / name for name in ("recipe.json", "versions.json", "metrics.jsonl"))
    of_corpus = (corpus / name for name in ("recipe.json", "train.jsonl", "test.jsonl"))
    for needed in (*of_run, *of_corpus):
        if not needed.is_file():
            raise TrainingError(f"there is no {needed}, which the model card needs")


def _facts(run: Path, corpus: Path, output: Path) -> dict[str, Any]:
    """Collect what the card says from the files of run, corpus and model."""
    from megaasr.hashing import file_sha256
    from megaasr.records import read_manifest
    from megaasr.report.model_card import read_json
    from megaasr.synthesize.plan import CorpusRecipe
    from megaasr.text.normalize import bench_words
    from megaasr.train.base.recipe import BaseRecipe

    config = read_json(output / "config.json")
    audio, text = config["audio_config"], config["text_config"]
    recipe, versions = read_json(run / "recipe.json"), read_json(run / "versions.json")
    train = list(read_manifest(corpus / "train.jsonl"))
    heard_s, seconds = _training_time(run / "metrics.jsonl")
    weights = output / "model.safetensors"
    return {
        "name": output.name,
        "encoder": f"{audio['encoder_layers']} layers of width {audio['d_model']}",
        "decoder": f"{text['num_hidden_layers']} layers of width {text['hidden_size']}",
        "vocabulary": text["vocab_size"],
        "size_mb": weights.stat().st_size / 1e6,
        "weights_sha256": file_sha256(weights),
        "test_sha256": file_sha256(corpus / "test.jsonl"),
        "corpus_recipe": _recipe_command(CorpusRecipe, read_json(corpus / "recipe.json")),
        "train_clips": len(train),
        "train_hours": sum(float(u.extra["duration_s"]) for u in train) / 3600,
        "nonspeech": sum(not u.text for u in train),
        "words": len({word for u in train for word in bench_words(u.text)}),
        "recipe": _recipe_command(BaseRecipe, recipe),
        "seed": recipe["seed"],
        "corpus_seed": read_json(corpus / "recipe.json")["seed"],
        "steps": recipe["steps"],
        "decay_steps": recipe["optimizer"]["decay_steps"],
        "heard_hours": heard_s / 3600,
        "train_time_hours": seconds / 3600,
        "hardware": f"{versions['cores']} CPU cores",
        "versions": ", ".join(
            f"{name} {version}" for name, version in versions.items() if name != "cores"
        ),
    }


def _recipe_command(kind: type[Recipe], resolved: dict[str, Any]) -> str:
    """Return the shipped recipe of this kind, with the overrides that give the resolved one."""
    from megaasr.config import flat, load_recipe, shipped_recipes
    from megaasr.errors import UsageError

    best: list[str] | None = None
    for name in shipped_recipes():
        try:
            shipped = flat(json.loads(load_recipe(kind, name).resolved_json()))
        except UsageError:  # a recipe of another kind
            continue
        changed = [
            f"--set {key}={json.dumps(value)}"
            for key, value in flat(resolved).items()
            if key != "corpus" and shipped.get(key) != value  # where the corpus lies is no matter
        ]
        if best is None or len(changed) < len(best):
            best = [name, *changed]
    return " ".join(best or ["RECIPE"])


def _training_time(metrics: Path) -> tuple[float, float]:
    """Return audio seconds seen and seconds of training; steps repeated after a kill count once
    as audio, but their time was spent."""
    heard: dict[int, float] = {}
    seconds = 0.0
    for line in metrics.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "audio_s_per_s" in row:
            heard[row["step"]] = row["audio_s_per_s"] * row["seconds"]
            seconds += row["seconds"]
    return sum(heard.values()), seconds
