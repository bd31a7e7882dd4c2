"""Made-up benchmarks of three systems, assembled by the real code from pseudo-random words."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from megaasr.audio import Waveform, write
from megaasr.score.assembly import SystemPredictions, assemble
from megaasr.score.predictions import Prediction
from megaasr.score.result import Result
from megaasr.score.summary import ScoringSettings
from megaasr.score.test_set import TestClip, TestSetFile, TestSetKind
from megaasr.simulate.scenarios import CLEAN, SCENARIOS

_ENGLISH = "the harbour was quiet when we reached it and nobody could say where boats had gone"
_CHINESE = "今天我们在港口看见很多船但是没有人知道他们去了哪里"
_RATES = {"base": 0.45, "robust": 0.25, "routed": 0.24}
"""Share of wrong words added at severity 1; one in twenty is wrong at any severity."""


def example_result(
    folder: Path,
    *,
    clips: int = 200,
    kind: TestSetKind = "bench",
    systems: Sequence[str] = ("base", "robust", "routed"),
    sounds: int = 20,
    name: str = "made-up.jsonl",
) -> Result:
    """Return a result; the same arguments give the same numbers.

    Args:
        folder: folder for the audio of the first `sounds` clips.
        clips: number of clips; every fourth is real and every third Chinese.
        kind: format of the test set.
        systems: some of `base`, `robust` and `routed`; the first is the baseline.
        sounds: number of clips with audio.
        name: name of the test set.
    """
    test_clips = [_clip(index) for index in range(clips)]
    for clip in test_clips[:sounds]:
        write(folder / clip.audio, _sound(clip.id))
    system_predictions = [
        SystemPredictions(
            system,
            "megaasr",
            {clip.id: _prediction(system, clip) for clip in test_clips},
            device="cpu",
            settings={"model": "Qwen/Qwen3-ASR-1.7B", "route": system},
        )
        for system in systems
    ]
    test_set = TestSetFile(folder / name, folder, kind, tuple(test_clips))
    return assemble(
        test_set, system_predictions, ScoringSettings(replications=300), f"mega-asr bench {name}"
    )


def _clip(index: int) -> TestClip:
    chance = random.Random(f"clip {index}")
    is_real = index % 4 == 3
    scenario = None if is_real else [CLEAN, *(s.name for s in SCENARIOS)][index % 55]
    singles = [s.name for s in SCENARIOS if len(s.conditions) == 1]
    category = "mixed" if scenario and "+" in scenario else scenario or singles[index % 7]
    language = "zh" if index % 3 == 0 else "en"
    words = _CHINESE if language == "zh" else _ENGLISH.split()
    chosen = [chance.choice(words) for _ in range(chance.randint(4, 14))]
    return TestClip(
        id=f"{category}/{index:05d}",
        audio=f"{index:05d}.flac",
        text=("" if language == "zh" else " ".join(chosen)) or "".join(chosen),
        language=language,
        duration_s=0.4 * len(chosen),
        category=category,
        origin="real" if is_real else "simulated",
        scenario=scenario,
        severity=None if scenario in {None, CLEAN} else round(chance.random(), 3),
        snr_db=round(chance.uniform(-5, 20), 1) if scenario and "noise" in scenario else None,
    )


def _prediction(system: str, clip: TestClip) -> Prediction:
    chance = random.Random(f"{system} {clip.id}")
    error_rate = 0.05 + _RATES[system] * (clip.severity or 0.3) ** 1.5
    separator = "" if clip.language == "zh" else " "
    words = clip.text if clip.language == "zh" else clip.text.split()
    hypothesis_words = [_corrupt(word, words, error_rate, chance) for word in words]
    text = separator.join(word for word in hypothesis_words if word)
    if chance.random() < error_rate / 8:
        text = ""
    elif chance.random() < error_rate / 8:
        text = separator.join([text, *[words[-1]] * 12])
    route, probability = None if system == "base" else "robust", None
    if system == "routed":
        probability = clip.severity or 0.1
        route = "robust" if probability > 0.4 else "base"
    failed = "the model gave up" if chance.random() < 0.01 else None
    hypothesis = "" if failed else text
    return Prediction(
        hypothesis,
        failed,
        clip.language,
        route,
        degraded_probability=probability,
        duration_s=clip.duration_s,
        seconds=0.05,
    )


def _corrupt(word: str, words: Sequence[str], error_rate: float, chance: random.Random) -> str:
    if chance.random() > error_rate:
        return word
    return chance.choice(["", chance.choice(words), f"{word}{chance.choice(words)}"])


def _sound(name: str) -> Waveform:
    """Two seconds of a gliding tone in noise, unlike any other clip's."""
    rng = np.random.default_rng(sum(name.encode()))
    time_s = np.arange(32_000) / 16_000
    tone = np.sin(2 * np.pi * (300 + 200 * time_s) * time_s * rng.uniform(0.5, 3))
    envelope = np.clip(np.sin(2 * np.pi * 3 * time_s), 0, 1)
    samples = 0.2 * envelope * tone + 0.01 * rng.standard_normal(time_s.size)
    return Waveform(samples.astype(np.float32), 16_000)
