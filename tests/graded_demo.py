"""The demo's clips as a data set that is graded by a starting model."""

from __future__ import annotations

from pathlib import Path

from megaasr.audio.files import read
from megaasr.records import Utterance, read_manifest, write_manifest

DEMO = Path(__file__).parents[1] / "src/megaasr/cli/demo_clips"


def write_graded_demo(folder: Path) -> None:
    """Write the manifest of the data set, `graded.jsonl`.

    Args:
        folder: folder that exists.
    """
    graded = []
    for utterance in read_manifest(DEMO / "clips.jsonl"):
        sound = read(DEMO / utterance.audio)
        extra = {
            "duration_s": sound.samples.size / 16_000,
            "base_error_rate": 0.5,
            "base_text": "something else",
        }
        audio = str(DEMO / utterance.audio)
        text, language = utterance.text, utterance.language
        graded.append(Utterance(utterance.id, audio, text, language, extra))
    write_manifest(folder / "graded.jsonl", graded)
