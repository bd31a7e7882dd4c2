"""The training clips of each stage of a fine-tuning run."""

from __future__ import annotations

from pathlib import Path

from megaasr.adapter.peft_layout import is_adapter
from megaasr.model.geometry import AudioGeometry
from megaasr.train.clips import ClipFeatures, find_manifest, read_usable_clips, select_clips
from megaasr.train.input_check import InputCheck
from megaasr.train.sft.fresh_clips import FreshFeatures, FreshSpeech
from megaasr.train.sft.recipe import PhaseRecipe, SFTRecipe

StageData = ClipFeatures | FreshFeatures


def require_inputs(recipe: SFTRecipe) -> None:
    """Check that the inputs of a recipe exist.

    Raises:
        TrainingError: inputs are missing; all are named, with the commands that make them.
    """
    check = InputCheck()
    grade = f"mega-asr grade CLIPS --model {recipe.model} --output FOLDER"
    if recipe.model == "tiny":
        grade += " (or everything for tiny with: mega-asr recipe tiny --output corpus)"
    check.require_data_sets("data", recipe.data, grade)
    check.require_data_sets("dev", recipe.dev, grade)
    if recipe.clean is not None:
        manifest = recipe.clean.manifest
        command = "mega-asr synthesize or mega-asr manifest"
        check.require(manifest.is_file(), f"{manifest} does not exist (clean.manifest)", command)
    if recipe.adapter is not None:
        problem = f"{recipe.adapter} holds no adapter to continue from (adapter)"
        check.require(is_adapter(recipe.adapter), problem, "mega-asr train sft")
    check.finish()


class TrainingData:
    """The graded data sets and the clean speech of a recipe.

    Attributes:
        left_out: the clips that cannot be used, of all data sets and of the clean speech.

    Args:
        recipe: recipe of the run.
        geometry: audio geometry of the model.

    Raises:
        TrainingError: a data set is missing, a clip has no duration, a stage has no clips, or too
            many clips cannot be used.
        UsageError: the clean speech or its simulation cannot be used.
        RecordError: a line is not a valid record.
    """

    def __init__(self, recipe: SFTRecipe, geometry: AudioGeometry) -> None:
        self._recipe, self._geometry = recipe, geometry
        self._graded, self.left_out = read_usable_clips(
            recipe.data,
            max_left_out=recipe.max_left_out,
            held_out_scenarios=recipe.held_out_scenarios,
        )
        clean = recipe.clean
        self._speech = None
        if clean is not None:
            self._speech = FreshSpeech(clean.manifest, clean.simulation)
            self.left_out += self._speech.leave_out_unusable(recipe.max_left_out)
        self._stages = [
            self._make_stages(number, phase) for number, phase in enumerate(recipe.phases)
        ]

    @property
    def manifests(self) -> tuple[Path, ...]:
        """The manifests of all training clips."""
        clean = self._recipe.clean
        graded = [find_manifest(path) for path in self._recipe.data]
        return (*graded, clean.manifest) if clean else tuple(graded)

    def open_sources(self) -> None:
        """Open the noises and rooms of fresh clips, which otherwise happens with the first clip.

        Raises:
            UsageError: a folder does not exist or holds nothing usable.
        """
        if self._speech is not None:
            self._speech.open_sources()

    def stages(self, number: int) -> list[StageData]:
        """Return the clips of each stage of a phase; no fresh clip is in two phases.

        Args:
            number: index of the phase in the recipe.
        """
        return self._stages[number]

    def _make_stages(self, number: int, phase: PhaseRecipe) -> list[StageData]:
        if phase.fresh is not None and self._speech is not None:
            first = sum(earlier.fresh or 0 for earlier in self._recipe.phases[:number])
            return [FreshFeatures(self._speech, self._geometry, phase.fresh, first)]
        return [
            ClipFeatures(
                select_clips(self._graded, bound, phase.sample, (self._recipe.seed, number, index)),
                self._geometry,
            )
            for index, bound in enumerate(phase.stages)
        ]
