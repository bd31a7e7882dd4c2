"""The options of whisper's command: accepted, or refused with a reason that is true."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import pytest
import typer

from megaasr.cli.main import main
from megaasr.cli.transcribe import app
from megaasr.cli.whisper_options import WHISPER_ONLY
from megaasr.model.interface import Recognition, RecognizedWord, Request
from megaasr.model.loading import DTYPES
from megaasr.records import FORMATS
from megaasr.transcribe.checks import CheckThresholds
from megaasr.transcribe.recognizer import MegaASR

# As `whisper --help` (release 20250625) lists them.
WHISPER_OPTIONS = {
    *("model", "model_dir", "device", "output_dir", "output_format", "verbose", "task"),
    *("language", "temperature", "best_of", "beam_size", "patience", "length_penalty"),
    *("suppress_tokens", "initial_prompt", "carry_initial_prompt", "condition_on_previous_text"),
    *("fp16", "temperature_increment_on_fallback", "compression_ratio_threshold"),
    *("logprob_threshold", "no_speech_threshold", "word_timestamps", "prepend_punctuations"),
    *("append_punctuations", "highlight_words", "max_line_width", "max_line_count"),
    *("max_words_per_line", "threads", "clip_timestamps", "hallucination_silence_threshold"),
}


@pytest.fixture(scope="module")
def accepted() -> set[str]:
    """The options of `mega-asr transcribe`, without dashes in front."""
    parameters = typer.main.get_command(app).params
    return {name.lstrip("-") for parameter in parameters for name in parameter.opts}


def test_every_option_of_whisper_is_accepted_or_explained(accepted: set[str]) -> None:
    names = {name.replace("_", "-") for name in WHISPER_OPTIONS}
    assert names <= accepted | set(WHISPER_ONLY)
    assert set(WHISPER_ONLY) <= names


def test_no_explained_option_is_accepted(accepted: set[str]) -> None:
    assert not accepted & set(WHISPER_ONLY)


@pytest.mark.parametrize("option", WHISPER_ONLY)
def test_the_command_explains_the_option(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["transcribe", "a.wav", f"--{option}", "1"])
    assert ended.value.code == 2
    message = " ".join(capsys.readouterr().err.split())
    assert f"--{option} of whisper has no meaning here: {WHISPER_ONLY[option]}" in message


@pytest.mark.parametrize("reason", sorted(set(WHISPER_ONLY.values())))
def test_reasons_name_options_checks_and_values_that_exist(reason: str, accepted: set[str]) -> None:
    without_other_programs = re.sub(r"`.*?`", "", reason)
    options = re.findall(r"(?<!\w)--?([a-z][\w-]*)", without_other_programs)
    assert set(options) <= accepted
    checks = re.findall(r"--guard (\w+)=", reason)
    assert set(checks) <= {field.name for field in fields(CheckThresholds)}
    assert set(re.findall(r"--dtype (\w+)", reason)) <= set(DTYPES)
    assert set(re.findall(r"-f (\w+)", reason)) <= set(FORMATS)


class RepeatingModel:
    """Gives the same unreliable text for every request, and keeps the requests."""

    name, has_robust_route = "repeating", False

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def recognize(self, requests: Sequence[Request]) -> list[Recognition]:
        self.requests += requests
        words = (RecognizedWord("again,", 0.5),) * 12
        return [Recognition("again, " * 12, "en", 24, False, "", -0.3, words) for _ in requests]


def test_what_the_reasons_say_about_decoding_is_true() -> None:
    model = RepeatingModel()
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000 * 70).astype(np.float32)
    transcript = MegaASR(model).transcribe(samples, sample_rate=16_000, context="Ada")
    chunks = len(transcript.segments)
    assert chunks > 1
    # Every chunk is decoded with the context, and none with the text before it.
    assert {request.context for request in model.requests} == {"Ada"}
    temperatures = [request.temperature for request in model.requests]
    assert temperatures[:chunks] == [0.0] * chunks  # greedy first
    assert max(temperatures) > 0  # with sampling if the text is unreliable
    words = transcript.to_dict()["segments"][0]["words"]
    assert words[0]["text"] == "again,"  # with adjacent punctuation
    assert 0.0 <= words[0]["start"] < words[0]["end"]
