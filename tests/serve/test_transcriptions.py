"""`/v1/audio/transcriptions` through the official client, unmodified."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from megaasr import MegaASR
from megaasr.records import Transcript
from running_server import CLIPS

openai = pytest.importorskip("openai")
from openai.types.audio import (  # noqa: E402
    Transcription,
    TranscriptionDiarized,
    TranscriptionSegment,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionVerbose,
)

CLIP = CLIPS / "1-clean.flac"
DEGRADED = CLIPS / "1-obstructed.flac"


@pytest.fixture(scope="module")
def expected() -> Transcript:
    """What the library makes of the clip."""
    return MegaASR.from_pretrained("tiny").transcribe(CLIP)


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips with a pause, repeated until there are several chunks."""
    samples, rate = soundfile.read(CLIP)
    other, _ = soundfile.read(CLIPS / "2-clean.flac")
    pause = np.zeros(rate)
    path = tmp_path_factory.mktemp("long") / "long.wav"
    soundfile.write(path, np.concatenate([samples, pause, other, pause] * 4), rate)
    return path


def create(client: Any, path: Path = CLIP, **fields: Any) -> Any:
    with path.open("rb") as file:
        return client.audio.transcriptions.create(file=file, model="whisper-1", **fields)


def refused(client: Any, kind: type[Any], **fields: Any) -> Any:
    with pytest.raises(kind) as caught:
        create(client, **fields)
    error = caught.value
    assert error.body["message"]
    assert error.type
    assert error.response.headers["x-request-id"] == error.request_id
    return error


def test_json_is_what_the_library_gives(openai_client: Any, expected: Transcript) -> None:
    result = create(openai_client)
    Transcription.model_validate(result.model_dump(), strict=True)
    assert result.text == expected.text
    assert [language.code for language in result.languages] == ["en"]
    assert result.usage.seconds == pytest.approx(expected.duration_s)
    assert result.model == "tiny"


def test_a_language_that_the_model_does_not_know_is_noted(openai_client: Any) -> None:
    assert not create(openai_client, language="en").notes
    (note,) = create(openai_client, language="de").notes
    assert note == "tiny knows English only; as German its text is meaningless"


def test_texts_and_subtitles_are_strings(openai_client: Any, expected: Transcript) -> None:
    assert create(openai_client, response_format="text") == expected.text + "\n"
    assert create(openai_client, response_format="srt") == expected.to_srt()
    assert create(openai_client, response_format="vtt") == expected.to_vtt()


def test_verbose_json_has_segments_words_and_our_keys(
    openai_client: Any, expected: Transcript
) -> None:
    result = create(
        openai_client,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    dumped = result.model_dump()
    TranscriptionVerbose.model_validate(dumped, strict=True)
    for segment in dumped["segments"]:
        TranscriptionSegment.model_validate(segment, strict=True)
    (segment,) = result.segments
    assert segment.route == expected.segments[0].route
    assert segment.confidence == expected.segments[0].confidence
    assert [word.word for word in result.words] == [w.text for w in expected.segments[0].words]
    assert [word.start for word in result.words] == [w.start for w in expected.segments[0].words]


def test_granularities_decide_what_verbose_json_lists(openai_client: Any) -> None:
    only_words = create(
        openai_client, response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert only_words.segments is None
    assert only_words.words
    default = create(openai_client, response_format="verbose_json")
    assert default.words is None
    assert default.segments


def test_channels_are_the_speakers_of_diarized_json(openai_client: Any, tmp_path: Path) -> None:
    left, rate = soundfile.read(CLIP)
    right, _ = soundfile.read(CLIPS / "2-clean.flac")
    length = len(left) + len(right)
    call = np.zeros((length, 2))
    call[: len(left), 0] = left
    call[len(left) :, 1] = right
    soundfile.write(tmp_path / "call.wav", call, rate)
    result = create(openai_client, tmp_path / "call.wav", response_format="diarized_json")
    TranscriptionDiarized.model_validate(result.model_dump(), strict=True)
    assert [segment.speaker for segment in result.segments] == ["left", "right"]
    assert result.text == " ".join(segment.text for segment in result.segments)


def test_logprobs_are_those_of_words(openai_client: Any, expected: Transcript) -> None:
    result = create(openai_client, include=["logprobs"])
    confidences = [word.confidence for word in expected.segments[0].words]
    assert [np.exp(entry.logprob) for entry in result.logprobs] == pytest.approx(confidences)
    assert bytes(int(b) for b in result.logprobs[0].bytes).decode() == result.logprobs[0].token


def test_our_fields_select_branch_and_threshold(openai_client: Any) -> None:
    def route(**extra: Any) -> str:
        result = create(openai_client, DEGRADED, response_format="verbose_json", extra_body=extra)
        return str(result.segments[0].route_reason)

    assert "threshold 0.5" in route()
    assert "threshold 0.25" in route(threshold=0.25)
    assert route(route="base") == "selected by route=base"
    assert route(route="robust") == "selected by route=robust"


def test_alternatives_come_with_decode(openai_client: Any) -> None:
    extra = {"decode": "consensus", "samples": 3, "alternatives": 2}
    result = create(openai_client, response_format="verbose_json", extra_body=extra)
    alternatives = result.segments[0].alternatives
    assert alternatives
    assert {"text", "share"} <= set(alternatives[0])


def test_streamed_deltas_are_the_text(openai_client: Any, long_recording: Path) -> None:
    complete = create(openai_client, long_recording)
    events = list(create(openai_client, long_recording, stream=True))
    *deltas, done = events
    assert len(deltas) > 1
    for event in deltas:
        TranscriptionTextDeltaEvent.model_validate(event.model_dump(), strict=True)
    TranscriptionTextDoneEvent.model_validate(done.model_dump(), strict=True)
    assert "".join(event.delta for event in deltas) == done.text == complete.text


def test_a_stream_of_channels_has_their_segments(openai_client: Any) -> None:
    *segments, done = create(openai_client, stream=True, response_format="diarized_json")
    assert [event.type for event in segments] == ["transcript.text.segment"]
    assert done.text == segments[0].text


def test_a_stream_that_cannot_begin_is_refused_before_its_headers(openai_client: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.audio.transcriptions.create(
            file=("bad.wav", b"RIFF"), model="tiny", stream=True
        )
    assert caught.value.code == "invalid_audio"
    assert "bad.wav" in caught.value.body["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "xml"}, "response_format"),
        ({"temperature": 0.5}, "temperature"),
        ({"temperature": 7}, "temperature"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities"),
        ({"response_format": "srt", "stream": True}, "stream"),
        ({"known_speaker_names": ["Ann"]}, "known_speaker_names"),
        ({"extra_body": {"route": "best"}}, "route"),
        ({"extra_body": {"treshold": 0.4}}, "treshold"),
        ({"extra_body": {"samples": 1000, "decode": "best"}}, "samples"),
        ({"extra_body": {"channels": "each"}, "response_format": "srt"}, "channels"),
        ({"extra_body": {"channels": "middle"}}, "channels"),
        ({"extra_body": {"guard": "no_such_check=1"}}, None),
        ({"extra_body": {"track": 3}}, "file"),
    ],
)
def test_wrong_fields_are_named(openai_client: Any, fields: Any, param: str | None) -> None:
    assert refused(openai_client, openai.BadRequestError, **fields).param == param


def test_unknown_models_and_addresses_are_404(openai_client: Any) -> None:
    with CLIP.open("rb") as file, pytest.raises(openai.NotFoundError) as caught:
        openai_client.audio.transcriptions.create(file=file, model="whisper-9")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.embeddings.create(model="tiny", input="x")
    assert caught.value.code == "unknown_url"


def test_translations_are_refused(openai_client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="does not translate"):
        openai_client.audio.translations.create(file=("a.wav", b"RIFF"), model="tiny")


def test_models_tell_the_truth(openai_client: Any) -> None:
    models = {model.id: model for model in openai_client.models.list()}
    assert models["whisper-1"].alias_of == "tiny"
    assert models["tiny"].has_robust_route is True
    assert openai_client.models.retrieve("tiny").languages == ["en"]


def test_empty_and_silent_recordings(openai_client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match=r"empty\.wav: 0 bytes"):
        openai_client.audio.transcriptions.create(file=("empty.wav", b""), model="tiny")
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(16000), 16000, format="WAV")
    result = openai_client.audio.transcriptions.create(
        file=("silence.wav", silence.getvalue()), model="tiny"
    )
    assert result.text == ""
    assert result.reason
    assert result.languages == []
