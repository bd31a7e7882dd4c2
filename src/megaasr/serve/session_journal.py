"""What a realtime session received and sent, on the disk, so that it survives the process.

A session has a folder with two files of JSON lines. A line that is not complete, because the
process was killed while it was written, is ignored. Audio is deleted with the session.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from megaasr import strict_json

_RECEIVED, _SENT = "received.jsonl", "sent.jsonl"


class SessionJournal:
    """The journal of one session.

    Args:
        folder: its folder; created if it is missing.
        max_bytes: largest size of what was received; a session that exceeds it cannot be continued
            after the process ended, and its journal is deleted.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._max_bytes = max_bytes
        self._files: dict[str, IO[bytes]] = {}
        self._size = 0
        for name in (_RECEIVED, _SENT):
            path = folder / name
            _cut_incomplete_line(path)
            self._files[name] = path.open("ab", buffering=0)
            self._size += path.stat().st_size if name == _RECEIVED else 0

    def add_received(self, text: str) -> None:
        """Append what a client sent, as one line."""
        if not self._files:
            return
        # JSON from outside may have line breaks between its parts.
        line = strict_json.dumps(json.loads(text)).encode() + b"\n"
        self._size += len(line)
        if self._size > self._max_bytes:
            self.delete()
        else:
            self._files[_RECEIVED].write(line)

    def add_sent(self, event: dict[str, Any]) -> None:
        """Append an event before it is sent."""
        if self._files:
            self._files[_SENT].write(strict_json.dumps(event).encode() + b"\n")

    def close(self) -> None:
        """Close the files, which stay."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def delete(self) -> None:
        """Delete the files."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class JournaledSession:
    """What a journal holds.

    Attributes:
        received: what the client sent, in order.
        sent: the events for the client, in order.
    """

    received: list[str]
    sent: list[dict[str, Any]]


def read_journal(folder: Path) -> JournaledSession | None:
    """Return the content of a journal; None if there is none.

    Args:
        folder: folder of the session.
    """
    if not (folder / _RECEIVED).is_file():
        return None
    received = [line.decode() for line in _lines(folder / _RECEIVED)]
    return JournaledSession(received, [json.loads(line) for line in _lines(folder / _SENT)])


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the complete lines of a file."""
    if path.is_file():
        with path.open("rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))


def _cut_incomplete_line(path: Path) -> None:
    if path.is_file():
        complete = sum(map(len, _lines(path)))
        with path.open("rb+") as file:
            file.truncate(complete)
