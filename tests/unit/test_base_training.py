"""The from-scratch stage on a toy corpus: it resumes exactly, refuses clearly and exports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from transformers import Qwen3ASRForConditionalGeneration, Qwen3ASRProcessor

from audio_geometries import GEOMETRIES
from hanging import HANGING_S
from megaasr.audio import files
from megaasr.audio.waveform import Waveform
from megaasr.cli.main import main
from megaasr.config import load_recipe
from megaasr.errors import TrainingError
from megaasr.hub import HubOptions
from megaasr.model.interface import Request
from megaasr.model.loading import load_model
from megaasr.records import Utterance, write_manifest
from megaasr.train.base.recipe import BaseRecipe, OptimizerRecipe
from megaasr.train.base.trainer import BaseTrainer, scheduled_learning_rate
from megaasr.train.curves import BASE, draw_curves
from megaasr.train.evaluate import dev_error_rate

WORDS = [
    *("anna", "ben", "red", "blue", "sees", "takes", "gives"),
    *("seven", "little", "houses", "under", "bridges", "over", "water"),
]
TOY = (
    "steps=6",
    "batch_s=8",
    "ctc_first_steps=1",
    "short_first_steps=3",
    "short_first_s=1.2",
    "evaluate_steps=6",
    "evaluate_clips=2",
    "checkpoint_s=1e-6",
    "log_steps=1",
    "architecture.vocabulary_size=320",
    "architecture.encoder_layers=1",
    "architecture.encoder_width=32",
    "architecture.encoder_heads=2",
    "architecture.encoder_ffn=64",
    "architecture.conv_channels=8",
    "architecture.decoder_layers=1",
    "architecture.decoder_width=32",
    "architecture.decoder_heads=2",
    "architecture.decoder_kv_heads=1",
    "architecture.decoder_head_size=16",
    "architecture.decoder_ffn=64",
    "augment.join_share=0.5",
    "augment.join_max_s=9.0",
    "optimizer.warmup_steps=2",
    "optimizer.decay_steps=2",
)


@pytest.fixture(autouse=True)
def _fresh_process_state() -> Iterator[None]:
    """Accelerate keeps one state per process; torch gets one thread, as in `--threads 1`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def espeak() -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip(
            "espeak-ng is not installed (apt-get install espeak-ng); training needs its phonemes"
        )


def write_split(folder: Path, split: str, count: int, rng: np.random.Generator) -> None:
    utterances = []
    for number in range(count):
        text = "" if number == 1 else " ".join(rng.choice(WORDS, size=4)).capitalize() + "."
        length = int(rng.integers(12_000, 18_000 if number % 2 else 32_000))
        # Noise with a melody of its own, so that a model can tell the clips apart.
        tone = np.sin(2 * np.pi * rng.uniform(200, 3_000) * np.arange(length) / 16_000)
        samples = (0.1 * rng.standard_normal(length) + 0.3 * tone).astype(np.float32)
        name = f"{split}-{number}.wav"
        files.write(folder / name, Waveform(samples, 16_000))
        extra = {"duration_s": round(length / 16_000, 3), "source": "nonspeech"}
        if text:
            extra |= {"source": "generator", "speaker": "toy", "held_out_voice": False}
        utterances.append(Utterance(name, name, text, "en" if text else None, extra))
    write_manifest(folder / f"{split}.jsonl", utterances)


@pytest.fixture(scope="module")
def corpus(espeak: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy corpus")
    rng = np.random.default_rng(0)
    write_split(folder, "train", 12, rng)
    write_split(folder, "dev", 4, rng)
    return folder


def toy_recipe(corpus: Path, *overrides: str) -> BaseRecipe:
    return load_recipe(BaseRecipe, "train-base-tiny", [*TOY, f"corpus={corpus}", *overrides])


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder: Path) -> dict[int, tuple[float, float, int]]:
    return {r["step"]: (r["loss"], r["ctc"], r["epoch"]) for r in metrics(folder) if "loss" in r}


def interrupting(step: int) -> Callable[[dict[str, Any]], None]:
    """Ctrl-C in the middle of a step: after its update, before its checkpoint."""

    def stop(row: dict[str, Any]) -> None:
        if row.get("step") == step:
            raise KeyboardInterrupt

    return stop


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of six steps; tests must not write into it."""
    folder = tmp_path_factory.mktemp("run") / "straight"
    torch.set_num_threads(1)
    AcceleratorState._reset_state(True)
    BaseTrainer(toy_recipe(corpus), folder).train()
    return folder


def assert_same(first: Any, second: Any, where: str = "checkpoint") -> None:
    """Assert that two nested values are equal to the last bit."""
    assert type(first) is type(second), where
    if isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype, where
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert list(first) == list(second), where
        for key in first:
            assert_same(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_same(a, b, f"{where}[{number}]")
    else:
        assert first == second, where


def checkpoint(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / "checkpoint.pt", weights_only=True)
    return state


def test_an_interrupted_run_equals_an_uninterrupted_one(
    corpus: Path, finished: Path, tmp_path: Path
) -> None:
    recipe = toy_recipe(corpus)
    # Done twice: the step after the CTC phase, the first of the next epoch, the first of the
    # long phase, and one within it.
    for stop in (2, 3, 4, 5):
        with pytest.raises(KeyboardInterrupt):
            BaseTrainer(recipe, tmp_path / "run", interrupting(stop)).train()
        assert checkpoint(tmp_path / "run")["step"] == stop - 1
    trainer = BaseTrainer(recipe, tmp_path / "run")
    assert trainer.position.step == 4
    trainer.train()
    assert_same(checkpoint(tmp_path / "run"), checkpoint(finished))
    assert losses(tmp_path / "run") == losses(finished)
    # The first step trains by CTC alone; every other one saw another batch.
    assert losses(finished)[1][0] == 0.0
    assert len(set(losses(finished).values())) == 6
    assert [epoch for _, _, epoch in losses(finished).values()] == [0, 0, 1, 2, 2, 2]
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        ours, theirs = tmp_path / "run" / "model" / name, finished / "model" / name
        assert ours.read_bytes() == theirs.read_bytes()


def test_a_finished_run_is_left_as_it_is(corpus: Path, finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(folder / "model")  # as if it had been killed before the export
    BaseTrainer(toy_recipe(corpus), folder).train()
    assert_same(checkpoint(folder), checkpoint(finished))
    assert metrics(folder) == metrics(finished)
    weights = (folder / "model" / "model.safetensors").read_bytes()
    assert weights == (finished / "model" / "model.safetensors").read_bytes()


def test_another_seed_trains_another_model(corpus: Path, finished: Path, tmp_path: Path) -> None:
    stop = interrupting(1)
    with pytest.raises(KeyboardInterrupt):
        BaseTrainer(toy_recipe(corpus, "seed=1"), tmp_path / "run", stop).train()
    assert losses(tmp_path / "run")[1] != losses(finished)[1]


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["seed=1"], ["seed"]),
        (["batch_s=9"], ["batch_s"]),
        (["optimizer.learning_rate=1e-4"], ["optimizer.learning_rate"]),
        (["augment.gain_db=1", "short_first_s=1"], ["augment.gain_db", "short_first_s"]),
    ],
)
def test_another_recipe_in_the_same_folder_is_refused(
    corpus: Path, finished: Path, overrides: list[str], named: list[str]
) -> None:
    before = (finished / "recipe.json").read_bytes()
    differences = "; ".join(rf"{field} is \S+ there and \S+ now" for field in named)
    with pytest.raises(TrainingError, match=rf"another recipe: {differences} \(see "):
        BaseTrainer(toy_recipe(corpus, *overrides), finished)
    assert (finished / "recipe.json").read_bytes() == before


def test_a_run_can_be_prolonged(corpus: Path, finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    longer = toy_recipe(corpus, "steps=7", "log_steps=7", "evaluate_steps=50", "checkpoint_s=99")
    BaseTrainer(longer, folder).train()
    assert checkpoint(folder)["step"] == 7
    assert json.loads((folder / "recipe.json").read_text())["steps"] == 7


def test_the_exported_model_is_half_as_large_and_loads(finished: Path) -> None:
    folder = finished / "model"
    stored = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    trained = checkpoint(finished)["objective"]
    for name, tensor in stored.items():
        assert torch.equal(tensor, trained[f"model.{name}"].half()), name
    assert not [name for name in stored if "ctc" in name]
    assert not [path for path in folder.iterdir() if path.suffix in {".bin", ".pt"}]
    model = load_model(str(folder), device="cpu", hub=HubOptions(offline=True))
    noise = np.random.default_rng(1).standard_normal(8_000).astype(np.float32)
    (answer,) = model.recognize([Request(0.1 * noise)])
    assert isinstance(answer.text, str)
    assert answer.tokens > 0


def test_the_run_folder_describes_the_run(corpus: Path, finished: Path) -> None:
    recipe = json.loads((finished / "recipe.json").read_text())
    assert recipe == json.loads(toy_recipe(corpus).resolved_json())
    versions = json.loads((finished / "versions.json").read_text())
    assert torch.__version__.startswith(versions["torch"].partition("+")[0])
    assert {"megaasr", "transformers", "python", "cores"} <= set(versions)
    rows = metrics(finished)
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
    for row in rows:
        assert all(np.isfinite(value) for value in row.values())
        if "loss" in row:
            used = scheduled_learning_rate(row["step"] - 1, 6, toy_recipe(corpus).optimizer)
            assert row["learning_rate"] == used
            # At most one batch (8 s) and the silence before its clips, processed in `seconds`.
            assert 0 < row["audio_s_per_s"] * row["seconds"] < 16
    (evaluation,) = [row for row in rows if "dev_wer" in row]
    assert evaluation["step"] == 6
    assert not list(finished.rglob("*.part"))


def test_the_curves_are_a_picture(finished: Path, tmp_path: Path) -> None:
    draw_curves(finished / "metrics.jsonl", tmp_path / "curves.png", BASE)
    from matplotlib import image

    picture = image.imread(tmp_path / "curves.png")
    assert picture.shape[0] > 300
    assert picture.shape[1] > 800
    blue = np.abs(picture[..., :3] - np.array([0x1F, 0x77, 0xB4]) / 255).max(axis=2) < 0.05
    left, right = np.array_split(blue, 2, axis=1)  # the loss, the error rate
    assert left.sum() > 100
    assert right.sum() > 10
    # A run that was stopped before its first evaluation has curves too.
    first = (finished / "metrics.jsonl").read_text().splitlines()[:2]
    (tmp_path / "metrics.jsonl").write_text("\n".join(first))
    draw_curves(tmp_path / "metrics.jsonl", tmp_path / "early.png", BASE)
    assert (tmp_path / "early.png").stat().st_size > 1_000


def test_a_finished_run_is_published_with_its_card(
    corpus: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    split = Path(shutil.copytree(corpus, tmp_path / "corpus"))
    write_split(split, "test", 4, np.random.default_rng(5))
    with pytest.raises(SystemExit) as ended:
        main(["publish", str(run), "--corpus", str(split), "-o", str(tmp_path / "toy")])
    assert ended.value.code == 1
    assert f"there is no {split / 'recipe.json'}" in capsys.readouterr().err
    assert not (tmp_path / "toy").exists()
    (split / "recipe.json").write_text('{"seed": 77}')
    with pytest.raises(SystemExit) as ended:
        main(["publish", str(run), "--corpus", str(split), "-o", str(tmp_path / "toy")])
    assert ended.value.code == 0
    results = json.loads((tmp_path / "toy" / "results.json").read_text())
    assert results["nonspeech"]["clips"] == 1
    assert results["facts"]["train_clips"] == 12
    assert results["facts"]["corpus_seed"] == 77
    heard_s = sum(r["audio_s_per_s"] * r["seconds"] for r in metrics(finished) if "loss" in r)
    assert results["facts"]["heard_hours"] == pytest.approx(heard_s / 3600)
    card = (tmp_path / "toy" / "README.md").read_text()
    assert results["facts"]["weights_sha256"] in card
    assert results["facts"]["test_sha256"] in card
    assert "{" not in card
    assert "| generator, trained voices | 3 |" in card
    assert "generator, trained voices" in capsys.readouterr().out
    predictions = (run / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in predictions] == [f"test-{n}.wav" for n in range(4)]
    model = load_model(str(tmp_path / "toy"), device="cpu", hub=HubOptions(offline=True))
    assert model.name == str(tmp_path / "toy")


@pytest.mark.parametrize("name", ["train.jsonl", "dev.jsonl"])
def test_a_missing_corpus_is_named_with_its_command(
    corpus: Path, tmp_path: Path, name: str
) -> None:
    half = tmp_path / "half"
    half.mkdir()
    other = {"train.jsonl", "dev.jsonl"} - {name}
    shutil.copy(corpus / other.pop(), half)
    with pytest.raises(TrainingError, match=f"half holds no {name}.*make corpus"):
        BaseTrainer(toy_recipe(half), tmp_path / "run")


def test_first_steps_without_short_clips_are_an_error(corpus: Path, tmp_path: Path) -> None:
    recipe = toy_recipe(corpus, "short_first_s=0.1")
    with pytest.raises(TrainingError, match=r"no clip of at most 0\.1 s \(short_first_s\)"):
        BaseTrainer(recipe, tmp_path / "run").train()


def test_a_run_without_short_steps_needs_no_short_clips(corpus: Path, tmp_path: Path) -> None:
    recipe = toy_recipe(corpus, "short_first_s=0.1", "short_first_steps=0", "ctc_first_steps=0")
    with pytest.raises(KeyboardInterrupt):
        BaseTrainer(recipe, tmp_path / "run", interrupting(2)).train()
    assert [(loss > 0, epoch) for loss, _, epoch in losses(tmp_path / "run").values()] == [
        (True, 0),
        (True, 0),
    ]


@pytest.mark.slow
def test_the_geometry_of_small_trains_too(corpus: Path, tmp_path: Path) -> None:
    settings = [f"architecture.{key}={value}" for key, value in GEOMETRIES["small"].items()]
    recipe = toy_recipe(corpus, *settings, "steps=8", "short_first_steps=4", "evaluate_steps=8")
    with pytest.raises(KeyboardInterrupt):
        BaseTrainer(recipe, tmp_path / "run", interrupting(3)).train()
    BaseTrainer(recipe, tmp_path / "run").train()
    logged = losses(tmp_path / "run")
    assert sorted(logged) == list(range(1, 9))
    assert all(np.isfinite(value) for loss in logged.values() for value in loss)
    assert logged[8][0] < logged[2][0]
    model = load_model(tmp_path / "run" / "model", device="cpu")
    assert model.geometry == recipe.architecture.geometry
    assert model.geometry.tokens_per_s == 50
    # Features of both geometries lie in one folder.
    shards = {path.name for path in (corpus / "features").glob("*.npy")}
    assert "train-40-400-128-8000-00000.npy" in shards


def test_a_run_is_resumed_whose_recipe_has_no_geometry(
    corpus: Path, finished: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    written = json.loads((folder / "recipe.json").read_text())
    for field in ("hop_samples", "n_fft", "mel_bins", "chunk_frames", "window_frames"):
        del written["architecture"][field]
    (folder / "recipe.json").write_text(json.dumps(written))
    BaseTrainer(toy_recipe(corpus), folder).train()
    assert metrics(folder) == metrics(finished)
    small = [f"architecture.{key}={value}" for key, value in GEOMETRIES["small"].items()]
    with pytest.raises(TrainingError, match=r"another recipe: architecture\.\S+ is"):
        BaseTrainer(toy_recipe(corpus, *small), folder)


SCHEDULE = OptimizerRecipe(
    learning_rate=0.01,
    warmup_steps=10,
    decay_steps=20,
    weight_decay=0.0,
    beta2=0.98,
    gradient_norm=1.0,
    ctc_weight=1.0,
    ctc_weight_end=0.3,
)


def test_the_learning_rate_rises_stays_constant_and_falls() -> None:
    learning_rates = [scheduled_learning_rate(step, 100, SCHEDULE) for step in range(100)]
    assert learning_rates[:10] == pytest.approx([0.001 * n for n in range(1, 11)])
    assert learning_rates[10:81] == pytest.approx([0.01] * 71)
    assert learning_rates[80:] == pytest.approx([0.01 * n / 20 for n in range(20, 0, -1)])
    assert scheduled_learning_rate(100, 100, SCHEDULE) == 0.0
    # The constant part can grow without a change of what was done before.
    assert [scheduled_learning_rate(step, 200, SCHEDULE) for step in range(80)] == learning_rates[
        :80
    ]


def test_a_learning_rate_without_warm_up_or_decay_is_constant() -> None:
    constant = SCHEDULE.model_copy(update={"warmup_steps": 0, "decay_steps": 0})
    assert {scheduled_learning_rate(step, 50, constant) for step in range(50)} == {0.01}
    # Shorter than warm-up and decay together: the lower of the two lines.
    short = [scheduled_learning_rate(step, 12, SCHEDULE) for step in range(12)]
    assert max(short) < 0.01
    assert short.index(max(short)) == 3


def test_dev_clips_are_taken_from_the_whole_manifest(
    random_checkpoint: Path, tmp_path: Path
) -> None:
    # Only the files that ought to be chosen exist.
    utterances = [Utterance(str(n), f"{n}.wav", "one two", "en") for n in range(19)]
    write_manifest(tmp_path / "dev.jsonl", utterances)
    for number in (0, 6, 12):
        files.write(tmp_path / f"{number}.wav", Waveform(np.zeros(8_000, np.float32), 16_000))
    model = Qwen3ASRForConditionalGeneration.from_pretrained(random_checkpoint)
    processor = Qwen3ASRProcessor.from_pretrained(random_checkpoint)
    model.train()
    metrics = dev_error_rate(model, processor, tmp_path / "dev.jsonl", 3)
    assert model.training
    assert metrics["dev_wer"] > 0
    assert metrics["dev_words_on_nonspeech"] == 0


@pytest.mark.slow
def test_two_processes_train_one_model(corpus: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "toy.toml"
    shipped = Path(sys.modules["megaasr"].__path__[0]) / "recipes" / "train-base-tiny.toml"
    recipe.write_text(shipped.read_text())
    settings = [f"--set={setting}" for setting in (*TOY, f"corpus={corpus}")]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", "-m", "megaasr", "train", "base", str(recipe)]

    def train(name: str, *more: str) -> Path:
        subprocess.run(
            [*command, "-o", str(tmp_path / name), "--threads", "1", *settings, *more],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=HANGING_S,
            check=True,
        )
        return tmp_path / name

    # Without decay and with constant weights a step does not depend on how many there will be.
    settings += ["--set=optimizer.decay_steps=0", "--set=optimizer.ctc_weight_end=1.0"]
    straight = train("straight")
    train("resumed", "--set=steps=3", "--set=evaluate_steps=2")
    resumed = train("resumed")
    assert checkpoint(resumed)["step"] == 6
    assert_same(checkpoint(resumed), checkpoint(straight))
    assert losses(resumed) == losses(straight)
    assert sorted(losses(resumed)) == [1, 2, 3, 4, 5, 6]
    assert (resumed / "curves.png").stat().st_size > 1_000
    model = load_model(str(resumed / "model"), device="cpu", hub=HubOptions(offline=True))
    assert model.recognize([Request(np.zeros(8_000, np.float32))])


@pytest.mark.slow
@pytest.mark.usefixtures("espeak")
def test_eight_clips_are_memorised(tmp_path: Path) -> None:
    folder = tmp_path / "eight"
    folder.mkdir()
    rng = np.random.default_rng(1)
    write_split(folder, "train", 8, rng)
    write_split(folder, "dev", 2, rng)
    off = ["join_share", "lead_s", "context_share", "noise_share", "gain_db", "frequency_masks"]
    recipe = toy_recipe(
        folder,
        *(f"augment.{name}=0" for name in (*off, "time_masks_per_s")),
        *("steps=150", "batch_s=40", "ctc_first_steps=0", "short_first_steps=0", "log_steps=10"),
        *(
            "checkpoint_s=600",
            "evaluate_steps=150",
            "optimizer.learning_rate=5e-3",
            "optimizer.decay_steps=30",
        ),
    )
    BaseTrainer(recipe, tmp_path / "run").train()
    logged = losses(tmp_path / "run")
    assert logged[150][0] < 0.4 * logged[10][0]
    assert logged[150][1] < 0.6 * logged[10][1]


def test_another_corpus_is_refused_in_a_started_run(tmp_path: Path) -> None:
    from megaasr.train.run import RunFolder

    recipe = load_recipe(BaseRecipe, "train-base-tiny")
    first, second = tmp_path / "a.jsonl", tmp_path / "b" / "a.jsonl"
    second.parent.mkdir()
    first.write_text("one\n")
    second.write_text("two\n")
    RunFolder(tmp_path / "run", recipe).claim_data(first)
    RunFolder(tmp_path / "run", recipe).claim_data(first)
    with pytest.raises(TrainingError, match=r"started on other data than .*a\.jsonl"):
        RunFolder(tmp_path / "run", recipe).claim_data(second)
