"""The forced aligner: both layouts on random weights, and times that any output gives."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import Qwen3ASRForTokenClassification, Qwen3ASRProcessor

from megaasr.errors import CheckpointError, ModelNotFoundError
from megaasr.model.forced_aligner import ForcedAligner, load_aligner
from megaasr.model.interface import AlignedTime, Recognition, RecognizedWord, Request
from megaasr.transcribe.align import with_times
from megaasr.transcribe.bundle import LazyModel, ModelOptions
from megaasr.transcribe.recognizer import MegaASR

ORIGINAL = Path(__file__).parents[1] / "golden" / "original_layout"
CLASSES, STEP_MS = 40, 80
CPU = torch.device("cpu")


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A random aligner in the layout of `Qwen/Qwen3-ForcedAligner-0.6B`."""
    folder = tmp_path / "original"
    shutil.copytree(ORIGINAL, folder)
    config = json.loads((folder / "config.json").read_text())
    vocabulary = json.loads((folder / "vocab.json").read_text())
    config["thinker_config"]["classify_num"] = CLASSES
    config |= {"timestamp_token_id": vocabulary["t"], "timestamp_segment_time": STEP_MS}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    width = tensors["thinker.model.embed_tokens.weight"].shape[1]
    generator = torch.Generator().manual_seed(1)
    tensors["thinker.lm_head.weight"] = torch.randn(CLASSES, width, generator=generator)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture
def native(original: Path, tmp_path: Path) -> Path:
    """The same aligner in the layout of `Qwen/Qwen3-ForcedAligner-0.6B-hf`."""
    aligner = load_aligner(original, CPU, torch.float32)
    folder = tmp_path / "native"
    # A new model: a loaded one would be saved with the names that it was loaded from.
    model = Qwen3ASRForTokenClassification(aligner._model.config)
    model.load_state_dict(aligner._model.state_dict())
    model.save_pretrained(folder)
    aligner._processor.save_pretrained(folder)
    path = folder / "processor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"timestamp_segment_time": STEP_MS}))
    return folder


def audio(seconds: float = 1.3) -> np.ndarray:
    rng = np.random.default_rng(4)
    return rng.normal(0, 0.1, round(16_000 * seconds)).astype(np.float32)


WORDS = ["abc", "—", "de,", "f's"]


def test_threads_take_turns(original: Path) -> None:
    aligner = load_aligner(original, CPU, torch.float32)
    running, most = 0, 0

    def enter(*_: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.02)  # another thread may run now

    def leave(*_: Any) -> None:
        nonlocal running
        running -= 1

    aligner._model.register_forward_pre_hook(enter)
    aligner._model.register_forward_hook(leave)
    lengths = [0.9, 1.1, 1.3, 1.5] * 2
    alone = [aligner.align(audio(seconds), WORDS) for seconds in lengths]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda seconds: aligner.align(audio(seconds), WORDS), lengths))
    assert together == alone
    assert most == 1


def test_both_layouts_give_the_same_times(original: Path, native: Path) -> None:
    first = load_aligner(original, CPU, torch.float32).align(audio(), WORDS)
    second = load_aligner(native, CPU, torch.float32).align(audio(), WORDS)
    assert first == second
    assert first[1] is None  # a dash is not spoken
    times = [time for aligned in first if aligned for time in (aligned.start_s, aligned.end_s)]
    assert times == sorted(times)
    assert max(times) <= CLASSES * STEP_MS / 1000


def test_the_times_are_the_classes_at_the_timestamps(native: Path) -> None:
    """Computed here with the native class, from an input that is spelled out."""
    model: Any = Qwen3ASRForTokenClassification.from_pretrained(native, dtype=torch.float32).eval()
    processor = Qwen3ASRProcessor.from_pretrained(native)
    extracted = processor.feature_extractor(
        [audio()],
        sampling_rate=16_000,
        padding=True,
        return_attention_mask=True,
        return_tensors="pt",
    )
    tokenizer: Any = processor.tokenizer
    stamp = model.config.timestamp_token_id
    tokens = {t: tokenizer.convert_tokens_to_ids(f"<|audio_{t}|>") for t in ("start", "pad", "end")}
    ids = [tokens["start"], *[tokens["pad"]] * 17, tokens["end"]]  # 1.3 s: 13 and 4 tokens
    for word in ("abc", "de", "f's"):
        ids += [*tokenizer(word, add_special_tokens=False)["input_ids"], stamp, stamp]
    inputs = torch.tensor([ids])
    with torch.inference_mode():
        logits = model(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            input_features=extracted["input_features"],
            input_features_mask=extracted["attention_mask"],
        ).logits
    (expected,) = processor.decode_forced_alignment(
        logits, inputs, [["abc", "de", "f's"]], stamp, STEP_MS
    )
    aligned = [
        time for time in load_aligner(native, CPU, torch.float32).align(audio(), WORDS) if time
    ]
    assert [(a.start_s, a.end_s) for a in aligned] == [
        (e["start_time"], e["end_time"]) for e in expected
    ]


def test_what_is_no_aligner_is_refused(random_checkpoint: Path, native: Path) -> None:
    for folder in (random_checkpoint, ORIGINAL):
        with pytest.raises(CheckpointError, match="is a speech recogniser and no forced aligner"):
            load_aligner(folder, CPU, torch.float32)
    tensors = load_file(native / "model.safetensors")
    del tensors["score.weight"]
    save_file(tensors, native / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        CheckpointError, match=r"does not match its config.json \(missing keys: score\.weight"
    ):
        load_aligner(native, CPU, torch.float32)


def test_words_without_letters_alone_are_not_aligned(native: Path) -> None:
    assert load_aligner(native, CPU, torch.float32).align(audio(), ["—", "…"]) == [None, None]


# In a transcript


def recognition(words: int) -> Recognition:
    spoken = tuple(RecognizedWord(f"w{i}", 0.9) for i in range(words))
    text = " ".join(word.text for word in spoken)
    return Recognition(text, "en", words, False, text, -0.1, spoken)


@settings(deadline=None)
@given(
    st.lists(st.none() | st.tuples(st.floats(0, 40), st.floats(0, 40)), min_size=1, max_size=12),
    st.floats(0.05, 30.0),
)
def test_any_times_become_words_in_order_with_a_duration(
    times: list[tuple[float, float] | None], duration_s: float
) -> None:
    aligned = [None if time is None else AlignedTime(*time) for time in times]
    result = with_times(recognition(len(times)), aligned, duration_s)
    bounds = [(word.start_s or 0.0, word.end_s or 0.0) for word in result.words]
    least_s = min(0.02, duration_s / len(times))
    assert all(end - start >= least_s - 1e-6 for start, end in bounds)
    assert all(end <= following + 1e-9 for (_, end), (following, _) in pairwise(bounds))
    assert bounds[0][0] >= -1e-9
    assert bounds[-1][1] <= duration_s + 1e-9
    assert result.timed_by == "aligner"


def test_good_times_are_kept() -> None:
    aligned = [AlignedTime(0.1, 0.4), None, AlignedTime(0.5, 0.5), AlignedTime(0.9, 1.2)]
    words = with_times(recognition(4), aligned, 2.0).words
    assert [(word.start_s, word.end_s) for word in words] == [
        (0.1, 0.4),
        (0.4, pytest.approx(0.42)),
        (0.5, pytest.approx(0.52)),
        (0.9, 1.2),
    ]


class EchoModel:
    name, has_robust_route = "echo", False

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        return [recognition(3) for _ in requests]


class HalfSecondAligner:
    languages = ("en",)

    def align(self, samples: np.ndarray, words: Sequence[str]) -> list[AlignedTime | None]:
        return [AlignedTime(0.5 * i + 0.1, 0.5 * i + 0.5) for i in range(len(words))]


def test_a_transcript_has_the_times_of_the_aligner() -> None:
    asr = MegaASR(EchoModel(), aligner=HalfSecondAligner())
    transcript = asr.transcribe(audio(2.0), sample_rate=16_000)
    (segment,) = transcript.segments
    assert [(word.start, word.end) for word in segment.words] == [
        (0.1, 0.5),
        (0.6, 1.0),
        (1.1, 1.5),
    ]
    assert (segment.word_times, transcript.word_times) == ("aligner", "aligner")


def test_a_language_that_the_aligner_does_not_know_keeps_its_times() -> None:
    class Other(HalfSecondAligner):
        languages = ("de",)

    (segment,) = (
        MegaASR(EchoModel(), aligner=Other()).transcribe(audio(2.0), sample_rate=16_000).segments
    )
    assert segment.word_times == "interpolated"


def test_the_options_name_the_aligner(random_checkpoint: Path, native: Path) -> None:
    named = LazyModel(ModelOptions(str(random_checkpoint), align=str(native))).bundle()
    assert named.aligner is not None
    assert len(named.aligner.align(audio(), ["a", "b"])) == 2
    for align in ("model", "off"):
        assert LazyModel(ModelOptions(str(random_checkpoint), align=align)).bundle().aligner is None
    with pytest.raises(ModelNotFoundError, match="no model nowhere"):
        LazyModel(ModelOptions(str(random_checkpoint), align="nowhere")).has_robust_route  # noqa: B018
    assert isinstance(load_aligner(native, CPU, torch.float32), ForcedAligner)
