"""Find the sounds of a benchmark's clips, wherever the report is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from megaasr.audio.clips import read_clip
from megaasr.audio.waveform import Waveform
from megaasr.errors import AudioError, UsageError
from megaasr.score.result import TestSet


class SoundSearch:
    """Reads clips, and remembers which were not found.

    The folder that the user names comes first. Without it, clips are searched below the folder of
    the benchmark, which may have been relative to where it ran, below that of the test set, and
    beside the results.

    Args:
        audio_root: folder that audio paths are relative to; None to search.
        beside: folders of the results.

    Attributes:
        read: number of clips that were read.
        missing: audio paths of the clips that were not found, or cannot be decoded.
    """

    def __init__(self, audio_root: Path | None = None, beside: Sequence[Path] = ()) -> None:
        self._audio_root = audio_root
        self._beside = tuple(beside)
        self.read = 0
        self.missing: list[str] = []

    def find(self, test_set: TestSet, audio: str) -> Waveform | None:
        """Return the sound of a clip; None if it is not found.

        Args:
            test_set: the clip's test set.
            audio: the clip's audio path.
        """
        for root in self._roots(test_set):
            try:
                waveform = read_clip(root, audio)
            except (AudioError, UsageError, OSError):
                continue
            self.read += 1
            return waveform
        self.missing.append(audio)
        return None

    def describe_missing(self) -> str | None:
        """Return how many sounds are missing and what to do about it; None if all were found."""
        if not self.missing:
            return None
        where = f" below {self._audio_root}" if self._audio_root else ""
        mend = "" if self._audio_root else "; --audio-root names the folder of the audio paths"
        return (
            f"{len(self.missing)} of {len(self.missing) + self.read} sounds were not found{where} "
            f"(the first: {self.missing[0]}){mend}"
        )

    def _roots(self, test_set: TestSet) -> Iterator[Path]:
        if self._audio_root is not None:
            yield self._audio_root
            return
        roots = [Path(test_set.audio_root), Path(test_set.path).parent]
        roots += [folder / root for folder in self._beside for root in roots] + [*self._beside]
        # A benchmark below the test set's folder, or beside it.
        roots += [folder.parent / root for folder in self._beside for root in roots[:2]]
        roots += [folder.parent for folder in self._beside]
        yield from dict.fromkeys(roots)
