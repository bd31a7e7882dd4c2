"""Measures of live transcription, the simulated clock, the baselines, and the benchmark."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import megaasr.cli
from megaasr import MegaASR
from megaasr.audio import read
from megaasr.errors import RecordError, UsageError
from megaasr.model.interface import Recognition, RecognizedWord, Request, SamplingSettings
from megaasr.score.streaming.baselines import LocalAgreement, ReleasedSchedule, join_overlapping
from megaasr.score.streaming.bench import parse_live_systems, run_stream_bench
from megaasr.score.streaming.metrics import TimedToken, measure_clip, summarize, timed_tokens
from megaasr.score.streaming.replay import LiveSession, ShownText, replay
from megaasr.score.streaming.updates import ClipRun, Update, read_log
from megaasr.score.test_set import read_test_set
from megaasr.text.normalize import Tokens

CLIPS = Path(megaasr.cli.__file__).parent / "demo_clips"
RATE = 16_000
REFERENCE = tuple(
    TimedToken(text, end_s) for text, end_s in (("one", 1.0), ("two", 2.0), ("three", 3.0))
)


def split(text: str) -> Tokens:
    return tuple(text.split())


def run_of(*updates: tuple[float, str, str]) -> ClipRun:
    return ClipRun(tuple(Update(*update) for update in updates), compute_s=2.0, steps=4)


def test_latencies_are_those_of_the_first_time_in_the_final_place() -> None:
    run = run_of(
        (1.5, "", "one"),
        (2.5, "one", "one too"),
        (3.5, "one", "one two three"),
        (4.5, "one two three", "one two three"),
    )
    measures = measure_clip(run, REFERENCE, 4.0, split)
    assert measures.errors.errors == 0
    assert measures.emission_s == pytest.approx((0.5, 1.5, 0.5))
    assert measures.confirmation_s == pytest.approx((1.5, 2.5, 1.5))
    assert measures.finalisation_s == pytest.approx((1.5,))
    # Shown at 1.5, 3.5 and 3.5 s; an even pace of 3 words in 4 s begins them at 0, 4/3 and 8/3 s.
    assert measures.lags_s == pytest.approx((1.5, 3.5 - 4 / 3, 3.5 - 8 / 3))
    assert (measures.unstable_words, measures.erased_words, measures.final_words) == (1, 1, 3)
    assert (measures.segments, measures.revised_segments) == (1, 1)
    assert measures.changed_confirmed == 0


def test_words_after_the_end_do_not_count_for_long_yaal() -> None:
    run = run_of((3.0, "", "one"), (9.0, "one two three", "one two three"))
    assert measure_clip(run, REFERENCE, 4.0, split).lags_s == pytest.approx((3.0,))


def test_an_insertion_erases_what_follows_but_changes_nothing() -> None:
    run = run_of((1.0, "", "one three"), (2.0, "one two three", "one two three"))
    measures = measure_clip(run, REFERENCE, 4.0, split)
    assert (measures.unstable_words, measures.erased_words) == (0, 1)


def test_wrong_words_have_no_latency() -> None:
    run = run_of((2.0, "one zwei three four", "one zwei three four"))
    measures = measure_clip(run, REFERENCE, 4.0, split)
    assert (measures.errors.substitutions, measures.errors.insertions) == (1, 1)
    assert measures.emission_s == pytest.approx((1.0, -1.0))


def test_changes_of_confirmed_text_are_counted() -> None:
    run = run_of((1.0, "one", "one"), (2.0, "won two", "won two"), (3.0, "won two", "won two x"))
    assert measure_clip(run, REFERENCE, 4.0, split).changed_confirmed == 1


def test_segments_end_where_everything_is_confirmed() -> None:
    run = run_of((1.5, "one", "one"), (2.0, "one", "one too"), (4.0, "one two", "one two"))
    measures = measure_clip(run, REFERENCE, 4.0, split)
    assert (measures.segments, measures.revised_segments) == (2, 1)
    assert measures.finalisation_s == pytest.approx((0.5, 2.0))


def test_measures_of_clips_are_pooled() -> None:
    good = measure_clip(run_of((3.5, "one two three", "one two three")), REFERENCE, 4.0, split)
    nothing = measure_clip(ClipRun(()), REFERENCE, 4.0, split)
    summary = summarize([good, nothing])
    assert summary["wer"] == 0.5
    assert summary["emission_s_p50"] == pytest.approx(1.5)
    assert summary["real_time_factor"] is None  # unknown of one of them
    assert summarize([good, good])["real_time_factor"] == 0.5
    assert summarize([good, good])["steps_per_audio_s"] == 1.0
    silence = measure_clip(run_of((1.0, "hm", "hm")), (), 4.0, split)
    assert (summarize([silence])["wer"], summarize([silence])["inserted_words"]) == (None, 1)


def test_every_token_of_a_word_has_its_time() -> None:
    assert timed_tokens([("Fifty-six!", 1.0), ("-", 2.0)], "en", "bench") == (
        TimedToken("fifty", 1.0),
        TimedToken("six", 1.0),
    )


class Scripted:
    """A live system that shows the seconds it was fed with, and computes for 20 ms each time."""

    def __init__(self, asr: MegaASR) -> None:
        self._fed = 0

    def feed(self, samples: NDArray[np.float32]) -> Iterator[ShownText]:
        self._fed += len(samples)
        time.sleep(0.02)
        yield ShownText("", f"{self._fed / RATE:g}")

    def finish(self) -> Iterator[ShownText]:
        yield ShownText("done", "done")
        yield ShownText("done", "done")


class Words:
    """A model that writes a word for each second of audio."""

    name = "words"
    has_robust_route = False

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        self.requests += requests
        return [self._recognize(request) for request in requests]

    def _recognize(self, request: Request) -> Recognition:
        count = round(request.samples.size / RATE)
        words = tuple(RecognizedWord(f"w{i}", 0.9, i, i + 1) for i in range(count))
        text = " ".join(word.text for word in words)
        return Recognition(text, "en", 3, False, "", words=words)

    def sample(
        self, requests: Sequence[Request], settings: SamplingSettings
    ) -> list[list[Recognition]]:
        raise NotImplementedError


def test_the_clock_stands_at_the_audio_and_is_charged_with_computing() -> None:
    samples = np.zeros(2 * RATE, np.float32)
    run = replay(Scripted, MegaASR(Words()), samples, feed_s=0.5)
    assert [update.shown for update in run.updates] == ["0.5", "1", "1.5", "2", "done"]
    for update, arrival_s in zip(run.updates, (0.5, 1.0, 1.5, 2.0, 2.0), strict=True):
        assert update.clock_s >= arrival_s + 0.02 * (update.shown != "done")
    assert run.compute_s is not None
    assert run.compute_s >= 0.08
    # Audio that comes faster than it is computed waits: five blocks of 10 ms take 100 ms.
    late = replay(Scripted, MegaASR(Words()), samples[:800], feed_s=0.01)
    assert late.updates[-1].clock_s >= 0.1


def texts(session: LiveSession, seconds: int, size: int = 4_000) -> list[ShownText]:
    states: list[ShownText] = []
    for _ in range(seconds * RATE // size):
        states += session.feed(np.zeros(size, np.float32))
    return [*states, *session.finish()]


def test_the_released_schedule() -> None:
    model = Words()
    asr = MegaASR(model, max_chunk_s=lambda: 10.0)

    def roll_back(text: str, count: int) -> str:
        return " ".join(text.split()[:-count])

    states = texts(ReleasedSchedule(asr, roll_back), 13)
    lengths = [request.samples.size // RATE for request in model.requests]
    assert lengths == [2, 4, 6, 8, 10, 4, 5]  # reset at 10 s with 2 s of overlap
    assert [request.prefix for request in model.requests[:5]] == ["", "", "", "w0", "w0 w1 w2"]
    assert model.requests[0].context == ""
    assert model.requests[5].context.startswith("Previous transcript context: w0 w1")
    assert states[-1].shown.startswith("w0 w1 w2 w3 w4 w5 w6 w7 w8 w9")
    assert all(after.confirmed.startswith(before.confirmed) for before, after in pairwise(states))


def test_local_agreement() -> None:
    model = Words()
    states = texts(LocalAgreement(MegaASR(model, max_chunk_s=lambda: 10.0)), 8)
    assert states[0] == ShownText("", "w0")
    assert states[1] == ShownText("w0", "w0 w1")
    assert states[2] == ShownText("w0 w1", "w0 w1 w2")
    lengths = [request.samples.size // RATE for request in model.requests]
    assert lengths == [1, 2, 3, 4, 5, 6, 2, 3]  # cut at 5 s, after the last confirmed word
    assert states[-1].confirmed == states[-1].shown


def test_texts_are_joined_by_what_overlaps() -> None:
    assert join_overlapping("one two three", "two three four") == "one two three four"
    assert join_overlapping("one", "four") == "one four"
    assert join_overlapping("", "four") == "four"


def test_systems_are_parsed() -> None:
    ours, named, released = parse_live_systems(
        ["tiny", "fast=tiny@commit=rollback,step=0.5,end_silence=0.4", "released:a/b"]
    )
    assert (ours.name, ours.kind, ours.model) == ("tiny", "megaasr", "tiny")
    assert (named.name, named.options.commit, named.options.step_s) == ("fast", "rollback", 0.5)
    assert named.options.end_silence_s == 0.4
    assert (released.name, released.kind, released.model) == ("released:a/b", "released", "a/b")
    for text, message in (
        ("tiny@beam=4", "beam is no option"),
        ("tiny@step=fast", "step is no number"),
        ("x=", "name a model"),
    ):
        with pytest.raises(UsageError, match=message):
            parse_live_systems([text])
    with pytest.raises(UsageError, match="two systems are called tiny"):
        parse_live_systems(["tiny", "tiny"])


@pytest.fixture
def test_set(tmp_path: Path) -> Path:
    """A clip with times of words, degraded, and a clip of silence."""
    soundfile.write(tmp_path / "a.wav", read(CLIPS / "4-clean.flac").samples, RATE)
    soundfile.write(tmp_path / "b.wav", np.zeros(2 * RATE), RATE)
    text = "I think that my grandmother translates an article about the strike."
    words = [{"text": w, "end": 0.3 + 0.25 * i} for i, w in enumerate(text.split())]
    records = [
        {"id": "a", "audio": "a.wav", "text": text, "words": words, "scenario": "echo",
         "severity": 0.3, "language": "en"},
        {"id": "b", "audio": "b.wav", "text": "", "words": [], "scenario": "clean",
         "severity": 0.0, "language": "en"},
    ]  # fmt: skip
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_live_systems_are_measured_and_their_logs_can_be_read(
    test_set: Path, tmp_path: Path
) -> None:
    asr = MegaASR.from_pretrained("tiny", device="cpu")
    names = ["ours=tiny", "released:tiny", "agreement2:tiny"]
    result = run_stream_bench(
        parse_live_systems(names), read_test_set(test_set), tmp_path / "out", lambda _: asr,
        feed_s=0.5, clock="cpu",
    )  # fmt: skip
    assert result["word_times"] == "reference"
    ours, released, agreement = result["systems"]
    groups = {"clean", "echo, severity 0.25 to 0.5", "severity 0.25 to 0.5"}
    assert set(ours["groups"]) == groups
    assert ours["groups"]["clean"]["inserted_words"] == 0
    assert ours["groups"]["clean"]["steps_per_audio_s"] == 0
    for system in (ours, released, agreement):
        overall = system["overall"]
        assert 0 <= overall["wer"] < 1
        assert overall["offline_wer"] == ours["overall"]["offline_wer"]
        assert overall["real_time_factor"] > 0
        assert overall["changed_confirmed"] == 0
    assert ours["overall"]["emission_s_p50"] <= ours["overall"]["confirmation_s_p50"]
    saved = json.loads((tmp_path / "out" / "stream.json").read_text(encoding="utf-8"))
    assert saved == json.loads(json.dumps(result))
    lines = (tmp_path / "out" / "updates.jsonl").read_text(encoding="utf-8").splitlines()
    theirs = [line for line in lines if json.loads(line)["system"] == "ours"]
    (tmp_path / "theirs.jsonl").write_text("\n".join(theirs) + "\n", encoding="utf-8")
    again = run_stream_bench(
        parse_live_systems([f"events:{tmp_path / 'theirs.jsonl'}"]),
        read_test_set(test_set),
        tmp_path / "again",
        lambda name: pytest.fail(f"{name} is not needed"),
    )
    measured = again["systems"][0]["overall"]
    expected = {k: v for k, v in ours["overall"].items() if k != "offline_wer"}
    assert measured == pytest.approx(expected)


def test_damaged_logs_are_named(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"id": "a", "clock_s": 1, "confirmed": ""}\n', encoding="utf-8")
    with pytest.raises(RecordError, match=r"log\.jsonl, line 1: 'shown'; a line has id"):
        read_log(path)
