"""Build recorded noises from Debian packages, which are downloaded and not installed.

python -m megaasr.corpora.noises OUTPUT [--cache FOLDER]     (or: make noises)
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from megaasr.corpora.noises.build import build_noises
from megaasr.errors import MegaASRError


def main() -> int:
    """Build the noises and print a summary; return the exit status, 1 if they cannot be built."""
    parser = argparse.ArgumentParser(prog="python -m megaasr.corpora.noises", description=__doc__)
    parser.add_argument("output", type=Path, help="folder of the noises")
    parser.add_argument(
        "--cache", type=Path, help="folder of .deb files [default: OUTPUT/packages]"
    )
    options = parser.parse_args()
    try:
        recorded = build_noises(options.output, cache=options.cache)
    except (MegaASRError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for split, manifest in recorded.manifests.items():
        noises = recorded.noises[split]
        minutes = sum(float(noise.extra["duration_s"]) for noise in noises) / 60
        categories = len({noise.extra["category"] for noise in noises})
        sounds = sum(len(noise.extra["files"]) for noise in noises)
        print(
            f"{manifest}: {len(noises)} noises from {sounds} files, {minutes:.1f} minutes, "
            f"{categories} categories"
        )
    for reason, count in sorted(recorded.skipped.items()):
        print(f"left out: {count} files: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
