"""Degrade clips: simulate_dataset.py OUTPUT CLIP..."""

import json
import sys
from pathlib import Path

from megaasr.audio import read, write
from megaasr.simulate import Simulator

SCENARIOS = ("noise", "far_field", "echo+noise", "obstructed+dropout")


def main(output: Path, clips: list[Path]) -> None:
    """Write one degraded copy of every clip per scenario, and how each was made."""
    output.mkdir(parents=True, exist_ok=True)
    simulator = Simulator()
    with (output / "draws.jsonl").open("w", encoding="utf-8") as draws:
        for clip in clips:
            waveform = read(clip)
            for scenario in SCENARIOS:
                draw = simulator.draw(seed=1, scenario=scenario, utterance=clip.stem)
                simulated = simulator.apply(waveform, draw)
                target = output / f"{clip.stem}-{scenario}.flac"
                write(target, simulated.waveform)
                # `Draw.from_json` reads it back; the same draw gives the same samples.
                draws.write(json.dumps({"audio": target.name, "draw": draw.to_json()}) + "\n")
                print(f"{target.name}: severity {draw.severity:.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(path) for path in sys.argv[2:]])
