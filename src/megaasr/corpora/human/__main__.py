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
    """Build the list and say what is in it; the exit status is 1 if it cannot be built."""
    parser = argparse.ArgumentParser(prog="python -m megaasr.corpora.human", description=__doc__)
    parser.add_argument("output", type=Path, help="folder of the list")
    parser.add_argument("--cache", type=Path, help="folder of .deb files (OUTPUT/packages)")
    parser.add_argument(
        "--also-excluded",
        type=Path,
        nargs="*",
        default=[],
        help="test sets (JSONL) whose sentences must not be trained on either",
    )
    options = parser.parse_args()
    try:
        built = build_human_list(
            options.output, cache=options.cache, also_excluded=options.also_excluded
        )
    except (MegaASRError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for split, manifest in built.manifests.items():
        clips = built.clips[split]
        minutes = sum(float(clip.extra["duration_s"]) for clip in clips) / 60
        speakers = len({clip.extra["speaker"] for clip in clips})
        print(
            f"{manifest}: {len(clips)} clips, {minutes:.1f} minutes, {speakers} speakers, "
            f"SHA-256 {file_sha256(manifest)[:16]}…"
        )
    print(f"{built.excluded}: sentences that must not be trained on")
    return 0


if __name__ == "__main__":
    sys.exit(main())
