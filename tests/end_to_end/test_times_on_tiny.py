"""Times of the shipped model's transcripts: where the speech is, alike in every format."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from megaasr import MegaASR
from megaasr.audio import files
from megaasr.records import Transcript
from megaasr.transcribe.options import ReliabilityOptions

RATE = 16_000
CLIPS = sorted((Path(files.__file__).parents[1] / "cli" / "demo_clips").glob("*-clean.flac"))
Samples = np.ndarray


@pytest.fixture(scope="module")
def speech() -> list[Samples]:
    """Sentences without the silence around them."""
    sentences = []
    for clip in CLIPS:
        samples = files.read(clip, sample_rate=RATE).samples
        loud = np.flatnonzero(np.abs(samples) > 0.02)
        sentences.append(samples[loud[0] : loud[-1]])
    return sentences


def recording(*parts: Samples | float) -> Samples:
    """Speech and pauses, given in seconds, over a faint noise."""
    rng = np.random.default_rng(4)
    joined = [
        np.zeros(round(part * RATE), np.float32) if isinstance(part, int | float) else part
        for part in parts
    ]
    samples = np.concatenate(joined)
    return (samples + rng.normal(0, 1e-4, len(samples))).astype(np.float32)


def times_by_format(transcript: Transcript) -> dict[str, list[tuple[float, float]]]:
    """The times of all cues or rows, in seconds, by format."""
    times = {}
    for name in ("srt", "vtt"):
        rows = re.findall(
            r"(\d+):(\d+):(\d+)[.,](\d+) --> (\d+):(\d+):(\d+)[.,](\d+)", transcript.render(name)
        )
        times[name] = [
            tuple(
                3600 * int(row[i]) + 60 * int(row[i + 1]) + int(row[i + 2]) + int(row[i + 3]) / 1000
                for i in (0, 4)
            )
            for row in rows
        ]
    table = [row.split("\t") for row in transcript.to_tsv().splitlines()[1:]]
    times["tsv"] = [(int(start) / 1000, int(end) / 1000) for start, end, _ in table]
    segments = json.loads(transcript.to_json())["segments"]
    times["json"] = [
        (segment["words"][0]["start"], segment["words"][-1]["end"])
        for segment in segments
        if segment["text"]
    ]
    times["segments"] = [(s["start"], s["end"]) for s in segments if s["text"]]
    return times


@pytest.mark.parametrize("vad", [True, False])
def test_speech_after_a_long_silence_has_its_own_times_in_every_format(
    speech: list[Samples], vad: bool
) -> None:
    asr = MegaASR.load("tiny", reliability=ReliabilityOptions(vad=vad))
    spoken_s = len(speech[0]) / RATE
    transcript = asr.transcribe(recording(20.0, speech[0], 2.5), sample_rate=RATE)
    assert transcript.text
    for name, times in times_by_format(transcript).items():
        assert times[0][0] == pytest.approx(20.0, abs=0.15), name
        assert times[-1][1] == pytest.approx(20.0 + spoken_s, abs=0.3), name
    (segment,) = transcript.segments
    assert (segment.chunk_start, segment.chunk_end) == (0.0, transcript.duration_s)


def test_a_pause_between_two_sentences_is_in_no_cue(speech: list[Samples]) -> None:
    asr = MegaASR.load("tiny")
    first_s, second_s = (len(samples) / RATE for samples in speech[:2])
    pause = (1.0 + first_s, 1.0 + first_s + 6.0)
    audio = recording(1.0, speech[0], 6.0, speech[1], 1.0)
    transcript = asr.transcribe(audio, sample_rate=RATE)
    for name in ("srt", "vtt", "tsv"):
        times = times_by_format(transcript)[name]
        assert len(times) >= 2
        for start, end in times:
            assert end <= pause[0] + 0.5 or start >= pause[1] - 0.5, (name, start, end)
        assert times[0][0] == pytest.approx(1.0, abs=0.15)
        assert times[-1][1] == pytest.approx(pause[1] + second_s, abs=0.3)
