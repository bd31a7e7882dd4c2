"""The seven conditions as data: which primitives, in which order, swept over which ranges.

Ranges and core marks: paper, appendix on the data set, table of atomic effects. The paper does
not print which end of a range is hard; the first value below is the easy end, by the physics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from megaasr.simulate.severity import Choice, Sweep

Kind = Literal[
    "noise",
    "reverb",
    "filter",
    "echo",
    "resample",
    "distortion",
    "stutter",
    "loudness",
    "loudness_after_distortion",
]
"""The names by which chains are merged; low-pass and high-pass are both `filter`."""

Role = Literal["anchor", "modifier"]


@dataclass(frozen=True, slots=True)
class Step:
    """One primitive of a condition's chain.

    Attributes:
        kind: which primitive.
        parameters: its parameters by name: constants, or a `Sweep` or `Choice` of severity.
        gate: the step is taken only if the severity passes this value.
    """

    kind: Kind
    parameters: Mapping[str, Any] = field(default_factory=dict)
    gate: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """What one thing does to a recording.

    Attributes:
        name: the public name.
        role: anchors are the room or the path, of which a recording has one at most; modifiers
            may be added to any.
        chain: its primitives in physical order.
        legacy: the name in the authors' files.
    """

    name: str
    role: Role
    chain: tuple[Step, ...]
    legacy: str


def _loudness(target: Any, kind: Kind = "loudness") -> Step:
    return Step(kind, {"target_lufs": target})


# In canonical order: the order of names in a scenario, and of chains when they are merged.
CONDITIONS: tuple[Condition, ...] = (
    Condition(
        "obstructed",
        "anchor",
        (
            Step(
                "filter",
                {
                    "filter_type": "lowpass",
                    "cutoff_hz": Sweep(2000, 1500, core=True),
                    "repeat": Choice((2, 3, 4)),
                    "wet": 0.9,
                },
            ),
            Step(
                "reverb",
                {"room_size": 0.4, "damping": 0.9, "wet_level": Sweep(0.5, 0.7), "dry_level": 0.4},
            ),
            _loudness(Sweep(-15, -25, core=True)),
        ),
        legacy="barrier",
    ),
    Condition(
        "far_field",
        "anchor",
        (
            Step(
                "reverb",
                {
                    "room_size": Sweep(0.4, 0.6, core=True),
                    "damping": Sweep(0.6, 0.8),
                    "wet_level": Sweep(0.4, 0.5),
                    "dry_level": 0.5,
                },
            ),
            Step(
                "filter",
                {"filter_type": "lowpass", "cutoff_hz": Sweep(4500, 3500, core=True), "repeat": 3},
            ),
            _loudness(Sweep(-27, -38, core=True)),
        ),
        legacy="far_field",
    ),
    Condition(
        "echo",
        "anchor",
        (
            Step(
                "reverb",
                {
                    "room_size": Sweep(0.8, 0.95, core=True),
                    "damping": 0.5,
                    "wet_level": Sweep(0.6, 0.8),
                    "dry_level": 0.4,
                },
            ),
            Step("filter", {"filter_type": "highpass", "cutoff_hz": Sweep(100, 300), "repeat": 1}),
            Step(
                "echo",
                {
                    "delay_s": Sweep(0.1, 0.3, core=True),
                    "feedback": Sweep(0.3, 0.5),
                    "mix": Sweep(0.2, 0.3),
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
            Step("resample", {"target_rate_hz": 8000}, gate=0.4),
            Step("noise", {"category": "white", "snr_db": Sweep(10, -5, core=True)}),
            Step(
                "filter",
                {
                    "filter_type": "highpass",
                    "cutoff_hz": Sweep(400, 600, core=True),
                    "repeat": Choice((4, 5, 6)),
                },
            ),
            Step(
                "filter",
                {
                    "filter_type": "lowpass",
                    "cutoff_hz": Sweep(4500, 3500, core=True),
                    "repeat": Choice((4, 5, 6)),
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
            Step("distortion", {"drive_db": Sweep(20, 60, core=True)}),
            Step("filter", {"filter_type": "lowpass", "cutoff_hz": Sweep(6000, 2800), "repeat": 1}),
            _loudness(Sweep(-27, -38, core=True), "loudness_after_distortion"),
        ),
        legacy="distortion",
    ),
    Condition(
        "dropout",
        "modifier",
        (
            Step(
                "stutter",
                {
                    "frame_ms": 20,
                    "stutter_prob": Sweep(0.05, 0.3, core=True),
                    "repeat_prob": 0.7,
                    "max_repeats": Choice((2, 3, 4)),
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
            Step("noise", {"category": "pool", "snr_db": Sweep(10, -5, core=True)}),
            _loudness(-23),
        ),
        legacy="noise",
    ),
)

BY_NAME = {condition.name: condition for condition in CONDITIONS}
