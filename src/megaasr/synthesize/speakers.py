"""The voices of the corpus of `small`: who may speak in which split, and the engines that speak.

Four engines: Kokoro (24 voices and mixtures of two or three of them), hibari (one voice, spread by
pitch and by the scale of its spectrum), flite and espeak-ng (the voices of `tiny`'s corpus). Held
out, and heard in the test only: Kokoro's af_sarah, am_michael, am_puck and bf_emma, alone and in
mixtures; and what `tiny` holds out of flite and espeak-ng. hibari imitates one trained voice.
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
    """Draw a voice of an engine, and its manner of speaking.

    Args:
        engine: which one; hibari has no held-out voice.
        rng: source of every choice.
        held_out: draw among the held-out voices only, else among the training voices only.
        mixtures: probability that a trained voice of Kokoro's is a mixture of two or three.
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
        # The test voices keep their own vocal tract: it is what makes them unheard.
        scale=1.0 if held_out else _log_uniform(rng, 0.94, 1.06),
        peak_db=_peak_db(rng),
    )


def _draw_hibari(rng: np.random.Generator) -> Voice:
    """Two ranges of pitch, as of women and of men, each with its size of vocal tract."""
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
    # Whole hundredths that sum to one, none of them small.
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
    """All engines; each is loaded when it first speaks. Threads may share the object."""

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
            voice: who speaks, and how.
            rng: source of hibari's breath noise; the other engines have no randomness.
            scratch: a WAV path that may be overwritten; only this call may use it.

        Returns:
            float32 [time] in -1..1 and the rate in Hz at which it must be played (16 kHz after
            resampling by the caller; the rate carries `voice.scale`).

        Raises:
            SynthesisError: the engine is missing or failed; the message names the mend.
        """
        # Playing at `scale` times the rate shortens the speech: slow it beforehand.
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
