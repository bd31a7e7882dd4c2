"""Splitting long recordings into chunks, and detecting silence."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from megaasr.errors import CheckpointError
from megaasr.model.chunk_length import CHUNKING_FILE, read_max_chunk_s, write_max_chunk_s
from megaasr.transcribe.chunking import Chunk, find_pause, is_silent, split_into_chunks
from megaasr.transcribe.speech_activity import detect_speech

RATE = 16_000


def speech(duration_s: float, *pauses: tuple[float, float], seed: int = 0) -> NDArray[np.float32]:
    """Noise at -20 dBFS that falls to -60 dBFS in the pauses (start, end), in seconds."""
    rng = np.random.default_rng(seed)
    samples = 0.1 * rng.standard_normal(round(duration_s * RATE))
    for start, end in pauses:
        samples[round(start * RATE) : round(end * RATE)] *= 0.01
    return samples.astype(np.float32)


def boundaries(samples: NDArray[np.float32]) -> list[float]:
    """Return the times in seconds at which a recording is split."""
    return [chunk.start_s for chunk in split_into_chunks([samples])][1:]


@pytest.mark.parametrize("count", [1, 160, 16_000, 30 * RATE])
def test_up_to_30_s_is_one_chunk(count: int) -> None:
    samples = speech(30, (20, 21))[:count]
    (chunk,) = split_into_chunks([samples])
    assert chunk.start_s == 0.0
    assert chunk.end_s == count / RATE
    np.testing.assert_array_equal(chunk.samples, samples)


def test_empty_audio_gives_no_chunk() -> None:
    assert list(split_into_chunks([])) == []
    assert list(split_into_chunks([np.zeros(0, np.float32)])) == []


def test_a_pause_is_split_in_its_middle() -> None:
    assert boundaries(speech(40, (21.0, 21.4))) == pytest.approx([21.2], abs=0.02)


def test_the_longest_pause_is_preferred() -> None:
    pauses = (17.0, 17.25), (20.0, 20.4), (27.0, 27.25)
    assert boundaries(speech(40, *pauses)) == pytest.approx([20.2], abs=0.02)


def test_the_last_of_several_long_pauses_is_preferred() -> None:
    assert boundaries(speech(40, (16.0, 18.0), (24.0, 24.6))) == pytest.approx([24.3], abs=0.02)


def test_gaps_inside_words_are_not_pauses() -> None:
    samples = speech(40, (20.0, 20.08), (24.0, 24.3), (28.0, 28.12))
    assert boundaries(samples) == pytest.approx([24.15], abs=0.02)


def test_without_a_pause_the_quietest_100_ms_are_split() -> None:
    samples = speech(40)
    samples[round(22.3 * RATE) : round(22.42 * RATE)] *= 0.5
    assert boundaries(samples) == pytest.approx([22.36], abs=0.02)


def test_pauses_before_15_s_do_not_count() -> None:
    (boundary,) = boundaries(speech(40, (10.0, 12.0)))
    assert 15.0 <= boundary <= 30.0


def test_digital_silence_in_the_recording_does_not_hide_other_pauses() -> None:
    samples = speech(40, (18.0, 18.3), (22.0, 22.8))
    samples[round(18.0 * RATE) : round(18.3 * RATE)] = 0.0
    assert boundaries(samples) == pytest.approx([22.4], abs=0.02)


def test_silence_is_split_as_late_as_possible() -> None:
    assert boundaries(np.zeros(70 * RATE, np.float32)) == pytest.approx([29.95, 59.9])


def test_the_last_chunk_is_at_least_1_s_long() -> None:
    for extra in (1, 800, 8_000, 15_999, 16_000, 16_001):
        samples = speech(31, (29.4, 31.0))[: 30 * RATE + extra]
        chunks = list(split_into_chunks([samples]))
        assert len(chunks) == 2
        assert len(chunks[1].samples) >= RATE


def test_chunks_do_not_keep_the_recording_in_memory() -> None:
    samples = speech(95)
    for chunk in split_into_chunks([samples]):
        assert chunk.samples.base is None
        assert not np.shares_memory(chunk.samples, samples)


def test_reading_ahead_is_bounded() -> None:
    read_s = 0

    def blocks() -> object:
        nonlocal read_s
        for number in range(200):
            read_s += 1
            yield speech(1.0, seed=number)

    max_ahead_s = 0.0
    for chunk in split_into_chunks(blocks()):  # type: ignore[arg-type]
        max_ahead_s = max(max_ahead_s, read_s - chunk.start_s)
    assert read_s == 200
    assert max_ahead_s <= 32.0


@pytest.mark.parametrize("detector", [None, detect_speech])
def test_a_model_may_ask_for_shorter_chunks(detector: object) -> None:
    samples = np.concatenate([speech(7.0, seed=n) for n in range(5)])
    chunks = list(split_into_chunks([samples], detector, 10.0))  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.concatenate([c.samples for c in chunks]), samples)
    lengths_s = [len(chunk.samples) / RATE for chunk in chunks]
    assert max(lengths_s) <= 10.0
    assert min(lengths_s[:-1]) >= 5.0
    assert len(list(split_into_chunks([samples[: 10 * RATE]], None, 10.0))) == 1


def test_the_folder_of_a_model_states_its_longest_chunk(tmp_path: Path) -> None:
    assert read_max_chunk_s(tmp_path) == 30.0
    write_max_chunk_s(tmp_path, 10.0)
    assert read_max_chunk_s(tmp_path) == 10.0
    for value in ("31", "1", '"x"', "null"):
        (tmp_path / CHUNKING_FILE).write_text(f'{{"max_chunk_s": {value}}}')
        with pytest.raises(CheckpointError, match=r"chunking\.json"):
            read_max_chunk_s(tmp_path)
    for text in ("{}", "no json"):
        (tmp_path / CHUNKING_FILE).write_text(text)
        with pytest.raises(CheckpointError, match=r"chunking\.json"):
            read_max_chunk_s(tmp_path)


def test_find_pause_stays_within_the_audio() -> None:
    for seconds in (15.2, 16.0, 29.0, 30.0):
        samples = speech(seconds)
        assert 15 * RATE < find_pause(samples) < len(samples)


def test_silence_depends_on_the_peak() -> None:
    assert is_silent(np.zeros(16_000, np.float32))
    assert is_silent(np.zeros(0, np.float32))
    dither = np.random.default_rng(0).integers(-2, 3, 16_000) / 32_768
    assert is_silent(dither.astype(np.float32))
    assert is_silent((dither + 0.25).astype(np.float32))  # a constant offset is no sound
    quiet_word = np.zeros(30 * RATE, np.float32)
    quiet_word[1000:1400] = 0.001 * np.sin(np.arange(400) / 10)
    assert not is_silent(quiet_word)  # -60 dBFS for 25 ms


def test_a_chunk_has_times() -> None:
    chunk = Chunk(32_000, np.zeros(8_000, np.float32))
    assert (chunk.start_s, chunk.end_s) == (2.0, 2.5)
