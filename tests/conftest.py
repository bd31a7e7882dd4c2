"""Fixtures of several test modules: random models of toy size and speech-like noise."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from audio_geometries import GEOMETRIES

# Set before torch is imported, and inherited by child processes: `make test` runs the tests in
# several processes, and each of them may start more.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Without byte code, every child process compiles the package again, which takes it three seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Memory is kept instead of being given back to the system after every step: page faults took a
# tenth of the time.
os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "100000000000")
os.environ.setdefault("MALLOC_TOP_PAD_", str(64 * 2**20))

SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "Could you bring twenty-five pears to the station, please?",
    "My sister was reading a letter when it began to rain.",
    "Where did they park the old van?",
)


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what was imported: millions of objects that stay."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(scope="session")
def checkpoint_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns the checkpoint with random weights of a geometry, created on the first call."""
    from megaasr.train.base.architecture import build_model
    from megaasr.train.base.recipe import ArchitectureRecipe
    from megaasr.train.processor import build_processor
    from megaasr.train.tokenizer import train_tokenizer

    sizes: dict[str, Any] = {
        "vocabulary_size": 340,
        "encoder_layers": 2,
        "encoder_width": 32,
        "encoder_heads": 2,
        "encoder_ffn": 64,
        "conv_channels": 8,
        "decoder_layers": 2,
        "decoder_width": 32,
        "decoder_heads": 2,
        "decoder_kv_heads": 1,
        "decoder_head_size": 16,
        "decoder_ffn": 64,
    }

    @cache
    def make(geometry: str) -> Path:
        recipe = ArchitectureRecipe(**sizes, **GEOMETRIES[geometry])
        tokenizer = train_tokenizer(SENTENCES, recipe.vocabulary_size)
        folder = tmp_path_factory.mktemp(f"random-{geometry}")
        build_model(recipe, tokenizer, seed=3).save_pretrained(folder)
        build_processor(recipe.geometry, tokenizer).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def random_checkpoint(checkpoint_of: Callable[[str], Path]) -> Path:
    """A native Qwen3-ASR checkpoint of toy size with random float32 weights."""
    return checkpoint_of("qwen3-asr")


@pytest.fixture(scope="session")
def small_checkpoint(checkpoint_of: Callable[[str], Path]) -> Path:
    """A checkpoint like `random_checkpoint` in the geometry of `small`."""
    return checkpoint_of("small")


@pytest.fixture(scope="session", params=list(GEOMETRIES))
def any_checkpoint(request: pytest.FixtureRequest, checkpoint_of: Callable[[str], Path]) -> Path:
    """The random checkpoint of every geometry in turn."""
    return checkpoint_of(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def speechlike(rng: np.random.Generator) -> NDArray[np.float32]:
    """Three seconds of noise in bursts as long as syllables, 16 kHz."""
    time = np.arange(48_000) / 16_000
    envelope = np.clip(np.sin(2 * np.pi * 3 * time), 0, 1)
    return (0.2 * envelope * rng.standard_normal(time.size)).astype(np.float32)


@pytest.fixture
def fresh_process_state() -> Iterator[None]:
    """Limits torch to one thread, and resets the state of accelerate afterwards."""
    import torch
    from accelerate.state import AcceleratorState

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(threads)
