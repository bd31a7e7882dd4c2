"""Around a live session: files that grow, recordings, sources, the line on the screen."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from full_disk import largest_file
from megaasr.audio import read
from megaasr.audio.live import PCM_FORMATS, read_pcm
from megaasr.cli.live_display import LiveDisplay, fitting_line
from megaasr.errors import AudioError, MegaASRError, RecordError, UsageError
from megaasr.records import Segment, Transcript, Word
from megaasr.stream.event_files import EventFiles, journal_path, read_events
from megaasr.stream.events import Event, Final, Partial, SpeechStarted
from megaasr.stream.microphone import microphone_blocks
from megaasr.stream.read_ahead import ReadAhead, paced
from megaasr.stream.recording import Recording


def segment(text: str, start: float) -> Segment:
    words = tuple(
        Word(word, start + 0.4 * i, start + 0.4 * i + 0.3) for i, word in enumerate(text.split())
    )
    end = words[-1].end or 0.0 if words else start + 1
    return Segment(start, end, text, "en", words=words, chunk_start=start, chunk_end=end + 0.6)


SEGMENTS = (
    segment("Hello there -> & <you>, how are you doing on this long day of the year?", 1.0),
    segment("", 12.0),
    segment("Fine.", 14.0),
)
EVENTS: list[Event] = [
    SpeechStarted(1, 1.1, 1, start_s=1.0),
    Partial(2, 2.0, 1, stable="Hello", volatile=" there", language="en", route="base"),
    *(Final(3 + i, s.end, 1 + i, segment=s) for i, s in enumerate(SEGMENTS)),
]


@pytest.mark.parametrize("suffix", [".srt", ".vtt", ".tsv", ".txt"])
def test_files_that_grow_end_as_those_of_transcribe(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"live{suffix}"
    expected = Transcript("", "en", 20.0, "tiny", SEGMENTS)
    with EventFiles([path], {"model": "tiny"}) as files:
        for count, event in enumerate(EVENTS, 1):
            files.write(event)
            done = tuple(e.segment for e in EVENTS[:count] if isinstance(e, Final))
            so_far = Transcript("", "en", 20.0, "tiny", done)
            assert path.read_text(encoding="utf-8") == so_far.render(suffix[1:])
    assert path.read_text(encoding="utf-8") == expected.render(suffix[1:])
    journal = list(read_events(journal_path(path)))
    assert journal[0] == {"type": "session", "schema": 1, "model": "tiny"}
    assert journal[1:] == [e.to_dict() for e in EVENTS if not isinstance(e, Partial)]


def test_an_event_file_holds_every_event_and_needs_no_journal(tmp_path: Path) -> None:
    paths = [tmp_path / "live.txt", tmp_path / "live.jsonl"]
    with EventFiles(paths, {}) as files:
        for event in EVENTS:
            files.write(event)
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert list(read_events(paths[1]))[1:] == [event.to_dict() for event in EVENTS]


def test_an_incomplete_last_line_is_left_out_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"type": "final"}\n{"type": "fin', encoding="utf-8")
    assert list(read_events(path)) == [{"type": "final"}]
    path.write_text('{"type": "fin\n{"type": "final"}\n', encoding="utf-8")
    with pytest.raises(RecordError, match=r"events\.jsonl, line 1: no JSON"):
        list(read_events(path))


def test_existing_files_and_unknown_suffixes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old.srt").write_text("precious", encoding="utf-8")
    with pytest.raises(UsageError, match=r"old\.srt exists"):
        EventFiles([tmp_path / "old.srt"], {})
    assert (tmp_path / "old.srt").read_text(encoding="utf-8") == "precious"
    with pytest.raises(UsageError, match=r"new\.docx: the suffix decides"):
        EventFiles([tmp_path / "new.docx"], {})
    (tmp_path / "old.wav").touch()
    with pytest.raises(UsageError, match=r"old\.wav exists"):
        Recording(tmp_path / "old.wav", 16_000)


def test_output_that_nobody_reads_is_an_error_if_it_is_all_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with pytest.raises(MegaASRError, match="nobody reads"):
            LiveDisplay(json_lines=True, is_only_output=True).show(EVENTS[0])
        kept = LiveDisplay(json_lines=True, is_only_output=False)
        for event in EVENTS:
            kept.show(event)
        assert kept.finals == 2
        with suppress(BrokenPipeError):
            pipe.close()


@pytest.mark.parametrize("suffix", [".jsonl", ".vtt"])
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"live{suffix}"
    with largest_file(2), pytest.raises(OSError, match="File too large") as caught:
        EventFiles([path], {})
    assert caught.value.filename == str(path)
    assert not list(tmp_path.iterdir())  # else the next start would refuse to write there


def test_a_recording_is_complete_after_every_block(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    path = tmp_path / "live.wav"
    samples = rng.uniform(-1, 1, 50_000).astype(np.float32)
    with Recording(path, 8_000) as recording:
        assert soundfile.info(path).frames == 0
        for end in (20_000, 20_001, 50_000):
            start = {20_000: 0, 20_001: 20_000, 50_000: 20_001}[end]
            recording.write(samples[start:end])
            waveform = read(path, sample_rate=8_000)
            assert len(waveform.samples) == end
            np.testing.assert_allclose(waveform.samples, samples[:end], atol=2**-15)


def test_a_recording_stops_on_a_full_disk_and_what_there_is_remains(tmp_path: Path) -> None:
    path, messages = tmp_path / "live.wav", list[str]()
    block = np.full(1_000, 0.5, np.float32)
    with Recording(path, 8_000, messages.append) as recording:
        recording.write(block)
        with largest_file(5_000):  # the third block does not fit
            for _ in range(3):
                recording.write(block)
        recording.write(block)
    (message,) = messages
    assert message.startswith(f"{path} ends after 0.2 s (File too large)")
    assert path.stat().st_size == 44 + 4_000
    assert np.array_equal(read(path, sample_rate=8_000).samples, np.full(2_000, 0.5, np.float32))


@pytest.mark.parametrize("sample_format", list(PCM_FORMATS))
def test_raw_samples_are_read_in_any_format(sample_format: str) -> None:
    stereo = np.array([[0.5, 0.25], [-0.5, 0.0], [0.75, 0.75]])
    dtype = np.dtype(PCM_FORMATS[sample_format])
    if dtype.kind == "f":
        values = stereo.astype(dtype)
    elif dtype.kind == "u":
        values = (stereo * 128 + 128).astype(dtype)
    else:
        values = (stereo * 2 ** (8 * dtype.itemsize - 1)).astype(dtype)

    class Trickle(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return super().read(3)

    data = values.tobytes() + b"\1"  # the last frame is not complete
    for file in (io.BytesIO(data), Trickle(data)):
        samples = np.concatenate(list(read_pcm(file, sample_format, 2)))
        np.testing.assert_allclose(samples, [0.375, -0.25, 0.75])


def test_raw_samples_that_are_no_numbers_are_silence() -> None:
    data = np.array([0.5, np.nan, np.inf, 0.25], "<f4").tobytes()
    assert np.concatenate(list(read_pcm(io.BytesIO(data), "f32le"))).tolist() == [0.5, 0, 0, 0.25]
    with pytest.raises(UsageError, match="choose one of s16le"):
        next(read_pcm(io.BytesIO(data), "mp3"))
    with pytest.raises(UsageError, match="at least 1"):
        next(read_pcm(io.BytesIO(data), "s16le", 0))


def blocks(count: int) -> Iterator[NDArray[np.float32]]:
    for number in range(count):
        yield np.full(160, number, np.float32)


def test_read_ahead_yields_everything_in_order() -> None:
    for limit_s in (None, 0.02):
        with ReadAhead(blocks(50), 16_000, limit_s=limit_s) as ahead:
            assert [int(block[0]) for block in ahead] == list(range(50))
            assert ahead.waiting_s == 0


def test_a_source_that_can_wait_is_not_read_far_ahead() -> None:
    read_ahead: list[int] = []

    def noted() -> Iterator[NDArray[np.float32]]:
        for block in blocks(50):
            read_ahead.append(int(block[0]))
            yield block

    with ReadAhead(noted(), 16_000, limit_s=0.02) as ahead:
        next(iter(ahead))
        time.sleep(0.1)
        assert len(read_ahead) <= 6


def test_a_source_may_be_stopped_and_may_fail() -> None:
    def endless() -> Iterator[NDArray[np.float32]]:
        while True:
            time.sleep(0.001)
            yield np.zeros(160, np.float32)

    with ReadAhead(endless(), 16_000) as ahead:
        threading.Timer(0.05, ahead.stop).start()
        assert len(list(ahead)) > 0

    def failing() -> Iterator[NDArray[np.float32]]:
        yield from blocks(3)
        raise AudioError("talk.wav", "is gone")

    with ReadAhead(failing(), 16_000) as ahead:
        received = iter(ahead)
        assert [int(next(received)[0]) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(AudioError, match="is gone"):
            next(received)


def test_a_paced_source_never_comes_early() -> None:
    start = time.monotonic()
    for count, _ in enumerate(paced(blocks(20), 16_000, 4.0), 1):
        assert time.monotonic() - start >= count * 0.01 / 4 - 1e-3


def test_the_microphone_is_read_through_sounddevice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a sound card here: `sounddevice` is replaced."""
    settings: dict[str, Any] = {}

    class InputStream:
        def __init__(self, **options: Any) -> None:
            settings.update(options)

        def __enter__(self) -> None:
            for number in range(3):
                data = np.full((800, 1), number / 10, np.float32)
                status = SimpleNamespace(input_overflow=number == 1)
                settings["callback"](data, 800, None, status)
                data[:] = 9  # PortAudio uses its buffer again

        def __exit__(self, *error: object) -> None:
            settings["closed"] = True

    fake = SimpleNamespace(InputStream=InputStream, PortAudioError=RuntimeError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    overflows: list[int] = []
    stream = microphone_blocks("2", lambda: overflows.append(1))
    levels = [float(next(stream)[0]) for _ in range(3)]
    stream.close()  # type: ignore[attr-defined]
    assert levels == pytest.approx([0, 0.1, 0.2])
    assert (overflows, settings["device"], settings["samplerate"]) == ([1], 2, 16_000)
    assert settings["closed"]

    def broken(**options: Any) -> None:
        raise RuntimeError("no such device")

    fake.InputStream = broken
    with pytest.raises(AudioError, match="cannot be used: no such device"):
        next(microphone_blocks())
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(UsageError, match=r"pip install 'megaasr\[live\]'"):
        next(microphone_blocks())


def test_the_line_on_the_screen_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert fitting_line("one two", " three", 80) == "one two \x1b[2mthree\x1b[0m"
    assert fitting_line("", " three", 80) == "\x1b[2mthree\x1b[0m"
    assert fitting_line("one\x1b[31m two", "", 80) == "one[31m two"
    assert fitting_line("one two", " three", 10) == "two \x1b[2mthree\x1b[0m"
    shown = fitting_line("今天天气" * 10, "很好", 12)
    assert shown.replace("\x1b[2m", "").replace("\x1b[0m", "") == "天天气很好"
    monkeypatch.setenv("NO_COLOR", "1")
    assert fitting_line("one two", " three", 80) == "one two three"
