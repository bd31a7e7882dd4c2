"""Music-like noise: random chords, bass, melody and rhythm with random timbres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from megaasr.simulate.families.circular import (
    SECONDS,
    Float64Array,
    filtered,
    from_table,
    in_room,
    low_pass,
    wave_table,
    with_events,
)
from megaasr.simulate.families.parameters import chance, log_uniform, pick
from megaasr.simulate.families.short_sounds import burst, gliding, ramped, seconds, smoothed

_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10))
"""Major, minor and Dorian scale in semitones."""
_PROGRESSIONS = ((0, 3, 4, 0), (0, 5, 3, 4), (0, 4, 5, 3), (0, 3, 0, 4), (5, 3, 0, 4), (0, 0, 3, 4))
"""Roots of the chords of four bars, as degrees of the scale."""


class _Instrument:
    """A timbre: a cycle when a note begins and one when it has faded, and its envelope.

    Notes that recur are computed once.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        harmonics = np.arange(1, 19)
        bright = harmonics ** -rng.uniform(0.6, 1.6) * np.exp(0.5 * rng.standard_normal(18))
        self._tables = wave_table(rng, bright), wave_table(rng, bright * harmonics**-1.2)
        self._plucked = chance(rng, 0.6)
        self._decay_s = log_uniform(rng, 0.3, 2.5)
        self._attack_s = log_uniform(rng, 0.003, 0.03 if self._plucked else 0.15)
        self._vibrato = 0.0 if self._plucked else rng.uniform(0, 0.006)
        self._notes: dict[tuple[int, float], Float64Array] = {}

    def note(self, semitones: int, duration_s: float) -> Float64Array:
        """Return a note [time]; semitone 0 is 55 Hz. Notes above 400 Hz have fewer overtones."""
        key = (semitones, duration_s)
        if key not in self._notes:
            time = seconds(duration_s)
            pitch_hz = 55 * 2 ** (semitones / 12)
            phase = pitch_hz * time + self._vibrato * pitch_hz / 35 * np.sin(35 * time)
            bright, dull = (from_table(table, phase) for table in self._tables)
            fading = np.exp(-3 * time / self._decay_s)
            tone = fading * bright + (1 - fading) * dull
            if 18 * pitch_hz > 7800:
                tone = smoothed(tone, 6000)
            envelope = fading if self._plucked else np.ones(time.size)
            self._notes[key] = ramped(tone * envelope, self._attack_s)
        return self._notes[key]


@dataclass(frozen=True, slots=True)
class _Composition:
    """A tempo and a harmony: bars of four beats, with a chord each."""

    scale: tuple[int, ...]
    tonic: int
    roots: tuple[int, ...]
    bars: int

    @property
    def beat_s(self) -> float:
        return SECONDS / (4 * self.bars)

    def semitones(self, degree: int) -> int:
        octave, step = divmod(degree, 7)
        return self.tonic + 12 * octave + self.scale[step]

    def root(self, bar: int) -> int:
        return self.roots[bar % len(self.roots)]


def music(rng: np.random.Generator) -> Float64Array:
    """A random piece with chords, and often a bass, a melody and a rhythm."""
    composition = _Composition(
        pick(rng, _SCALES),
        int(rng.integers(0, 12)),
        pick(rng, _PROGRESSIONS),
        round(SECONDS * log_uniform(rng, 62, 160) / 60 / 4),
    )
    parts = [(_chords(rng, composition), 1.0)]
    if chance(rng, 0.75):
        parts.append((_bass(rng, composition), rng.uniform(0.6, 1.4)))
    if chance(rng, 0.8):
        parts.append((_melody(rng, composition), rng.uniform(0.6, 1.8)))
    if chance(rng, 0.65):
        parts.append((_drums(rng, composition), rng.uniform(0.4, 1.4)))
    sound = np.asarray(sum(level * part / part.std() for part, level in parts))
    sound = in_room(
        rng, sound, decay_s=log_uniform(rng, 0.2, 2.0), reverberant=log_uniform(rng, 0.02, 0.6)
    )
    return filtered(sound, low_pass(log_uniform(rng, 2000, 9000), 1))


def _chords(rng: np.random.Generator, composition: _Composition) -> Float64Array:
    instrument = _Instrument(rng)
    pattern = pick(rng, ((0.0,), (0.0, 2.0), (0.0, 1.0, 2.0, 3.0), (0.5, 1.5, 2.5, 3.5)))
    arpeggio = 0.5 if chance(rng, 0.3) else 0.0
    duration_s = (4 / len(pattern)) * composition.beat_s * 0.95
    sounds, starts_s = [], []
    for bar in range(composition.bars):
        for beat in pattern:
            for number, third in enumerate((0, 2, 4)):
                degree = 14 + composition.root(bar) + third
                sounds.append(instrument.note(composition.semitones(degree), duration_s))
                starts_s.append((4 * bar + beat + arpeggio * number) * composition.beat_s)
    return with_events(sounds, starts_s)


def _bass(rng: np.random.Generator, composition: _Composition) -> Float64Array:
    instrument = _Instrument(rng)
    pattern = pick(rng, ((0.0, 2.0), (0.0, 1.0, 2.0, 3.0), (0.0, 1.5, 2.0, 3.5)))
    sounds, starts_s = [], []
    for bar in range(composition.bars):
        for beat in pattern:
            fifth = 4 if beat and chance(rng, 0.25) else 0
            semitones = composition.semitones(composition.root(bar) + fifth)
            sounds.append(instrument.note(semitones, composition.beat_s * 1.2))
            starts_s.append((4 * bar + beat) * composition.beat_s)
    return with_events(sounds, starts_s)


def _melody(rng: np.random.Generator, composition: _Composition) -> Float64Array:
    """Return a walk [time] over the scale that rests now and then."""
    instrument = _Instrument(rng)
    sounds: list[Float64Array] = []
    starts_s: list[float] = []
    degree, beat = 21 + int(rng.integers(0, 5)), 0.0
    while beat < 4 * composition.bars:
        length = pick(rng, (0.5, 0.5, 1.0, 1.0, 2.0))
        if not chance(rng, 0.15):
            duration_s = length * composition.beat_s
            sounds.append(instrument.note(composition.semitones(degree), duration_s))
            starts_s.append(beat * composition.beat_s)
        degree = min(28, max(18, degree + int(rng.integers(-2, 3))))
        beat += length
    return with_events(sounds or [instrument.note(24, 1.0)], starts_s or [0.0])


def _drums(rng: np.random.Generator, composition: _Composition) -> Float64Array:
    time = seconds(0.25)
    falling = rng.uniform(45, 65) + rng.uniform(60, 140) * np.exp(-time / 0.03)
    kick = gliding(falling) * np.exp(-time / 0.08)
    snare = burst(rng, 0.2, rng.uniform(0.1, 0.2)) + 0.7 * ramped(
        gliding(np.full(seconds(0.2).size, rng.uniform(160, 240)))
    ) * np.exp(-seconds(0.2) / 0.05)
    hat_noise = burst(rng, 0.08, log_uniform(rng, 0.03, 0.08))
    hat = np.diff(hat_noise, prepend=0.0)  # the high frequencies
    hat_step = pick(rng, (0.5, 1.0, 0.25))
    sounds: list[Float64Array] = []
    starts_s: list[float] = []
    for beat in np.arange(0, 4 * composition.bars, hat_step):
        sounds.append(hat * rng.uniform(0.2, 0.5))
        starts_s.append(float(beat) * composition.beat_s)
    for beat in range(4 * composition.bars):
        sounds.append((kick if beat % 2 == 0 else snare) * rng.uniform(0.7, 1.0))
        starts_s.append(beat * composition.beat_s)
    return with_events(sounds, starts_s)
