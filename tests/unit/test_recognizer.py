"""`MegaASR`: inputs, chunks, batches, order, silence, broken files, bounded memory."""

from __future__ import annotations

import io
import logging
import tracemalloc
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from megaasr.audio import AudioTruncatedWarning, AudioWarning, Selection, Waveform
from megaasr.audio.notes import AudioNotes
from megaasr.errors import AudioEmptyError, AudioError, AudioNotFoundError, UsageError
from megaasr.hub import HubOptions
from megaasr.model.interface import Recognition, Request
from megaasr.records import Segment, Transcript, Word
from megaasr.route.decision import NO_ROUTER
from megaasr.text.languages import join_texts
from megaasr.transcribe.bundle import ModelOptions
from megaasr.transcribe.recognizer import MegaASR

RATE = 16_000


class ToneModel:
    """Transcribes tones as their frequency: below 300 Hz in English, up to 1 kHz in Chinese, above
    without speech. 90 Hz exceeds the token budget."""

    name = "tones"
    has_robust_route = False

    def __init__(self) -> None:
        self.batches: list[list[Request]] = []

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        self.batches.append(list(requests))
        return [self._recognize_tone(request) for request in requests]

    def _recognize_tone(self, request: Request) -> Recognition:
        tone_samples = request.samples[request.samples != 0.0]
        crossings = np.count_nonzero(np.diff(np.signbit(tone_samples)))
        hertz = round(crossings / 2 / (len(tone_samples) / RATE) / 10) * 10
        if hertz > 1000:
            return Recognition("muttering", None, 3, False, "language None<asr_text>muttering")
        language = request.language or ("en" if hertz < 300 else "zh")
        return Recognition(f" {hertz} {request.context}", language, 5, hertz == 90, "")


def tone(hertz: float, duration_s: float) -> NDArray[np.float32]:
    time_s = np.arange(round(duration_s * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * hertz * time_s + 0.1)).astype(np.float32)


def long_recording(*tones: tuple[float, float]) -> NDArray[np.float32]:
    """Tones (hertz, seconds) with 0.6 s of silence after each."""
    pause = np.zeros(round(0.6 * RATE), np.float32)
    parts = [part for hertz, duration_s in tones for part in (tone(hertz, duration_s), pause)]
    return np.concatenate(parts)


@pytest.fixture
def model() -> ToneModel:
    return ToneModel()


def wav(path: Path, samples: NDArray[np.float32]) -> Path:
    soundfile.write(path, samples, RATE)
    return path


def test_a_path_gives_a_transcript(model: ToneModel, tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", tone(200, 1.5))
    transcript = MegaASR(model).transcribe(path)
    assert transcript == Transcript(
        text="200",
        language="en",
        duration_s=1.5,
        model="tones",
        segments=(
            Segment(
                0.0,
                1.5,
                "200",
                "en",
                route="base",
                route_reason=NO_ROUTER.reason,
                words=(Word("200", 0.0, 1.5),),
                chunk_start=0.0,
                chunk_end=1.5,
                word_times="interpolated",
            ),
        ),
        reason=None,
        audio=str(path),
    )


def test_other_kinds_of_input(model: ToneModel, tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", tone(200, 1.5))
    recognizer = MegaASR(model)
    data = path.read_bytes()
    for audio in (str(path), data, io.BytesIO(data), Waveform(tone(200, 1.5), RATE)):
        transcript = recognizer.transcribe(audio)
        assert transcript.text == "200"
        assert transcript.audio == (audio if isinstance(audio, str) else None)
    for rate in (8_000, 44_100):
        samples = np.sin(2 * np.pi * 200 * np.arange(rate) / rate)
        assert recognizer.transcribe(samples, sample_rate=rate).text == "200"
    assert recognizer.transcribe(Waveform(tone(200, 1.0)[::2].copy(), 8_000)).text == "200"


def test_an_array_needs_a_rate(model: ToneModel) -> None:
    with pytest.raises(UsageError, match="sample_rate"):
        MegaASR(model).transcribe(tone(200, 1))
    with pytest.raises(UsageError, match="belongs to an array"):  # a tuple is a list of recordings
        MegaASR(model).transcribe((tone(200, 1), tone(200, 1), 16_000))  # type: ignore[arg-type]


def test_an_array_with_its_rate(model: ToneModel) -> None:
    samples = tone(200, 1)
    expected = MegaASR(model).transcribe(samples, sample_rate=RATE)
    assert expected.text == "200"
    assert MegaASR(model).transcribe((samples, RATE)) == expected
    assert MegaASR(model).transcribe([(samples, RATE), samples], sample_rate=RATE) == [expected] * 2
    assert MegaASR(model).transcribe({"array": samples, "sampling_rate": RATE}) == expected
    assert MegaASR(model).transcribe(torch.from_numpy(samples), sample_rate=RATE) == expected
    assert MegaASR(model).transcribe((torch.from_numpy(samples), RATE)) == expected
    with pytest.raises(UsageError, match="'sampling_rate'; it has 'array', 'path'"):
        MegaASR(model).transcribe({"array": samples, "path": "a.wav"})


def test_language_and_context_reach_the_model(model: ToneModel) -> None:
    transcript = MegaASR(model).transcribe(
        tone(200, 1), sample_rate=RATE, language="de", context="Ada Lovelace"
    )
    assert (transcript.text, transcript.language) == ("200 Ada Lovelace", "de")


def test_long_recordings_are_split_and_joined(model: ToneModel) -> None:
    audio = long_recording((200, 20), (100, 20), (150, 10))
    transcript = MegaASR(model).transcribe(audio, sample_rate=RATE)
    assert [segment.text for segment in transcript.segments] == ["200", "100", "150"]
    assert transcript.text == "200 100 150"
    segments = transcript.segments
    assert segments[0].chunk_end == pytest.approx(20.3, abs=0.05)
    assert segments[-1].chunk_end == transcript.duration_s == pytest.approx(51.8)
    ends = [segment.chunk_end for segment in segments]
    assert [segment.chunk_start for segment in segments] == [0.0, *ends[:-1]]  # without gaps
    # The times of a segment are those of its sound, not those of its chunk.
    assert [segment.start for segment in segments] == pytest.approx([0, 20.6, 41.2], abs=0.05)
    assert [segment.end for segment in segments] == pytest.approx([20, 40.6, 51.2], abs=0.06)


def test_the_language_is_the_one_with_the_most_speech(model: ToneModel) -> None:
    audio = long_recording((400, 16), (200, 22), (500, 17))
    transcript = MegaASR(model).transcribe(audio, sample_rate=RATE)
    assert [segment.language for segment in transcript.segments] == ["zh", "en", "zh"]
    assert transcript.language == "zh"
    assert transcript.text == "400 200 500"


def test_joining_without_spaces_where_none_are_written() -> None:
    parts: list[tuple[str, str | None]] = [
        ("你好", "zh"),
        ("世界", "zh"),
        ("", None),
        ("hello", "en"),
        ("again", "en"),
    ]
    assert join_texts(parts) == "你好世界 hello again"
    assert join_texts([("สวัสดี", "th"), ("ครับ", "th")]) == "สวัสดีครับ"


def test_a_list_is_batched_across_recordings_by_length(model: ToneModel) -> None:
    lengths = [3.0, 1.0, 2.0, 1.2, 2.2, 3.2]
    audios = [tone(100 + 10 * i, length) for i, length in enumerate(lengths)]
    transcripts = MegaASR(model, batch_size=2).transcribe(audios, sample_rate=RATE)
    assert [result.text for result in transcripts] == ["100", "110", "120", "130", "140", "150"]
    assert [result.duration_s for result in transcripts] == lengths
    batches = [[len(request.samples) / RATE for request in batch] for batch in model.batches]
    # The first batch is decoded at once; later chunks are collected and sorted by length.
    assert batches == [[1.0, 3.0], [1.2, 2.0], [2.2, 3.2]]


def test_an_empty_list(model: ToneModel) -> None:
    assert MegaASR(model).transcribe([]) == []
    assert list(MegaASR(model).transcribe_many(iter([]))) == []


def test_a_tuple_is_a_list(model: ToneModel) -> None:
    (transcript,) = MegaASR(model).transcribe((tone(200, 1),), sample_rate=RATE)
    assert transcript.text == "200"


def test_batch_size_does_not_change_the_words() -> None:
    audios = [tone(100 + 10 * i, 0.5 + 0.1 * i) for i in range(11)]
    audios.append(long_recording((200, 20), (100, 20)))
    expected = MegaASR(ToneModel(), batch_size=1).transcribe(audios, sample_rate=RATE)
    for size in (2, 3, 16):
        model = ToneModel()
        assert MegaASR(model, batch_size=size).transcribe(audios, sample_rate=RATE) == expected
        assert max(map(len, model.batches)) <= size


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(RATE, np.float32), "no speech: the recording is silent"),
        (np.zeros(40 * RATE, np.float32), "no speech: the recording is silent"),
        (tone(200, 1)[:1], "too short: 0.0625 ms; at least 100 ms is needed"),
        (tone(200, 0.01), "too short: 10 ms; at least 100 ms is needed"),
        (np.zeros(160, np.float32), "too short: 10 ms; at least 100 ms is needed"),
    ],
)
def test_silent_and_too_short_recordings_are_not_decoded(
    model: ToneModel, samples: NDArray[np.float32], reason: str
) -> None:
    transcript = MegaASR(model).transcribe(samples, sample_rate=RATE)
    assert (transcript.text, transcript.language) == ("", None)
    assert transcript.reason == reason
    assert transcript.flags[0] == "no_speech"
    assert model.batches == []


def test_the_model_detects_no_speech(model: ToneModel) -> None:
    transcript = MegaASR(model).transcribe(tone(3000, 1), sample_rate=RATE)
    assert (transcript.text, transcript.language) == ("", None)
    assert transcript.reason == "no speech was detected"
    assert transcript.flags == ("no_speech",)


def test_silence_inside_a_recording_is_skipped(model: ToneModel) -> None:
    audio = np.concatenate([tone(200, 20), np.zeros(50 * RATE, np.float32), tone(100, 20)])
    transcript = MegaASR(model).transcribe(audio, sample_rate=RATE)
    assert transcript.text == "200 100"
    assert transcript.reason is None
    assert "silent" in transcript.flags
    requests = [request for batch in model.batches for request in batch]
    decoded_s = sum(len(request.samples) for request in requests) / RATE
    assert decoded_s < transcript.duration_s - 10.0


def test_a_token_budget_that_was_hit_is_reported(model: ToneModel) -> None:
    audio = long_recording((200, 20), (90, 20))
    transcript = MegaASR(model).transcribe(audio, sample_rate=RATE)
    assert [segment.flags for segment in transcript.segments] == [
        (),
        ("token_budget_hit", "unreliable"),
    ]


def test_a_token_budget_without_words_does_not_mean_no_speech() -> None:
    class Endless(ToneModel):
        def _recognize_tone(self, request: Request) -> Recognition:
            return Recognition("", None, 99, True, "language language language")

    transcript = MegaASR(Endless()).transcribe(tone(200, 1), sample_rate=RATE)
    assert transcript.reason == "the model wrote no words before its token budget ended"
    assert transcript.flags == ("token_budget_hit",)


def test_a_broken_file_does_not_stop_the_others(model: ToneModel, tmp_path: Path) -> None:
    broken = tmp_path / "text.wav"
    broken.write_text("this is not audio")
    empty = tmp_path / "empty.wav"
    empty.write_bytes(b"")
    good = wav(tmp_path / "good.wav", tone(200, 1))
    audios: list[str | Path] = [tmp_path / "missing.wav", good, broken, tmp_path, empty, str(good)]
    outcomes = list(MegaASR(model).transcribe_many(audios))
    assert [outcome.audio for outcome in outcomes] == [str(audio) for audio in audios]
    assert [outcome.transcript is not None for outcome in outcomes] == [0, 1, 0, 0, 0, 1]
    assert isinstance(outcomes[0].error, AudioNotFoundError)
    assert isinstance(outcomes[4].error, AudioEmptyError)
    assert outcomes[1].unwrap().text == "200"
    with pytest.raises(AudioNotFoundError):
        outcomes[0].unwrap()
    with pytest.raises(AudioNotFoundError, match=r"missing\.wav"):
        MegaASR(model).transcribe([good, tmp_path / "missing.wav"])


def test_a_file_that_breaks_off_with_an_error_has_no_transcript(
    model: ToneModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blocks(source: object, **_: object) -> Iterator[NDArray[np.float32]]:
        yield long_recording((200, 20), (200, 20))
        raise OSError(5, "Input/output error") if source == "disk.wav" else AudioError("b", "bad")

    monkeypatch.setattr("megaasr.transcribe.audio_stream.blocks", blocks)
    recognizer = MegaASR(model, batch_size=1)
    disk, damaged = recognizer.transcribe_many(["disk.wav", "b"])
    assert str(disk.error) == "disk.wav: cannot be read: Input/output error"
    assert str(damaged.error) == "b: bad"
    with pytest.raises(AudioError, match="disk"):
        list(recognizer.segments("disk.wav"))


@pytest.mark.parametrize(
    ("at_s", "flags"),
    [(None, [(), ("audio_truncated",)]), (3.0, [("audio_damaged",), ()])],
)
def test_a_chunk_with_missing_sound_is_flagged_and_the_warning_is_passed_on(
    model: ToneModel,
    monkeypatch: pytest.MonkeyPatch,
    at_s: float | None,
    flags: list[tuple[str, ...]],
) -> None:
    def blocks(source: str, selection: Selection, notes: AudioNotes) -> Iterator[Any]:
        if at_s is not None:
            notes.add_missing("damaged", "rubbish inside", decoded_s=41.2, at_s=at_s)
        yield long_recording((200, 20), (100, 20))
        if at_s is None:
            notes.add_missing("truncated", "breaks off", decoded_s=41.2)
        notes.add("tracks", "has 2 tracks")

    monkeypatch.setattr("megaasr.transcribe.audio_stream.blocks", blocks)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        transcript = MegaASR(model, batch_size=1).transcribe("a.wav")
    missing, tracks = caught
    assert issubclass(missing.category, AudioTruncatedWarning)
    assert str(missing.message).startswith("a.wav: 41.20 s were decoded")
    assert issubclass(tracks.category, AudioWarning)
    assert str(tracks.message) == "a.wav: has 2 tracks"
    assert [segment.flags for segment in transcript.segments] == flags


def test_a_truncated_flac_file(model: ToneModel, tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(200, 40), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        (outcome,) = MegaASR(model).transcribe_many([path])
    assert outcome.unwrap().flags == ("audio_truncated",)


def test_segments_are_emitted_while_the_recording_is_read(model: ToneModel) -> None:
    audio = long_recording(*[(100 + 10 * i, 20) for i in range(12)])
    stream = MegaASR(model, batch_size=2).segments(audio, sample_rate=RATE)
    first = next(stream)
    assert (first.text, first.start) == ("100", 0.0)
    assert len(model.batches) == 1
    assert [segment.text for segment in stream] == [str(110 + 10 * i) for i in range(11)]


def test_callbacks_are_in_order_and_precede_their_outcome(model: ToneModel) -> None:
    events: list[str] = []
    audios = [
        long_recording((100, 20), (110, 25), (120, 18)),
        tone(130, 1),
        np.zeros(RATE, np.float32),
        long_recording((140, 20), (150, 18)),
    ]
    for outcome in MegaASR(model, batch_size=2).transcribe_many(
        audios, sample_rate=RATE, on_segment=lambda _, segment: events.append(segment.text)
    ):
        events.append(f"= {outcome.unwrap().text}")
    assert events == [
        *["100", "110", "120", "= 100 110 120"],
        *["130", "= 130"],
        *["", "= "],
        *["140", "150", "= 140 150"],
    ]


def test_inputs_are_read_only_as_far_ahead_as_needed(model: ToneModel) -> None:
    read = 0

    def audios() -> Iterator[NDArray[np.float32]]:
        nonlocal read
        for _ in range(200):
            read += 1
            yield tone(200, 0.5) if read % 3 else np.zeros(RATE, np.float32)

    ahead = [
        read - number
        for number, _ in enumerate(
            MegaASR(model, batch_size=2).transcribe_many(audios(), sample_rate=RATE)
        )
    ]
    assert len(ahead) == 200
    assert max(ahead) <= 14


def test_silent_files_behind_a_pending_one_do_not_pile_up(model: ToneModel) -> None:
    read = 0

    def audios() -> Iterator[NDArray[np.float32]]:
        nonlocal read
        yield tone(200, 1)
        for _ in range(100):
            read += 1
            yield np.zeros(RATE, np.float32)

    outcomes = MegaASR(model, batch_size=4).transcribe_many(audios(), sample_rate=RATE)
    assert next(outcomes).unwrap().text == "200"
    assert read <= 5


def test_memory_does_not_grow_with_the_length(
    model: ToneModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = long_recording((200, 19.4))

    def peak_bytes(minutes: int) -> int:
        def blocks(source: object, **_: object) -> Iterator[NDArray[np.float32]]:
            for _ in range(3 * minutes):
                yield block.copy()

        monkeypatch.setattr("megaasr.transcribe.audio_stream.blocks", blocks)
        tracemalloc.start()
        for outcome in MegaASR(_StatelessModel(), batch_size=2).transcribe_many(["x.wav"]):
            assert outcome.unwrap().duration_s == pytest.approx(60 * minutes)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(40) < 1.1 * peak_bytes(10) + 100_000


class _StatelessModel(ToneModel):
    """Keeps no requests, whose samples would count as memory of the recognizer."""

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        return [Recognition("word", "en", 1, False, "") for _ in requests]


def test_wrong_use_is_explained(model: ToneModel) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        MegaASR(model, batch_size=0)
    with pytest.raises(UsageError, match="list of recordings"):
        list(MegaASR(model).transcribe_many("a.wav"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 2.5}, "batch_size is 2.5; it must be a whole number"),
        ({"batch_size": 0}, "it must be a whole number of at least 1"),
        ({"memory": 8}, "write a number and its unit"),
        ({"encoder_attention": "full"}, "choose windowed or global"),
    ],
)
def test_options_that_cannot_be_used_are_named(options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MegaASR.from_pretrained("tiny", **options)


def test_a_number_of_threads_that_would_end_the_process_is_refused() -> None:
    with pytest.raises(UsageError, match="threads is 30000; it must be at most 1024"):
        ModelOptions("tiny", threads=30_000)


def test_load_passes_its_arguments_to_load_model(
    monkeypatch: pytest.MonkeyPatch, model: ToneModel
) -> None:
    calls: list[object] = []

    def load_model(name: str, **settings: object) -> ToneModel:
        calls.append((name, settings))
        return model

    monkeypatch.setattr("megaasr.model.loading.load_model", load_model)
    recognizer = MegaASR.load("tiny", device="cpu", offline=True, batch_size=3)
    settings = {"device": "cpu", "dtype": None, "hub": HubOptions(offline=True), "batch_size": 3}
    settings |= {"encoder_attention": "windowed", "time_words": True, "adapter": None}
    assert calls == [("tiny", settings)]
    assert recognizer.model is model


def test_decoding_is_logged_for_those_who_listen(
    model: ToneModel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="megaasr"):
        MegaASR(model).transcribe(tone(200, 1), sample_rate=RATE)
    assert "<array>, 0.00 to 1.00 s: base branch, 1 attempts, no flags" in caplog.text
