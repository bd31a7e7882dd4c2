"""Assemble a `Result` from the predictions of systems."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from megaasr.score.predictions import UNUSABLE, Prediction
from megaasr.score.result import Result, ScoredClip, SettingValue, SystemSummary, TestSet
from megaasr.score.routing import router_metrics
from megaasr.score.summary import (
    ScoringSettings,
    comparisons,
    score_clips,
    subgroup_rates,
)
from megaasr.score.test_set import TestSetFile
from megaasr.text.languages import unit
from megaasr.text.normalize import normalizer_version
from megaasr.versions import installed_versions

_LIBRARIES = ("megaasr", "numpy", "rapidfuzz", "soundfile", "soxr", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class SystemPredictions:
    """A system with its predictions for a test set.

    Attributes:
        name, kind, device, settings: see `result.SystemSummary`.
        predictions: one prediction per clip of the test set, by clip id.
    """

    name: str
    kind: str
    predictions: Mapping[str, Prediction]
    device: str | None = None
    settings: Mapping[str, SettingValue] = field(default_factory=dict)

    def summary(self, clips: Sequence[ScoredClip]) -> SystemSummary:
        """Return the system as the result records it."""
        seconds = [p.seconds for p in self.predictions.values() if p.seconds is not None]
        timed_s = [c.duration_s for c in clips if self.predictions[c.id].seconds is not None]
        return SystemSummary(
            name=self.name,
            kind=self.kind,
            settings=dict(self.settings),
            device=self.device,
            audio_s=round(sum(timed_s) if seconds else sum(c.duration_s for c in clips), 2),
            seconds=round(sum(seconds), 3) if seconds else None,
            failed=sum(p.error is not None for p in self.predictions.values()),
        )


def assemble(
    test_set: TestSetFile,
    systems: Sequence[SystemPredictions],
    settings: ScoringSettings,
    command: str,
) -> Result:
    """Score the predictions of systems, and return everything that a report needs.

    Args:
        test_set: the test set.
        systems: the systems; the first is the baseline unless `settings` names one.
        settings: settings of intervals and comparisons.
        command: the command line, for the record.

    Raises:
        UsageError: a record has no field `settings.blocks`, or no system has the baseline's name.
    """
    predictions = {system.name: system.predictions for system in systems}
    clips = score_clips(test_set.clips, predictions, settings)
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
            unusable=_unusable(systems),
        ),
        systems=tuple(system.summary(clips) for system in systems),
        measure=_measure(clips),
        normalizers={
            name: normalizer_version(full_name) for name, full_name in settings.normalizers.items()
        },
        bootstrap=settings.bootstrap,
        baseline=settings.baseline or systems[0].name,
        groups=tuple(subgroup_rates(clips, settings)),
        comparisons=tuple(comparisons(clips, settings)),
        routing=router_metrics(clips),
        clips=tuple(clips),
        machine=_machine(),
        versions={"python": platform.python_version(), **installed_versions(_LIBRARIES)},
    )


def _measure(clips: Sequence[ScoredClip]) -> Literal["WER", "CER", "mixed"]:
    units = {unit(clip.language) for clip in clips}
    if len(units) > 1:
        return "mixed"
    return "WER" if units == {"word"} else "CER"


def _unusable(systems: Sequence[SystemPredictions]) -> dict[str, str]:
    """Return the reasons why audio could not be read, by clip."""
    return {
        clip: prediction.error.removeprefix(UNUSABLE)
        for system in systems
        for clip, prediction in system.predictions.items()
        if prediction.error is not None and prediction.error.startswith(UNUSABLE)
    }


def _machine() -> dict[str, str | int | float | None]:
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }
