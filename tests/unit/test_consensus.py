"""Consensus of several transcripts: which is chosen, when, and what the segment says about it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megaasr.errors import UsageError
from megaasr.model.interface import Recognition, Request, SamplingSettings
from megaasr.records.segments import WordAlternative
from megaasr.route.decision import RouteDecision
from megaasr.score.systems import parse_systems
from megaasr.text.error_rate import count_errors
from megaasr.transcribe.bundle import ModelOptions
from megaasr.transcribe.checks import CheckThresholds, ChunkStats
from megaasr.transcribe.consensus import (
    choose_consensus,
    choose_most_probable,
    expected_errors,
    expected_reward,
    rank_alternatives,
)
from megaasr.transcribe.fallback import DecodeTask, FallbackDecoder
from megaasr.transcribe.options import TranscribeOptions
from megaasr.transcribe.recognizer import MegaASR
from megaasr.transcribe.search import SearchOptions
from megaasr.transcribe.word_alternatives import rank_word_alternatives

GREEDY_TEXT = "The cat sat on the mat."
SAMPLED_TEXTS = ["The cat sat on a mat.", "The bat sat on a mat.", "The cat sat on a hat."]


def recognition(text: str, logprob: float = -0.3, language: str | None = "en") -> Recognition:
    return Recognition(text, language, 8, False, text, logprob)


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=5).map(" ".join), min_size=1, max_size=5))
def test_expected_errors_are_the_mean_of_the_errors_against_all(texts: list[str]) -> None:
    expected = [
        sum(count_errors(reference, text, language="en").errors for reference in texts) / len(texts)
        for text in texts
    ]
    assert expected_errors(texts, "en") == pytest.approx(expected)


def test_the_consensus_has_the_fewest_expected_errors() -> None:
    candidates = [recognition(text) for text in [GREEDY_TEXT, *SAMPLED_TEXTS]]
    for order in itertools.permutations(candidates):
        assert choose_consensus(order).text == SAMPLED_TEXTS[0]


def test_the_reward_prefers_words_that_are_nearly_right() -> None:
    """Both have one error against each other text; only one of them has a similar word."""
    texts = ["we meet on monday", "we meet on mondays", "we meet on mondy", "we meet on xylophone"]
    rewards = expected_reward(texts, "en")
    assert expected_errors(texts, "en") == [0.75] * 4
    assert min(rewards[:3]) > rewards[3]
    candidates = [recognition(text) for text in reversed(texts)]
    assert choose_consensus(candidates, "errors").text == texts[3]
    assert choose_consensus(candidates, "reward").text != texts[3]


def test_of_equals_the_most_probable_is_the_consensus() -> None:
    first, second = recognition("one two", -0.9), recognition("One, two.", -0.2)
    assert choose_consensus([first, second]) is second
    assert choose_consensus([recognition("", -0.1, None)]).text == ""


def test_case_and_punctuation_do_not_count() -> None:
    texts = ["NO.", "no", "No!", "yes"]
    assert expected_errors(texts, "en") == [0.25, 0.25, 0.25, 0.75]


@pytest.mark.parametrize("utility", ["errors", "reward"])
def test_whether_anybody_speaks_is_decided_by_the_majority(utility: Any) -> None:
    """Against texts that have no words in common, the empty text has the fewest errors."""
    spoken = [recognition(text, -0.9) for text in ("meet the man", "eat then", "me a ham today")]
    empty = recognition("", -0.01, None)
    assert choose_consensus([empty, *spoken], utility).text != ""
    assert choose_consensus([empty] * 3 + spoken, utility).text != ""
    assert choose_consensus([empty] * 4 + spoken, utility).text == ""
    long = recognition("a rather long sentence that all of the samples agree upon", -0.9)
    assert choose_consensus([empty] * 2 + [long] * 11, utility) is long


def test_a_few_empty_transcripts_do_not_win_over_words() -> None:
    spoken = [recognition(text, -0.6) for text in SAMPLED_TEXTS]
    empty = [recognition("", -0.01, None)] * 2
    assert choose_consensus([*empty, *spoken]).text == SAMPLED_TEXTS[0]
    assert choose_consensus([*empty * 3, *spoken]).text == ""
    # Words without a language are not trustworthy: the model says that nobody speaks.
    assert choose_consensus([recognition("a", -0.1, None)] * 4 + spoken).language is None


def test_the_most_probable_has_words_if_any_has() -> None:
    spoken = [recognition("one", -0.9), recognition("two", -0.4)]
    assert choose_most_probable([recognition("", -0.01, None), *spoken]).text == "two"
    assert choose_most_probable([recognition("", -0.01, None)]).text == ""


class SamplingModel:
    """Recognises a sentence greedily, and others in its samples."""

    name, has_robust_route = "sampling", True

    def __init__(self, greedy: Recognition) -> None:
        self.greedy = greedy
        self.sampled: list[tuple[Request, SamplingSettings]] = []

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        return [self.greedy for _ in requests]

    def sample(
        self, requests: Sequence[Request], settings: SamplingSettings
    ) -> list[list[Recognition]]:
        self.sampled += [(request, settings) for request in requests]
        return [[recognition(text, -1.0) for text in SAMPLED_TEXTS] for _ in requests]


class Router:
    def __init__(self, route: Any) -> None:
        self.route = route

    def decide(self, samples: np.ndarray) -> RouteDecision:
        return RouteDecision(self.route, 0.5, "rigged")


def transcribe(
    search: SearchOptions, route: str = "base", greedy: Recognition | None = None
) -> tuple[Any, SamplingModel]:
    model = SamplingModel(greedy or recognition(GREEDY_TEXT))
    asr = MegaASR(model, router=Router(route), search=search)
    noise = np.random.default_rng(3).normal(0, 0.1, 48_000).astype(np.float32)
    (segment,) = asr.transcribe(noise, sample_rate=16_000).segments
    return segment, model


def test_greedy_draws_no_samples() -> None:
    segment, model = transcribe(SearchOptions())
    assert (segment.text, model.sampled, segment.attempts) == (GREEDY_TEXT, [], ())


def test_the_consensus_replaces_a_more_probable_greedy_text() -> None:
    segment, model = transcribe(SearchOptions("consensus", samples=3, temperature=0.8))
    assert segment.text == SAMPLED_TEXTS[0]
    ((request, settings),) = model.sampled
    assert settings == SamplingSettings(3, 0.8)
    assert request.route == "base"
    greedy, chosen = segment.attempts
    assert (greedy.text, greedy.samples) == (GREEDY_TEXT, 0)
    assert (chosen.text, chosen.samples, chosen.temperature) == (SAMPLED_TEXTS[0], 3, 0.8)


def test_alternatives_are_listed_on_request() -> None:
    segment, _ = transcribe(SearchOptions("consensus", samples=3))
    assert segment.alternatives == ()
    segment, _ = transcribe(SearchOptions("consensus", samples=3, alternatives=2))
    assert [(a.text, a.share) for a in segment.alternatives] == [
        (GREEDY_TEXT, 0.25),  # all texts are different, and it is the most probable
        (SAMPLED_TEXTS[0], 0.25),
    ]
    assert segment.alternatives[0].mean_logprob == -0.3


def test_alternatives_of_words_are_listed_with_those_of_the_text() -> None:
    segment, _ = transcribe(SearchOptions("consensus", samples=3))
    assert segment.word_alternatives == ()
    segment, _ = transcribe(SearchOptions("consensus", samples=3, alternatives=1))
    words = [word.text for word in segment.words]
    expected = rank_word_alternatives(words, [GREEDY_TEXT, *SAMPLED_TEXTS], "en", 1)
    assert segment.word_alternatives == expected != ()


def test_what_other_texts_have_in_the_place_of_a_word() -> None:
    words = ["Meet", "me", "at", "noon."]
    texts = ["Meet me at noon.", "Meat me at Noon!", "meat me today at noon", "Meet at moon."]
    ranked = rank_word_alternatives(words, texts, "en", 2)
    assert [(a.word, a.text, a.share) for a in ranked] == [
        (0, "Meat", 0.5),
        (1, "", 0.25),
        (3, "moon.", 0.25),
    ]
    assert rank_word_alternatives(words, texts[:1], "en", 2) == ()
    assert rank_word_alternatives(["早", "上", "好。"], ["早上好。", "早上号"], "zh", 1) == (
        WordAlternative(2, "号", 0.5),
    )
    many = rank_word_alternatives(["a"], ["b", "b", "c", "d"], "en", 2)
    assert [a.text for a in many] == ["b", "c"]


def test_alternatives_with_the_same_words_are_one() -> None:
    candidates = [
        recognition("No, never.", -0.5),
        recognition("no never", -0.9),
        recognition("No, ever.", -0.1),
        recognition("", -0.01, None),
    ]
    ranked = rank_alternatives(candidates, 5)
    assert [(a.text, a.share) for a in ranked] == [
        ("No, never.", 0.5),
        ("", 0.25),
        ("No, ever.", 0.25),
    ]


def test_best_is_the_most_probable() -> None:
    segment, _ = transcribe(SearchOptions("best", samples=3))
    assert segment.text == GREEDY_TEXT


@pytest.mark.parametrize(
    ("route", "greedy", "sampled"),
    [
        ("base", recognition(GREEDY_TEXT), False),
        ("robust", recognition(GREEDY_TEXT), True),
        ("base", recognition(GREEDY_TEXT, -5.0), True),  # fails a check
    ],
)
def test_auto_samples_degraded_and_unreliable_chunks(
    route: str, greedy: Recognition, sampled: bool
) -> None:
    segment, model = transcribe(SearchOptions("auto"), route, greedy)
    assert bool(model.sampled) == sampled
    assert segment.text == (SAMPLED_TEXTS[0] if sampled else GREEDY_TEXT)


def test_auto_samples_where_the_detector_hears_words_and_the_greedy_text_has_none() -> None:
    model = SamplingModel(recognition("", -0.01, None))
    decoder = FallbackDecoder(model, CheckThresholds(), search=SearchOptions("auto"), retry=False)
    stats = ChunkStats(6.0, speech_s=5.0, speech_probability=1.0)
    noise = np.random.default_rng(3).normal(0, 0.1, 96_000).astype(np.float32)
    (decoding,) = decoder.decode([DecodeTask(noise, "base", stats)])
    assert decoding.best.attempt.text == SAMPLED_TEXTS[0]


def test_equal_audio_gives_equal_seeds() -> None:
    seeds = {transcribe(SearchOptions("consensus"))[1].sampled[0][0].seed for _ in range(2)}
    assert len(seeds) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "beam"}, "decode is beam; it can be greedy, best, consensus, auto"),
        ({"samples": 0}, "samples is 0"),
        ({"method": "best", "alternatives": -1}, "alternatives is -1"),
        ({"alternatives": 2}, "alternatives need samples"),
        ({"utility": "beauty"}, "utility is beauty; it can be errors or reward"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
    ],
)
def test_options_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SearchOptions(**values)


def test_settings_state_the_search_unless_it_is_greedy() -> None:
    """Files that were written before there was a choice stay valid for --resume."""
    tiny = ModelOptions("tiny")
    assert "search" not in TranscribeOptions(tiny).settings()
    settings = TranscribeOptions(tiny, search=SearchOptions("auto", 5)).settings()
    expected = {"decode": "auto", "samples": 5, "temperature": 0.5, "utility": "errors"}
    assert settings["search"] == expected | {"alternatives": 0}


@pytest.mark.parametrize(
    ("text", "name", "route", "vad", "retry", "search"),
    [
        ("tiny@robust", "tiny@robust", "robust", True, True, SearchOptions()),
        ("tiny@no-vad,no-retry", "tiny@no-vad+no-retry", "auto", False, False, SearchOptions()),
        ("a=tiny@decode=auto", "a", "auto", True, True, SearchOptions("auto")),
        (
            "tiny@base,decode=consensus,samples=4,temperature=0.7",
            "tiny@base+decode=consensus+samples=4+temperature=0.7",
            "base",
            True,
            True,
            SearchOptions("consensus", 4, 0.7),
        ),
        ("tiny@samples=4", "tiny@samples=4", "auto", True, True, SearchOptions("consensus", 4)),
        ("models/a@b", "a@b", "auto", True, True, SearchOptions()),
        ("samples=tiny", "samples", "auto", True, True, SearchOptions()),
    ],
)
def test_a_system_states_its_variant(
    text: str, name: str, route: str, vad: bool, retry: bool, search: SearchOptions
) -> None:
    (spec,) = parse_systems([text])
    assert (spec.name, spec.route, spec.vad, spec.retry, spec.search) == (
        (name, route, vad, retry, search)
    )


def test_a_data_type_is_a_variant() -> None:
    plain, quantised = parse_systems(["tiny", "tiny@robust,dtype=int8"])
    assert (plain.dtype, plain.name) == (None, "tiny")
    assert (quantised.dtype, quantised.route) == ("int8", "robust")
    assert quantised.search == SearchOptions()
    assert quantised.name == "tiny@robust+dtype=int8"


def test_a_wrong_variant_is_refused() -> None:
    with pytest.raises(UsageError, match="decode is beam"):
        parse_systems(["tiny@decode=beam"])
    with pytest.raises(UsageError, match="the data types are auto, float32"):
        parse_systems(["tiny@dtype=int4"])
    with pytest.raises(UsageError, match="given twice"):
        parse_systems(["tiny@dtype=int8,dtype=float32"])
    with pytest.raises(UsageError, match="samples or temperature"):
        parse_systems(["tiny@samples=many"])
