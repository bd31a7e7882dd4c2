"""What a live system showed and when, as records of one format for all systems."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr.errors import RecordError
from megaasr.records.lines import read_lines


@dataclass(frozen=True, slots=True)
class Update:
    """A change of what a system shows of a recording.

    Attributes:
        clock_s: when, in seconds from the beginning of the recording; the time that computing
            takes is part of it.
        confirmed: text from the recording's beginning that the system will not change.
        shown: all text that it shows, which begins with it.
    """

    clock_s: float
    confirmed: str
    shown: str


@dataclass(frozen=True, slots=True)
class ClipRun:
    """What a system did with one recording.

    Attributes:
        updates: the changes in order; the last one has the final text.
        compute_s: seconds that it computed; None if unknown.
        steps: number of requests to the model; None if unknown.
    """

    updates: tuple[Update, ...]
    compute_s: float | None = None
    steps: int | None = None

    @property
    def text(self) -> str:
        """The final text."""
        return self.updates[-1].shown if self.updates else ""

    def to_records(self, system: str, clip_id: str) -> list[dict[str, Any]]:
        """Return the lines of an event log, as JSON values."""
        names = {"system": system, "id": clip_id}
        lines = [
            {**names, "clock_s": u.clock_s, "confirmed": u.confirmed, "shown": u.shown}
            for u in self.updates
        ]
        return [*lines, {**names, "compute_s": self.compute_s, "steps": self.steps}]


def read_log(path: Path) -> Mapping[str, ClipRun]:
    """Return the runs of an event log by clip.

    Each line is a JSON object with `id`, `clock_s`, `confirmed` and `shown`; a line with `id` and
    `compute_s`, in seconds, states the cost of a clip. Other fields are ignored.

    Raises:
        RecordError: a line is no such record; the message names it.
        OSError: the file cannot be read.
    """
    updates: dict[str, list[Update]] = {}
    costs: dict[str, tuple[float | None, int | None]] = {}
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            clip = str(record["id"])
            if "clock_s" in record:
                update = Update(float(record["clock_s"]), record["confirmed"], record["shown"])
                if not (isinstance(update.confirmed, str) and isinstance(update.shown, str)):
                    raise TypeError("confirmed and shown must be text")
                updates.setdefault(clip, []).append(update)
            else:
                updates.setdefault(clip, [])
                costs[clip] = (record["compute_s"], record.get("steps"))
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(
                f"{path}, line {number}: {error}; a line has id, clock_s, confirmed and shown"
            ) from error
    return {
        clip: ClipRun(
            tuple(sorted(rows, key=lambda row: row.clock_s)), *costs.get(clip, (None, None))
        )
        for clip, rows in updates.items()
    }
