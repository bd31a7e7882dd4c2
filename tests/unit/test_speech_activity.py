"""Voice-activity detection: equal to the original package, and right in simple cases."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from megaasr.audio import files
from megaasr.transcribe.chunking import (
    SPEECH_THRESHOLD,
    VAD_FRAME,
    Chunk,
    find_speech_gap,
    split_into_chunks,
)
from megaasr.transcribe.silero_vad import speech_probabilities
from megaasr.transcribe.speech_activity import detect_speech

CLIPS = sorted((Path(files.__file__).parents[1] / "cli" / "demo_clips").glob("*-clean.flac"))
RATE = 16_000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return np.concatenate([files.read(path).samples for path in CLIPS])


def test_probabilities_equal_those_of_the_package(speech: np.ndarray) -> None:
    spec = importlib.util.find_spec("silero_vad")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = f"{spec.submodule_search_locations[0]}/data/silero_vad.jit"
        reference = torch.jit.load(path)  # type: ignore[no-untyped-call]
    reference.reset_states()
    frames = speech[: len(speech) // VAD_FRAME * VAD_FRAME].reshape(-1, VAD_FRAME)
    with torch.inference_mode():
        theirs = [float(reference(torch.from_numpy(f[None].copy()), RATE)) for f in frames]
    ours = speech_probabilities(frames.ravel())
    assert np.abs(ours - theirs).max() < 1e-4


def test_speech_is_detected_in_speech_only(speech: np.ndarray) -> None:
    assert (speech_probabilities(speech) >= SPEECH_THRESHOLD).mean() > 0.7
    time_s = np.arange(5 * RATE) / RATE
    rng = np.random.default_rng(1)
    for sound in (
        np.zeros(5 * RATE),
        0.1 * rng.standard_normal(5 * RATE),
        0.3 * np.sin(2 * np.pi * 440 * time_s),
    ):
        assert speech_probabilities(sound.astype(np.float32)).max() < 0.2


def test_the_transient_of_the_network_is_removed() -> None:
    noise = (0.002 * np.random.default_rng(0).standard_normal(5 * RATE)).astype(np.float32)
    assert speech_probabilities(noise).max() > 0.1  # the network's transient
    assert detect_speech(noise).max() < 0.05
    assert len(detect_speech(noise)) == len(speech_probabilities(noise))
    assert detect_speech(noise[:300]).shape == (1,)


def test_noise_around_a_sentence_is_trimmed(speech: np.ndarray) -> None:
    noise = (0.002 * np.random.default_rng(0).standard_normal(27 * RATE)).astype(np.float32)
    clip = files.read(CLIPS[0]).samples
    sound = noise.copy()
    sound[10 * RATE : 10 * RATE + len(clip)] += clip
    chunk = Chunk(0, sound, detect_speech(sound))
    trimmed = chunk.trimmed()
    assert len(clip) < len(trimmed) < len(clip) + 2 * RATE
    start = int(np.flatnonzero(sound == trimmed[0])[0])
    assert start <= 10 * RATE
    assert start + len(trimmed) >= 10 * RATE + len(clip) - RATE // 2
    # Short noise is kept, and without speech detection all noise is.
    short = sound[9 * RATE : 11 * RATE + len(clip)]
    assert len(Chunk(0, short, detect_speech(short)).trimmed()) == len(short)
    assert len(Chunk(0, sound).trimmed()) == len(sound)


def test_the_number_of_threads_does_not_change(speech: np.ndarray) -> None:
    before = torch.get_num_threads()
    speech_probabilities(speech[:RATE])
    assert torch.get_num_threads() == before


def test_any_length_is_accepted() -> None:
    assert speech_probabilities(np.zeros(0, np.float32)).shape == (0,)
    assert speech_probabilities(np.zeros(1, np.float32)).shape == (1,)
    assert speech_probabilities(np.zeros(VAD_FRAME + 1, np.float32)).shape == (2,)


def test_chunks_end_in_pauses(speech: np.ndarray) -> None:
    pause = np.zeros(RATE, np.float32)
    parts = [np.concatenate([files.read(path).samples, pause]) for path in CLIPS]
    recording = np.concatenate(parts * 3)
    chunks = list(split_into_chunks([recording], detect_speech))
    assert len(chunks) > 2
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), recording)
    probabilities = speech_probabilities(recording)
    for chunk in chunks[1:]:
        frame = chunk.offset // VAD_FRAME
        assert probabilities[frame - 1 : frame + 2].max() < SPEECH_THRESHOLD
        assert chunk.speech is not None
        assert chunk.speech_s is not None
        assert chunk.speech_s > 5


def test_speech_gaps() -> None:
    frames = 30 * RATE // VAD_FRAME
    assert find_speech_gap(np.ones(frames, np.float32), 30 * RATE) is None
    speech = np.ones(frames, np.float32)
    speech[700:720] = 0.0
    assert find_speech_gap(speech, 30 * RATE) == 710 * VAD_FRAME
