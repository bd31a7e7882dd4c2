"""What a realtime session received and sent, on the disk, so that it survives the process.

A session has a folder with two files of JSON lines. A line that is not complete, because the
process was killed while it was written, is ignored. Audio is deleted with the session, or when it
exceeds the limit; what was sent is kept then, so that no text is lost.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from megaasr import strict_json
from megaasr.atomic import write_atomically

_RECEIVED, _SENT = "received.jsonl", "sent.jsonl"
_MODEL = "model.json"
_INCOMPLETE = "incomplete.json"
"""File that exists when the journal does not hold all that was received."""


class SessionJournal:
    """The journal of one session.

    Args:
        folder: its folder; created if it is missing.
        max_bytes: largest size of what was received, and of what was sent. A session that exceeds
            it, or whose disk is full, cannot be continued after the process ended: the audio is
            deleted, and of the events the latest are kept.

    Attributes:
        is_complete: whether the session can be continued after the process ended.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.is_complete = not (folder / _INCOMPLETE).exists()
        self._folder = folder
        self._max_bytes = max_bytes
        self._files: dict[str, IO[bytes]] = {}
        self._sizes: dict[str, int] = {}
        for name in (_RECEIVED, _SENT) if self.is_complete else (_SENT,):
            _cut_incomplete_line(folder / name)
            self._open(name)

    def add_received(self, text: str) -> None:
        """Append what a client sent, as one line."""
        if _RECEIVED in self._files:
            # JSON from outside may have line breaks between its parts.
            self._add(_RECEIVED, strict_json.dumps(json.loads(text)))

    def add_sent(self, event: dict[str, Any]) -> None:
        """Append an event before it is sent."""
        if _SENT in self._files:
            self._add(_SENT, strict_json.dumps(event))

    def is_of_model(self, identity: str) -> bool:
        """Return whether a model is the first one that the session was transcribed with.

        Args:
            identity: what distinguishes the model from others.
        """
        if not self.is_complete:
            return True  # nothing is transcribed a second time
        path = self._folder / _MODEL
        if path.is_file():
            return bool(json.loads(path.read_text(encoding="utf-8")) == identity)
        with self._ending_when_full():
            write_atomically(path, strict_json.dumps(identity))
        return True

    def drop_received(self) -> None:
        """Delete the audio; the session cannot be continued any more."""
        with self._ending_when_full():
            self._drop_received()

    def close(self) -> None:
        """Close the files, which stay."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def delete(self) -> None:
        """Delete the files."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _open(self, name: str) -> None:
        path = self._folder / name
        self._files[name] = path.open("ab", buffering=0)
        self._sizes[name] = path.stat().st_size

    def _add(self, name: str, document: str) -> None:
        line = document.encode() + b"\n"
        with self._ending_when_full():
            if self._sizes[name] + len(line) > self._max_bytes:
                self._drop_received()
                if name == _RECEIVED:
                    return
                self._halve_sent()
            self._files[name].write(line)
            self._sizes[name] += len(line)

    @contextmanager
    def _ending_when_full(self) -> Iterator[None]:
        """Give the journal up if it cannot be written: the disk is full, for example."""
        try:
            yield
        except OSError:
            self.is_complete = False
            self.delete()

    def _drop_received(self) -> None:
        if not self.is_complete:
            return
        # First the note: a process that is killed in between must not trust the rest.
        write_atomically(self._folder / _INCOMPLETE, "{}")
        self.is_complete = False
        self._files.pop(_RECEIVED).close()
        (self._folder / _RECEIVED).unlink()

    def _halve_sent(self) -> None:
        """Keep the latest events, in half of what is allowed."""
        path = self._folder / _SENT
        kept: list[bytes] = []
        size = 0
        for line in reversed(list(_lines(path))):
            size += len(line)
            if size > self._max_bytes / 2:
                break
            kept.append(line)
        self._files.pop(_SENT).close()
        write_atomically(path, b"".join(reversed(kept)).decode())
        self._open(_SENT)


@dataclass(frozen=True, slots=True)
class JournaledSession:
    """What a journal holds.

    Attributes:
        received: what the client sent, in order; nothing if the journal is not complete.
        sent: the events for the client, in order; the latest if the journal is not complete.
        is_complete: whether the session can be continued.
    """

    received: list[str]
    sent: list[dict[str, Any]]
    is_complete: bool = True


def read_journal(folder: Path) -> JournaledSession | None:
    """Return the content of a journal; None if there is none.

    Args:
        folder: folder of the session.
    """
    is_complete = not (folder / _INCOMPLETE).exists()
    if is_complete and not (folder / _RECEIVED).is_file():
        return None
    received = [line.decode() for line in _lines(folder / _RECEIVED)] if is_complete else []
    sent = [json.loads(line) for line in _lines(folder / _SENT)]
    return JournaledSession(received, sent, is_complete)


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
