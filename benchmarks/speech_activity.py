"""How often voice-activity detection misses degraded speech.

`python -m benchmarks.speech_activity DATA_SET`, with a simulated data set. It measures no time and
is therefore not among the benchmarks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from megaasr.audio.clips import read_clip
from megaasr.score.test_set import TestClip, read_test_set
from megaasr.transcribe.chunking import NO_SPEECH_THRESHOLD, SPEECH_THRESHOLD
from megaasr.transcribe.speech_activity import detect_speech


def main() -> None:
    """Print, by severity, the share of clips whose highest probability stays below a threshold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    test_set = read_test_set(parser.parse_args().data)
    groups: dict[str, list[float]] = {}
    for clip in test_set.clips:
        sound = read_clip(test_set.audio_root, clip.audio).samples
        groups.setdefault(_group(clip), []).append(float(detect_speech(sound).max()))
    head = (
        "clips",
        "number",
        f"never {NO_SPEECH_THRESHOLD:g}, %",
        f"never {SPEECH_THRESHOLD:g}, %",
    )
    print(f"{head[0]:24} {head[1]:>8} {head[2]:>14} {head[3]:>12}")
    for name, highest in sorted(groups.items()):
        values = np.array(highest)
        sure, speech = (
            (values < limit).mean() for limit in (NO_SPEECH_THRESHOLD, SPEECH_THRESHOLD)
        )
        print(f"{name:24} {len(values):8} {100 * sure:14.1f} {100 * speech:12.1f}")


def _group(clip: TestClip) -> str:
    if not clip.text:
        return "no speech"
    if clip.severity is None or clip.scenario == "clean":
        return "speech, clean"
    low = 0.2 * min(4, int(clip.severity / 0.2))
    return f"speech, severity {low:.1f}–{low + 0.2:.1f}"


if __name__ == "__main__":
    main()
