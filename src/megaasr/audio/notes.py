"""What was unusual about a recording, collected while it is decoded."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal, TypeAlias

from megaasr.audio.waveform import AudioTruncatedWarning, AudioWarning

NoteKind: TypeAlias = Literal[
    "truncated", "damaged", "repaired", "rescaled", "channels", "tracks", "times", "filtered"
]


@dataclass(frozen=True, slots=True)
class AudioNote:
    """One unusual property of a recording.

    Attributes:
        kind: `truncated` (sound may be missing at the end), `damaged` (sound may be missing or
            replaced before the end), `repaired` (the file is damaged, and all of its sound was
            decoded), `rescaled` (samples were stored in another scale), `channels`, `tracks`,
            `times` (time stamps that were not followed), `filtered` (hum or offset was removed).
        message: a sentence without the name of the recording.
        at_s: where the fault is, in seconds of the decoded sound; None if it has no single place.
    """

    kind: NoteKind
    message: str
    at_s: float | None = None

    @property
    def flag(self) -> str | None:
        """The flag of a segment with this fault; None where no sound is missing."""
        return f"audio_{self.kind}" if self.kind in ("truncated", "damaged") else None


class AudioNotes(list[AudioNote]):
    """The notes about one recording, in the order in which they arose.

    Args:
        label: name of the recording in warnings.
    """

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label = label

    def add(self, kind: NoteKind, message: str, at_s: float | None = None) -> None:
        """Add a note, and issue it as a warning.

        Warns:
            AudioTruncatedWarning: sound is missing.
            AudioWarning: anything else.
        """
        note = AudioNote(kind, message, at_s)
        self.append(note)
        category = AudioWarning if note.flag is None else AudioTruncatedWarning
        warnings.warn(f"{self.label}: {message}", category, stacklevel=2)

    def add_missing(
        self,
        kind: Literal["truncated", "damaged"],
        reason: str,
        *,
        decoded_s: float,
        stated_s: float | None = None,
        at_s: float | None = None,
    ) -> None:
        """Note that part of the recording could not be decoded.

        Args:
            kind: where the sound is missing.
            reason: why it is missing.
            decoded_s: length of the decoded sound in seconds.
            stated_s: length that the file states in seconds; None if it is unknown.
            at_s: where sound is missing, in seconds of the decoded sound; None for its end.
        """
        if stated_s is None:
            extent = f"{decoded_s:.2f} s were decoded, but sound may be missing"
        else:
            extent = f"only {decoded_s:.2f} s of {stated_s:.2f} s could be decoded"
        mend = "fetch or export the file again if you can"
        self.add(kind, f"{extent}: {reason}; {mend}", decoded_s if at_s is None else at_s)
