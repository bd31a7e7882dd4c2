"""Word times by attention: the division of the audio, and the attention of a model's heads."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from megaasr.errors import CheckpointError
from megaasr.model.alignment_heads import (
    HEADS_FILE,
    NO_HEADS,
    AlignmentHead,
    AlignmentHeads,
    read_heads,
    write_heads,
)
from megaasr.model.attention_times import (
    attention_to_audio,
    divide_audio,
    recording,
)
from megaasr.model.geometry import AudioGeometry
from megaasr.model.interface import RecognizedWord, Request, SamplingSettings
from megaasr.model.loading import load_model, read_checkpoint
from megaasr.model.qwen3_asr import Qwen3ASR
from megaasr.transcribe.chunking import VAD_FRAME, Chunk
from megaasr.transcribe.word_times import time_words

HEADS = (AlignmentHead(0, 1), AlignmentHead(1, 0))


def exact(attention: np.ndarray, words: int) -> list[tuple[int, int]]:
    """The best division, by trying all of them."""
    frames = attention.shape[1]
    gain = np.log(np.maximum(attention * frames, 1e-3))
    edges = itertools.combinations_with_replacement(range(frames + 1), 2 * words)
    divisions = [list(zip(e[::2], e[1::2], strict=True)) for e in edges]
    valid = [d for d in divisions if all(first < end for first, end in d)]
    return max(valid, key=lambda d: sum(gain[w, a:b].sum() for w, (a, b) in enumerate(d)))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 3), st.integers(3, 7), st.integers(0, 1000))
def test_the_division_is_the_best_of_all(words: int, frames: int, seed: int) -> None:
    attention = np.random.default_rng(seed).dirichlet(np.full(frames, 0.5), words)
    # Few frames a second: no smoothing.
    division = divide_audio(attention, [[w] for w in range(words)], frames_per_s=1)
    assert division is not None
    gain = np.log(np.maximum(attention * frames, 1e-3))

    def total(bounds: list[tuple[int, int]]) -> float:
        return float(sum(gain[w, a:b].sum() for w, (a, b) in enumerate(bounds)))

    assert total(division) == pytest.approx(total(exact(attention, words)))
    ends = [0, *(time for bounds in division for time in bounds)]
    assert ends == sorted(ends)
    assert all(first < end for first, end in division)


def test_words_are_where_their_tokens_look_and_pauses_belong_to_none() -> None:
    """Two words of two tokens each at 50 frames a second, with a pause of 0.4 s between them."""
    attention = np.full((5, 60), 1e-4)
    for token, (first, end) in enumerate([(5, 10), (10, 15), (35, 40), (40, 50)]):
        attention[1 + token, first:end] = 1 / (end - first)
    division = divide_audio(attention, [[1, 2], [3, 4]], frames_per_s=50)
    assert division is not None
    for (first, end), (true_first, true_end) in zip(division, [(5, 15), (35, 50)], strict=True):
        assert abs(first - true_first) <= 2
        assert abs(end - true_end) <= 2


def test_more_words_than_frames_have_no_times() -> None:
    assert divide_audio(np.ones((3, 2)) / 2, [[0], [1], [2]], 50) is None
    assert divide_audio(np.ones((3, 2)) / 2, [], 50) is None


def test_times_of_tokens_follow_the_encoder_chunks() -> None:
    qwen = AudioGeometry()
    assert [qwen.token_start_s(token) for token in (0, 1, 12, 13, 14)] == pytest.approx(
        [0.0, 0.08, 0.96, 1.0, 1.08]
    )
    small = AudioGeometry(hop_samples=40, chunk_frames=12_800, window_frames=12_800)
    assert small.token_start_s(75) == pytest.approx(1.5)


# The heads of a model


def test_a_folder_names_its_heads(tmp_path: Path) -> None:
    assert read_heads(tmp_path, 2, 4) == NO_HEADS
    (tmp_path / HEADS_FILE).write_text(json.dumps({"heads": [[0, 1], [1, 0]]}))
    assert read_heads(tmp_path, 2, 4) == AlignmentHeads(HEADS)
    write_heads(tmp_path, AlignmentHeads(HEADS, -0.03))
    assert read_heads(tmp_path, 2, 4) == AlignmentHeads(HEADS, -0.03)
    with pytest.raises(CheckpointError, match="layer 1, head 0 is not in the decoder"):
        read_heads(tmp_path, 1, 4)
    for text in ("[]", '{"heads": [[1]]}', '{"heads": [["a", 1]]}', "no json"):
        (tmp_path / HEADS_FILE).write_text(text)
        with pytest.raises(CheckpointError, match="does not list heads"):
            read_heads(tmp_path, 2, 4)


@pytest.fixture(scope="module")
def model(any_checkpoint: Path) -> Qwen3ASR:
    """A random model with alignment heads."""
    native, processor = read_checkpoint(any_checkpoint, torch.float32, "windowed")
    return Qwen3ASR("random", native.eval(), processor, 8, alignment_heads=AlignmentHeads(HEADS))


def clips() -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [(0.1 * rng.standard_normal(n)).astype(np.float32) for n in (16_000, 40_001, 24_000)]


def test_the_attention_is_that_of_the_native_layers(any_checkpoint: Path, model: Qwen3ASR) -> None:
    """In a padded batch, against the attention that eager layers return for each clip alone."""
    requests = [Request(clip) for clip in clips()]
    inputs = model.inputs(requests)
    width = inputs["input_ids"].shape[1]
    with recording() as record, torch.inference_mode():
        tokens = model.model.generate(**inputs, do_sample=False, max_new_tokens=6)[:, width:]
    native, _ = read_checkpoint(any_checkpoint, torch.float32, "windowed")
    native.model.language_model.set_attn_implementation("eager")
    for row, request in enumerate(requests):
        alone = model.inputs([request])
        audio = (inputs["input_ids"][row] == native.config.audio_token_id).nonzero().squeeze(-1)
        ours = attention_to_audio(record, HEADS, row, row, 5, audio)
        ids = torch.cat([alone["input_ids"], tokens[row : row + 1, :5]], dim=1)
        extended = {**alone, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
        with torch.inference_mode():
            attentions = native.eval()(**extended, output_attentions=True).attentions
        positions = (ids[0] == native.config.audio_token_id).nonzero().squeeze(-1)
        first = alone["input_ids"].shape[1] - 1
        heads = [attentions[h.layer][0, h.head, first : first + 5][:, positions] for h in HEADS]
        expected = torch.stack([rows / rows.sum(1, keepdim=True) for rows in heads]).mean(0)
        np.testing.assert_allclose(ours, expected.numpy(), atol=1e-4)


def test_words_have_times_in_order_within_the_clip(model: Qwen3ASR) -> None:
    requests = [Request(clip, language="en") for clip in clips()]
    settings = SamplingSettings(2, temperature=1.0)
    sampled = [sample for of_clip in model.sample(requests, settings) for sample in of_clip]
    results = [*model.recognize(requests), *sampled]
    owners = [*requests, *(request for request in requests for _ in range(2))]
    assert any(result.words for result in results)
    for result, request in zip(results, owners, strict=True):
        times = [time for word in result.words for time in (word.start_s, word.end_s)]
        if None not in times:
            assert times == sorted(times)
            assert all(0 <= time <= len(request.samples) / 16_000 + 0.1 for time in times)
            assert all(word.start_s < word.end_s for word in result.words)


def test_the_delay_of_the_attention_is_subtracted(any_checkpoint: Path, model: Qwen3ASR) -> None:
    native, processor = read_checkpoint(any_checkpoint, torch.float32, "windowed")
    late = Qwen3ASR(
        "random", native.eval(), processor, 8, alignment_heads=AlignmentHeads(HEADS, 0.03)
    )
    requests = [Request(clip, language="en") for clip in clips()]
    pairs = [
        (word, earlier)
        for result, other in zip(model.recognize(requests), late.recognize(requests), strict=True)
        for word, earlier in zip(result.words, other.words, strict=True)
        if word.start_s is not None
    ]
    assert pairs
    for word, earlier in pairs:
        assert earlier.start_s == pytest.approx(max(0.0, word.start_s - 0.03))
        assert earlier.start_s < earlier.end_s <= max(0.01, word.end_s - 0.03) + 1e-9


def test_times_change_no_text(any_checkpoint: Path, model: Qwen3ASR) -> None:
    plain = load_model(str(any_checkpoint), device="cpu")
    requests = [Request(clip) for clip in clips()]
    texts = [result.raw for result in model.recognize(requests)]
    assert texts == [result.raw for result in plain.recognize(requests)]
    assert all(w.start_s is None for r in plain.recognize(requests) for w in r.words)


# Words in a recording


def chunk(speech: list[tuple[int, int]], frames: int = 100) -> Chunk:
    """A chunk that starts at 10 s, with speech in some frames of the detector."""
    probabilities = np.zeros(frames, dtype=np.float32)
    for first, end in speech:
        probabilities[first:end] = 1.0
    return Chunk(160_000, np.ones(frames * VAD_FRAME, dtype=np.float32), probabilities)


def test_the_detector_has_the_last_word_on_silence() -> None:
    """Speech from 0.32 to 0.96 s and from 1.92 to 2.56 s of the chunk."""
    words = [
        RecognizedWord("one", 0.5, 0.0, 0.6),
        RecognizedWord("two", 0.9, 0.6, 1.9),
        RecognizedWord("three", 0.8, 2.0, 3.2),
        RecognizedWord("four", 0.8, 2.9, 3.1),
    ]
    timed = time_words(words, chunk([(10, 30), (60, 80)]), lambda p: p / 2)
    assert timed is not None
    assert [(w.text, w.start, w.end, w.confidence) for w in timed] == [
        ("one", 10.32, 10.6, 0.25),
        ("two", 10.6, 10.96, 0.45),
        ("three", 12.0, 12.56, 0.4),
        ("four", 12.9, 13.1, 0.4),  # where the detector heard nothing, the model is believed
    ]


def test_a_pause_inside_a_word_stays_in_it() -> None:
    """A sentence of a script without spaces is one word."""
    timed = time_words(
        [RecognizedWord("ประโยคเดียว", 0.5, 0.0, 3.2)], chunk([(10, 30), (60, 80)]), float
    )
    assert timed is not None
    assert (timed[0].start, timed[0].end) == (10.32, 12.56)


def test_speech_that_the_detector_hardly_hears_does_not_cut_words() -> None:
    unsure = chunk([])
    unsure.speech[:] = 0.35  # type: ignore[index]
    unsure.speech[40] = 0.6  # type: ignore[index]
    texts = ["these", "words", "are", "spoken", "in", "noise"]
    words = [RecognizedWord(t, 0.5, 0.5 * i, 0.5 * i + 0.4) for i, t in enumerate(texts)]
    timed = time_words(words, unsure, float)
    assert timed is not None
    assert [(w.start, w.end) for w in timed] == [
        (pytest.approx(10 + w.start_s), pytest.approx(10 + w.end_s)) for w in words
    ]


def test_times_count_from_the_start_of_the_trimmed_audio() -> None:
    late = chunk([(400, 420)], frames=600)
    assert late.trimmed_start_s > late.start_s
    word = RecognizedWord("late", 0.5, 0.5, 0.8)
    timed = time_words([word], late, float)
    assert timed is not None
    assert timed[0].start == pytest.approx(max(late.trimmed_start_s + 0.5, 10 + 400 * 0.032))


def test_words_without_times_are_left_to_estimates() -> None:
    assert time_words([RecognizedWord("a", 0.5)], chunk([(10, 30)]), float) is None
