"""Make one clip: decode its source, degrade it, and encode it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megaasr import strict_json
from megaasr.audio import files
from megaasr.audio.clips import read_clip
from megaasr.audio.encoding import encode
from megaasr.audio.segments import parse_segment
from megaasr.audio.waveform import SAMPLE_RATE, AudioTruncatedWarning, Waveform
from megaasr.errors import AudioError, MegaASRError
from megaasr.simulate.corpus.columns import AUDIO, Columns
from megaasr.simulate.corpus.plan import PlannedClip, file_stem
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe
from megaasr.simulate.primitives.loudness import lufs_or_none
from megaasr.simulate.primitives.noise import SILENT_NOISE
from megaasr.simulate.simulator import Simulator

Row = dict[str, Any]
"""A row of a shard: values by column name."""


class NoEffectError(MegaASRError):
    """A clip cannot be degraded as its label would say; the message is the reason."""


@dataclass(frozen=True, slots=True)
class ClipMaker:
    """Makes the rows of a data set; a clip has the same row in every process.

    Attributes:
        recipe: recipe of the data set.
        folder: absolute path of the folder that the audio of the utterances is relative to.
        columns: columns of the rows.
        simulator: simulator with the noises and rooms of the recipe.
    """

    recipe: SimulatedCorpusRecipe
    folder: Path
    columns: Columns
    simulator: Simulator

    def read_source(self, audio: str) -> Waveform:
        """Decode a clean clip to 16 kHz mono.

        Args:
            audio: path of the clip, or the name of a segment, relative to `folder`.

        Raises:
            AudioError: the clip is damaged, too long, or truncated (its text would contain words
                that are missing from the audio).
        """
        path, limit_s = self.folder / audio, self.recipe.max_source_s
        segment = parse_segment(audio)
        # Check the length that the header states first, to avoid decoding hours of audio.
        if segment is None:
            _require_short(path, files.duration_s(path) if limit_s else None, limit_s)
        with warnings.catch_warnings():
            warnings.simplefilter("error", AudioTruncatedWarning)
            try:
                if segment is None:
                    waveform = files.read(path, sample_rate=SAMPLE_RATE)
                else:
                    waveform = read_clip(self.folder, audio)
            except AudioTruncatedWarning as warning:
                raise AudioError(path, str(warning).removeprefix(f"{path}: ")) from warning
        _require_short(path, waveform.duration_s, limit_s)
        return waveform

    def make(self, clip: PlannedClip, source: Waveform) -> Row:
        """Degrade a decoded source and return the row of the clip, with its encoded audio.

        Args:
            clip: the clip to make.
            source: its clean audio at 16 kHz.

        Raises:
            NoEffectError: a noise of the draw is silent throughout, so the label would be wrong.
            UsageError: a noise or room response is missing.
        """
        recipe, utterance = self.recipe, clip.utterance
        draw = self.simulator.draw(
            seed=recipe.seed,
            scenario=clip.scenario,
            severity=clip.severity,
            utterance=utterance.id,
            copy_index=clip.copy_index,
            severity_curve=recipe.mapping,
            speed_range=recipe.speed_range,
        )
        simulated = self.simulator.apply(source, draw)
        for measured in simulated.measurements:
            if SILENT_NOISE in str(measured.get("skipped", "")):
                raise NoEffectError(str(measured["skipped"]))
        name = f"{file_stem(clip.id)}.{recipe.format}"
        return {
            "id": clip.id,
            AUDIO: {"bytes": encode(simulated.waveform, recipe.format), "path": name},
            "text": utterance.text,
            "language": utterance.language,
            "duration_s": simulated.waveform.duration_s,
            "scenario": draw.scenario,
            "severity": draw.severity,
            "seed": draw.seed,
            "copy": draw.copy_index,
            "speed": draw.speed,
            "draw": draw.to_json(),
            "notes": strict_json.dumps(simulated.measurements, ensure_ascii=False),
            "parent_id": utterance.id,
            "parent_audio": utterance.audio,
            "clipped_samples": simulated.clipped_samples,
            "output_lufs": lufs_or_none(simulated.waveform.samples),
            **self.columns.inherit(utterance),
        }


def _require_short(path: Path, duration_s: float | None, limit_s: float | None) -> None:
    if duration_s is not None and limit_s is not None and duration_s > limit_s:
        raise AudioError(
            path,
            f"{duration_s:.2f} s, longer than the {limit_s:g} s that max_duration_s allows; cut it",
        )
