"""Quality checks, each on texts that fail and pass it; fallback and the attempt that is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from megaasr.errors import UsageError
from megaasr.model.interface import Recognition, RecognizedWord, Request
from megaasr.route.decision import NO_ROUTER, RouteChoice
from megaasr.text.error_rate import disagreement
from megaasr.text.normalize import tokens
from megaasr.transcribe.checks import (
    CheckThresholds,
    ChunkStats,
    compression_ratio,
    count_letters,
    few_words,
    run_checks,
)
from megaasr.transcribe.chunking import split_into_chunks
from megaasr.transcribe.context_echo import context_echo
from megaasr.transcribe.fallback import TEMPERATURES, ChunkDecoding, DecodeTask, FallbackDecoder
from megaasr.transcribe.options import ReliabilityOptions
from megaasr.transcribe.recognizer import MegaASR

LIMITS = CheckThresholds()
FINE = Recognition("The kettle is on the table.", "en", 8, False, "", -0.2)
STATS = ChunkStats(3.0, "", 2.0, 0.99)


def flags(
    result: Recognition, stats: ChunkStats = STATS, limits: CheckThresholds = LIMITS
) -> list[str]:
    return [check.flag for check in run_checks(result, stats, limits)]


def test_a_good_text_passes() -> None:
    assert run_checks(FINE, STATS, LIMITS) == ()


@pytest.mark.parametrize(
    ("flag", "result", "stats"),
    [
        ("token_budget_hit", replace(FINE, budget_hit=True), STATS),
        ("no_words_in_speech", Recognition("", None, 3, False, ""), STATS),
        ("speech_not_detected", FINE, replace(STATS, speech_s=0.0, speech_probability=0.05)),
        ("phrase_cycle", replace(FINE, text="and then we go " * 3), replace(STATS, duration_s=9)),
        ("compression_ratio", replace(FINE, text="la " * 60), replace(STATS, duration_s=30)),
        ("characters_per_s", FINE, replace(STATS, duration_s=0.5)),
        (
            "few_words_in_speech",
            replace(FINE, text="Thank you."),
            replace(STATS, duration_s=30, speech_s=29.0),
        ),
        ("low_logprob", replace(FINE, mean_logprob=-1.2), STATS),
        ("context_echo", FINE, replace(STATS, context="Kettle. The kettle is on the table!")),
    ],
)
def test_each_check_fails(flag: str, result: Recognition, stats: ChunkStats) -> None:
    assert flag in flags(result, stats)
    assert flag not in flags(result, stats, CheckThresholds.off()) or flag == "token_budget_hit"


def test_a_failed_check_states_value_and_threshold() -> None:
    (check,) = run_checks(replace(FINE, mean_logprob=-1.5), STATS, LIMITS)
    assert (check.flag, check.value, check.threshold) == ("low_logprob", -1.5, -1.0)


@pytest.mark.parametrize(
    ("text", "stats"),
    [
        ("No, no, no!", STATS),  # legitimate repetition
        ("Yes.", replace(STATS, duration_s=0.4)),
        (
            "Margaret.",
            replace(STATS, context="Margaret, Albert"),
        ),  # a term of the context that was spoken
    ],
)
def test_reliable_texts_pass_all_checks(text: str, stats: ChunkStats) -> None:
    assert flags(replace(FINE, text=text), stats) == []


def test_chinese_characters_count_as_syllables() -> None:
    assert count_letters("早上好") == 7.5
    fast = replace(FINE, text="今天天气很好我们去公园" * 3, language="zh")
    assert "characters_per_s" in flags(fast, replace(STATS, duration_s=2.0))
    assert "characters_per_s" not in flags(fast, replace(STATS, duration_s=8.0))


def test_without_speech_detection_its_checks_pass() -> None:
    assert flags(FINE, ChunkStats(3.0)) == []
    assert flags(Recognition("", None, 3, False, ""), ChunkStats(3.0)) == []


def test_measures() -> None:
    assert compression_ratio("abc" * 200) > 10
    assert compression_ratio(FINE.text) < 1.5
    assert disagreement("one two", "one two", "en") == 0.0
    assert disagreement("one two three four", "", "en") == 1.0


@pytest.mark.parametrize(
    ("text", "speech_s"),
    [
        ("Thank you.", 29.0),
        ("Thank you.", 5.0),
        ("Vielen Dank.", 6.5),
        ("谢谢大家。", 8.0),
        ("ご視聴ありがとう", 12.0),
        ("감사합니다.", 8.0),
        ("ขอบคุณครับ", 8.0),
        ("धन्यवाद।", 8.0),
        ("شكرا لكم", 8.0),
        ("...", 4.0),
    ],
)
def test_too_little_text_for_the_speech_is_flagged(text: str, speech_s: float) -> None:
    stats = replace(STATS, duration_s=speech_s + 1, speech_s=speech_s)
    assert flags(replace(FINE, text=text, language="xx"), stats) == ["few_words_in_speech"]


@pytest.mark.parametrize(
    ("text", "speech_s"),
    [
        ("Thank you.", 1.5),
        ("Yes.", 2.5),  # "Um … yes"
        ("It is 1984.", 3.5),
        ("50%", 3.0),
        ("我想去公园散步。", 3.5),
        ("散歩に行きたいです", 4.0),
        ("제 할머니가 번역하고 있어요", 5.0),
        ("ผมคิดว่าคุณยายของผมกำลังแปลบทความ", 5.0),
        ("मेरी दादी अनुवाद कर रही हैं", 4.0),
        ("أعتقد أن جدتي تترجم مقالا", 5.0),
        ("A slow and careful reader said this line.", 8.0),
    ],
)
def test_slow_speech_in_any_script_is_not(text: str, speech_s: float) -> None:
    stats = replace(STATS, duration_s=speech_s + 1, speech_s=speech_s)
    assert flags(replace(FINE, text=text, language="xx"), stats) == []


def test_too_little_text_is_decoded_again() -> None:
    def result_for(request: Request) -> Recognition:
        short = request.samples.size < 16_000 * 6
        return replace(FINE, text="Nobody has seen him since then." if short else "Thank you.")

    decoding, _ = decode(result_for, speech_s=5.5)
    assert decoding.attempts[0].failed == ("few_words_in_speech",)
    assert decoding.best.attempt.pieces == 2
    assert not decoding.unreliable


def test_few_words_without_much_speech_are_no_measurement() -> None:
    assert few_words("Yes.", 1.9) == math.inf
    assert few_words("Yes.", 3.0) == pytest.approx(3.0)


NAMES = "Kubernetes, Prometheus, Grafana, Istio"


@pytest.mark.parametrize(
    ("text", "context", "speech_s"),
    [
        ("Grafana, Istio, Kubernetes, Prometheus.", NAMES, 3.0),  # another order
        ("Kubernetes Prometheus Grafana Istio " * 2, NAMES, 5.0),  # twice
        ("Kubernetes, Prometheus, Grafana.", NAMES, 2.5),  # three in order
        ("Istio, Grafana.", NAMES, 9.0),  # two, for nine seconds of speech
        ("Istio, Grafana.", NAMES, 0.1),  # two, where nobody speaks
        ("Prometheus Kubernetes.", "Kubernetes, Prometheus", 1.5),
        ("Kubernetes Prometheus Kubernetes Prometheus.", "Kubernetes, Prometheus", 3.0),
        ("Prometheus and Grafana, Istio, Kubernetes.", NAMES, 3.5),
        ("The kettle is on the table.", "Kettle. The kettle is on the table!", 2.0),
    ],
)
def test_an_echo_of_the_context_is_flagged_in_any_order(
    text: str, context: str, speech_s: float
) -> None:
    words = tokens(text, "en")
    assert context_echo(words, context, "en", speech_s) >= LIMITS.context_echo
    assert context_echo(words, "", "en", speech_s) == 0.0
    stats = replace(STATS, duration_s=10.0, context=context, speech_s=speech_s)
    assert "context_echo" in flags(replace(FINE, text=text), stats)


@pytest.mark.parametrize(
    ("text", "context", "speech_s"),
    [
        ("Kubernetes.", NAMES, 1.0),
        ("Kubernetes.", NAMES, 6.0),
        ("Istio, Grafana.", NAMES, 1.5),  # two terms that take as long as was spoken
        ("Ada Lovelace.", "Ada Lovelace", 1.2),
        ("Ask Ada Lovelace.", "Ada Lovelace", 1.4),
        ("We moved Kubernetes next to Grafana.", NAMES, 3.0),
        ("It is on the table.", "The kettle stood on the table. It is a good one.", 1.3),
    ],
)
def test_a_speaker_may_say_words_of_the_context(text: str, context: str, speech_s: float) -> None:
    assert context_echo(tokens(text, "en"), context, "en", speech_s) < LIMITS.context_echo


def test_an_echo_in_chinese_is_one_of_terms_and_not_of_characters() -> None:
    context = "人工智能，深度学习，语音识别"
    reordered, spoken = tokens("语音识别，人工智能，深度学习", "zh"), tokens("语音识别", "zh")
    assert context_echo(reordered, context, "zh", 3.0) == 1.0
    assert context_echo(spoken, context, "zh", 1.0) == 0.0
    assert context_echo(spoken, context, "zh", 9.0) == 1.0
    single = tokens("学工音度人", "zh")  # characters of the context, but no term of it
    assert context_echo(single, context, "zh", 9.0) == 0.0


def test_measures_of_the_echo() -> None:
    assert context_echo(["a", "b", "c", "d"], "x a b c y", "en", 0.5) == 0.75
    assert context_echo(["a", "b"], "a b c", "en", 0.5) == 0.0  # two may match by chance
    assert context_echo([], "a b", "en", 0.5) == 0.0


def test_thresholds_can_be_changed_by_name() -> None:
    changed = LIMITS.changed(["phrase-cycle=5", "low_logprob=-inf"])
    assert changed.phrase_cycle == 5
    assert changed.low_logprob == -math.inf
    with pytest.raises(UsageError, match="phrase_cycle"):
        LIMITS.changed(["loops=3"])
    with pytest.raises(UsageError, match="not a number"):
        LIMITS.changed(["phrase_cycle=many"])
    with pytest.raises(UsageError, match="nan is no threshold"):
        LIMITS.changed(["low_logprob=nan"])


class RiggedModel:
    """Computes its results with a function of the request, and keeps the requests."""

    name, has_robust_route = "rigged", True

    def __init__(self, result_for: object) -> None:
        self.requests: list[Request] = []
        self._result_for = result_for

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        self.requests += requests
        return [self._result_for(request) for request in requests]  # type: ignore[operator]


LOOP = Recognition("go on and " * 5, "en", 20, False, "", -0.1)


def decode(result_for: object, **stats: object) -> tuple[ChunkDecoding, RiggedModel]:
    model = RiggedModel(result_for)
    noise = np.random.default_rng(1).normal(0, 0.1, 16_000 * 6).astype(np.float32)
    task = DecodeTask(noise, "base", replace(ChunkStats(6.0), **stats), seed=7)
    (decoding,) = FallbackDecoder(model, LIMITS).decode([task])
    return decoding, model


def test_a_reliable_text_is_decoded_once() -> None:
    decoding, model = decode(lambda request: FINE)
    assert len(model.requests) == 1
    assert decoding.best.recognition is FINE


def test_a_loop_is_decoded_again_by_the_other_branch() -> None:
    decoding, _ = decode(lambda request: FINE if request.route == "robust" else LOOP)
    assert [attempt.route for attempt in decoding.attempts] == ["base", "robust"]
    assert decoding.best.attempt.route == "robust"
    assert decoding.attempts[0].failed == ("phrase_cycle",)
    assert (decoding.branch_disagreement() or 0.0) > 0.5


def test_the_next_attempts_are_samples_and_then_the_halves_of_the_chunk() -> None:
    def only_halves(request: Request) -> Recognition:
        return FINE if request.samples.size < 16_000 * 6 else LOOP

    decoding, model = decode(only_halves)
    assert [
        (attempt.route, attempt.temperature, attempt.pieces) for attempt in decoding.attempts
    ] == [
        ("base", 0.0, 1),
        ("robust", 0.0, 1),
        *(("base", temperature, 1) for temperature in TEMPERATURES),
        ("base", 0.0, 2),
    ]
    assert {request.seed for request in model.requests} == {7}
    assert decoding.best.attempt.pieces == 2
    assert decoding.best.recognition.text == f"{FINE.text} {FINE.text}"
    assert sum(request.samples.size for request in model.requests[-2:]) == 16_000 * 6


def test_words_of_the_second_half_are_spoken_later() -> None:
    words = (RecognizedWord("The", 0.9, 0.5, 0.75), RecognizedWord("kettle", 0.9, 0.75, 1.5))
    timed = replace(FINE, words=words, timed_by="attention")

    def only_halves(request: Request) -> Recognition:
        return timed if request.samples.size < 16_000 * 6 else LOOP

    decoding, model = decode(only_halves)
    result = decoding.best.recognition
    pause_s = model.requests[-2].samples.size / 16_000
    assert [word.start_s for word in result.words] == [0.5, 0.75, pause_s + 0.5, pause_s + 0.75]
    assert result.words[-1].end_s == pause_s + 1.5
    assert result.timed_by == "attention"


def test_the_first_attempt_that_passes_is_the_last() -> None:
    decoding, _ = decode(lambda request: FINE if request.temperature == TEMPERATURES[0] else LOOP)
    assert len(decoding.attempts) == 3


def test_without_a_passing_attempt_the_best_of_those_with_the_fewest_failures_is_kept() -> None:
    def result_for(request: Request) -> Recognition:
        if request.route == "robust":
            return replace(LOOP, mean_logprob=-3.0)  # two failures
        return replace(LOOP, mean_logprob=-0.5 if request.temperature else -0.9)

    decoding, _ = decode(result_for)
    assert decoding.unreliable
    assert decoding.best.attempt.temperature == TEMPERATURES[0]


def test_an_empty_text_does_not_win_over_words_unless_nobody_speaks() -> None:
    empty = Recognition("", None, 1, False, "", -0.001)

    def result_for(request: Request) -> Recognition:
        return FINE if request.route == "robust" else empty

    for speech_s, probability, kept in ((None, None, FINE.text), (0.0, 0.0, "")):
        model = RiggedModel(result_for)
        stats = ChunkStats(3.0, "", speech_s, probability)
        task = DecodeTask(np.zeros(48_000, np.float32), "base", stats)
        (decoding,) = FallbackDecoder(model, LIMITS, retry=False, route="both").decode([task])
        assert decoding.best.attempt.text == kept


def test_sampling_is_not_tried_where_it_cannot_help() -> None:
    nothing = Recognition("", None, 3, False, "")
    decoding, _ = decode(lambda request: nothing, speech_s=3.0, speech_probability=1.0)
    assert [attempt.route for attempt in decoding.attempts] == ["base", "robust"]


def test_without_retries_there_is_one_attempt_per_branch() -> None:
    for options, count in (({"retry": False}, 1), ({"retry": False, "route": "both"}, 2)):
        model = RiggedModel(lambda request: LOOP)
        task = DecodeTask(np.zeros(16_000, np.float32), "base", ChunkStats(1.0))
        (decoding,) = FallbackDecoder(model, LIMITS, **options).decode([task])
        assert len(decoding.attempts) == count


@pytest.mark.parametrize("route", ["base", "robust"])
def test_a_requested_branch_is_the_only_one_that_decodes(route: RouteChoice) -> None:
    model = RiggedModel(lambda request: FINE if request.route != route else LOOP)
    result = MegaASR(model, route=route).transcribe(noise(6), sample_rate=16_000)
    assert {request.route for request in model.requests} == {route}
    assert result.segments[0].flags
    automatic = MegaASR(model).transcribe(noise(6), sample_rate=16_000)
    assert automatic.segments[0].text == FINE.text
    added = "; the text of the robust branch was kept" if route == "base" else ""
    assert automatic.segments[0].route_reason == f"{NO_ROUTER.reason}{added}"


def noise(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.normal(0, 0.1, round(16_000 * seconds)).astype(np.float32)


def test_unreliable_text_is_labelled_and_can_be_dropped() -> None:
    kept = MegaASR(RiggedModel(lambda request: LOOP)).transcribe(noise(3), sample_rate=16_000)
    (segment,) = kept.segments
    assert segment.text == LOOP.text.strip()
    assert segment.flags == ("phrase_cycle", "unreliable")
    assert [check.flag for check in segment.checks] == ["phrase_cycle"]
    assert len(segment.attempts) == 2 + len(TEMPERATURES)
    asr = MegaASR(
        RiggedModel(lambda request: LOOP), reliability=ReliabilityOptions(drop_unreliable=True)
    )
    dropped = asr.transcribe(noise(3), sample_rate=16_000)
    assert dropped.text == ""
    assert dropped.reason == "all text was unreliable and was removed (--drop-unreliable)"
    assert dropped.segments[0].attempts[0].text == LOOP.text.strip()  # not lost
    assert dropped.segments[0].flags[-1] == "dropped"


def test_branches_that_disagree_are_flagged() -> None:
    def result_for(request: Request) -> Recognition:
        text = "Nobody was there." if request.route == "robust" else FINE.text
        return replace(FINE, text=text)

    asr = MegaASR(RiggedModel(result_for), route="both")
    (segment,) = asr.transcribe(noise(3), sample_rate=16_000).segments
    assert segment.flags == ("branches_disagree",)
    assert segment.checks[0].value > 0.5
    assert [attempt.route for attempt in segment.attempts] == ["base", "robust"]


def transcribe_languages(
    languages: dict[int, str], forced_logprob: float
) -> list[tuple[str | None, bool, int]]:
    """Transcribe a recording of several chunks.

    Args:
        languages: language that the model identifies in each chunk, by number; English in others.
        forced_logprob: mean log-probability of texts in a forced language; others have -0.3.

    Returns:
        For each segment its language, whether `language_flip` is set, and the number of attempts.
    """
    audio = noise(88)
    numbers = {
        float(chunk.samples[0]): number for number, chunk in enumerate(split_into_chunks([audio]))
    }

    def result_for(request: Request) -> Recognition:
        if request.language is not None:
            return Recognition("forced words", request.language, 3, False, "", forced_logprob)
        number = numbers[float(request.samples[0])]
        return Recognition(f"words {number}", languages.get(number, "en"), 3, False, "", -0.3)

    asr = MegaASR(RiggedModel(result_for), batch_size=1)
    transcript = asr.transcribe(audio, sample_rate=16_000)
    return [
        (segment.language, "language_flip" in segment.flags, len(segment.attempts))
        for segment in transcript.segments
    ]


def test_a_language_flip_is_decoded_again_in_the_expected_language() -> None:
    languages = {0: "en", 1: "en", 2: "ko", 3: "en"}
    corrected = transcribe_languages(languages, forced_logprob=-0.1)
    assert corrected[:3] == [("en", False, 0), ("en", False, 0), ("en", False, 2)]
    flagged = transcribe_languages(languages, forced_logprob=-2.0)
    assert flagged[2][:2] == ("ko", True)
    assert flagged[2][2] >= 2


def test_alternating_languages_are_no_flip() -> None:
    segments = transcribe_languages({0: "en", 1: "ko", 2: "en", 3: "ko"}, forced_logprob=-2.0)
    assert not any(flagged for _, flagged, _ in segments)
