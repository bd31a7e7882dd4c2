"""Build the human test list.

python -m megaasr.corpora.human OUTPUT [--cache FOLDER] [--also-excluded FILE …]

(or: make human-test)
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from megaasr.corpora.human.build import build_human_list
from megaasr.errors import MegaASRError
from megaasr.hashing import file_sha256


def main() -> int:
    """Build the list and print a summary; return the exit status, 1 if it cannot be human_list."""
    parser = argparse.ArgumentParser(prog="python -m megaasr.corpora.human", description=__doc__)
    parser.add_argument("output", type=Path, help="folder of the list")
    parser.add_argument(
        "--cache", type=Path, help="folder of .deb files [default: OUTPUT/packages]"
    )
    parser.add_argument(
        "--also-excluded",
        type=Path,
        nargs="*",
        default=[],
        help="further test sets (JSONL) whose sentences must not be used for training",
    )
    options = parser.parse_args()
    try:
        human_list = build_human_list(
            options.output, cache=options.cache, also_excluded=options.also_excluded
        )
    except (MegaASRError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for split, manifest in human_list.manifests.items():
        clips = human_list.clips[split]
        minutes = sum(float(clip.extra["duration_s"]) for clip in clips) / 60
        speakers = len({clip.extra["speaker"] for clip in clips})
        print(
            f"{manifest}: {len(clips)} clips, {minutes:.1f} minutes, {speakers} speakers, "
            f"SHA-256 {file_sha256(manifest)[:16]}…"
        )
    print(f"{human_list.excluded}: sentences that must not be used for training")
    return 0


if __name__ == "__main__":
    sys.exit(main())
