"""The voices of the corpus of `small`: their assignment to splits, and their engines.

There are four engines: Kokoro (24 voices and mixtures of two or three of them), hibari (one voice,
varied by pitch and by the scale of its spectrum), flite and espeak-ng (the voices of `tiny`'s
corpus). Held-out voices occur in the test split only: Kokoro's af_sarah, am_michael, am_puck and
bf_emma, and those of flite and espeak-ng that `tiny` holds out. hibari imitates a training voice.
"""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from megaasr.errors import SynthesisError
from megaasr.synthesize import kokoro, voices
from megaasr.synthesize.hibari import SAMPLE_RATE as HIBARI_RATE
from megaasr.synthesize.hibari import VOICE as HIBARI_VOICE
from megaasr.synthesize.hibari import Hibari
from megaasr.synthesize.kokoro import SAMPLE_RATE as KOKORO_RATE
from megaasr.synthesize.kokoro import Kokoro
from megaasr.synthesize.voices import Voice

Engine = Literal["kokoro", "hibari", "flite", "espeak"]
ENGINES: tuple[Engine, ...] = ("kokoro", "hibari", "flite", "espeak")


def draw_speaker(
    engine: Engine, rng: np.random.Generator, *, held_out: bool, mixtures: float
) -> Voice:
    """Draw a voice of an engine, with its manner of speaking.

    Args:
        engine: the engine; hibari has no held-out voice.
        rng: random generator of every choice.
        held_out: True to draw from the held-out voices, False to draw from the training voices.
        mixtures: probability that a training voice of Kokoro is a mixture of two or three voices.
    """
    if engine in ("flite", "espeak"):
        return voices.draw_voice(rng, held_out=held_out, flite_share=float(engine == "flite"))
    if engine == "hibari":
        return _draw_hibari(rng)
    name = _draw_kokoro_name(rng, held_out=held_out, mixtures=mixtures)
    return Voice(
        engine="kokoro",
        name=name,
        stretch=_log_uniform(rng, 0.8, 1.25),
        pitch=1.0,
        # Held-out voices keep their vocal tract, since it distinguishes them from training voices.
        scale=1.0 if held_out else _log_uniform(rng, 0.94, 1.06),
        peak_db=_peak_db(rng),
    )


def _draw_hibari(rng: np.random.Generator) -> Voice:
    """Draw from two ranges of pitch, typical of women and men, each with its vocal tracts."""
    low = rng.random() < 0.5
    return Voice(
        engine="hibari",
        name=HIBARI_VOICE,
        stretch=_log_uniform(rng, 0.8, 1.25),
        pitch=_log_uniform(rng, 0.58, 0.85) if low else _log_uniform(rng, 0.85, 1.25),
        scale=_log_uniform(rng, 0.85, 1.0) if low else _log_uniform(rng, 0.92, 1.18),
        peak_db=_peak_db(rng),
    )


def _draw_kokoro_name(rng: np.random.Generator, *, held_out: bool, mixtures: float) -> str:
    if held_out:
        return kokoro.HELD_OUT_VOICES[int(rng.integers(len(kokoro.HELD_OUT_VOICES)))]
    if rng.random() >= mixtures:
        return kokoro.VOICES[int(rng.integers(len(kokoro.VOICES)))]
    count = int(rng.integers(2, 4))
    members = rng.choice(len(kokoro.VOICES), size=count, replace=False)
    # Whole hundredths that sum to one, none of which is small.
    shares = rng.dirichlet(np.full(count, 4.0)) * (1.0 - 0.1 * count) + 0.1
    hundredths = np.floor(100 * shares).astype(int)
    hundredths[0] += 100 - hundredths.sum()
    return kokoro.mixture(
        {
            kokoro.VOICES[int(member)]: int(share) / 100
            for member, share in zip(members, hundredths, strict=True)
        }
    )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return round(float(np.exp(rng.uniform(np.log(low), np.log(high)))), 3)


def _peak_db(rng: np.random.Generator) -> float:
    return round(float(rng.uniform(-24.0, -1.0)), 2)


class Speakers:
    """All engines; each is loaded on first use. Threads may share the object.

    Args:
        engines: folder of the engines, see `megaasr.synthesize.engines`.
    """

    def __init__(self, engines: Path) -> None:
        self._folder = engines
        self._lock = threading.Lock()

    @cached_property
    def _kokoro(self) -> Kokoro:
        return Kokoro(self._folder)

    @cached_property
    def _hibari(self) -> Hibari:
        return Hibari(self._folder)

    def speak(
        self, text: str, voice: Voice, rng: np.random.Generator, scratch: Path
    ) -> tuple[NDArray[np.float32], int]:
        """Synthesise a sentence.

        Args:
            text: plain words and punctuation.
            voice: the voice and its manner of speaking.
            rng: random generator of hibari's breath noise; the other engines are deterministic.
            scratch: path of a temporary WAV file, which no other call may use.

        Returns:
            float32 array [time] in -1..1, and the sample rate in Hz at which it must be played.
            The rate includes `voice.scale`, so the caller resamples from it to 16 kHz.

        Raises:
            SynthesisError: the engine is missing or failed; the message names the remedy.
        """
        # Playing at `scale` times the rate shortens the speech, so it is spoken more slowly.
        speed = 1.0 / (voice.stretch * voice.scale)
        if voice.engine == "kokoro":
            with self._lock:
                model = self._kokoro
            samples, rate = model.speak(text, voice.name, speed=speed), KOKORO_RATE
        elif voice.engine == "hibari":
            with self._lock:
                engine = self._hibari
            samples = engine.speak(text, speed=speed, pitch=voice.pitch, rng=rng)
            rate = HIBARI_RATE
        else:
            return voices.speak(text, voice, scratch)
        peak = float(np.abs(samples).max(initial=0.0))
        if peak == 0.0 or not np.isfinite(peak):
            raise SynthesisError(f"{voice.speaker} gave no sound for {text!r}")
        level = np.float32(10 ** (voice.peak_db / 20) / peak)
        return samples * level, round(rate * voice.scale)
