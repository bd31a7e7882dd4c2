"""Audio that an earlier build of a corpus left behind."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from megaasr.records import Utterance


def remove_stale_audio(output: Path, utterances: Iterable[Utterance]) -> None:
    """Delete the FLAC files in a corpus that none of its utterances names.

    Args:
        output: folder of the corpus, with its audio in `audio/SPLIT/`.
        utterances: all utterances of the corpus.
    """
    used = {output / utterance.audio for utterance in utterances}
    for path in (output / "audio").glob("*/*.flac"):
        if path not in used:
            path.unlink()
