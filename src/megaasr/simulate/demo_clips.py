"""Make the clips of `mega-asr demo`: held-out sentences, clean and in each condition.

    python -m megaasr.simulate.demo_clips CORPUS OUTPUT     (or: make demo-clips)

No clip is chosen by listening or by its result: for each kind of voice, the first test sentences of
2 to 5 seconds are used, clean and in turn in the seven conditions and three compounds, all at the
same severity.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from megaasr.audio import files
from megaasr.audio.waveform import SAMPLE_RATE, Waveform
from megaasr.records import Utterance, read_manifest, write_manifest
from megaasr.simulate.noise_pool import NoisePool
from megaasr.simulate.scenarios import CLEAN, SCENARIOS
from megaasr.simulate.simulator import Simulator

SEED = 1
SEVERITY = 0.5
COMPOUNDS = ("far_field+noise", "obstructed+dropout", "echo+recording+distortion")
_PEAK = 0.5


def select(manifest: Path) -> Iterator[Utterance]:
    """Yield seven test clips: recorded and formant voices, held-out voices, a handwritten text."""
    quotas: list[tuple[str, bool, str, int]] = [
        ("generator", False, "flite", 2),
        ("generator", False, "espeak", 2),
        ("generator", True, "flite", 1),
        ("generator", True, "espeak", 1),
        ("handwritten", False, "flite", 1),
    ]
    test = [u for u in read_manifest(manifest) if u.text and "parts" not in u.extra]
    for source, held_out, engine, count in quotas:
        candidates = [
            u
            for u in test
            if u.extra["source"] == source
            and u.extra["held_out_voice"] is held_out
            and str(u.extra["speaker"]).startswith(engine)
            and 2 <= float(u.extra["duration_s"]) <= 5
        ]
        yield from candidates[:count]


def build(corpus: Path, output: Path) -> list[Utterance]:
    """Write the clips as FLAC with the manifest `clips.jsonl`, and return its utterances."""
    output.mkdir(parents=True, exist_ok=True)
    selected = list(select(corpus / "test.jsonl"))
    singles = [scenario.name for scenario in SCENARIOS if len(scenario.conditions) == 1]
    scenarios = [*singles, *COMPOUNDS]
    simulator = Simulator(NoisePool(split="test"))
    clips = []
    for number, utterance in enumerate(selected):
        speech = files.read(corpus / utterance.audio).samples
        clean = Waveform(speech * np.float32(_PEAK / np.abs(speech).max()), SAMPLE_RATE)
        clips.append(_write(output, number, clean, utterance))
        for scenario in scenarios[number :: len(selected)]:
            draw = simulator.draw(
                seed=SEED, scenario=scenario, severity=SEVERITY, utterance=utterance.id
            )
            degraded = simulator.apply(clean, draw).waveform
            clips.append(
                _write(output, number, degraded, utterance, scenario=scenario, severity=SEVERITY)
            )
    write_manifest(output / "clips.jsonl", clips)
    return clips


def _write(
    output: Path,
    number: int,
    waveform: Waveform,
    utterance: Utterance,
    *,
    scenario: str = CLEAN,
    severity: float = 0.0,
) -> Utterance:
    clip_id = f"{number + 1}-{scenario.replace('+', '-')}"
    files.write(output / f"{clip_id}.flac", waveform)
    inherited = ("speaker", "source", "held_out_voice")
    extra = {
        "scenario": scenario,
        "severity": severity,
        **{name: utterance.extra[name] for name in inherited},
    }
    return Utterance(
        id=clip_id, audio=f"{clip_id}.flac", text=utterance.text, language="en", extra=extra
    )


if __name__ == "__main__":
    for clip in build(Path(sys.argv[1]), Path(sys.argv[2])):
        print(clip.id, clip.text)
