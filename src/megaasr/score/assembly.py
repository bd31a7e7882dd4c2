"""Put a `Result` together, with what its numbers depend on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from megaasr.score.predictions import UNUSABLE, Prediction
from megaasr.score.result import Clip, Result, System, TestSet
from megaasr.score.routing import routing
from megaasr.score.summary import (
    NORMALIZERS,
    Settings,
    comparisons,
    group_rates,
    score_clips,
)
from megaasr.score.test_set import TestSetFile
from megaasr.text.languages import unit
from megaasr.text.normalize import normalizer_version
from megaasr.versions import installed_versions

_LIBRARIES = ("megaasr", "numpy", "rapidfuzz", "soundfile", "soxr", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class Entry:
    """A system with all that it said.

    Attributes:
        name, kind, device: see `result.System`.
        said: by clip.
        settings: see `result.System`.
    """

    name: str
    kind: str
    said: Mapping[str, Prediction]
    device: str | None = None
    settings: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)

    def record(self, clips: Sequence[Clip]) -> System:
        """Return what the result says of it."""
        seconds = [one.seconds for one in self.said.values() if one.seconds is not None]
        heard = [c.duration_s for c in clips if self.said[c.id].seconds is not None]
        return System(
            name=self.name,
            kind=self.kind,
            settings=dict(self.settings),
            device=self.device,
            audio_s=round(sum(heard) if seconds else sum(c.duration_s for c in clips), 2),
            seconds=round(sum(seconds), 3) if seconds else None,
            failed=sum(one.error is not None for one in self.said.values()),
        )


def assemble(
    test_set: TestSetFile, entries: Sequence[Entry], settings: Settings, command: str
) -> Result:
    """Score what the systems said, and return everything that a report needs.

    Args:
        test_set: the clips.
        entries: the systems, the baseline first unless `settings` names it.
        settings: of intervals and comparisons.
        command: what was typed.

    Raises:
        UsageError: a field for blocks or the baseline's name is unknown.
    """
    clips = score_clips(test_set.clips, {one.name: one.said for one in entries}, settings.blocks)
    return Result(
        command=command,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        test_set=TestSet(
            name=test_set.path.name or str(test_set.path),
            path=str(test_set.path),
            audio_root=str(test_set.audio_root),
            kind=test_set.kind,
            sha256=test_set.sha256,
            clips=len(clips),
            audio_s=round(sum(clip.duration_s for clip in clips), 2),
            unusable=_unusable(entries),
        ),
        systems=tuple(one.record(clips) for one in entries),
        measure=_measure(clips),
        normalizers={name: normalizer_version(name) for name in NORMALIZERS},
        bootstrap=settings.bootstrap,
        baseline=settings.baseline or entries[0].name,
        groups=tuple(group_rates(clips, settings)),
        comparisons=tuple(comparisons(clips, settings)),
        routing=routing(clips),
        clips=tuple(clips),
        machine=_machine(),
        versions=_versions(),
    )


def _measure(clips: Sequence[Clip]) -> Literal["WER", "CER", "mixed"]:
    units = {unit(clip.language) for clip in clips}
    if len(units) > 1:
        return "mixed"
    return "WER" if units == {"word"} else "CER"


def _unusable(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the clips whose audio no system could hear."""
    return {
        clip: said.error.removeprefix(UNUSABLE)
        for entry in entries
        for clip, said in entry.said.items()
        if said.error is not None and said.error.startswith(UNUSABLE)
    }


def _machine() -> dict[str, str | int | float | None]:
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **installed_versions(_LIBRARIES)}
