"""DG-WGPO on tiny: the policy depends on the audio, groups are drawn correctly, runs are exact."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from test_adapter import random_adapter

from command_line import mega_asr
from graded_demo import write_graded_demo
from megaasr.adapter.peft_layout import read_adapter
from megaasr.adapter.write import write_adapter
from megaasr.cli.main import main
from megaasr.errors import TrainingError, UsageError
from megaasr.model.geometry import AudioGeometry
from megaasr.model.inputs import Features, InputBuilder
from megaasr.model.interface import SamplingSettings
from megaasr.model.loading import read_checkpoint
from megaasr.model.parts import fingerprint
from megaasr.model.sampling import TranscriptSampler
from megaasr.report.groups_page import groups_page, read_groups
from megaasr.text.dg_reward import Rewards, score_batch
from megaasr.train.clips import Clip, ClipFeatures, read_clips
from megaasr.train.curves import RL, cumulative_rows
from megaasr.train.lora_recipe import LoraRecipe
from megaasr.train.peft_model import with_adapter
from megaasr.train.rl.group_log import GroupLog
from megaasr.train.rl.groups import Group, GroupSource, mean_metrics, summarize
from megaasr.train.rl.policy import Policy, make_prompts
from megaasr.train.rl.probe import ProbeResult, measure, probe, recommend
from megaasr.train.rl.prompt_schedule import PromptSchedule
from megaasr.train.rl.recipe import DynamicRecipe, RLRecipe, SubsampleRule
from megaasr.train.rl.rollout import NativeEngine, Sample
from megaasr.train.rl.start import Start, load_start
from megaasr.train.rl.trainer import RLTrainer
from megaasr.train.scopes import group_of

pytestmark = pytest.mark.usefixtures("fresh_process_state")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's clips as a data set graded by the starting model."""
    folder = tmp_path_factory.mktemp("graded")
    write_graded_demo(folder)
    return folder


def recipe(data: Path, **changes: Any) -> RLRecipe:
    values: dict[str, Any] = {
        "model": "tiny",
        "data": [str(data)],
        "dev": [str(data)],
        "seed": 3,
        "steps": 4,
        "batch_size": 2,
        "device_batch_size": 1,
        "rollout_batch_size": 2,
        "lora": {"rank": 2, "alpha": 4, "dropout": 0.0},
        "rates": {"encoder": 1e-3, "aligner": 1e-3, "llm": 1e-3},
        "sampling": {"samples": 3, "temperature": 1.0, "repetition_penalty": 1.0},
        "evaluate_steps": 2,
        "evaluate_clips": 2,
        "checkpoint_steps": 1,
        "log_steps": 2,
        "dumped_groups": 1,
    }
    return RLRecipe.model_validate({**values, **changes})


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps."""
    folder = tmp_path_factory.mktemp("run")
    torch.set_num_threads(1)
    RLTrainer(recipe(data), folder).train()
    AcceleratorState._reset_state(reset_partial_state=True)
    return folder


@pytest.fixture(scope="module")
def start(data: Path) -> Start:
    return load_start(recipe(data))


@pytest.fixture(scope="module")
def features(data: Path) -> list[Features]:
    """Features of three clips of different lengths."""
    clips = sorted(read_clips([data]), key=lambda clip: clip.duration_s)
    read_all = ClipFeatures([clips[0], clips[len(clips) // 2], clips[-1]], AudioGeometry())
    return [read_all[index]["features"] for index in range(3)]


def builder_of(start: Start) -> InputBuilder:
    return InputBuilder.for_model(start.model, start.processor)


# The policy


def completions(tokenizer: Any, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [[*tokenizer(text)["input_ids"], 2] for text in texts]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


OUTPUTS = [
    "language English<asr_text>red boats",
    "language None<asr_text>",
    "language English<asr_text>the seven little houses by the river",
    "language English<asr_text>a",
    "language English<asr_text>over the water and under the bridges",
    "language English<asr_text>no",
]


def test_the_policy_depends_on_the_audio_not_on_padding(
    start: Start, features: list[Features]
) -> None:
    tokenizer = start.processor.tokenizer
    policy, builder = Policy(start.model.eval(), 0.7), builder_of(start)
    ids, mask = completions(tokenizer, OUTPUTS)
    with torch.no_grad():
        together, entropy = policy(make_prompts(features, builder), ids, mask)
        alone = []
        for number, clip in enumerate(features):
            rows = slice(2 * number, 2 * number + 2)
            width = int(mask[rows].sum(dim=1).max())
            single = policy(make_prompts([clip], builder), ids[rows, :width], mask[rows, :width])[0]
            alone.append(torch.nn.functional.pad(single, (0, ids.shape[1] - width)))
        silent = [np.full_like(clip, clip.min()) for clip in features]
        deaf = policy(make_prompts(silent, builder), ids, mask)[0]
    apart = (together - torch.cat(alone)).abs() * mask
    assert float(apart.max()) < 1e-3
    changed = ((together - deaf).abs() * mask).amax(dim=1)
    assert float(changed.min()) > 0.5, "a row that does not depend on the sound"
    assert (entropy >= 0).all()
    assert float((together * mask).max()) <= 0


def test_a_shared_prompt_equals_a_copy_for_each_transcript(
    start: Start, features: list[Features]
) -> None:
    model = with_adapter(load_copy(start), "all", LoraRecipe(rank=2, alpha=4, dropout=0.0))
    tokenizer = start.processor.tokenizer
    policy = Policy(model.get_base_model(), 1.0)
    prompts = make_prompts(features, builder_of(start))
    ids, mask = completions(tokenizer, OUTPUTS)
    results = {}
    for way in (policy._shared_prompt, policy._copied_prompt):
        logits = way(prompts, ids, mask, 2)
        (logits.log_softmax(-1) * mask.unsqueeze(-1)).pow(2).mean().backward()
        moved = {n: p.grad for n, p in policy.named_parameters() if p.grad is not None}
        results[way.__name__] = (logits.detach() * mask.unsqueeze(-1), moved)
        policy.zero_grad(set_to_none=True)
    (shared, ours), (copied, theirs) = results["_shared_prompt"], results["_copied_prompt"]
    assert float((shared - copied).abs().max()) < 1e-3
    assert {group_of(name) for name in ours} == {"encoder", "aligner", "llm"}
    for name, gradient in theirs.items():
        assert torch.allclose(ours[name], gradient, rtol=1e-2, atol=1e-5), name


def load_copy(start: Start) -> Any:
    import copy

    return copy.deepcopy(start.model)


# Drawing


def engine(start: Start, **changes: Any) -> NativeEngine:
    sampling = recipe(Path()).sampling.model_copy(update=changes)
    return NativeEngine(start.model.eval(), builder_of(start), sampling, 8)


def sampler(start: Start, **changes: Any) -> TranscriptSampler:
    return TranscriptSampler(start.model.eval(), 0, SamplingSettings(samples=3, **changes))


def test_samples_depend_on_the_seed_not_on_the_batch(
    start: Start, features: list[Features]
) -> None:
    draws = engine(start)
    seeds = [(1, 0), (1, 1), (1, 2)]
    together = draws.draw(features, seeds)
    assert together == draws.draw(features, seeds)
    assert together == [draws.draw([f], [s])[0] for f, s in zip(features, seeds, strict=True)]
    others = draws.draw(features, [(2, 0), (2, 1), (2, 2)])
    assert others != together
    assert [len(samples) for samples in together] == [3, 3, 3]
    assert len({sample.ids for of_clip in together for sample in of_clip}) > 3


def test_a_sample_at_temperature_zero_is_the_greedy_transcript(
    start: Start, features: list[Features]
) -> None:
    cold = engine(start, temperature=1e-4).draw(features, [(0,)] * 3)
    for of_clip, clip in zip(cold, features, strict=True):
        assert len({sample.ids for sample in of_clip}) == 1
        prompts = make_prompts([clip], builder_of(start))
        with torch.no_grad():
            greedy = start.model.generate(
                input_ids=prompts.ids,
                attention_mask=prompts.attention,
                input_features=prompts.features,
                input_features_mask=prompts.features_mask,
                do_sample=False,
                max_new_tokens=200,
            )[0, prompts.ids.shape[1] :].tolist()
        assert list(of_clip[0].ids) == greedy
        assert not of_clip[0].truncated


def test_the_budget_truncates_and_marks_samples(start: Start, features: list[Features]) -> None:
    for of_clip in engine(start, max_tokens=3).draw(features, [(0,)] * 3):
        for sample in of_clip:
            assert sample.truncated
            assert len(sample.ids) == 3


def test_the_sampled_token_is_where_the_cumulative_probability_exceeds_the_uniform(
    start: Start,
) -> None:
    draws = sampler(start, temperature=1.0, top_k=3, top_p=1.0)
    scores = torch.log(torch.tensor([[0.1, 0.4, 0.3, 0.2]])).repeat(200, 1)
    uniforms = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    shares = torch.bincount(draws.draw_token(scores, [], uniforms), minlength=4) / 200
    # The least likely falls to top-k; the others keep their proportions.
    assert shares.tolist() == pytest.approx([0, 4 / 9, 3 / 9, 2 / 9], abs=0.01)
    punished = sampler(start, temperature=1.0, top_k=4, top_p=1.0, repetition_penalty=2.0)
    earlier = [torch.ones(200, dtype=torch.long)]
    again = torch.bincount(punished.draw_token(scores, earlier, uniforms), minlength=4) / 200
    weights = np.array([0.1, 0.4**2, 0.3, 0.2])
    assert again.tolist() == pytest.approx(weights / weights.sum(), abs=0.01)


# Groups


class Rigged:
    """An engine whose samples depend on the clip alone: those of 'flat' clips are all equal."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.seen: list[int] = []
        self._equal = {index for index, clip in enumerate(clips) if clip.text == "flat"}

    def refresh(self) -> None:
        pass

    def draw(self, features: Sequence[Features], seeds: Sequence[Any]) -> list[list[Sample]]:
        samples = []
        for seed in seeds:
            self.seen.append(seed[1])
            is_equal = seed[1] % 10 in self._equal
            cut = seed[1] % 10 == 9
            samples.append([Sample((7 if is_equal else 7 + k,), cut or k == 2) for k in range(3)])
        return samples


def rigged_source(tmp_path: Path, texts: Sequence[str], **dynamic: Any) -> tuple[Any, Rigged]:
    from megaasr.audio.files import write
    from megaasr.audio.waveform import Waveform

    sound = tmp_path / "a.wav"
    write(sound, Waveform(np.full(8000, 0.01, np.float32), 16_000))
    clips = [
        Clip(str(index), str(sound) if text != "gone" else "gone.wav", text, "en", 0.5, 0.5)
        for index, text in enumerate(texts)
    ]
    schedule = PromptSchedule(clips, (), 0)
    schedule._pass = (0, list(range(len(clips))))
    rigged = Rigged(clips)
    words = {7: "language English<asr_text>a b", 8: "language English<asr_text>a c"}
    source = GroupSource(
        schedule,
        rigged,
        decode=lambda ids: words.get(ids[0], "language English<asr_text>z"),
        reward=score_batch,
        recipe=DynamicRecipe(**dynamic),
        seed=0,
        geometry=AudioGeometry(),
    )
    return source, rigged


def test_a_group_with_zero_variance_leaves_its_slot_to_the_next_clip(tmp_path: Path) -> None:
    texts = ["a b", "flat", "a b", "flat", "flat", "a b", "a b", "a b", "a b", "a b"]
    source, rigged = rigged_source(tmp_path, texts, tries=4)
    batch = source.draw(0, range(3), 3, lambda slots: slots)
    # Slots 0 and 2 are filled at once; slot 1 is tried with clips 3, 4 (zero variance) and 5.
    assert rigged.seen == [0, 1, 2, 3, 4, 5]
    assert [group.clip.id for group in batch.groups] == ["0", "5", "2"]
    assert batch.position == 6
    assert (batch.sampled_groups, batch.zero_variance) == (6, 3)


def test_after_the_last_try_the_group_stays_with_zero_advantages(tmp_path: Path) -> None:
    source, _ = rigged_source(tmp_path, ["flat"] * 10, tries=2)
    batch = source.draw(0, range(2), 2, lambda slots: slots)
    assert [group.clip.id for group in batch.groups] == ["4", "5"]
    assert batch.position == 6
    for group in batch.groups:
        assert not group.has_reward_variance
        assert group.advantages.abs().max() == 0


def test_truncated_samples_do_not_count(tmp_path: Path) -> None:
    source, _ = rigged_source(tmp_path, ["a b"] * 10, tries=0)
    (group,) = source.draw(0, range(1), 1, lambda slots: slots).groups
    assert group.valid.tolist() == [True, True, False]
    assert group.advantages[2] == 0
    assert group.advantages[:2].sum().abs() < 1e-6
    assert group.advantages[0] > 0.5
    kept, _ = rigged_source(tmp_path, ["a b"] * 10, tries=0, overlong_filter=False)
    (group,) = kept.draw(0, range(1), 1, lambda slots: slots).groups
    assert group.valid.all()
    assert group.advantages[2] < 0
    # A group of truncated samples only has no reward variance.
    (group,) = source.draw(9, range(1), 1, lambda slots: slots).groups
    assert not group.has_reward_variance
    assert group.advantages.abs().max() == 0


def test_an_unreadable_clip_leaves_its_slot_to_the_next(tmp_path: Path) -> None:
    source, rigged = rigged_source(tmp_path, ["gone", "a b", *["gone"] * 8], tries=1)
    batch = source.draw(0, range(1), 1, lambda slots: slots)
    assert [group.clip.id for group in batch.groups] == ["1"]
    assert batch.unreadable == 1
    assert rigged.seen == [1]
    assert source.draw(2, range(2), 2, lambda slots: slots).groups == []


def test_the_clips_of_a_step_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    texts = ["a b", "flat", "a b", "flat", "a b", "flat", "a b", "a b", "a b", "a b"]
    source, _ = rigged_source(tmp_path, texts, tries=4)
    full = source.draw(0, range(4), 4, lambda slots: slots)
    open_slots_of_the_other = [[3], [], []]
    mine = source.draw(0, range(2), 4, lambda slots: [*slots, *open_slots_of_the_other.pop(0)])
    assert [g.clip.id for g in mine.groups] == [g.clip.id for g in full.groups][:2]


def test_metrics_are_rates(tmp_path: Path) -> None:
    source, _ = rigged_source(tmp_path, ["a b"] * 10, tries=0)
    batch = source.draw(0, range(2), 2, lambda slots: slots)
    metrics = mean_metrics(summarize(batch))
    # Of each clip: "a b" right, "a c" one wrong, "z" one wrong and one missing (cut off).
    assert metrics["substitutions"] == pytest.approx(2 / 6)
    assert metrics["deletions"] == pytest.approx(1 / 6)
    assert metrics["wer"] == pytest.approx(3 / 6)
    assert metrics["overlong"] == pytest.approx(1 / 3)
    assert metrics["empty"] == metrics["loop"] == metrics["flat"] == 0
    assert metrics["tokens"] == 1


def test_easy_clips_are_subsampled() -> None:
    clips = [Clip(str(index), "", "", "en", 1.0, (index % 4) * 0.25) for index in range(4000)]
    rules = (SubsampleRule(below=0.1, keep=0.2), SubsampleRule(below=0.3, keep=0.6))
    schedule = PromptSchedule(clips, rules, 1)
    kept = {rate: sum(c.error_rate == rate for c in schedule.clips) for rate in (0, 0.25, 0.5)}
    assert kept[0] == pytest.approx(200, abs=50)
    assert kept[0.25] == pytest.approx(600, abs=60)
    assert kept[0.5] == 1000
    count = len(schedule.clips)
    one_pass = [schedule(index).id for index in range(count)]
    assert sorted(one_pass) == sorted(clip.id for clip in schedule.clips)
    assert [schedule(index).id for index in range(count, 2 * count)] != one_pass
    for position in (count - 1, 0, count // 2):  # also for who begins in the middle
        assert PromptSchedule(clips, rules, 1)(position).id == one_pass[position]
    again = PromptSchedule(clips, rules, 1)
    assert [again(position).id for position in range(count)] == one_pass
    with pytest.raises(TrainingError, match="grade"):
        PromptSchedule([Clip("a", "", "", "en", 1.0, None)], rules, 1)


# The loop


def test_every_layer_group_is_trained_and_nothing_else(finished: Path) -> None:
    start = read_adapter(Path("src/megaasr/model/shipped/tiny/mega-asr-merged"))
    joined = read_adapter(finished / "adapter")
    moved = set()
    for name, layer in joined.layers.items():
        before = start.layers.get(name)
        change = layer.delta() - (before.delta() if before else 0)
        if float(change.abs().max()) > 1e-6:
            moved.add(group_of(name))
    best = json.loads((finished / "best/validation.json").read_text())
    assert (moved == {"encoder", "aligner", "llm"}) == (best["step"] > 0)
    state = torch.load(finished / "checkpoint.pt", weights_only=True)
    trained = {group_of(n) for n, v in state["adapter"].items() if "lora_B" in n and v.any()}
    assert trained == {"encoder", "aligner", "llm"}
    assert all("lora" in name for name in state["adapter"])


def test_a_step_starts_from_the_policy_that_sampled(finished: Path) -> None:
    rows = [row for _, row in cumulative_rows(finished / "metrics.jsonl") if "reward_total" in row]
    assert [row["step"] for row in rows] == [2, 4]
    for row in rows:
        assert all(np.isfinite(value) for value in row.values())
        assert row["kl"] >= 0
        assert row["entropy"] > 0
        assert 0 <= row["flat"] <= 1
        assert {"s_generate", "s_score", "s_forward", "s_backward", "s_data"} <= set(row)


def test_an_interrupted_run_is_resumed_exactly(finished: Path, data: Path, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    stopped = 0

    def stop(row: dict[str, Any]) -> None:
        nonlocal stopped
        if stopped < 3 and "reward_total" in row:
            stopped += 1
            raise StoppedError

    for _ in range(6):
        AcceleratorState._reset_state(reset_partial_state=True)
        try:
            RLTrainer(recipe(data), tmp_path, stop).train()
            break
        except StoppedError:
            continue
    assert stopped >= 2
    ours, straight = (
        torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (tmp_path, finished)
    )
    assert ours["position"] == straight["position"]
    for name, value in straight["adapter"].items():
        assert float((ours["adapter"][name] - value).abs().max()) == 0.0, name
    resumed_rows = [
        row for row in cumulative_rows(tmp_path / "metrics.jsonl") if "reward_total" in row[1]
    ]
    for (_, resumed_row), (_, straight_row) in zip(
        resumed_rows,
        [row for row in cumulative_rows(finished / "metrics.jsonl") if "reward_total" in row[1]],
        strict=True,
    ):
        timeless = {k: v for k, v in resumed_row.items() if not k.startswith("s_")}
        assert timeless == {k: v for k, v in straight_row.items() if not k.startswith("s_")}
    assert (tmp_path / "groups.jsonl").read_text() == (finished / "groups.jsonl").read_text()


def test_a_finished_run_is_not_run_again(finished: Path, data: Path) -> None:
    before = (finished / "metrics.jsonl").read_text()
    assert RLTrainer(recipe(data), finished).train().path == finished / "adapter"
    assert (finished / "metrics.jsonl").read_text() == before


@pytest.mark.slow  # minutes of CPU time
def test_two_processes_equal_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = recipe(data, steps=2)
    settings = [f"--set={k}={v}" for k, v in _toml(plan.model_dump(mode="json"))]
    file = tmp_path / "r.toml"
    file.write_text("")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launch += ["--nproc-per-node", "2", "-m", "megaasr"]
    command = [*launch, "train", "rl", str(file), "-o", str(tmp_path / "two"), *settings]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # no more than the two have
    alone = mega_asr("train", "rl", file, "-o", "one", *settings, cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    single, double = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("one", "two")
    )
    assert single["position"] == double["position"]
    apart = max(float((v - double["adapter"][n]).abs().max()) for n, v in single["adapter"].items())
    assert apart < 1e-4
    assert (tmp_path / "two/groups.html").is_file()


def _toml(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _toml(value, f"{before}{name}.")
        elif value is not None and name != "thin":
            yield f"{before}{name}", json.dumps(value)


def test_patience_ends_a_run_without_improvement(data: Path, tmp_path: Path) -> None:
    def worse(h: Sequence[str], r: Sequence[str], languages: Any) -> Rewards:
        rewards = score_batch(h, r, languages)
        return replace(rewards, total=-rewards.total)

    plan = recipe(
        data,
        steps=50,
        patience=1,
        evaluate_steps=1,
        rates={"encoder": 1e-9, "aligner": 1e-9, "llm": 1e-9},
    )
    RLTrainer(plan, tmp_path, reward=worse).train()
    steps = [row["step"] for _, row in cumulative_rows(tmp_path / "metrics.jsonl")]
    assert max(steps) == 1
    assert json.loads((tmp_path / "best/validation.json").read_text())["step"] == 0


def test_an_adapter_to_start_from_is_required(
    random_checkpoint: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="train sft"):
        RLTrainer(recipe(data, model=str(random_checkpoint)), tmp_path)
    with pytest.raises(UsageError, match="not a multiple of 3"):
        recipe(data).share(3)
    with pytest.raises(ValueError, match="grow"):
        recipe(data, thin=[{"below": 0.5, "keep": 1}, {"below": 0.1, "keep": 1}])


# The geometry of `small`


@pytest.fixture(scope="module")
def small_recipe(
    small_checkpoint: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> RLRecipe:
    """A run of two steps from a random model with a random adapter."""
    model, _ = read_checkpoint(small_checkpoint, torch.float32)
    folder = tmp_path_factory.mktemp("small-adapter")
    adapter = random_adapter(model, rank=2)
    write_adapter(
        adapter, folder, base="x", fingerprint=fingerprint(small_checkpoint), dtype=torch.float32
    )
    sampling = {"samples": 3, "temperature": 1.0, "max_tokens": 12}
    changes = {"steps": 2, "sampling": sampling, "dynamic": {"overlong_filter": False}}
    return recipe(data, model=str(small_checkpoint), adapter=str(folder), **changes)


def test_small_samples_what_it_generates_in_any_batch(small_recipe: RLRecipe, data: Path) -> None:
    start = load_start(small_recipe)
    builder = builder_of(start)
    clips = ClipFeatures(read_clips([data])[:2], builder.geometry)
    sounds = [clips[0]["features"], clips[1]["features"], clips[0]["features"][:300]]
    cold = small_recipe.sampling.model_copy(update={"temperature": 1e-4, "repetition_penalty": 1.0})
    samples = NativeEngine(start.model.eval(), builder, cold, 8).draw(sounds, [(0,)] * 3)
    for of_clip, features in zip(samples, sounds, strict=True):
        prompts = make_prompts([features], builder)
        assert int((prompts.ids == 5).sum()) == builder.geometry.audio_tokens(len(features))
        with torch.no_grad():
            greedy = start.model.generate(
                input_ids=prompts.ids,
                attention_mask=prompts.attention,
                input_features=prompts.features,
                input_features_mask=prompts.features_mask,
                do_sample=False,
                max_new_tokens=12,
            )[0, prompts.ids.shape[1] :].tolist()
        assert list(of_clip[0].ids) == greedy[: len(of_clip[0].ids)]
    policy = Policy(start.model.eval(), 0.7)
    ids, mask = completions(start.processor.tokenizer, OUTPUTS[:3])
    with torch.no_grad():
        together = policy(make_prompts(sounds, builder), ids, mask)[0]
        alone = [
            policy(make_prompts([clip], builder), ids[row : row + 1], mask[row : row + 1])[0]
            for row, clip in enumerate(sounds)
        ]
    assert float(((together - torch.cat(alone)).abs() * mask).max()) < 1e-3


def test_small_is_trained_by_reinforcement_learning(small_recipe: RLRecipe, tmp_path: Path) -> None:
    def by_number(h: Sequence[str], r: Sequence[str], languages: Any) -> Rewards:
        # A random model outputs no words: here, rewards depend on the index of a sample.
        return replace(score_batch(h, r, languages), total=np.arange(len(h), dtype=float) % 3)

    RLTrainer(small_recipe, tmp_path, reward=by_number).train()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    moved = {group_of(n) for n, v in state["adapter"].items() if "lora_B" in n and v.any()}
    assert moved == {"encoder", "aligner", "llm"}
    rows = [row for _, row in cumulative_rows(tmp_path / "metrics.jsonl") if "reward_total" in row]
    assert rows
    assert all(np.isfinite(value) for value in rows[-1].values())
    assert rows[-1]["gradient_norm"] > 0


# The probe, the page, the command


def a_group(rates: Sequence[float], before: float, texts: Sequence[str]) -> Group:
    clip = Clip("a", "a.wav", "a b", "en", 1.0, before, "a")
    rewards = {
        "error_rate": list(rates),
        "total": [1 - rate for rate in rates],
        "wer": [1 - rate for rate in rates],
        "repetition": [1.0] * len(rates),
        "fine": [0.5] * len(rates),
        "structure": [0.5] * len(rates),
    }
    samples = [Sample((7, 2), False)] * len(rates)
    nothing = torch.zeros(len(rates))
    return Group(
        clip,
        np.zeros((100, 128), np.float32),
        samples,
        list(texts),
        rewards,
        nothing == 0,
        nothing,
        len(set(rates)) > 1,
    )


def test_the_measurements_of_the_probe() -> None:
    groups = [
        a_group([0.5, 0.2], 0.5, ["a", "b"]),  # one is better
        a_group([0.5, 0.5], 0.5, ["a", ""]),  # none is, one is empty
        a_group([0.9, 0.8], 0.5, ["a", "b"]),  # even the chosen one is worse
    ]
    result = measure(groups, 0.7, 0.05)
    assert result.cpi == pytest.approx(1 / 3)
    assert result.bap == pytest.approx(2 / 3)
    assert result.valid == pytest.approx(5 / 6)
    assert result.reward_variance == pytest.approx(2 / 3)
    assert result.best_error_rate == pytest.approx(0.5)


def test_the_recommended_temperature_explores_without_breaking() -> None:
    tried = [
        ProbeResult(0.3, 0.1, 0.99, 1.0, 0.5, 0.5, 0.4),
        ProbeResult(0.5, 0.3, 0.98, 0.99, 0.6, 0.5, 0.4),
        ProbeResult(0.9, 0.5, 0.90, 0.80, 0.9, 0.7, 0.4),
    ]
    assert recommend(tried) == 0.5


def test_the_page_shows_groups_and_escapes_texts(tmp_path: Path) -> None:
    log = GroupLog(tmp_path / "groups.jsonl")
    hostile = a_group([0.5, 0.0], 0.5, ["<script>alert(1)</script>", "a b"])
    log.write(5, [hostile])
    log.write(10, [a_group([0.5, 0.5], 0.5, ["a", "a"])])
    page = groups_page(read_groups(tmp_path / "groups.jsonl"), "run", lambda audio: None)
    assert "<script" not in page
    assert page.index("<td class=words>a b</td>") < page.index("alert"), (
        "the best sample comes first"
    )
    assert "gives no gradient" in page
    log.forget_after(5)
    assert [group["step"] for group in read_groups(tmp_path / "groups.jsonl")] == [5]


def test_the_command_probes_and_draws(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.toml").write_text("")
    settings = [f"--set={k}={v}" for k, v in _toml(recipe(data).model_dump(mode="json"))]
    base = ["train", "rl", str(tmp_path / "r.toml"), "-o", str(tmp_path / "probe"), *settings]
    with pytest.raises(SystemExit, match="0"):
        main([*base, "--probe", "--probe-clips", "2"])
    assert "recommended: --set sampling.temperature=" in capsys.readouterr().out
    document = json.loads((tmp_path / "probe/probe.json").read_text())
    assert [row["temperature"] for row in document["temperatures"]] == [0.3, 0.5, 0.7, 0.9]
    assert (tmp_path / "probe/probe.png").stat().st_size > 5_000
    assert len(probe(recipe(data), clips=1, temperatures=(0.5,))) == 1
    with pytest.raises(SystemExit, match="0"):
        main([*base, "--dry-run"])
    assert '"clip_high": 0.28' in capsys.readouterr().out
    assert {name for panel in RL for name, *_ in panel.lines} >= {"reward_total", "flat", "wer"}


@pytest.mark.slow
def test_a_planted_reward_is_learnt(data: Path, tmp_path: Path) -> None:
    """The loop optimises any reward: here, the share of "the"."""

    def planted(h: Sequence[str], r: Sequence[str], languages: Any) -> Rewards:
        rewards = score_batch(h, r, languages)
        words = [text.lower().split() for text in h]
        share = [tokens.count("the") / len(tokens) if tokens else 0.0 for tokens in words]
        return replace(rewards, total=np.array(share))

    plan = recipe(
        data,
        steps=40,
        batch_size=8,
        device_batch_size=8,
        rollout_batch_size=8,
        sampling={"samples": 8, "temperature": 1.0, "repetition_penalty": 1.0},
        lora={"rank": 8, "alpha": 16, "dropout": 0.0},
        loss={"beta": 0.0},
        rates={"encoder": 1e-3, "aligner": 1e-3, "llm": 1e-3},
        evaluate_steps=100,
        log_steps=5,
    )
    RLTrainer(plan, tmp_path, reward=planted).train()
    rewards = [
        row["reward_total"]
        for _, row in cumulative_rows(tmp_path / "metrics.jsonl")
        if "reward_total" in row
    ]
    assert rewards[-1] > 2 * rewards[0] + 0.1, rewards
