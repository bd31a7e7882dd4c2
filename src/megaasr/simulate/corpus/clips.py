"""Make one clip: decode its source, degrade it, encode it."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr.audio import files
from megaasr.audio.encoding import encode
from megaasr.audio.waveform import SAMPLE_RATE, AudioTruncatedWarning, Waveform
from megaasr.errors import AudioError
from megaasr.simulate.corpus.columns import AUDIO, Columns
from megaasr.simulate.corpus.plan import PlannedClip, file_stem
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe
from megaasr.simulate.primitives.loudness import lufs_or_none
from megaasr.simulate.simulator import Simulator

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ClipMaker:
    """Makes the rows of a data set; the same clip gives the same row in every process.

    Attributes:
        recipe: of the data set.
        folder: the audio of the utterances is relative to it; absolute.
        columns: of the rows.
        simulator: noises and rooms.
    """

    recipe: SimulatedCorpusRecipe
    folder: Path
    columns: Columns
    simulator: Simulator

    def read_source(self, audio: str) -> Waveform:
        """Decode a clean clip at 16 kHz.

        Raises:
            AudioError: it cannot be used: broken, cut off (its text would say more than can be
                heard) or too long.
        """
        path, limit_s = self.folder / audio, self.recipe.longest_source_s
        # What the header states spares us from decoding a recording of hours.
        _require_short(path, files.duration_s(path) if limit_s else None, limit_s)
        with warnings.catch_warnings():
            warnings.simplefilter("error", AudioTruncatedWarning)
            try:
                waveform = files.read(path, sample_rate=SAMPLE_RATE)
            except AudioTruncatedWarning as warning:
                raise AudioError(path, str(warning).removeprefix(f"{path}: ")) from warning
        _require_short(path, waveform.duration_s, limit_s)
        return waveform

    def make(self, clip: PlannedClip, source: Waveform) -> Row:
        """Degrade a decoded source; return the clip's row, audio bytes included.

        Raises:
            UsageError: a noise or room response is not there.
        """
        recipe, utterance = self.recipe, clip.utterance
        draw = self.simulator.draw(
            seed=recipe.seed,
            scenario=clip.scenario,
            severity=clip.severity,
            utterance=utterance.id,
            copy_index=clip.copy_index,
            mapping=recipe.mapping,
            speed_range=recipe.speed_range,
        )
        made = self.simulator.apply(source, draw)
        name = f"{file_stem(clip.id)}.{recipe.format}"
        return {
            "id": clip.id,
            AUDIO: {"bytes": encode(made.waveform, recipe.format), "path": name},
            "text": utterance.text,
            "language": utterance.language,
            "duration_s": made.waveform.duration_s,
            "scenario": draw.scenario,
            "severity": draw.severity,
            "seed": draw.seed,
            "copy": draw.copy_index,
            "speed": draw.speed,
            "draw": draw.to_json(),
            "notes": json.dumps(made.notes, ensure_ascii=False),
            "parent_id": utterance.id,
            "parent_audio": utterance.audio,
            "clipped_samples": made.clipped_samples,
            "output_lufs": lufs_or_none(made.waveform.samples),
            **self.columns.inherit(utterance),
        }


def _require_short(path: Path, duration_s: float | None, limit_s: float | None) -> None:
    if duration_s is not None and limit_s is not None and duration_s > limit_s:
        raise AudioError(
            path,
            f"{duration_s:.2f} s, longer than the {limit_s:g} s that max_duration_s allows; cut it",
        )
