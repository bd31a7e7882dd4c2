"""Compare the four published example clips with ours of the same kind, by an independent judge.

python tools/published_examples.py EXAMPLES CLEAN --system faster-whisper-greedy:DIR
    EXAMPLES: folder of the published examples (examples.jsonl)
    CLEAN:    manifest of clean speech, such as corpus/human/dev.jsonl
    DIR:      the judge, corpus/judge/whisper-base (make judge)

Prints the error rate of each published clip, and of ten of ours of each of their four kinds, at
severities from 0.1 to 0.9 with calibrated and with literal compounds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from megaasr.audio.files import read
from megaasr.audio.waveform import Waveform
from megaasr.records import read_manifest
from megaasr.score.systems import InferenceOptions, load_system, parse_systems
from megaasr.simulate.positions import Compounds
from megaasr.simulate.scenarios import find_scenario
from megaasr.simulate.simulator import Simulator
from megaasr.text.error_rate import count_errors

SEVERITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9)
KINDS = {"noise": "noise", "echo": "echo", "dropout": "dropout", "mixed": "dropout+noise"}


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("examples", type=Path)
    parser.add_argument("clean", type=Path)
    parser.add_argument("--system", required=True)
    options = parser.parse_args()
    (spec,) = parse_systems([options.system])
    system = load_system(spec, InferenceOptions(language="en"))

    def rate(waveform: Waveform, text: str) -> float:
        (prediction,) = system.predict([waveform])
        counts = count_errors(text, prediction.text, language="en", normalizer="bench")
        return min(1.0, counts.rate)  # a loop on one clip would outweigh all others

    for line in (options.examples / "examples.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        published = rate(read(options.examples / record["audio_path"]), record["answer"])
        print(f"published {record['audio_path']}: {100 * published:.0f} %")
    clips = [u for u in read_manifest(options.clean) if len(u.text.split()) > 6][: len(SEVERITIES)]
    for kind, scenario in KINDS.items():
        for compounds in Compounds:
            simulator = Simulator(compounds=compounds)
            rates = []
            for clip, severity in zip(clips, SEVERITIES, strict=True):
                draw = simulator.draw(
                    seed=1, scenario=find_scenario(scenario), severity=severity, utterance=clip.id
                )
                clean = read(options.clean.parent / clip.audio)
                rates.append(rate(simulator.apply(clean, draw).waveform, clip.text))
            shown = " ".join(f"{100 * value:.0f}" for value in rates)
            mean = 100 * sum(rates) / len(rates)
            print(f"ours {kind} ({scenario}, {compounds}): {shown}, mean {mean:.0f} %")


if __name__ == "__main__":
    main()
