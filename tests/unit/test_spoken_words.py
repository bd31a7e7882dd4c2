"""When words are spoken, as flite's library tells: what word times are measured against."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from megaasr.errors import RecordError
from megaasr.records.timed_words import read_timed_words
from megaasr.synthesize.flite_words import word_bounds
from megaasr.synthesize.plan import PlannedClip
from megaasr.synthesize.spoken_words import time_spoken_words
from megaasr.synthesize.voices import Voice

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
TEXT = "There are fifty-six big monkeys, near the door."


@needs_flite
@pytest.mark.parametrize("voice", ["slt", "kal16"])
def test_words_end_where_the_program_says_that_their_last_phone_ends(
    voice: str, tmp_path: Path
) -> None:
    command = ["flite", "-voice", voice, "--setf", "duration_stretch=1.25", "-t", TEXT]
    path = tmp_path / "clip.wav"
    process = subprocess.run(
        [*command, "-psdur", "-o", path], capture_output=True, text=True, check=True
    )
    phone_ends = np.array([float(part.split(":")[1]) for part in process.stdout.split()])
    samples, rate = soundfile.read(path)
    (bounds,) = word_bounds(voice, [TEXT])
    assert bounds is not None
    assert len(bounds) == 8
    for pair in bounds:
        assert pair is not None
        for edge in pair:
            assert np.abs(phone_ends - edge * len(samples) / rate).min() < 0.005
    speech = np.zeros(len(samples), dtype=bool)
    for start, end in bounds:  # type: ignore[misc]
        speech[int(start * len(samples)) : int(end * len(samples))] = True
    assert np.square(samples[speech]).mean() > 100 * np.square(samples[~speech]).mean()


@needs_flite
def test_words_without_sound_and_other_divisions_have_no_times() -> None:
    dash, plain = word_bounds("slt", ["Well -- no.", "No."])
    assert dash is not None
    assert dash[1] is None
    assert dash[0] is not None
    assert plain is not None
    assert word_bounds("no-such-voice", ["No."]) == [None]


@needs_flite
def test_joined_clips_have_the_words_of_their_parts() -> None:
    voice = Voice("flite", "slt", 1.0, 1.0, 1.0, -3.0)
    other = Voice("espeak-ng", "en-us", 1.0, 1.0, 1.0, -3.0)
    first = PlannedClip("test-s000001", "spoken", "generator", "Go home.", voice=voice)
    second = PlannedClip("test-s000002", "spoken", "generator", "Not now.", voice=voice)
    third = PlannedClip("test-s000003", "spoken", "generator", "Not now.", voice=other)
    joined = PlannedClip(
        "test-j000001",
        "joined",
        "generator",
        "Go home. Not now.",
        parts=(first.id, second.id),
        pauses_s=(0.5, 0.2),
    )
    unknown = PlannedClip(
        "test-j000002",
        "joined",
        "generator",
        "Go home. Not now.",
        parts=(first.id, third.id),
        pauses_s=(0.5, 0.2),
    )
    lengths = {first.id: 2.0, second.id: 1.0, third.id: 1.0, joined.id: 3.7, unknown.id: 3.7}
    words = time_spoken_words([first, second, third, joined, unknown], lengths)
    assert set(words) == {first.id, second.id, joined.id}
    assert [word["text"] for word in words[joined.id]] == ["Go", "home.", "Not", "now."]
    assert words[joined.id][2]["start"] == pytest.approx(words[second.id][0]["start"] + 2.5)
    assert words[joined.id][:2] == words[first.id]
    assert time_spoken_words([second, joined], {second.id: 1.0, joined.id: 3.7}).keys() == {
        second.id
    }


def test_timed_words_are_read_from_a_list_and_from_its_json() -> None:
    words = [{"text": "Go", "start": 0.1, "end": 0.3}, {"text": "home.", "end": 0.8}]
    expected = [("Go", 0.1, 0.3), ("home.", 0.3, 0.8)]
    assert read_timed_words({"words": words}) == expected
    assert read_timed_words({"words": json.dumps(words)}) == expected
    assert read_timed_words({}) == []


@pytest.mark.parametrize("words", ["Go home.", [{"text": "Go"}], ["Go"], 3, '{"text": "Go"}'])
def test_other_lists_of_words_are_refused(words: object) -> None:
    with pytest.raises(RecordError, match=r"r7: words must be a list of text, start and end"):
        read_timed_words({"id": "r7", "words": words})
