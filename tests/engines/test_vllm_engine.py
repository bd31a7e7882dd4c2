"""The engine vllm against the transformers path, on model tiny; `make vllm-test` runs it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megaasr.adapter.peft_layout import Adapter
from megaasr.audio.waveform import Samples
from megaasr.errors import CheckpointError, ModelError, UsageError
from megaasr.hub import ONLINE
from megaasr.model.engines import load_on_vllm
from megaasr.model.hub import find_model_parts
from megaasr.model.int8_checkpoint import write_int8
from megaasr.model.interface import Recognition, Request, SamplingSettings
from megaasr.model.memory import ModelMemory
from megaasr.model.qwen3_asr import Qwen3ASR
from megaasr.model.vllm_adapter import require_loaded, vllm_layer
from megaasr.model.vllm_engine import VllmModel
from megaasr.model.vllm_sizes import plan_engine

pytestmark = pytest.mark.vllm

ROUNDING = 2e-5
"""Largest difference of a mean log-probability, in nats; measured are 3e-6 on 300 clips."""


def assert_equal(results: list[Recognition], expected: list[Recognition]) -> None:
    for result, other in zip(results, expected, strict=True):
        assert result.token_ids == other.token_ids
        assert (result.text, result.language, result.tokens) == (
            other.text,
            other.language,
            other.tokens,
        )
        assert result.budget_hit == other.budget_hit
        assert result.mean_logprob == pytest.approx(other.mean_logprob, abs=ROUNDING)
        assert [word.text for word in result.words] == [word.text for word in other.words]
        probabilities = [word.probability for word in other.words]
        assert [word.probability for word in result.words] == pytest.approx(probabilities, abs=1e-3)


def loaded_modules(engine: VllmModel) -> dict[str, Any]:
    modules: dict[str, Any]
    (modules,) = engine.engine.apply_model(lambda model: model.lora_manager.modules)
    return modules


def adapter_of(engine: VllmModel) -> Adapter:
    assert engine.adapter is not None
    return engine.adapter


def test_base_and_robust_in_one_batch_give_the_tokens_of_the_other_engine(
    engine: VllmModel, native: Qwen3ASR, clips: list[Samples]
) -> None:
    requests = [Request(clip, route=route) for clip in clips for route in ("base", "robust")]
    results = engine.recognize(requests)
    assert_equal(results, native.recognize(requests))
    differing = [
        base.text != robust.text for base, robust in zip(results[::2], results[1::2], strict=True)
    ]
    assert sum(differing) >= 5, "the branches must differ, or the test shows nothing"


@pytest.mark.parametrize("samples", [3_000, 8_000, 15_999, 16_001, 47_317, 130_003])
def test_audio_of_any_length_has_the_adapter_on_the_right_rows(
    engine: VllmModel, native: Qwen3ASR, clips: list[Samples], samples: int
) -> None:
    tape = np.concatenate(clips)
    requests = [Request(tape[start : start + samples], route="robust") for start in (0, 50_000)]
    requests.append(Request(tape[:samples], route="base"))
    assert_equal(engine.recognize(requests), native.recognize(requests))


def test_context_language_and_prefix_are_those_of_the_other_engine(
    engine: VllmModel, native: Qwen3ASR, clips: list[Samples]
) -> None:
    requests = [
        Request(clips[0], context="monkeys, nightclub", route="robust"),
        Request(clips[3], language="en"),
        Request(clips[3], language="en", prefix="The tigers"),
        Request(clips[9], language="en", prefix="She has", route="robust"),
    ]
    results = engine.recognize(requests)
    assert_equal(results, native.recognize(requests))
    assert results[2].text.startswith("The tigers")


def test_of_a_growing_chunk_only_the_last_window_is_encoded(
    engine: VllmModel, native: Qwen3ASR, clips: list[Samples]
) -> None:
    """Complete windows come from vLLM's caches, until a sound is louder than all before."""
    tape = np.concatenate([np.float32([0.9, -0.9] * 400), *clips])
    encoded: list[int] = []
    (hook,) = engine.engine.apply_model(
        lambda model: model.audio_tower.register_forward_hook(
            lambda module, inputs, output: encoded.append(len(output))
        )
    )
    try:
        for seconds in (9, 12, 17, 20, 26):
            request = Request(tape[: seconds * 16_000], route="robust")
            assert_equal(engine.recognize([request]), native.recognize([request]))
    finally:
        hook.remove()
    # The last four seconds are the loudest, which changes the floor of all mel features.
    windows = [[104, 13], [52], [104, 13], [52], [104, 104, 104, 26]]
    assert encoded == [sum(step) for step in windows]


def test_every_change_of_the_adapter_takes_part(
    engine: VllmModel, native: Qwen3ASR, clips: list[Samples]
) -> None:
    """Without any single layer's change, the scores are no longer those of vLLM."""
    requests = [Request(clip, route="robust") for clip in clips[:2]]
    scores = [result.mean_logprob for result in engine.recognize(requests)]
    modules = dict(native.model.named_modules())
    for name in adapter_of(engine).layers:
        (hook,) = modules[name]._forward_hooks.items()
        modules[name]._forward_hooks.clear()
        try:
            without = [result.mean_logprob for result in native.recognize(requests)]
        finally:
            modules[name]._forward_hooks[hook[0]] = hook[1]
        shifts = [abs((a or 0) - (b or 0)) for a, b in zip(scores, without, strict=True)]
        assert max(shifts) > ROUNDING, f"{name} has no effect"


def test_a_change_that_vllm_skips_is_noticed_at_each_layer(engine: VllmModel) -> None:
    modules, adapter = loaded_modules(engine), adapter_of(engine)
    require_loaded(adapter, modules)
    for name in adapter.layers:
        position = vllm_layer(name)
        buffer = modules[position.module].lora_b_stacked[position.part]
        before = buffer.clone()
        buffer.zero_()
        try:
            with pytest.raises(CheckpointError, match=name):
                require_loaded(adapter, modules)
        finally:
            buffer.copy_(before)
    require_loaded(adapter, modules)


def test_a_lora_for_rows_that_do_not_match_is_an_error(engine: VllmModel) -> None:
    wrapper = loaded_modules(engine)["audio_tower.conv_out"].punica_wrapper
    rows = len(wrapper.token_lora_indices)
    with pytest.raises(RuntimeError, match="would be misplaced"):
        wrapper._rows(rows + 1)


def test_samples_have_their_own_seeds_and_the_models_scores(
    engine: VllmModel, native: Qwen3ASR, clips: list[Samples]
) -> None:
    settings = SamplingSettings(samples=4, temperature=1.0)
    requests = [Request(clips[2], route="robust", seed=7), Request(clips[4], seed=7)]
    first, again = (engine.sample(requests, settings) for _ in range(2))
    assert [len(samples) for samples in first] == [4, 4]
    assert [[s.text for s in samples] for samples in first] == [
        [s.text for s in samples] for samples in again
    ]
    assert len({sample.text for samples in first for sample in samples}) > 2
    greedy = engine.recognize([Request(clips[2], route="robust")])[0]
    assert greedy.mean_logprob is not None
    for sample in first[0]:
        assert sample.mean_logprob is not None
        if sample.token_ids == greedy.token_ids:
            # Of the model's own distribution, whatever the cuts were.
            assert sample.mean_logprob == pytest.approx(greedy.mean_logprob, abs=ROUNDING)


def test_a_repetition_penalty_counts_generated_tokens_only(
    engine: VllmModel, native: Qwen3ASR, clips: list[Samples]
) -> None:
    requests = [Request(clip, language="en", route="robust") for clip in clips]
    texts = {}
    for penalty in (1.0, 1.08, 3.0):
        # The most probable token: at top-k 1 transformers' path passes over the penalty, and vLLM
        # raises so low a temperature.
        coldest = SamplingSettings(2, 1e-5, repetition_penalty=penalty)
        narrowest = SamplingSettings(2, 1.0, top_k=1, repetition_penalty=penalty)
        results = engine.sample(requests, narrowest)
        for samples, others in zip(results, native.sample(requests, coldest), strict=True):
            assert_equal(samples, others)
        texts[penalty] = [samples[0].text for samples in results]
    differing = [a != b for a, b in zip(texts[1.0], texts[3.0], strict=True)]
    assert sum(differing) >= 5, "the penalty must have an effect, or the test shows nothing"


def test_requests_with_and_without_a_penalty_share_a_batch(
    engine: VllmModel, clips: list[Samples]
) -> None:
    """Rows of a batch move when others end; each keeps its own penalty."""
    prepared = engine._prepare([Request(clip, language="en") for clip in clips])
    penalties = [(1.0, 1.5, 3.0)[number % 3] for number in range(len(clips))]
    options = [
        engine._options(item, SamplingSettings(1, 1.0, top_k=1, repetition_penalty=penalty), 0)
        for item, penalty in zip(prepared, penalties, strict=True)
    ]
    requests = [Request(clip, language="en") for clip in clips]
    together = engine._generate(requests, prepared, options)
    for number, output in enumerate(together):
        only = slice(number, number + 1)
        (alone,) = engine._generate(requests[only], prepared[only], options[only])
        assert output.outputs[0].token_ids == alone.outputs[0].token_ids


def test_a_temperature_draws_by_the_seed(engine: VllmModel, clips: list[Samples]) -> None:
    requests = [Request(clips[2], temperature=1.0, seed=seed) for seed in (1, 2, 3, 1)]
    texts = [result.text for result in engine.recognize(requests)]
    assert texts[0] == texts[3]
    assert len(set(texts)) > 1


def test_what_the_engine_cannot_take_is_refused(engine: VllmModel, clips: list[Samples]) -> None:
    with pytest.raises(UsageError, match="context is too long"):
        engine.recognize([Request(clips[0], context="word " * 5000)])
    with pytest.raises(UsageError, match="needs its language"):
        engine.recognize([Request(clips[0], prefix="The")])
    with pytest.raises(UsageError, match="a chunk of 31"):
        engine.recognize([Request(np.zeros(31 * 16_000, np.float32))])
    assert engine.recognize([]) == []
    assert engine.recognize([Request(clips[0])])[0].text, "it works after refusals"


def test_an_error_of_vllm_is_one_of_ours(
    engine: VllmModel, clips: list[Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_pad_id", 10**6)  # no token of the model
    with pytest.raises(ModelError, match="vLLM failed"):
        engine.recognize([Request(clips[0])])


def test_adapter_and_cache_have_the_sizes_that_were_computed(engine: VllmModel) -> None:
    adapter = adapter_of(engine)
    parts = find_model_parts("tiny")
    memory = ModelMemory.of_parts(parts, time_words=False)
    plan = plan_engine(memory, "float32", rank=64)
    buffers = sum(
        stacked.numel() * stacked.element_size()
        for module in loaded_modules(engine).values()
        for stacked in (*module.lora_a_stacked, *module.lora_b_stacked)
    )
    copy = sum((low.a.numel() + low.b.numel()) * 4 for low in adapter.layers.values())
    assert plan.adapter_bytes == pytest.approx(buffers + copy, rel=0.01)
    runner = engine.engine.llm_engine.model_executor.driver_worker.worker.model_runner
    cache = {tensor.data_ptr(): tensor.nbytes for tensor in runner.kv_caches}
    assert engine.sizes.cache_bytes is not None
    assert 0.5 < sum(cache.values()) / engine.sizes.cache_bytes <= 1


def test_parts_of_an_adapter_may_have_lower_ranks(engine: VllmModel) -> None:
    """`require_loaded` compares with the zeros that fill the buffers."""
    modules, adapter = loaded_modules(engine), adapter_of(engine)
    name = next(iter(adapter.layers))
    layer = adapter.layers[name]
    cut = replace(layer, a=layer.a[:8], b=layer.b[:, :8])
    with pytest.raises(CheckpointError, match="holds other numbers"):
        require_loaded(replace(adapter, layers={name: cut}), modules)


def test_8_bit_weights_are_refused(tmp_path: Path) -> None:
    write_int8(find_model_parts("tiny", ONLINE), tmp_path / "copy")
    with pytest.raises(UsageError, match="8-bit weights for the engine transformers"):
        load_on_vllm(tmp_path / "copy")
