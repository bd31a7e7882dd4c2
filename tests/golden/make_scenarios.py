"""Write scenarios.json from the paper's rules, without the package: its second opinion.

python tests/golden/make_scenarios.py
"""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("scenarios.json")
ORDER = ("obstructed", "far_field", "echo", "recording", "distortion", "dropout", "noise")
ANCHORS, MODIFIERS = ORDER[:3], ORDER[3:]

# The primitives of each condition, with every swept parameter as [easy end, hard end] and every
# choice as {"options": from easy to hard}.
CONDITIONS: dict[str, list[dict[str, Any]]] = {
    "obstructed": [
        {
            "kind": "filter",
            "filter_type": "lowpass",
            "cutoff_hz": [2000, 1500],
            "repeat": {"options": [2, 3, 4]},
            "wet": 0.9,
        },
        {
            "kind": "reverb",
            "room_size": 0.4,
            "damping": 0.9,
            "wet_level": [0.5, 0.7],
            "dry_level": 0.4,
        },
        {"kind": "loudness", "target_lufs": [-15, -25]},
    ],
    "far_field": [
        {
            "kind": "reverb",
            "room_size": [0.4, 0.6],
            "damping": [0.6, 0.8],
            "wet_level": [0.4, 0.5],
            "dry_level": 0.5,
        },
        {"kind": "filter", "filter_type": "lowpass", "cutoff_hz": [4500, 3500], "repeat": 3},
        {"kind": "loudness", "target_lufs": [-27, -38]},
    ],
    "echo": [
        {
            "kind": "reverb",
            "room_size": [0.8, 0.95],
            "damping": 0.5,
            "wet_level": [0.6, 0.8],
            "dry_level": 0.4,
        },
        {"kind": "filter", "filter_type": "highpass", "cutoff_hz": [100, 300], "repeat": 1},
        {"kind": "echo", "delay_s": [0.1, 0.3], "feedback": [0.3, 0.5], "mix": [0.2, 0.3]},
        {"kind": "loudness", "target_lufs": [-23, -30]},
    ],
    "recording": [
        {"kind": "resample", "gate": 0.4, "target_rate_hz": 8000},
        {"kind": "noise", "category": "white", "snr_db": [10, -5]},
        {
            "kind": "filter",
            "filter_type": "highpass",
            "cutoff_hz": [400, 600],
            "repeat": {"options": [4, 5, 6]},
        },
        {
            "kind": "filter",
            "filter_type": "lowpass",
            "cutoff_hz": [4500, 3500],
            "repeat": {"options": [4, 5, 6]},
        },
        {"kind": "loudness", "target_lufs": -23},
    ],
    "distortion": [
        {"kind": "distortion", "drive_db": [20, 60]},
        {"kind": "filter", "filter_type": "lowpass", "cutoff_hz": [6000, 2800], "repeat": 1},
        {"kind": "loudness_after_distortion", "target_lufs": [-27, -38]},
    ],
    "dropout": [
        {
            "kind": "stutter",
            "frame_ms": 20,
            "stutter_prob": [0.05, 0.3],
            "repeat_prob": 0.7,
            "max_repeats": {"options": [2, 3, 4]},
        },
        {"kind": "loudness", "target_lufs": -23},
    ],
    "noise": [
        {"kind": "noise", "category": "pool", "snr_db": [10, -5]},
        {"kind": "loudness", "target_lufs": -23},
    ],
}


def scenarios() -> list[tuple[str, ...]]:
    """Filter all sets of conditions, instead of building those that are wanted."""
    return sorted(
        (
            subset
            for size in range(1, 6)
            for subset in combinations(ORDER, size)
            if is_scenario(subset)
        ),
        key=lambda subset: (len(subset), subset[0] not in ANCHORS and len(subset) > 1),
    )


def is_scenario(conditions: tuple[str, ...]) -> bool:
    anchors = [condition for condition in conditions if condition in ANCHORS]
    if len(anchors) > 1:
        return False
    # An anchor with two modifiers is there only without noise.
    return not (anchors and len(conditions) == 3 and "noise" in conditions)


def chain(conditions: tuple[str, ...]) -> list[str]:
    """Return the merged chain as `condition: kind`."""
    brought_by: dict[str, str] = {}
    merged = []
    for condition in conditions:
        for step in CONDITIONS[condition]:
            first = brought_by.setdefault(step["kind"], condition)
            if step["kind"] == "noise" or first == condition:
                merged.append(f"{condition}: {step['kind']}")
    return merged


def group(conditions: tuple[str, ...]) -> str:
    if len(conditions) == 1:
        return "single"
    return "anchor+modifiers" if conditions[0] in ANCHORS else "modifiers"


def table() -> dict[str, Any]:
    rows = {
        "+".join(conditions): {"group": group(conditions), "chain": ", ".join(chain(conditions))}
        for conditions in scenarios()
    }
    return {
        "made_by": "python tests/golden/make_scenarios.py",
        "conditions": CONDITIONS,
        "scenarios": rows,
    }


if __name__ == "__main__":
    TABLE.write_text(json.dumps(table(), indent=1) + "\n", encoding="utf-8")
