"""Training clips that are made when they are needed: clean speech, degraded by the simulator."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from megaasr.audio.files import read
from megaasr.audio.waveform import Waveform
from megaasr.config import load_recipe
from megaasr.corpora.clip_check import ClipRecord, LeftOut, check_clips, count_left_out
from megaasr.errors import AudioError, TrainingError
from megaasr.model.geometry import AudioGeometry
from megaasr.records import Utterance
from megaasr.simulate.corpus.clips import ClipMaker
from megaasr.simulate.corpus.columns import AUDIO, find_columns
from megaasr.simulate.corpus.plan import CorpusPlan, plan_corpus
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe
from megaasr.simulate.corpus.sources import open_sources
from megaasr.train.clips import MAX_CLIP_S, Clip, extract_features


class FreshSpeech:
    """An endless supply of degraded clips; clip k is the same in every run and process.

    The clips equal, bit for bit, those of the data set that `mega-asr simulate corpus` builds from
    the same manifest and recipe with a sufficient `num_clips`.

    Args:
        manifest: manifest of clean utterances with `duration_s`.
        simulation: recipe of the simulated data set: a file, or the name of a shipped recipe.

    Raises:
        TrainingError: an utterance has no `duration_s`.
        UsageError: manifest or recipe cannot be used.
    """

    def __init__(self, manifest: Path, simulation: str) -> None:
        recipe = load_recipe(SimulatedCorpusRecipe, simulation, [])
        # Clips of more than 30 s cannot be trained on; clips of a data set are limited alike.
        limit_s = min(MAX_CLIP_S, recipe.max_duration_s or MAX_CLIP_S)
        self._recipe = recipe.model_copy(update={"max_duration_s": limit_s})
        self._plan: CorpusPlan = plan_corpus(self._recipe, manifest)
        self._folder = manifest.resolve().parent
        self._unusable: frozenset[str] = frozenset()

    def leave_out_unusable(self, max_left_out: float) -> LeftOut:
        """Leave out the clips of sources that cannot be used; the numbers of the others stay.

        Args:
            max_left_out: largest share of the sources, 0..1, that may be left out.

        Raises:
            TrainingError: no source can be used, or too many cannot.
        """
        records = [
            ClipRecord(source.id, str(self._folder / source.audio), source.text, _stated_s(source))
            for source in self._plan.utterances
        ]
        left_out = count_left_out(records, check_clips(records))
        left_out.require(max_left_out, str(self._plan.manifest))
        self._unusable = frozenset(name for name, _ in left_out.problems)
        return left_out

    def clips(self, count: int, first: int = 0) -> dict[int, Clip]:
        """Return the records of clips that are not made yet; `audio` is their clean source.

        Args:
            count: number of clips.
            first: number of the first clip.

        Returns:
            The clips by number, without those whose source is left out.
        """
        return {
            number: self._clip(number)
            for number in range(first, first + count)
            if self._plan.clip(number).utterance.id not in self._unusable
        }

    def open_sources(self) -> None:
        """Open the noises and rooms now, not with the first clip.

        Raises:
            UsageError: a folder does not exist or holds nothing usable.
        """
        _ = self._maker

    def degraded(self, number: int) -> Waveform:
        """Make clip `number`.

        Raises:
            AudioError: its source cannot be used.
        """
        planned = self._plan.clip(number)
        source = self._maker.read_source(planned.utterance.audio)
        return read(self._maker.make(planned, source)[AUDIO]["bytes"])

    def _clip(self, number: int) -> Clip:
        planned = self._plan.clip(number)
        source = planned.utterance
        duration_s = source.extra.get("duration_s")
        if not isinstance(duration_s, int | float):
            raise TrainingError(f"{self._plan.manifest}: {source.id} has no duration_s")
        return Clip(
            id=planned.id,
            audio=source.audio,
            text=source.text,
            language=source.language,
            duration_s=float(duration_s),
            error_rate=None,
        )

    @cached_property
    def _maker(self) -> ClipMaker:
        sources = open_sources(self._recipe)
        columns = find_columns(self._plan.utterances)
        return ClipMaker(self._recipe, self._folder, columns, sources.simulator)


def _stated_s(source: Utterance) -> float | None:
    duration_s = source.extra.get("duration_s")
    return float(duration_s) if isinstance(duration_s, int | float) else None


class FreshFeatures(Dataset[dict[str, Any]]):
    """Features and transcripts of fresh clips; items are like those of `ClipFeatures`.

    Args:
        speech: supply of the clips.
        geometry: audio geometry of the model.
        count: number of clips.
        first: number of the first clip in the supply.
    """

    def __init__(
        self, speech: FreshSpeech, geometry: AudioGeometry, count: int, first: int = 0
    ) -> None:
        self._speech, self._geometry = speech, geometry
        clips = speech.clips(count, first)
        if not clips:
            raise TrainingError(
                f"none of {count} fresh clips can be made: their sources are left out"
            )
        self._numbers, self.clips = list(clips), list(clips.values())

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip = self.clips[index]
        try:
            samples = self._speech.degraded(self._numbers[index]).samples
            features = extract_features(samples, self._geometry)
        except AudioError:
            features = None
        return {"features": features, "text": clip.text, "language": clip.language}
