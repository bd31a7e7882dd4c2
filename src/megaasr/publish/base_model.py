"""Publish the model of `mega-asr train base`: copy it, measure it, write results and card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.atomic import write_atomically
from megaasr.audio.clips import exists
from megaasr.config import Recipe, flatten, load_recipe, shipped_recipes
from megaasr.errors import AudioError, AudioNotFoundError, TrainingError, UsageError
from megaasr.hashing import file_sha256
from megaasr.hub import HubOptions
from megaasr.model.interface import SpeechModel
from megaasr.model.loading import load_model
from megaasr.progress import OnRemarkedProgress
from megaasr.publish.pack import CARD_FILE
from megaasr.records import read_manifest
from megaasr.report.model_card import RESULTS_FILE, model_card, read_json
from megaasr.score.assembly import SystemPredictions, assemble
from megaasr.score.corpus_summary import summarize
from megaasr.score.predictions import PredictionLog
from megaasr.score.result import Result
from megaasr.score.running import run_system
from megaasr.score.summary import ScoringSettings
from megaasr.score.systems import SpeechModelSystem
from megaasr.score.test_set import TestSetFile, read_test_set
from megaasr.synthesize.plan import CorpusRecipe
from megaasr.text.normalize import bench_words
from megaasr.train.base.recipe import BaseRecipe

_CLIPS_AT_ONCE = 128
"""Clips that the model batches by length; the published figures were measured with so many."""


def publish_base_model(
    run: Path,
    corpus: Path,
    output: Path,
    *,
    device: str | None = None,
    on_progress: OnRemarkedProgress = lambda done, total, remark: None,
) -> dict[str, Any]:
    """Copy the stored weights, measure them, and write `results.json` and the model card.

    Every clip's hypothesis is written to `predictions.jsonl` in the run folder.

    Args:
        run: run folder of `mega-asr train base`.
        corpus: folder of the corpus; the model is measured on its test split.
        output: folder for the model.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; None for the best available.
        on_progress: called with finished and all test clips.

    Returns:
        The content of `results.json`.

    Raises:
        TrainingError: a file of run or corpus is missing; nothing was written then.
        AudioError: a test clip cannot be read.
    """
    _check_inputs(run, corpus)  # before anything is copied over an older model
    copy_model(run / "model", output)
    model = load_model(str(output), device=device, hub=HubOptions(offline=True), batch_size=32)
    result, test_set = measure_model(model, corpus / "test.jsonl", on_progress=on_progress)
    results = summarize(result, test_set.clips)
    facts = _facts(run, corpus, output)
    facts["millions"] = sum(p.numel() for p in model.model.parameters()) / 1e6
    seconds = result.systems[0].seconds or 0.0
    results |= {"facts": facts, "rtfx": round(results["audio_s"] / seconds, 1)}
    write_atomically(output / RESULTS_FILE, strict_json.dumps(results, indent=2) + "\n")
    write_atomically(output / CARD_FILE, model_card(facts, results))
    _write_predictions(result, run / "predictions.jsonl")
    return results


def copy_model(source: Path, output: Path) -> None:
    """Copy the files of a model's folder."""
    output.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        shutil.copy2(file, output / file.name)


def measure_model(
    model: SpeechModel,
    manifest: Path,
    *,
    on_progress: OnRemarkedProgress = lambda done, total, remark: None,
) -> tuple[Result, TestSetFile]:
    """Benchmark a bare model on a manifest of clips of at most 30 s.

    Returns:
        The benchmark's result, and the test set with its records.

    Raises:
        AudioError: a clip cannot be read; names it.
    """
    test_set = read_test_set(manifest)
    for clip in test_set.clips:
        if not exists(test_set.audio_root, clip.audio):
            raise AudioNotFoundError(test_set.audio_root / clip.audio, "there is no such file")
    system = SpeechModelSystem(model.name, model)
    predictions = run_system(
        system, test_set, PredictionLog(None), on_progress=on_progress, save_every=_CLIPS_AT_ONCE
    )
    for clip in test_set.clips:
        if (error := predictions[clip.id].error) is not None:
            raise AudioError(test_set.audio_root / clip.audio, error)
    systems = [SystemPredictions(system.name, system.kind, predictions)]
    return assemble(test_set, systems, ScoringSettings(), "mega-asr publish"), test_set


def _write_predictions(result: Result, path: Path) -> None:
    (system,) = result.systems
    rows = []
    for clip in result.clips:
        hypothesis = clip.hypotheses[system.name]
        rows.append(
            {
                "id": clip.id,
                "text": clip.text,
                "prediction": hypothesis.text,
                "errors": hypothesis.errors(result.headline_normalizer).errors,
            }
        )
    write_atomically(path, "".join(strict_json.dumps(row) + "\n" for row in rows))


def _check_inputs(run: Path, corpus: Path) -> None:
    """Check that every file exists that measuring and the card need.

    Raises:
        TrainingError: names the first missing file.
    """
    if not (run / "model" / "model.safetensors").is_file():
        raise TrainingError(f"{run} holds no finished model; mega-asr train base writes model/")
    of_run = (run / name for name in ("recipe.json", "versions.json", "metrics.jsonl"))
    of_corpus = (corpus / name for name in ("recipe.json", "train.jsonl", "test.jsonl"))
    for needed in (*of_run, *of_corpus):
        if not needed.is_file():
            raise TrainingError(f"there is no {needed}, which the model card needs")


def _facts(run: Path, corpus: Path, output: Path) -> dict[str, Any]:
    """Return the facts of the model card, from the files of run, corpus and model."""
    config = read_json(output / "config.json")
    audio, text = config["audio_config"], config["text_config"]
    recipe, versions = read_json(run / "recipe.json"), read_json(run / "versions.json")
    corpus_recipe = read_json(corpus / "recipe.json")
    train = list(read_manifest(corpus / "train.jsonl"))
    audio_s, seconds = _training_time(run / "metrics.jsonl")
    weights = output / "model.safetensors"
    return {
        "name": output.name,
        "encoder": f"{audio['encoder_layers']} layers of width {audio['d_model']}",
        "decoder": f"{text['num_hidden_layers']} layers of width {text['hidden_size']}",
        "vocabulary": text["vocab_size"],
        "size_mb": weights.stat().st_size / 1e6,
        "weights_sha256": file_sha256(weights),
        "test_sha256": file_sha256(corpus / "test.jsonl"),
        "corpus_recipe": _recipe_command(CorpusRecipe, corpus_recipe),
        "train_clips": len(train),
        "train_hours": sum(float(clip.extra["duration_s"]) for clip in train) / 3600,
        "nonspeech": sum(not clip.text for clip in train),
        "words": len({word for clip in train for word in bench_words(clip.text)}),
        "recipe": _recipe_command(BaseRecipe, recipe),
        "seed": recipe["seed"],
        "corpus_seed": corpus_recipe["seed"],
        "steps": recipe["steps"],
        "decay_steps": recipe["optimizer"]["decay_steps"],
        "heard_hours": audio_s / 3600,
        "train_time_hours": seconds / 3600,
        "hardware": f"{versions['cores']} CPU cores",
        "versions": ", ".join(
            f"{name} {version}" for name, version in versions.items() if name != "cores"
        ),
    }


def _recipe_command(recipe_class: type[Recipe], resolved: dict[str, Any]) -> str:
    """Return the shipped recipe with the fewest overrides that give a resolved recipe."""
    shortest: tuple[str, list[str]] | None = None
    for name in shipped_recipes():
        try:
            shipped = flatten(json.loads(load_recipe(recipe_class, name).resolved_json()))
        except UsageError:  # a recipe of another class
            continue
        overrides = [
            f"--set {key}={strict_json.dumps(value)}"
            for key, value in flatten(resolved).items()
            if key != "corpus" and shipped.get(key) != value  # the corpus may be in any folder
        ]
        if shortest is None or len(overrides) <= len(shortest[1]):
            shortest = name, overrides
    if shortest is None:
        return "RECIPE"
    return " ".join([shortest[0], *shortest[1]])


def _training_time(metrics: Path) -> tuple[float, float]:
    """Return seconds of audio and seconds of training.

    The audio of steps that were repeated after a kill counts once, their time every time.
    """
    audio_s: dict[int, float] = {}
    seconds = 0.0
    for line in metrics.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "audio_s_per_s" in row:
            audio_s[row["step"]] = row["audio_s_per_s"] * row["seconds"]
            seconds += row["seconds"]
    return sum(audio_s.values()), seconds
