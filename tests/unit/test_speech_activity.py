"""Voice-activity detection: equal to the package it comes from, and right in plain cases."""

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


def test_probabilities_equal_the_package_s_own(speech: np.ndarray) -> None:
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


def test_speech_is_heard_and_other_sounds_are_not(speech: np.ndarray) -> None:
    assert (speech_probabilities(speech) >= SPEECH_THRESHOLD).mean() > 0.7
    time_s = np.arange(5 * RATE) / RATE
    rng = np.random.default_rng(1)
    for sound in (
        np.zeros(5 * RATE),
        0.1 * rng.standard_normal(5 * RATE),
        0.3 * np.sin(2 * np.pi * 440 * time_s),
    ):
        assert speech_probabilities(sound.astype(np.float32)).max() < 0.2


def test_noise_begins_as_quietly_as_it_goes_on() -> None:
    noise = (0.002 * np.random.default_rng(0).standard_normal(5 * RATE)).astype(np.float32)
    assert speech_probabilities(noise).max() > 0.1  # the network's start-up
    assert detect_speech(noise).max() < 0.05
    assert len(detect_speech(noise)) == len(speech_probabilities(noise))
    assert detect_speech(noise[:300]).shape == (1,)


def test_noise_around_a_sentence_is_not_heard(speech: np.ndarray) -> None:
    noise = (0.002 * np.random.default_rng(0).standard_normal(27 * RATE)).astype(np.float32)
    clip = files.read(CLIPS[0]).samples
    sound = noise.copy()
    sound[10 * RATE : 10 * RATE + len(clip)] += clip
    chunk = Chunk(0, sound, detect_speech(sound))
    heard = chunk.trimmed()
    assert len(clip) < len(heard) < len(clip) + 2 * RATE
    at = int(np.flatnonzero(sound == heard[0])[0])
    assert at <= 10 * RATE
    assert at + len(heard) >= 10 * RATE + len(clip) - RATE // 2
    # A little around it is left alone, and so is everything without a detector.
    near = sound[9 * RATE : 11 * RATE + len(clip)]
    assert len(Chunk(0, near, detect_speech(near)).trimmed()) == len(near)
    assert len(Chunk(0, sound).trimmed()) == len(sound)


def test_torch_keeps_its_threads(speech: np.ndarray) -> None:
    before = torch.get_num_threads()
    speech_probabilities(speech[:RATE])
    assert torch.get_num_threads() == before


def test_any_length_is_taken() -> None:
    assert speech_probabilities(np.zeros(0, np.float32)).shape == (0,)
    assert speech_probabilities(np.zeros(1, np.float32)).shape == (1,)
    assert speech_probabilities(np.zeros(VAD_FRAME + 1, np.float32)).shape == (2,)


def test_pieces_end_where_nobody_speaks(speech: np.ndarray) -> None:
    pause = np.zeros(RATE, np.float32)
    parts = [np.concatenate([files.read(path).samples, pause]) for path in CLIPS]
    whole = np.concatenate(parts * 3)
    chunks = list(split_into_chunks([whole], detect_speech))
    assert len(chunks) > 2
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), whole)
    probabilities = speech_probabilities(whole)
    for chunk in chunks[1:]:
        at = chunk.offset // VAD_FRAME
        assert probabilities[at - 1 : at + 2].max() < SPEECH_THRESHOLD
        assert chunk.speech is not None
        assert chunk.speech_s is not None
        assert chunk.speech_s > 5


def test_without_a_pause_there_is_no_place() -> None:
    frames = 30 * RATE // VAD_FRAME
    assert find_speech_gap(np.ones(frames, np.float32), 30 * RATE) is None
    speech = np.ones(frames, np.float32)
    speech[700:720] = 0.0
    assert find_speech_gap(speech, 30 * RATE) == 710 * VAD_FRAME
