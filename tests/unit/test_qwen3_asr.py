"""`Qwen3ASR` against the native classes called directly, on random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from transformers import Qwen3ASRForConditionalGeneration, Qwen3ASRProcessor

from megaasr.errors import ModelError, UsageError
from megaasr.model import request_checks
from megaasr.model.inputs import to_device
from megaasr.model.interface import Request, SamplingSettings
from megaasr.model.loading import load_model
from megaasr.model.qwen3_asr import Qwen3ASR
from megaasr.model.request_checks import token_budget

LENGTHS = (400, 7_999, 16_000, 40_001, 128_000, 200_123)


@pytest.fixture(scope="module")
def ours(any_checkpoint: Path) -> Qwen3ASR:
    return load_model(str(any_checkpoint), device="cpu", batch_size=8)


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [(0.1 * rng.standard_normal(n)).astype(np.float32) for n in LENGTHS]


def by_transformers(folder: Path, clip: np.ndarray, language: str | None, context: str) -> tuple:
    """Return the inputs, the logits of the prompt and the greedy tokens of plain transformers."""
    model = Qwen3ASRForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor = Qwen3ASRProcessor.from_pretrained(folder)
    # Not apply_transcription_request: in 5.13 it wrote a forced language into the system
    # turn, and took no context. The chat template and the processor's call are the same in all.
    turns = [
        {"role": "system", "content": [{"type": "text", "text": context}]},
        {"role": "user", "content": [{"type": "audio", "audio": clip}]},
    ]
    prompt = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    prompt += "language English<asr_text>" if language else ""
    # The processor uses n_window 50, whatever the checkpoint states, unless it is told otherwise.
    window = {"n_window": processor.feature_extractor.n_window}
    inputs = processor(text=[prompt], audio=[clip], sampling_rate=16_000, audio_kwargs=window)
    with torch.inference_mode():
        logits = model(**inputs).logits
        tokens = model.generate(
            **inputs, do_sample=False, max_new_tokens=token_budget(len(clip) / 16_000)
        )
    return inputs, logits, tokens[0, inputs["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("language", "context"), [(None, ""), ("en", "pears, station")])
def test_single_clips_equal_the_native_classes(
    any_checkpoint: Path, ours: Qwen3ASR, length: int, language: str | None, context: str
) -> None:
    clip = (0.1 * np.random.default_rng(length).standard_normal(length)).astype(np.float32)
    inputs, logits, tokens = by_transformers(any_checkpoint, clip, language, context)
    our_inputs = ours.inputs([Request(clip, language, context)])
    assert torch.equal(our_inputs["input_ids"], inputs["input_ids"])
    valid = inputs["input_features_mask"][0].bool()
    assert torch.equal(our_inputs["input_features_mask"], inputs["input_features_mask"])
    width = our_inputs["input_features"].shape[2]
    difference = (our_inputs["input_features"] - inputs["input_features"][:, :, :width]).abs()
    assert float(difference[:, :, valid[:width]].max()) == 0.0
    with torch.inference_mode():
        assert float((ours.model(**our_inputs).logits - logits).abs().max()) < 1e-5
    (result,) = ours.recognize([Request(clip, language, context)])
    raw = ours.processor.tokenizer.decode(tokens[: result.tokens], skip_special_tokens=True)
    assert result.raw == raw


def test_a_padded_batch_equals_single_clips(ours: Qwen3ASR, clips: list[np.ndarray]) -> None:
    requests = [Request(clip) for clip in clips]
    batch = ours.inputs(requests)
    with torch.inference_mode():
        together = ours.model(**batch).logits
        for row, request in enumerate(requests):
            alone = ours.model(**ours.inputs([request])).logits[0]
            difference = (together[row, -len(alone) :] - alone).abs().max()
            assert float(difference) < 2e-5, f"row {row}"
    assert [result.raw for result in ours.recognize(requests)] == [
        ours.recognize([request])[0].raw for request in requests
    ]


def test_results_are_in_the_order_of_the_requests(ours: Qwen3ASR, clips: list[np.ndarray]) -> None:
    forwards = ours.recognize([Request(clip) for clip in clips])
    backwards = ours.recognize([Request(clip) for clip in reversed(clips)])
    assert forwards == backwards[::-1]


def test_every_row_ends_at_its_own_budget(ours: Qwen3ASR, clips: list[np.ndarray]) -> None:
    results = ours.recognize([Request(clip) for clip in clips])
    for clip, result in zip(clips, results, strict=True):
        budget = token_budget(len(clip) / 16_000)
        assert result.tokens <= budget
        assert result.budget_hit == (result.tokens == budget)


class _Waits(TorchFunctionMode):
    """Counts calls for which a program may wait on a GPU: reading a result, copying a tensor."""

    CALLS = frozenset(
        getattr(torch.Tensor, name)
        for name in ("__bool__", "__int__", "__float__", "item", "tolist", "nonzero", "cpu", "to")
    )

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, call: object, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        self.count += call in self.CALLS
        return call(*args, **(kwargs or {}))


def waits(program: Callable[..., object], *arguments: object) -> int:
    with _Waits() as mode:
        program(*arguments)
    return mode.count


def test_a_token_costs_no_more_waits_for_a_gpu_than_in_transformers(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(str(random_checkpoint), device="cpu")
    model.model.generation_config.eos_token_id = None
    request = Request(np.ones(16_000, np.float32))

    def of_transformers(clips: int, tokens: int) -> int:
        inputs = model.inputs([request] * clips)
        options = {"do_sample": False, "max_new_tokens": tokens, "pad_token_id": 0}
        return waits(lambda: model.model.generate(**inputs, **options))

    def ours(clips: int, tokens: int) -> int:
        monkeypatch.setattr(request_checks, "MIN_BUDGET_TOKENS", tokens - 15)
        requests = [request] * clips
        return waits(model.recognize, requests) - waits(model.inputs, requests)

    assert of_transformers(3, 45) - of_transformers(3, 25) >= 20  # whether all rows are done
    constant = ours(3, 25) - of_transformers(3, 25)
    assert ours(3, 45) - of_transformers(3, 45) <= constant
    assert ours(6, 25) - of_transformers(6, 25) <= constant  # nor do the clips of a batch


def test_inputs_on_a_device_keep_their_values() -> None:
    tensors = {"features": torch.randn(2, 3), "ids": torch.tensor([[1, 151_935]])}
    moved = to_device(tensors, torch.device("cpu"), torch.bfloat16)
    assert torch.equal(moved["features"], tensors["features"].bfloat16())
    assert torch.equal(moved["ids"], tensors["ids"])
    assert moved["ids"].dtype == torch.long


def test_running_out_of_memory_halves_the_batch(
    any_checkpoint: Path, clips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(str(any_checkpoint), device="cpu", batch_size=8)
    expected = model.recognize([Request(clip) for clip in clips])
    generate, batch_sizes = model.model.generate, []

    def small_device(**inputs: torch.Tensor) -> torch.Tensor:
        batch_sizes.append(len(inputs["input_ids"]))
        if batch_sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(**inputs)

    monkeypatch.setattr(model.model, "generate", small_device)
    results = model.recognize([Request(clip) for clip in clips])
    assert [result.raw for result in results] == [result.raw for result in expected]
    assert batch_sizes == [6, 4, 2, 2, 2]
    assert model.batch_size == 2


def test_no_memory_for_a_single_chunk_is_a_model_error(
    any_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(str(any_checkpoint), device="cpu")

    def no_memory(**inputs: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model.model, "generate", no_memory)
    with pytest.raises(ModelError, match="the device cpu"):
        model.recognize([Request(np.ones(16_000, dtype=np.float32))])


def test_other_runtime_errors_are_not_swallowed(
    any_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(str(any_checkpoint), device="cpu")

    def broken(**inputs: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(model.model, "generate", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        model.recognize([Request(np.ones(16_000, dtype=np.float32))])


@pytest.mark.parametrize("samples", [0, 16_000 * 31])
def test_chunks_of_impossible_length_are_refused(ours: Qwen3ASR, samples: int) -> None:
    with pytest.raises(UsageError, match="0 to 30 s"):
        ours.recognize([Request(np.zeros(samples, dtype=np.float32))])


def test_a_context_that_does_not_fit_is_refused(ours: Qwen3ASR) -> None:
    clip = np.full(16_000, 0.1, dtype=np.float32)
    with pytest.raises(UsageError, match=r"context is too long: with 10000 characters"):
        ours.recognize([Request(clip, None, "word " * 2_000)])


def test_token_counts_equal_those_of_the_processor(ours: Qwen3ASR) -> None:
    frames = torch.arange(1, ours.geometry.frames(480_000) + 1)
    window = ours.geometry.chunk_frames // 2
    expected = ours.processor._get_audio_token_length(frames, window).tolist()
    assert [ours.geometry.audio_tokens(int(n)) for n in frames] == expected


def test_samples_of_the_most_probable_tokens_are_the_greedy_result(
    ours: Qwen3ASR, clips: list[np.ndarray]
) -> None:
    requests = [Request(clip) for clip in clips]
    for of_clip, greedy in zip(
        ours.sample(requests, SamplingSettings(3, temperature=1.0, top_k=1)),
        ours.recognize(requests),
        strict=True,
    ):
        for sample in of_clip:
            assert (sample.raw, sample.tokens, sample.budget_hit) == (
                (greedy.raw, greedy.tokens, greedy.budget_hit)
            )
            assert sample.mean_logprob == pytest.approx(greedy.mean_logprob, abs=1e-4)


def test_samples_depend_on_the_seed_not_on_the_batch(
    ours: Qwen3ASR, clips: list[np.ndarray]
) -> None:
    settings = SamplingSettings(4, temperature=1.0)
    requests = [Request(clip, seed=seed) for seed, clip in enumerate(clips[:3])]
    together = ours.sample(requests, settings)
    alone = [ours.sample([request], settings)[0] for request in requests]
    texts = [[sample.raw for sample in of_clip] for of_clip in together]
    assert texts == [[sample.raw for sample in of_clip] for of_clip in alone]
    other = ours.sample([Request(clips[0], seed=9)], settings)[0]
    assert [sample.raw for sample in other] != texts[0]


def test_encoder_and_prompt_run_once_for_all_samples(
    ours: Qwen3ASR, clips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, calls = ours.model.get_audio_features, []

    def count(features: torch.Tensor, *args: object, **options: object) -> object:
        calls.append(len(features))
        return encode(features, *args, **options)

    monkeypatch.setattr(ours.model, "get_audio_features", count)
    ours.sample([Request(clips[2])], SamplingSettings(5, temperature=0.7))
    assert calls == [1]


def test_samples_do_not_depend_on_how_many_are_drawn_at_once(
    any_checkpoint: Path, clips: list[np.ndarray]
) -> None:
    few, many = (load_model(str(any_checkpoint), device="cpu", batch_size=n) for n in (1, 8))
    settings = SamplingSettings(6, temperature=1.0)  # of which a batch of 1 draws 4 at once
    request = Request(clips[1], seed=5)
    (at_once,), (in_parts,) = many.sample([request], settings), few.sample([request], settings)
    assert [sample.raw for sample in at_once] == [sample.raw for sample in in_parts]


def test_samples_without_memory_for_them_are_made_in_smaller_batches(
    any_checkpoint: Path, clips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(str(any_checkpoint), device="cpu", batch_size=8)
    settings = SamplingSettings(2, temperature=1.0, top_k=1)
    requests = [Request(clip) for clip in clips[:4]]
    expected = model.sample(requests, settings)
    encode = model.model.get_audio_features

    def small_device(features: torch.Tensor, *args: object, **options: object) -> object:
        if len(features) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(features, *args, **options)

    monkeypatch.setattr(model.model, "get_audio_features", small_device)
    texts = [[sample.raw for sample in of_clip] for of_clip in model.sample(requests, settings)]
    assert texts == [[sample.raw for sample in of_clip] for of_clip in expected]
    assert model.batch_size == 1
