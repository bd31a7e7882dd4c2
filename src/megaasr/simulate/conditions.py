"""The seven conditions as data: their primitives in order, with the ranges of each parameter.

Source of the ranges and core marks: the paper's appendix on the data set, table of atomic effects.
The paper does not say which end of a range is hard; the first value below is the easy end, decided
by the physics. `mild` continues a range beyond its easy end, to values that are hardly noticed; the
paper uses milder values in compounds and does not publish them, see `positions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from megaasr.simulate.severity import DiscreteSweep, Sweep

StepKind = Literal[
    "noise",
    "reverb",
    "filter",
    "echo",
    "resample",
    "distortion",
    "stutter",
    "loudness",
    "loudness_after_distortion",
    # of the extra conditions
    "competing_talker",
    "room",
    "gain_control",
    "noise_gate",
    "band_limit",
    "wow_flutter",
    "playback_speed",
    "codec",
    "packet_loss",
]
"""Kinds of steps, by which chains are merged; low-pass and high-pass are both `filter`."""

LEVELS: frozenset[StepKind] = frozenset({"loudness", "loudness_after_distortion"})
"""Kinds of steps that set the level of the recording."""

Role = Literal["anchor", "modifier"]


@dataclass(frozen=True, slots=True)
class ChainStep:
    """One primitive in the chain of a condition.

    Attributes:
        kind: name of the primitive.
        parameters: values of the primitive's parameters by name: constants, or a `Sweep` or
            `DiscreteSweep` over severity.
        gate: position in the ranges above which the step is applied; None to apply it always.
        yields: whether the step, which sets a level, is also left out if a later condition sets
            one.
    """

    kind: StepKind
    parameters: Mapping[str, Any] = field(default_factory=dict)
    gate: float | None = None
    yields: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """One acoustic condition of a recording.

    Attributes:
        name: public name.
        role: `anchor` for the room or the acoustic path, of which a recording has at most one;
            `modifier` for conditions that can be added to any recording.
        chain: primitives in physical order.
        legacy: name of the condition in the authors' files; empty if they do not have it.
        literal_chain: the paper's chain where `chain` departs from it; None if they are the same.
    """

    name: str
    role: Role
    chain: tuple[ChainStep, ...]
    legacy: str = ""
    literal_chain: tuple[ChainStep, ...] | None = None

    @property
    def max_lengthening(self) -> float:
        """Largest length that the condition can give a clip, relative to the clean one."""
        steps = (step for step in self.chain if step.kind == "playback_speed")
        return max((1 + step.parameters["change"].hard for step in steps), default=1.0)


_FAR_FIELD = (
    ChainStep(
        "reverb",
        {
            "room_size": Sweep(0.4, 0.6, core=True),
            "damping": Sweep(0.6, 0.8),
            "wet_level": Sweep(0.4, 0.5),
            "dry_level": 0.5,
        },
    ),
    ChainStep(
        "filter",
        {"filter_type": "lowpass", "cutoff_hz": Sweep(4500, 3500, core=True), "repeat": 3},
    ),
    ChainStep("loudness", {"target_lufs": Sweep(-27, -38, core=True)}),
)


def _loudness(target: Any, kind: StepKind = "loudness") -> ChainStep:
    return ChainStep(kind, {"target_lufs": target})


# In canonical order: the order of names in a scenario, and of chains when they are merged.
CONDITIONS: tuple[Condition, ...] = (
    Condition(
        "obstructed",
        "anchor",
        (
            ChainStep(
                "filter",
                {
                    "filter_type": "lowpass",
                    "cutoff_hz": Sweep(2000, 1500, core=True, mild=4000),
                    "repeat": DiscreteSweep((2, 3, 4), mild=(1,)),
                    "wet": 0.9,
                },
            ),
            ChainStep(
                "reverb",
                {
                    "room_size": 0.4,
                    "damping": 0.9,
                    "wet_level": Sweep(0.5, 0.7, mild=0.1),
                    "dry_level": 0.4,
                },
            ),
            _loudness(Sweep(-15, -25, core=True)),
        ),
        legacy="barrier",
    ),
    Condition(
        "far_field",
        "anchor",
        # At the paper's ranges, a recogniser makes as few errors at severity 1 as at 0. Distance is
        # felt by levels: the direct sound sinks into the reverberation, and the speech into the
        # noise floor of the microphone.
        (
            ChainStep(
                "reverb",
                {
                    "room_size": Sweep(0.4, 0.6, core=True, mild=0.2),
                    "damping": Sweep(0.6, 0.8),
                    "wet_level": Sweep(0.4, 0.5, mild=0.1),
                    "dry_level": Sweep(0.5, 0.35, core=True),
                },
            ),
            ChainStep("noise", {"category": "white", "snr_db": Sweep(30, 12, core=True, mild=45)}),
            ChainStep(
                "filter",
                {
                    "filter_type": "lowpass",
                    "cutoff_hz": Sweep(4500, 3500, core=True, mild=7000),
                    "repeat": 3,
                },
            ),
            _loudness(Sweep(-27, -38, core=True)),
        ),
        legacy="far_field",
        literal_chain=_FAR_FIELD,
    ),
    Condition(
        "echo",
        "anchor",
        (
            ChainStep(
                "reverb",
                {
                    "room_size": Sweep(0.8, 0.95, core=True, mild=0.3),
                    "damping": 0.5,
                    "wet_level": Sweep(0.6, 0.8, mild=0.1),
                    "dry_level": 0.4,
                },
            ),
            ChainStep(
                "filter",
                {"filter_type": "highpass", "cutoff_hz": Sweep(100, 300, mild=50), "repeat": 1},
            ),
            ChainStep(
                "echo",
                {
                    "delay_s": Sweep(0.1, 0.3, core=True, mild=0.05),
                    "feedback": Sweep(0.3, 0.5, mild=0.1),
                    "mix": Sweep(0.2, 0.3, mild=0.05),
                },
            ),
            _loudness(Sweep(-23, -30, core=True)),
        ),
        legacy="strong_echo",
    ),
    Condition(
        "recording",
        "modifier",
        (
            ChainStep("resample", {"target_rate_hz": 8000}, gate=0.4),
            ChainStep("noise", {"category": "white", "snr_db": Sweep(10, -5, core=True, mild=35)}),
            ChainStep(
                "filter",
                {
                    "filter_type": "highpass",
                    "cutoff_hz": Sweep(400, 600, core=True, mild=100),
                    "repeat": DiscreteSweep((4, 5, 6), mild=(1, 2, 3)),
                },
            ),
            ChainStep(
                "filter",
                {
                    "filter_type": "lowpass",
                    "cutoff_hz": Sweep(4500, 3500, core=True, mild=7000),
                    "repeat": DiscreteSweep((4, 5, 6), mild=(1, 2, 3)),
                },
            ),
            _loudness(-23),
        ),
        legacy="crosstalk",
    ),
    Condition(
        "distortion",
        "modifier",
        (
            ChainStep("distortion", {"drive_db": Sweep(20, 60, core=True, mild=0)}),
            ChainStep(
                "filter",
                {"filter_type": "lowpass", "cutoff_hz": Sweep(6000, 2800, mild=7500), "repeat": 1},
            ),
            _loudness(Sweep(-27, -38, core=True), "loudness_after_distortion"),
        ),
        legacy="distortion",
    ),
    Condition(
        "dropout",
        "modifier",
        (
            ChainStep(
                "stutter",
                {
                    "frame_ms": 20,
                    "stutter_prob": Sweep(0.05, 0.3, core=True, mild=0.003),
                    "repeat_prob": 0.7,
                    "max_repeats": DiscreteSweep((2, 3, 4), mild=(1,)),
                },
            ),
            _loudness(-23),
        ),
        legacy="stutter",
    ),
    Condition(
        "noise",
        "modifier",
        (
            ChainStep("noise", {"category": "pool", "snr_db": Sweep(10, -5, core=True, mild=35)}),
            _loudness(-23),
        ),
        legacy="noise",
    ),
)

BY_NAME = {condition.name: condition for condition in CONDITIONS}
"""Conditions by public name."""
