"""The simulator: draw the degradation of a clip, and apply it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megaasr.audio.files import from_array, resample
from megaasr.audio.waveform import SAMPLE_RATE, Samples, Waveform
from megaasr.errors import UsageError
from megaasr.simulate import kernels
from megaasr.simulate.codec_ladder import find_codec
from megaasr.simulate.conditions import ChainStep
from megaasr.simulate.draw import Draw
from megaasr.simulate.extra_draws import EXTRA_KINDS, StepDraw, draw_extra_step
from megaasr.simulate.noise_pool import MAX_OFFSET_SHARE, NoisePool
from megaasr.simulate.positions import Compounds
from megaasr.simulate.positions import position as position_of
from megaasr.simulate.primitives import (
    AdditiveNoise,
    AnyPrimitive,
    EchoDelay,
    FrameStutter,
    Loudness,
    LoudnessAfterDistortion,
    NonlinearDistortion,
    Resampling,
    Resources,
    Reverberation,
    RoomResponse,
    SpectralFilter,
)
from megaasr.simulate.primitives.primitive import Measurements
from megaasr.simulate.primitives.spectral_filter import MAX_SECTIONS, apply_cascade
from megaasr.simulate.room_responses import MeasuredRooms
from megaasr.simulate.scenarios import Scenario, find_scenario
from megaasr.simulate.severity import DiscreteSweep, SeverityCurve, Sweep, check_severity
from megaasr.simulate.speed import change_speed, check_speed
from megaasr.simulate.streams import stream, stream_key
from megaasr.simulate.talkers import TalkerPool

_OFFSET_SAMPLES = 6400  # 0.4 s

_DETERMINISTIC: dict[str, type[Any]] = {
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
        waveform: degraded audio at 16 kHz, within ±1.
        clipped_samples: number of samples that were clipped at the end of the chain.
        measurements: measurements of each step, in the order of the draw; `skipped` gives the
            reason why a step changed nothing.
        removed_offset: constant offset of the clean clip that was removed first, mostly 0; full
            scale is 1.
    """

    waveform: Waveform
    clipped_samples: int
    measurements: tuple[Measurements, ...]
    removed_offset: float = 0.0


@dataclass(frozen=True)
class Simulator:
    """Degrades speech.

    A simulator has no random state, and is cheap to create and to pickle.

    Attributes:
        noise: pool of noises; the built-in generators by default.
        rooms: measured room responses, which replace the synthetic reverberation; None to use the
            synthetic reverberation.
        compounds: ranges of the parameters: fitted for compounds, or the paper's for everything.
        position: where the parameters of every draw stand in their ranges, -1 (mild) to 1 (hard),
            for calibration; None for the position that belongs to scenario and severity.
        talkers: pool of other people's speech, for `competing_talker`; the built-in synthetic
            talkers by default.
        codecs: names of the codecs to draw from, such as `codecs.available_codecs()`; None for
            all, so that a seed means the same on every machine.

    Raises:
        UsageError: the position is not in -1..1, or a codec is unknown.
    """

    noise: NoisePool = field(default_factory=NoisePool)
    rooms: MeasuredRooms | None = None
    compounds: Compounds = Compounds.CALIBRATED
    position: float | None = None
    talkers: TalkerPool = field(default_factory=TalkerPool)
    codecs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.position is not None and not -1 <= self.position <= 1:  # NaN too
            raise UsageError(f"position {self.position}: it must be from -1 (mild) to 1 (hard)")
        for name in self.codecs or ():
            find_codec(name)

    def draw(
        self,
        *,
        seed: int,
        scenario: str | Scenario,
        severity: float | None = None,
        utterance: str = "",
        copy_index: int = 0,
        severity_curve: SeverityCurve = SeverityCurve.LINEAR,
        speed: float = 1.0,
        speed_range: tuple[float, float] | None = None,
    ) -> Draw:
        """Draw all parameters of one degraded clip.

        `seed`, `utterance` and `copy_index` are the key of every random choice.

        Args:
            seed: seed of the data set or experiment.
            scenario: one of the 54, any other compound with at most one anchor, or `clean`.
            severity: difficulty, 0 (easy) to 1 (hard); None to draw it.
            utterance: id of the clean clip.
            copy_index: number of the degraded copy of this clip, from 0.
            severity_curve: distribution of drawn severities.
            speed: speed of the speech relative to the clean clip, 0.5 to 2, at the same pitch.
            speed_range: slowest and fastest speed to draw from; None to use `speed`.

        Raises:
            UsageError: the scenario, a noise or a codec is unknown, the severity is not in 0..1, a
                speed is not in 0.5..2, or there is no other speech than the clip itself.
        """
        if isinstance(scenario, str):
            scenario = find_scenario(scenario)
        identity = (seed, utterance, copy_index)
        if severity is None:
            severity = severity_curve(float(stream(stream_key(*identity, "severity")).random()))
        check_severity(severity)
        if speed_range is not None:
            slowest, fastest = speed_range
            share = float(stream(stream_key(*identity, "speed")).random())
            speed = check_speed(slowest) * (1 - share) + check_speed(fastest) * share
        position = self.position
        if position is None:
            position = position_of(scenario, severity, self.compounds)
        return Draw(
            scenario=scenario.name,
            severity=severity,
            compounds=self.compounds,
            position=position,
            seed=seed,
            utterance=utterance,
            copy_index=copy_index,
            speed=check_speed(speed),
            steps=self._draw_steps(scenario, position, identity),
        )

    def apply(self, audio: Waveform | tuple[NDArray[Any], int], draw: Draw) -> Simulated:
        """Degrade a clip; the same clip and draw give the same bytes.

        Args:
            audio: clean audio of any length and sample rate, as a waveform or as a pair (array,
                rate); it is resampled once to 16 kHz, and not changed. A constant offset with more
                than a tenth of the power is removed from the copy, since levels and SNR would be
                set by it.
            draw: the degradation.

        Raises:
            UsageError: `audio` is neither, or a noise, a room response or the speech of a talker of
                the draw is missing.
            CodecError: a codec of the draw is not installed, or failed.
        """
        x = _copy_at_16_khz(_as_waveform(audio))
        offset = _remove_offset(x) if draw.steps else 0.0
        x = change_speed(x, draw.speed)
        resources = Resources(self.noise, self.rooms, self.talkers)
        measurements: list[Measurements] = []
        for steps in _fused(draw.steps):
            if len(steps) > 1:
                apply_cascade(x, [step for step in steps if isinstance(step, SpectralFilter)])
                measurements += [{} for _ in steps]
            else:
                x, measured = steps[0].transform(x, resources)
                measurements.append(measured)
        clipped = kernels.loops.scale_and_clip(x, 1.0)
        return Simulated(Waveform(x, SAMPLE_RATE), clipped, tuple(measurements), offset)

    def _draw_steps(
        self, scenario: Scenario, position: float, identity: tuple[int, str, int]
    ) -> tuple[AnyPrimitive, ...]:
        literal = self.compounds is Compounds.LITERAL
        chain = scenario.literal_chain if literal else scenario.chain
        return tuple(
            self._draw_step(
                condition.name,
                step,
                position,
                partial(stream_key, *identity, f"step {number}"),
                identity[1],
            )
            for number, (condition, step) in enumerate(chain)
            if step.gate is None or position > step.gate
        )

    def _draw_step(
        self,
        condition: str,
        step: ChainStep,
        position: float,
        key: Callable[[], str],
        utterance: str,
    ) -> AnyPrimitive:
        values = {name: _value_at(value, position) for name, value in step.parameters.items()}
        if step.kind == "noise":
            rng = stream(key())
            source = self.noise.choose(values.pop("category"), rng)
            offset = int(rng.integers(len(self.noise.samples(source))))
            offset = self.noise.sounding_offset(source, offset, rng)
            return AdditiveNoise(
                condition=condition, source=source, offset_samples=offset, **values
            )
        if step.kind == "reverb" and self.rooms is not None:
            return RoomResponse(condition=condition, response=self.rooms.choose(stream(key())))
        if step.kind == "stutter":
            return FrameStutter(condition=condition, key=key(), **values)
        if step.kind in EXTRA_KINDS:
            pools = self.talkers, self.codecs
            return draw_extra_step(step.kind, StepDraw(condition, values, key(), utterance, *pools))
        primitive: AnyPrimitive = _DETERMINISTIC[step.kind](condition=condition, **values)
        return primitive


def _value_at(value: Any, position: float) -> Any:
    return value.value_at(position) if isinstance(value, Sweep | DiscreteSweep) else value


def _as_waveform(audio: Waveform | tuple[NDArray[Any], int]) -> Waveform:
    if isinstance(audio, Waveform):
        return audio
    if isinstance(audio, tuple) and len(audio) == 2:
        return from_array(*audio)
    raise UsageError(
        f"the simulator takes a Waveform or a pair (array, rate), not {type(audio).__name__}"
    )


def _copy_at_16_khz(waveform: Waveform) -> Samples:
    """Return a copy of the samples at 16 kHz, which the primitives may change in place."""
    if waveform.sample_rate == SAMPLE_RATE:
        return np.array(waveform.samples, np.float32, order="C")
    return resample(waveform.samples, waveform.sample_rate, SAMPLE_RATE)


def _remove_offset(x: Samples) -> float:
    """Remove the constant offset of a clip in place if it dominates; return what was removed.

    Other clips keep their bytes, and so do those that are too short to tell an offset from a tone.
    """
    if len(x) < _OFFSET_SAMPLES:
        return 0.0
    estimate = float(x.mean())
    if estimate**2 <= MAX_OFFSET_SHARE * float(np.dot(x, x)) / len(x):
        return 0.0
    offset = np.float32(x.mean(dtype=np.float64))
    x -= offset
    return float(offset)


def _fused(steps: tuple[AnyPrimitive, ...]) -> list[tuple[AnyPrimitive, ...]]:
    """Group adjacent filters, so that one pass over the samples applies all of a group."""
    groups: list[tuple[AnyPrimitive, ...]] = []
    for step in steps:
        last = groups[-1] if groups else ()
        filters = [member for member in (*last, step) if isinstance(member, SpectralFilter)]
        fits = sum(filter_.repeat for filter_ in filters) <= MAX_SECTIONS
        if last and len(filters) == len(last) + 1 and fits and all(f.wet == 1 for f in filters):
            groups[-1] = (*last, step)
        else:
            groups.append((step,))
    return groups
