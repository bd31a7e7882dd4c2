"""Error rates of two systems on a CSV table with the columns audio and text: score_systems.py TABLE

The systems are tiny's base and tiny with routing; for intervals and paired tests: mega-asr bench.
"""

import csv
import sys
from pathlib import Path

from megaasr import MegaASR
from megaasr.scoring import align, count_errors_of_pairs, pooled


def main(table: Path) -> None:
    """Print both error rates, and the words that routing changes."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    paths = [str(table.parent / row["audio"]) for row in rows]
    references = [row["text"] for row in rows]
    texts: dict[str, list[str]] = {}
    for route in ("base", "auto"):
        transcripts = MegaASR.from_pretrained("tiny", route=route).transcribe(paths)
        texts[route] = [transcript.text for transcript in transcripts]
        errors = pooled(count_errors_of_pairs(references, texts[route]))
        print(f"{route}: {100 * errors.rate:.1f} % of {errors.reference_length} words wrong")
    for path, base, routed in zip(paths, texts["base"], texts["auto"], strict=True):
        for step in align(base, routed):
            if step.kind != "hit":
                print(f"{Path(path).name}: {step.reference} -> {step.hypothesis}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
