"""The simulator: draw what happens to a clip, and make it happen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from megaasr.audio.files import resample
from megaasr.audio.waveform import SAMPLE_RATE, Waveform
from megaasr.simulate import kernels
from megaasr.simulate.conditions import Step
from megaasr.simulate.draw import Draw
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.primitives import (
    AdditiveNoise,
    AnyPrimitive,
    EchoDelay,
    FrameStutter,
    Loudness,
    LoudnessAfterDistortion,
    NonlinearDistortion,
    Resampling,
    Reverberation,
    RoomResponse,
    SpectralFilter,
    Stage,
)
from megaasr.simulate.primitives.primitive import Floats, Notes
from megaasr.simulate.primitives.spectral_filter import MOST_SECTIONS, apply_cascade
from megaasr.simulate.room_responses import MeasuredRooms
from megaasr.simulate.scenarios import Scenario, find_scenario
from megaasr.simulate.severity import Choice, Mapping, Sweep, check_severity
from megaasr.simulate.speed import change_speed, check_speed
from megaasr.simulate.streams import stream, stream_key

_WITHOUT_CHANCE: dict[str, type[Any]] = {
    "reverb": Reverberation,
    "filter": SpectralFilter,
    "echo": EchoDelay,
    "resample": Resampling,
    "distortion": NonlinearDistortion,
    "loudness": Loudness,
    "loudness_after_distortion": LoudnessAfterDistortion,
}


@dataclass(frozen=True, slots=True)
class Simulated:
    """A degraded clip.

    Attributes:
        waveform: 16 kHz, within ±1.
        clipped_samples: how many samples the end of the chain had to clip.
        notes: what each step measured, in the draw's order; `skipped` gives a reason.
    """

    waveform: Waveform
    clipped_samples: int
    notes: tuple[Notes, ...]


@dataclass(frozen=True)
class Simulator:
    """Degrades speech. Cheap to make and to pickle; it holds no random state.

    Attributes:
        noise: where noises come from; by default the built-in generators.
        rooms: measured room responses; when given, they take the place of the synthetic tail.
    """

    noise: NoisePool = field(default_factory=NoisePool)
    rooms: MeasuredRooms | None = None

    def draw(
        self,
        *,
        seed: int,
        scenario: str | Scenario,
        severity: float | None = None,
        utterance: str = "",
        copy_index: int = 0,
        mapping: Mapping = Mapping.LINEAR,
        speed: float = 1.0,
        speed_range: tuple[float, float] | None = None,
    ) -> Draw:
        """Decide everything about one degraded clip.

        Args:
            seed: the user's; with `utterance` and `copy_index` it keys every random choice.
            scenario: one of the 54, any other compound with at most one anchor, or `clean`.
            severity: 0..1; drawn through `mapping` if None.
            utterance: id of the clean clip.
            copy_index: which degraded copy of it, from 0.
            mapping: how a uniform draw becomes the severity.
            speed: 0.5..2, how much faster the speech becomes, its pitch kept.
            speed_range: slowest and fastest, between which the speed is drawn instead.

        Raises:
            UsageError: the scenario, a noise or its category is unknown, the severity not in
                0..1, or a speed not in 0.5..2.
        """
        if isinstance(scenario, str):
            scenario = find_scenario(scenario)
        identity = (seed, utterance, copy_index)
        if severity is None:
            severity = mapping(float(stream(stream_key(*identity, "severity")).random()))
        check_severity(severity)
        if speed_range is not None:
            slowest, fastest = speed_range
            share = float(stream(stream_key(*identity, "speed")).random())
            speed = check_speed(slowest) * (1 - share) + check_speed(fastest) * share
        steps = [
            self._draw_step(
                condition.name, step, severity, partial(stream_key, *identity, f"step {number}")
            )
            for number, (condition, step) in enumerate(scenario.chain)
            if step.gate is None or severity > step.gate
        ]
        return Draw(
            scenario=scenario.name,
            severity=severity,
            seed=seed,
            utterance=utterance,
            copy_index=copy_index,
            speed=check_speed(speed),
            steps=tuple(steps),
        )

    def apply(self, waveform: Waveform, draw: Draw) -> Simulated:
        """Degrade a clip; the same clip and draw give the same bytes.

        Args:
            waveform: any rate (resampled once to 16 kHz), any length; not changed.
            draw: what to do.

        Raises:
            UsageError: a noise or room response of the draw is not there.
        """
        x = change_speed(_at_working_rate(waveform), draw.speed)
        stage = Stage(self.noise, self.rooms)
        notes: list[Notes] = []
        for steps in _fused(draw.steps):
            if len(steps) > 1:
                apply_cascade(x, [one for one in steps if isinstance(one, SpectralFilter)])
                notes += [{} for _ in steps]
            else:
                notes.append(steps[0].apply(x, stage))
        clipped = kernels.loops.scale_and_clip(x, 1.0)
        return Simulated(Waveform(x, SAMPLE_RATE), clipped, tuple(notes))

    def _draw_step(
        self, condition: str, step: Step, m: float, key: Callable[[], str]
    ) -> AnyPrimitive:
        values = {name: _at(value, m) for name, value in step.parameters.items()}
        if step.kind == "noise":
            rng = stream(key())
            source = self.noise.choose(values.pop("category"), rng)
            offset = int(rng.integers(len(self.noise.samples(source))))
            return AdditiveNoise(
                condition=condition, source=source, offset_samples=offset, **values
            )
        if step.kind == "reverb" and self.rooms is not None:
            return RoomResponse(condition=condition, response=self.rooms.choose(stream(key())))
        if step.kind == "stutter":
            return FrameStutter(condition=condition, key=key(), **values)
        drawn: AnyPrimitive = _WITHOUT_CHANCE[step.kind](condition=condition, **values)
        return drawn


def _at(value: Any, m: float) -> Any:
    return value.at(m) if isinstance(value, Sweep | Choice) else value


def _at_working_rate(waveform: Waveform) -> Floats:
    """Return a copy of the samples at 16 kHz, which the primitives may change."""
    if waveform.sample_rate == SAMPLE_RATE:
        return np.array(waveform.samples, np.float32, order="C")
    return resample(waveform.samples, waveform.sample_rate, SAMPLE_RATE)


def _fused(steps: tuple[AnyPrimitive, ...]) -> list[tuple[AnyPrimitive, ...]]:
    """Put filters that follow one another into one group: one pass over the samples for all."""
    groups: list[tuple[AnyPrimitive, ...]] = []
    for step in steps:
        last = groups[-1] if groups else ()
        together = [one for one in (*last, step) if isinstance(one, SpectralFilter)]
        fits = sum(one.repeat for one in together) <= MOST_SECTIONS
        if last and len(together) == len(last) + 1 and fits and all(f.wet == 1 for f in together):
            groups[-1] = (*last, step)
        else:
            groups.append((step,))
    return groups
