"""What each stage of a fine-tuning run learns from."""

from __future__ import annotations

from pathlib import Path

from megaasr.model.geometry import AudioGeometry
from megaasr.train.clips import ClipFeatures, choose, listing_of, read_clips
from megaasr.train.sft.fresh_clips import FreshFeatures, FreshSpeech
from megaasr.train.sft.recipe import PhaseRecipe, SFTRecipe

StageData = ClipFeatures | FreshFeatures


class TrainingData:
    """The graded data sets and the clean speech of a recipe.

    Args:
        recipe: of the run.
        geometry: of the model's audio.

    Raises:
        TrainingError: a data set is not there, or a clip has no duration.
        UsageError: the clean speech or its simulation cannot be used.
        RecordError: a line is no record.
    """

    def __init__(self, recipe: SFTRecipe, geometry: AudioGeometry) -> None:
        self._recipe, self._geometry = recipe, geometry
        self._graded = read_clips(recipe.data)
        clean = recipe.clean
        self._speech = FreshSpeech(clean.manifest, clean.simulation) if clean else None

    @property
    def manifests(self) -> tuple[Path, ...]:
        """The files that decide what is learnt from."""
        clean = self._recipe.clean
        listings = [listing_of(one) for one in self._recipe.data]
        return (*listings, clean.manifest) if clean else tuple(listings)

    def stages(self, number: int, phase: PhaseRecipe) -> list[StageData]:
        """Return the clips of each stage of phase `number`, from 0; fresh ones are in no other.

        Raises:
            TrainingError: a stage has none.
        """
        if phase.fresh is not None and self._speech is not None:
            before = sum(one.fresh or 0 for one in self._recipe.phases[:number])
            return [FreshFeatures(self._speech, self._geometry, phase.fresh, before)]
        return [
            ClipFeatures(
                choose(self._graded, bound, phase.sample, (self._recipe.seed, number, at)),
                self._geometry,
            )
            for at, bound in enumerate(phase.stages)
        ]
