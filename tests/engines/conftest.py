"""One engine for all tests: vLLM runs in this process, and takes half a minute to start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import soundfile

from megaasr.audio.waveform import Samples
from megaasr.model.engine_limits import EngineLimits

if TYPE_CHECKING:
    from megaasr.model.qwen3_asr import Qwen3ASR
    from megaasr.model.vllm_engine import VllmModel

CLIPS = Path(__file__).parents[2] / "src" / "megaasr" / "cli" / "demo_clips"
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")


@pytest.fixture(scope="session")
def clips() -> list[Samples]:
    """The demo clips, in the order of their names."""
    return [soundfile.read(path, dtype="float32")[0] for path in sorted(CLIPS.glob("*.flac"))]


@pytest.fixture(scope="session")
def native() -> Qwen3ASR:
    """Model `tiny` on transformers."""
    from megaasr.model.loading import load_model

    return load_model("tiny", device="cpu", time_words=False)


@pytest.fixture(scope="session")
def engine(native: Qwen3ASR) -> Iterator[VllmModel]:
    """The same on vLLM; it starts after the other, because it takes hold of torch's threads."""
    from megaasr.model.engines import load_on_vllm

    model = load_on_vllm("tiny", limits=EngineLimits(max_num_seqs=8))
    yield model
    model.close()
