"""A session that runs for hours: what it asks of the model and keeps in memory stays the same.

The detector is the real one; the model only counts, so that two hours take minutes.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import megaasr.cli
from megaasr import MegaASR
from megaasr.audio import read
from megaasr.model.interface import Recognition, Request, SamplingSettings
from megaasr.stream.events import Final
from megaasr.stream.session import open_stream

CLIPS = Path(megaasr.cli.__file__).parent / "demo_clips"
RATE = 16_000
MAX_GROWTH_MB = 20


class Counting:
    """Counts the seconds of audio that it is asked to decode."""

    name = "counting"
    has_robust_route = False

    def __init__(self) -> None:
        self.audio_s = self.longest_s = 0.0
        self.requests = 0

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        for request in requests:
            seconds = request.samples.size / RATE
            self.requests += 1
            self.audio_s += seconds
            self.longest_s = max(self.longest_s, seconds)
        return [Recognition("one two three four", "en", 4, False, "", -0.1) for _ in requests]

    def sample(
        self, requests: Sequence[Request], settings: SamplingSettings
    ) -> list[list[Recognition]]:
        raise NotImplementedError


def memory_mb() -> float:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def minute() -> NDArray[np.float32]:
    """Return a minute of clean clips with pauses between them."""
    rng = np.random.default_rng(0)
    parts: list[NDArray[np.float32]] = []
    while sum(map(len, parts)) < 60 * RATE:
        for number in (1, 2, 3, 4):
            parts.append(read(CLIPS / f"{number}-clean.flac").samples)
            parts.append(rng.normal(0, 1e-4, RATE).astype(np.float32))
    return np.concatenate(parts)[: 60 * RATE]


def soak(minutes: int) -> None:
    model = Counting()
    session = open_stream(MegaASR(model))
    samples = minute()
    asked: list[tuple[int, float]] = []
    memory: list[float] = []
    finals = 0
    for _ in range(minutes):
        before = (model.requests, model.audio_s)
        for start in range(0, len(samples), RATE // 2):
            events = session.feed(samples[start : start + RATE // 2])
            finals += sum(isinstance(event, Final) for event in events)
        asked.append((model.requests - before[0], model.audio_s - before[1]))
        gc.collect()
        memory.append(memory_mb())
    assert finals >= 5 * minutes
    assert model.longest_s <= 30
    # The first minute has the detector's warm-up, and may begin in another place.
    later = asked[1:]
    assert max(count for count, _ in later) <= 1.1 * min(count for count, _ in later)
    assert max(seconds for _, seconds in later) <= 1.1 * min(seconds for _, seconds in later)
    settled = memory[len(memory) // 4]
    assert memory[-1] - settled < MAX_GROWTH_MB


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="memory is read from /proc"
)


@needs_proc
def test_four_minutes_ask_the_same_of_the_model_in_each() -> None:
    soak(4)


@needs_proc
@pytest.mark.slow
def test_two_hours_ask_the_same_of_the_model_in_each_minute() -> None:
    soak(120)
