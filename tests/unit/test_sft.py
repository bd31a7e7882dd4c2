"""A2S-SFT on a toy: scopes, labels, stages, exact resume, one adapter at the end, two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from command_line import mega_asr
from megaasr.adapter.merge import merge, merge_into
from megaasr.adapter.peft_layout import Adapter, LowRank, read_adapter
from megaasr.adapter.write import join, write_adapter
from megaasr.audio import files
from megaasr.audio.waveform import Waveform
from megaasr.cli.main import main
from megaasr.config import load_recipe
from megaasr.errors import CheckpointError, TrainingError, UsageError
from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import IGNORE, InputBuilder
from megaasr.model.interface import Request
from megaasr.model.loading import load_model, read_checkpoint
from megaasr.model.parts import fingerprint
from megaasr.records import Utterance, write_manifest
from megaasr.train.clips import ClipFeatures, read_clips, select_clips
from megaasr.train.hf_trainer import LengthSampler
from megaasr.train.scopes import group_of, modules_of
from megaasr.train.sft.data import TrainingData
from megaasr.train.sft.lora_trainer import Collator
from megaasr.train.sft.plan import describe_plan
from megaasr.train.sft.recipe import SFTRecipe
from megaasr.train.sft.trainer import SFTTrainer
from megaasr.train.validation import is_better

TEXTS = ["red boats under bridges", "seven little houses", "over water", ""]


pytestmark = pytest.mark.usefixtures("fresh_process_state")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four graded clips of one length, six in each quarter of the error rates."""
    folder = tmp_path_factory.mktemp("graded")
    rng = np.random.default_rng(4)
    utterances = []
    for number in range(24):
        sound = (0.1 * rng.standard_normal(16_000)).astype(np.float32)
        files.write(folder / f"{number}.wav", Waveform(sound, 16_000))
        extra = {"duration_s": 1.0, "base_error_rate": (number % 4) * 0.25}
        text = TEXTS[0] if number < 16 else TEXTS[number % 4]
        utterances.append(Utterance(f"u{number}", f"{number}.wav", text, "en", extra))
    write_manifest(folder / "graded.jsonl", utterances)
    return folder


def recipe(base: Path, data: Path, **changes: Any) -> SFTRecipe:
    values: dict[str, Any] = {
        "model": str(base),
        "data": [str(data)],
        "dev": [str(data)],
        "seed": 5,
        "batch_size": 4,
        "device_batch_size": 4,
        "checkpoint_steps": 1,
        "evaluate_steps": 3,
        "evaluate_clips": 4,
        "loader_workers": 0,
        "log_steps": 1,
        "lora": {"rank": 4, "alpha": 8, "dropout": 0.1},
        "phases": [
            {
                "name": "acoustic",
                "scope": "encoder_aligner",
                "stages": [0.3, 0.7],
                "rates": {"encoder": 1e-2, "aligner": 1e-2},
            },
            {"name": "semantic", "scope": "llm", "rates": {"llm": 1e-2}},
            {
                "name": "joint",
                "scope": "all",
                "epochs": 0.5,
                "rates": {"encoder": 1e-2, "aligner": 1e-2, "llm": 1e-2},
            },
        ],
    }
    return SFTRecipe.model_validate({**values, **changes})


@pytest.fixture(scope="module")
def finished(random_checkpoint: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all phases."""
    folder = tmp_path_factory.mktemp("run")
    torch.set_num_threads(1)
    SFTTrainer(recipe(random_checkpoint, data), folder).train()
    AcceleratorState._reset_state(reset_partial_state=True)
    return folder


# Scopes


def names(base: Path) -> list[str]:
    model, _ = read_checkpoint(base, torch.float32)
    return [name for name, _ in model.named_modules()]


@pytest.mark.parametrize(
    ("scope", "count"),
    [
        ("encoder", 12),
        ("aligner", 3),
        ("encoder_aligner", 15),
        ("encoder_b4_aligner", 15),  # the toy has only two encoder layers
        ("llm", 14),
        ("all", 29),
    ],
)
def test_the_layers_of_a_scope(random_checkpoint: Path, scope: Any, count: int) -> None:
    assert len(modules_of(scope, names(random_checkpoint))) == count


def test_the_upper_blocks_are_the_last_four() -> None:
    layers = [f"model.audio_tower.layers.{n}.fc1" for n in range(24)]
    chosen = modules_of("encoder_b4_aligner", [*layers, "model.audio_tower.conv_out"])
    assert chosen == [*layers[20:], "model.audio_tower.conv_out"]
    with pytest.raises(UsageError, match="no layer"):
        modules_of("llm", layers)


def test_at_the_released_size_there_are_343_layers() -> None:
    from transformers import Qwen3ASRConfig, Qwen3ASRForConditionalGeneration

    build: Any = Qwen3ASRForConditionalGeneration
    text = {"num_hidden_layers": 28, "hidden_size": 64, "intermediate_size": 64, "head_dim": 16}
    audio = {"encoder_layers": 24, "d_model": 64, "encoder_attention_heads": 4}
    with torch.device("meta"):
        model = build(Qwen3ASRConfig(audio_config=audio, text_config=text))
    assert len(modules_of("all", (name for name, _ in model.named_modules()))) == 343


def test_layer_groups_of_wrapped_names() -> None:
    prefix = "base_model.model.model."
    assert group_of(f"{prefix}language_model.layers.3.mlp.up_proj.lora_A.default.weight") == "llm"
    assert group_of(f"{prefix}audio_tower.layers.3.fc1.lora_B.default.weight") == "encoder"
    assert group_of(f"{prefix}multi_modal_projector.linear_2.lora_A") == "aligner"
    assert group_of(f"{prefix}audio_tower.conv2d1") is None


def test_every_phase_trains_its_layers_only(finished: Path) -> None:
    expected = {"acoustic": {"encoder", "aligner"}, "semantic": {"llm"}}
    for phase, groups in expected.items():
        adapter = read_adapter(finished / phase / "adapter")
        assert {group_of(name) for name in adapter.layers} == groups
        assert all(bool(layer.b.abs().max() > 0) for layer in adapter.layers.values())
    assert len(read_adapter(finished / "joint" / "adapter").layers) == 29


# Data


def test_stages_hold_exactly_the_clips_below_their_bound(data: Path) -> None:
    clips = read_clips([data])
    rates = {
        bound: {c.error_rate for c in select_clips(clips, bound, None, (1,))}
        for bound in (0.25, 0.3, 0.7)
    }
    assert rates == {0.25: {0.0}, 0.3: {0.0, 0.25}, 0.7: {0.0, 0.25, 0.5}}  # strict
    sample = select_clips(clips, 0.7, 5, (1, 2))
    assert len(sample) == 5
    assert sample == select_clips(clips, 0.7, 5, (1, 2)) != select_clips(clips, 0.7, 5, (1, 3))
    assert len(select_clips(clips, None, None, (1,))) == 24


def test_unusable_clips_are_an_error_or_left_out(data: Path, tmp_path: Path) -> None:
    ungraded = [Utterance("a", "a.wav", "x", "en", {"duration_s": 1.0})]
    write_manifest(tmp_path / "m.jsonl", ungraded)
    clips = read_clips([tmp_path / "m.jsonl"])
    with pytest.raises(TrainingError, match="mega-asr grade"):
        select_clips(clips, 0.7, None, (1,))
    assert len(select_clips(clips, None, None, (1,))) == 1
    with pytest.raises(TrainingError, match="no clip"):
        select_clips(read_clips([data]), 1e-9 - 1e-9, None, (1,))
    long = [Utterance("a", "a.wav", "x", "en", {"duration_s": 30.5})]
    write_manifest(tmp_path / "m.jsonl", long)
    assert read_clips([tmp_path / "m.jsonl"]) == []
    with pytest.raises(TrainingError, match="neither a manifest"):
        read_clips([tmp_path / "nothing"])


def test_clips_of_held_out_scenarios_are_not_trained_on(
    random_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    scenarios = ["codec", "noise", "codec", None]
    clips = [
        Utterance(
            f"{number}",
            str(data / "0.wav"),
            "one",
            "en",
            {"duration_s": 1.0, "scenario": scenario},
        )
        for number, scenario in enumerate(scenarios)
    ]
    write_manifest(tmp_path / "ungraded.jsonl", clips)
    phases = [{"name": "joint", "scope": "all", "stages": [float("inf")]}]
    geometry = InputBuilder.for_model(*read_checkpoint(random_checkpoint, torch.float32)).geometry
    for held_out, count in (([], 4), (["codec"], 2), (["codec", "noise"], 1)):
        manifest = tmp_path / "ungraded.jsonl"
        plan = recipe(
            random_checkpoint, manifest, held_out_scenarios=held_out, phases=phases, dev=[data]
        )
        (stage,) = TrainingData(plan, geometry).stages(0)
        assert len(stage) == count


def test_only_the_turn_of_the_assistant_has_labels(any_checkpoint: Path, data: Path) -> None:
    builder = InputBuilder.for_model(*read_checkpoint(any_checkpoint, torch.float32))
    tokenizer: Any = builder._tokenizer
    examples = [ClipFeatures(read_clips([data]), builder.geometry)[index] for index in (0, 19)]
    batch = Collator(builder, torch.float32)(examples)
    for row, words in enumerate((f"English<asr_text>{TEXTS[0]}", "None<asr_text>")):
        labels = batch["labels"][row]
        learnt = labels != IGNORE
        assert tokenizer.decode(labels[learnt]) == f"language {words}<|im_end|>"
        assert torch.equal(labels[learnt], batch["input_ids"][row][learnt])
        first = int(learnt.nonzero()[0])
        assert tokenizer.decode(batch["input_ids"][row][:first]).endswith("assistant\n")
        last = int(learnt.nonzero()[-1])
        assert not batch["attention_mask"][row][last + 1 :].any()


def test_a_batch_without_a_readable_clip_is_an_error(any_checkpoint: Path) -> None:
    model, processor = read_checkpoint(any_checkpoint, torch.float32)
    collate = Collator(InputBuilder.for_model(model, processor), torch.float32)
    empty = {"features": None, "text": "words", "language": "en"}
    with pytest.raises(TrainingError, match="no clip of a batch can be read any more"):
        collate([empty, empty])
    good = {"features": np.zeros((30, 128), np.float32), "text": "words", "language": "en"}
    assert len(collate([empty, good])["input_ids"]) == 1


def test_a_clip_shorter_than_a_frame_has_no_example(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"RIFF$\0\0\0WAVE")
    files.write(tmp_path / "short.wav", Waveform(np.full(40, 0.1, np.float32), 16_000))
    listed = [
        Utterance(name, f"{name}.wav", "x", "en", {"duration_s": 0.0025})
        for name in ("empty", "short")
    ]
    write_manifest(tmp_path / "m.jsonl", listed)
    empty, short = ClipFeatures(read_clips([tmp_path / "m.jsonl"]), AudioGeometry())
    assert empty["features"] is None
    assert short["features"] is None or len(short["features"])


def test_the_prompt_of_training_is_that_of_inference(any_checkpoint: Path) -> None:
    model = load_model(any_checkpoint)
    silence = np.zeros(16_000 * 2, np.float32)
    inputs = model.inputs([Request(silence, context="Albert")])
    frames = model.geometry.frames(silence.size)
    ids, labels = model.builder.example(frames, "words", "en", "Albert")
    prompt = [token for token, label in zip(ids, labels, strict=True) if label == IGNORE]
    assert prompt == inputs["input_ids"][0].tolist()


def test_the_order_is_by_length_and_depends_on_seed_and_epoch() -> None:
    lengths = list(np.random.default_rng(0).uniform(1, 10, 100))
    sampler = LengthSampler(lengths, 8, seed=3)
    first = list(sampler)
    assert sorted(first) == list(range(100))
    ranges = [np.ptp([lengths[index] for index in first[n : n + 8]]) for n in range(0, 96, 8)]
    assert float(np.mean(ranges)) < 1.5
    assert list(LengthSampler(lengths, 8, seed=3)) == first
    sampler.set_epoch(1)
    assert list(sampler) != first


# Running


def test_the_joined_adapter_is_the_stack_of_phases(
    finished: Path, random_checkpoint: Path, tmp_path: Path
) -> None:
    parts = [
        read_adapter(finished / name / "adapter") for name in ("acoustic", "semantic", "joint")
    ]
    stacked, _ = read_checkpoint(random_checkpoint, torch.float32)
    for part in parts:
        merge_into(stacked, part)
    joined = read_adapter(finished / "adapter")
    merge(random_checkpoint, joined, tmp_path / "merged")
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    for name, value in stacked.state_dict().items():
        if name in merged:
            assert torch.allclose(value, merged[name], atol=1e-5), name
    request = Request((0.1 * np.random.default_rng(1).standard_normal(16_000)).astype(np.float32))
    routed = load_model(random_checkpoint, adapter=finished / "adapter")
    plain = load_model(tmp_path / "merged")
    inputs = routed.inputs([request])
    robust = Request(request.samples, route="robust")
    with torch.inference_mode(), routed.routed([robust], inputs):
        logits = routed.model(**inputs).logits
    with torch.inference_mode():
        other = plain.model(**inputs).logits
    assert (logits - other).abs().max() < 1e-4


def test_the_geometry_of_small_learns_and_merges(
    small_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    rates = {"encoder": 1e-2, "aligner": 1e-2, "llm": 1e-2}
    phases = [{"name": "joint", "scope": "all", "epochs": 1, "stages": [0.7], "rates": rates}]
    plan = recipe(small_checkpoint, data, phases=phases)
    rows: list[dict[str, Any]] = []
    folder = SFTTrainer(plan, tmp_path / "run", on_metrics=rows.append).train().path
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 4
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.05
    moved = read_adapter(tmp_path / "run" / "joint" / "adapter").layers
    assert {group_of(name) for name in moved} == {"encoder", "aligner", "llm"}
    assert all(bool(layer.b.abs().max() > 0) for layer in moved.values())
    merge(small_checkpoint, read_adapter(folder), tmp_path / "merged")
    sound = (0.1 * np.random.default_rng(1).standard_normal(40_000)).astype(np.float32)
    routed = load_model(small_checkpoint, adapter=folder)
    merged = load_model(tmp_path / "merged")
    assert merged.geometry == routed.geometry
    batch = [Request(sound, route="robust"), Request(sound[:9_000]), Request(sound[:20_000])]
    inputs = routed.inputs(batch)
    with torch.inference_mode(), routed.routed(batch, inputs):
        mixed = routed.model(**inputs).logits
    with torch.inference_mode():
        robust, base = merged.model(**inputs).logits, routed.model(**inputs).logits
    valid = inputs["attention_mask"].bool()
    assert (mixed[0, valid[0]] - robust[0, valid[0]]).abs().max() < 1e-4
    assert (mixed[0, valid[0]] - base[0, valid[0]]).abs().max() > 0.01
    assert torch.equal(mixed[1:][valid[1:]], base[1:][valid[1:]])


def test_peft_alone_loads_the_joined_adapter(finished: Path, random_checkpoint: Path) -> None:
    from peft import PeftModel

    base, _ = read_checkpoint(random_checkpoint, torch.float32)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    loaded: Any = PeftModel.from_pretrained(base, finished / "adapter").merge_and_unload()
    joined = read_adapter(finished / "adapter")
    for name, layer in joined.layers.items():
        key = f"{name}.weight"
        change = loaded.state_dict()[key] - before[key]
        assert torch.allclose(change, layer.delta(), atol=1e-5), name


def test_an_interrupted_run_is_resumed_exactly(
    finished: Path, random_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    class StoppedError(Exception):
        pass

    plan = recipe(random_checkpoint, data)
    rows = 0

    def stop(row: dict[str, Any]) -> None:
        nonlocal rows
        rows += "loss" in row
        if rows and rows % 4 == 0 and "loss" in row:
            raise StoppedError

    for _ in range(20):
        AcceleratorState._reset_state(reset_partial_state=True)
        try:
            SFTTrainer(plan, tmp_path, on_metrics=stop).train()
            break
        except StoppedError:
            continue
    else:
        pytest.fail("it never came to its end")
    assert rows > 8
    for name in ("acoustic/adapter", "semantic/adapter", "joint/adapter", "adapter"):
        ours = load_file(tmp_path / name / "adapter_model.safetensors")
        expected = load_file(finished / name / "adapter_model.safetensors")
        assert ours.keys() == expected.keys()
        assert max(float((ours[key] - expected[key]).abs().max()) for key in ours) == 0.0, name


def test_a_finished_run_is_not_run_again(
    finished: Path, random_checkpoint: Path, data: Path
) -> None:
    rows: list[object] = []
    before = (finished / "adapter" / "adapter_model.safetensors").read_bytes()
    SFTTrainer(recipe(random_checkpoint, data), finished, on_metrics=rows.append).train()
    assert rows == []
    assert (finished / "adapter" / "adapter_model.safetensors").read_bytes() == before


def test_metrics_have_bands_failures_and_throughput(finished: Path) -> None:
    lines = (finished / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    trained = [row for row in rows if "loss" in row]
    assert {"phase", "stage", "step", "loss", "learning_rate", "audio_s_per_s"} <= set(trained[0])
    validated = [row for row in rows if "dev_wer_all" in row]
    assert {"dev_wer_below_30", "dev_empty", "dev_deletions", "dev_repetition"} <= set(validated[0])


def test_the_best_checkpoint_has_few_errors_and_no_more_failures() -> None:
    best = {"dev_wer_all": 0.4, "dev_empty": 0.02, "dev_hallucination": 0.02}
    assert is_better(best, None)
    assert is_better({**best, "dev_wer_all": 0.39}, best)
    assert not is_better(best, best)
    assert is_better({"dev_wer_all": 0.39, "dev_empty": 0.03, "dev_hallucination": 0.02}, best)
    assert not is_better({"dev_wer_all": 0.3, "dev_empty": 0.2, "dev_hallucination": 0.0}, best)


def test_an_adapter_refuses_another_base(
    finished: Path, random_checkpoint: Path, tmp_path: Path
) -> None:
    model, processor = read_checkpoint(random_checkpoint, torch.float32)
    with torch.no_grad():
        model.model.language_model.layers[0].mlp.up_proj.weight.mul_(1.5)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert fingerprint(tmp_path) != fingerprint(random_checkpoint)
    with pytest.raises(CheckpointError, match="trained on other weights"):
        load_model(tmp_path, adapter=finished / "adapter")


def test_a_missing_clip_does_not_stop_a_run(
    random_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    from megaasr.records import read_manifest

    clips = [
        Utterance(u.id, str(data / u.audio), u.text, u.language, u.extra)
        for u in read_manifest(data / "graded.jsonl")
    ]
    clips[0] = Utterance("gone", "gone.wav", "x", "en", clips[0].extra)
    write_manifest(tmp_path / "graded.jsonl", clips)
    phases = [{"name": "one", "scope": "llm", "stages": [0.3], "rates": {"llm": 1e-3}}]
    plan = recipe(random_checkpoint, tmp_path, phases=phases, max_left_out=0.25)
    result = SFTTrainer(plan, tmp_path / "run").train()
    assert result.path.is_dir()
    assert result.left_out.problems == (("gone", "cannot be read"),)
    recorded = json.loads((tmp_path / "run" / "clips.json").read_text())
    assert recorded["left_out"] == 1
    assert recorded["reasons"] == {"cannot be read": 1}


def test_clips_that_cannot_be_read_are_an_error_and_leave_no_folder(
    random_checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It trained to loss 0.0, wrote an adapter and ended with 0."""
    gone = [Utterance(f"u{n}", f"{n}.wav", "x", "en", {"duration_s": 1.0}) for n in range(8)]
    write_manifest(tmp_path / "gone.jsonl", gone)
    phases = [{"name": "one", "scope": "llm", "stages": [None], "rates": {"llm": 1e-3}}]
    plan = recipe(random_checkpoint, data, phases=phases)
    plan = plan.model_copy(update={"data": (tmp_path / "gone.jsonl",)})
    with pytest.raises(TrainingError, match="no clip can be used: 8 cannot be read"):
        SFTTrainer(plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_equal_one(
    random_checkpoint: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [
        f"model={random_checkpoint}",
        f"data=['{data}']",
        f"dev=['{data}']",
        "seed=5",
        "batch_size=4",
        "loader_workers=0",
        "evaluate_steps=100",
        "evaluate_clips=2",
        "lora={rank=4,alpha=8,dropout=0.0}",
        "phases=[{name='one',scope='all',stages=[0.7],rates={encoder=1e-3,aligner=1e-3,llm=1e-3}}]",
    ]
    recipe_file = tmp_path / "r.toml"
    recipe_file.write_text("")
    settings = [part for option in options for part in ("--set", option)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launch += ["--nproc-per-node", "2", "-m", "megaasr"]
    train = ["train", "sft", str(recipe_file), *settings, "--threads", "1"]
    command = [*launch, *train, "-o", str(tmp_path / "two"), "--set", "device_batch_size=2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # no more than the two have
    alone = mega_asr(*train, "-o", "one", "--set", "device_batch_size=4", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    single, double = (
        load_file(tmp_path / name / "adapter" / "adapter_model.safetensors")
        for name in ("one", "two")
    )
    assert max(float((single[key] - double[key]).abs().max()) for key in single) < 1e-5


# Recipes and adapters


def test_the_recipe_of_the_paper_and_its_plan(random_checkpoint: Path, data: Path) -> None:
    paper = load_recipe(SFTRecipe, "sft-1.7b")
    assert [phase.scope for phase in paper.phases] == ["encoder_aligner", "llm", "all"]
    assert paper.phases[0].stages == (0.3, 0.5, 0.7)
    assert (paper.lora.rank, paper.lora.alpha, paper.lora.dropout) == (8, 16, 0.05)
    assert paper.accumulation(2) == 8
    plan = describe_plan(recipe(random_checkpoint, data))
    assert "phase acoustic: trains encoder" in plan
    assert "18 clips" in plan
    assert "GiB" in plan


def test_inconsistent_recipes_are_refused(random_checkpoint: Path, data: Path) -> None:
    with pytest.raises(UsageError, match="not a multiple"):
        recipe(random_checkpoint, data, batch_size=6).accumulation(1)
    phase = {"name": "a", "scope": "llm", "stages": [0.7, 0.3]}
    with pytest.raises(ValueError, match="stages must grow"):
        recipe(random_checkpoint, data, phases=[phase])
    with pytest.raises(ValueError, match="same name"):
        recipe(random_checkpoint, data, phases=[{**phase, "stages": [0.7]}] * 2)


def test_another_recipe_in_the_folder_is_refused(
    finished: Path, random_checkpoint: Path, data: Path
) -> None:
    with pytest.raises(TrainingError, match="seed"):
        SFTTrainer(recipe(random_checkpoint, data, seed=6), finished)


def test_different_ranks_of_layers_are_written_and_read(tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)

    def layer(rank: int) -> LowRank:
        return LowRank(torch.randn(rank, 6, generator=rng), torch.randn(5, rank, generator=rng))

    first = Adapter("one", {"model.a": layer(2), "model.b": layer(3)}, "")
    second = Adapter("two", {"model.b": layer(4), "model.c": layer(2)}, "")
    both = join([first, second], "both")
    write_adapter(both, tmp_path, base="m", fingerprint="f", dtype=torch.float32)
    adapter = read_adapter(tmp_path)
    assert {name: part.rank for name, part in adapter.layers.items()} == {
        "model.a": 2,
        "model.b": 7,
        "model.c": 2,
    }
    expected = first.layers["model.b"].delta() + second.layers["model.b"].delta()
    assert torch.allclose(adapter.layers["model.b"].delta(), expected, atol=1e-6)
    assert adapter.base_fingerprint == "f"


def test_the_dry_run_of_the_command(
    random_checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = [f"model={random_checkpoint}", f"data=['{data}']", f"dev=['{data}']"]
    options = [part for setting in settings for part in ("--set", setting)]
    with pytest.raises(SystemExit) as ended:
        main(["train", "sft", "sft-tiny", "-o", str(tmp_path / "run"), "--dry-run", *options])
    assert not ended.value.code
    assert "memory without activations" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_a_run_continues_from_the_adapter_of_another_run(
    finished: Path, random_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    phases = [{"name": "more", "scope": "llm", "stages": [0.3], "rates": {"llm": 1e-2}}]
    plan = recipe(random_checkpoint, data, phases=phases, adapter=str(finished / "adapter"))
    result = read_adapter(SFTTrainer(plan, tmp_path / "run").train().path)
    before = read_adapter(finished / "adapter")
    more = read_adapter(tmp_path / "run" / "more" / "adapter")
    assert set(result.layers) == set(before.layers)
    for name, layer in result.layers.items():
        change = more.layers[name].delta() if name in more.layers else 0.0
        assert torch.allclose(layer.delta(), before.layers[name].delta() + change, atol=1e-6)
    with pytest.raises(TrainingError, match="holds no adapter"):
        SFTTrainer(plan.model_copy(update={"adapter": tmp_path}), tmp_path / "other")
    write_adapter(before, tmp_path / "a", base="x", fingerprint="x", dtype=torch.float32)
    with pytest.raises(CheckpointError, match="trained on other weights"):
        SFTTrainer(plan.model_copy(update={"adapter": tmp_path / "a"}), tmp_path / "another")
