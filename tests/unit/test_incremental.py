"""Chunks that grow and texts whose beginning is known: the same tokens, at less cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import megaasr.cli
from megaasr.audio import read
from megaasr.errors import UsageError
from megaasr.model.interface import ModelState, Recognition, Request
from megaasr.model.loading import load_model
from megaasr.model.qwen3_asr import Qwen3ASR

CLIPS = Path(megaasr.cli.__file__).parent / "demo_clips"
RATE = 16_000


@pytest.fixture(scope="module")
def tiny() -> Qwen3ASR:
    return load_model("tiny", device="cpu")


@pytest.fixture(scope="module")
def speech() -> NDArray[np.float32]:
    """Clean clips in a row, about 20 s. The loudest frame of all is in the first window: later
    windows do not move the floor of the mel features."""
    parts = [read(CLIPS / f"{number}-clean.flac").samples for number in (1, 2, 3, 4)]
    samples = np.concatenate([*parts, *parts, *parts])[: 20 * RATE].copy()
    samples[4 * RATE : 4 * RATE + 400] += 0.9
    return samples


def assert_close(result: Recognition, expected: Recognition) -> None:
    assert result.text == expected.text
    assert result.language == expected.language
    assert (result.tokens, result.budget_hit) == (expected.tokens, expected.budget_hit)
    assert result.mean_logprob == pytest.approx(expected.mean_logprob, abs=2e-3)
    assert [word.text for word in result.words] == [word.text for word in expected.words]
    for word, other in zip(result.words, expected.words, strict=True):
        assert word.probability == pytest.approx(other.probability, abs=5e-3)


@contextmanager
def encoded_frames(model: Qwen3ASR) -> Iterator[list[int]]:
    """Yield a list that receives the number of valid mel frames of each call of the encoder."""
    frames: list[int] = []

    def count(_: object, args: object, options: dict[str, torch.Tensor]) -> None:
        frames.append(int(options["input_features_mask"].sum()))

    hook = model.model.model.audio_tower.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield frames
    finally:
        hook.remove()


@pytest.mark.parametrize(
    ("route", "lengths_s"),
    [("base", (3.0, 7.99, 8.01, 11.3, 17.2, 20.0)), ("robust", (7.99, 8.01, 17.2))],
)
def test_a_growing_chunk_has_the_tokens_of_the_whole_one(
    tiny: Qwen3ASR, speech: NDArray[np.float32], route: str, lengths_s: tuple[float, ...]
) -> None:
    state = ModelState()
    for seconds in lengths_s:
        samples = speech[: round(seconds * RATE)]
        request = Request(samples, route=route)  # type: ignore[arg-type]
        (expected,) = tiny.recognize([request])
        (result,) = tiny.recognize([replace(request, state=state)])
        assert_close(result, expected)
    assert state.content.windows == 2


def test_complete_windows_are_encoded_once(tiny: Qwen3ASR, speech: NDArray[np.float32]) -> None:
    state = ModelState()
    with encoded_frames(tiny) as frames:
        for seconds in (9, 12, 18, 20):
            tiny.recognize([Request(speech[: seconds * RATE], state=state)])
    # The first window is kept by the first request, the second one by the third.
    assert frames == [900, 400, 1000, 400]


def test_a_state_of_another_chunk_route_or_prompt_is_not_used(
    tiny: Qwen3ASR, speech: NDArray[np.float32]
) -> None:
    first = Request(speech[: 10 * RATE])
    for other in (
        replace(first, samples=speech[RATE : 13 * RATE].copy()),
        replace(first, samples=speech[: 2 * RATE]),
        replace(first, route="robust"),
        replace(first, context="names"),
    ):
        state = ModelState()
        tiny.recognize([replace(first, state=state)])
        (result,) = tiny.recognize([replace(other, state=state)])
        assert_close(result, tiny.recognize([other])[0])


def test_states_prefixes_and_routes_share_a_batch(
    tiny: Qwen3ASR, speech: NDArray[np.float32]
) -> None:
    requests = [
        Request(speech[: 9 * RATE], state=ModelState()),
        Request(speech[: 18 * RATE], route="robust", state=ModelState()),
        Request(speech[3 * RATE : 7 * RATE], state=ModelState()),
    ]
    tiny.recognize(requests)
    longer = [
        replace(requests[0], samples=speech[: 10 * RATE]),
        replace(requests[1], samples=speech[: 19 * RATE]),
        replace(requests[2], samples=speech[3 * RATE : 8 * RATE]),
    ]
    plain = tiny.recognize([replace(request, state=None) for request in longer])
    prefix = " ".join(plain[2].text.split()[:2])
    longer[2] = replace(longer[2], prefix=prefix, language="en")
    for result, expected in zip(tiny.recognize(longer), plain, strict=True):
        assert result.text == expected.text


def test_a_prefix_of_the_text_changes_nothing(tiny: Qwen3ASR, speech: NDArray[np.float32]) -> None:
    request = Request(speech[: 6 * RATE], language="en")
    (expected,) = tiny.recognize([request])
    words = expected.text.split()
    assert len(words) > 5
    for count in (1, 3, len(words)):
        prefix = " ".join(words[:count])
        (result,) = tiny.recognize([replace(request, prefix=prefix)])
        assert_close(result, expected)


def test_another_prefix_is_kept_as_it_is(tiny: Qwen3ASR, speech: NDArray[np.float32]) -> None:
    request = Request(speech[: 6 * RATE], language="en", prefix="Über-nobody said this, but")
    for temperature in (0.0, 0.7):
        (result,) = tiny.recognize([replace(request, temperature=temperature)])
        assert result.text.startswith(request.prefix)
        assert len(result.words) >= 4
        assert result == tiny.recognize([replace(request, temperature=temperature)])[0]


def test_words_after_a_prefix_have_the_times_of_attention(speech: NDArray[np.float32]) -> None:
    small = load_model("small", device="cpu")
    requests = [
        Request(speech[: 3 * RATE], language="en"),
        Request(speech[3 * RATE : 5 * RATE], language="en"),
    ]
    expected = small.recognize(requests)
    assert all(recognition.timed_by == "attention" for recognition in expected)
    prefixes = [" ".join(recognition.text.split()[:2]) for recognition in expected]
    assert all(prefixes)
    prefixed = [
        replace(request, prefix=prefix) for request, prefix in zip(requests, prefixes, strict=True)
    ]
    for result, other in zip(small.recognize(prefixed), expected, strict=True):
        assert result.text == other.text
        for word, timed in zip(result.words, other.words, strict=True):
            assert word.start_s == pytest.approx(timed.start_s, abs=0.05)
            assert word.end_s == pytest.approx(timed.end_s, abs=0.05)


def test_a_model_without_windows_keeps_nothing(
    small_checkpoint: Path, speech: NDArray[np.float32]
) -> None:
    model = load_model(str(small_checkpoint), device="cpu")
    state = ModelState()
    request = Request(speech[: 2 * RATE], state=state)
    (result,) = model.recognize([request])
    assert result.raw == model.recognize([replace(request, state=None)])[0].raw
    assert state.content is None


def test_a_prefix_needs_its_language(tiny: Qwen3ASR, speech: NDArray[np.float32]) -> None:
    with pytest.raises(UsageError, match="needs its language"):
        tiny.recognize([Request(speech[:RATE], prefix="the")])
    with pytest.raises(UsageError, match="context is too long"):
        tiny.recognize([Request(speech[:RATE], language="en", prefix="word " * 9_000)])
