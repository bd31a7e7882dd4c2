"""Plan the clips of a data set, a pure function of its recipe and manifest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from megaasr.errors import UsageError
from megaasr.hashing import file_sha256
from megaasr.records import Utterance
from megaasr.records.tables import read_utterances
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe
from megaasr.simulate.mix import balanced_order, draw_scenario, grid_cell

_NOT_PLAIN = re.compile(rb"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class PlannedClip:
    """A clip to make.

    Attributes:
        id: id of the utterance with the number of the copy; unique in the data set.
        utterance: the clean clip.
        copy_index: number of the degraded copy of this utterance, from 0.
        scenario: canonical name of the scenario, or `clean`.
        severity: severity, 0 to 1; None to draw it with the other parameters of the clip.
    """

    id: str
    utterance: Utterance
    copy_index: int
    scenario: str
    severity: float | None


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard to make, the unit of work.

    Attributes:
        number: number of the shard, from 0.
        name: file name of the shard.
        clips: clips of the shard, in order.
    """

    number: int
    name: str
    clips: tuple[PlannedClip, ...]


@dataclass(frozen=True)
class CorpusPlan:
    """All clips of a data set, computed on demand.

    Attributes:
        recipe: recipe of the data set.
        manifest: path of the manifest of clean utterances; their audio is relative to its folder.
        manifest_sha256: hash of the manifest file.
        listed: number of utterances in the manifest.
        utterances: utterances that the recipe selects and that are not too long, in the order of
            the manifest.
    """

    recipe: SimulatedCorpusRecipe
    manifest: Path
    manifest_sha256: str
    listed: int
    utterances: tuple[Utterance, ...]

    @property
    def num_clips(self) -> int:
        """Total number of clips."""
        return self.recipe.num_clips or len(self.utterances)

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return -(-self.num_clips // self.recipe.shard_size)

    def clips_in(self, shard: int) -> int:
        """Return the number of clips in shard number `shard`, from 0."""
        size = self.recipe.shard_size
        return min(size, self.num_clips - shard * size)

    def shard_name(self, shard: int) -> str:
        """Return the file name of shard number `shard`, from 0."""
        return f"{self.recipe.split}-{shard:05d}-of-{self.num_shards:05d}.parquet"

    def shard(self, number: int) -> Shard:
        """Return shard number `number`, from 0, with its clips."""
        first = number * self.recipe.shard_size
        last = first + self.clips_in(number)
        clips = tuple(self.clip(index) for index in range(first, last))
        return Shard(number, self.shard_name(number), clips)

    def clip(self, number: int) -> PlannedClip:
        """Return clip number `number`, from 0."""
        index, copy_index = self._use(number)
        utterance, mix = self.utterances[index], self.recipe.mix
        if mix.balanced_by is not None:
            cell = mix.cells[number % len(mix.cells)]
        elif mix.kind == "grid":
            cell = grid_cell(mix.cells, number, len(self.utterances))
        else:
            cell = draw_scenario(
                mix, seed=self.recipe.seed, utterance=utterance.id, copy_index=copy_index
            )
        severity = self.recipe.severity if cell.severity is None else cell.severity
        clip_id = f"{utterance.id}-{copy_index:03d}"
        return PlannedClip(
            id=clip_id,
            utterance=utterance,
            copy_index=copy_index,
            scenario=cell.scenario,
            severity=severity,
        )

    def _use(self, number: int) -> tuple[int, int]:
        """Return the index of the utterance of a clip, and the number of the utterance's copy."""
        if self.recipe.mix.balanced_by is not None:
            return self._balanced_uses[number]
        copy_index, index = divmod(number, len(self.utterances))
        return index, copy_index

    @cached_property
    def _balanced_uses(self) -> list[tuple[int, int]]:
        mix = self.recipe.mix
        values = [str(u.to_dict().get(str(mix.balanced_by))) for u in self.utterances]
        order = balanced_order(values, self.num_clips, mix.cells, self.recipe.seed)
        copies: Counter[int] = Counter()
        uses = []
        for index in order:
            uses.append((index, copies[index]))
            copies[index] += 1
        return uses


def plan_corpus(recipe: SimulatedCorpusRecipe, manifest: Path) -> CorpusPlan:
    """Read a manifest and plan the data set.

    Args:
        recipe: recipe of the data set.
        manifest: path of the manifest of clean utterances.

    Raises:
        UsageError: the manifest cannot be read, has no usable utterances, or repeats an id; or
            there are fewer clips than cells of the grid.
        RecordError: a line of the manifest is not an utterance.
    """
    try:
        sha256 = file_sha256(manifest)
        listed = tuple(read_utterances(manifest))
    except OSError as error:
        raise UsageError(f"manifest {manifest}: {error.strerror or error}") from error
    _require_unique(listed, manifest)
    limit_s = recipe.max_source_s
    # Most recipes select all utterances; then no records are built, of which there may be millions.
    selected = [u for u in listed if _matches(u, recipe.where)] if recipe.where else listed
    usable = tuple(u for u in selected if limit_s is None or not _exceeds(u, limit_s))
    if not usable:
        reason = f"all {len(selected)} utterances are too long" if selected else "it is empty"
        if listed and not selected:
            asked = ", ".join(f"{name} = {value!r}" for name, value in recipe.where.items())
            raise UsageError(
                f"manifest {manifest}: none of {len(listed)} utterances has {asked}, which the "
                "recipe asks for in `where`; --set where={} takes all utterances"
            )
        raise UsageError(f"manifest {manifest}: {reason}, there is nothing to degrade")
    plan = CorpusPlan(
        recipe=recipe,
        manifest=manifest,
        manifest_sha256=sha256,
        listed=len(listed),
        utterances=usable,
    )
    column = recipe.mix.balanced_by
    if column is not None and not any(column in utterance.to_dict() for utterance in usable):
        raise UsageError(
            f"manifest {manifest}: no utterance has the column {column}, by which the grid is "
            "balanced; name another: --set 'mix.balanced_by=\"language\"'"
        )
    cells = len(recipe.mix.cells) if recipe.mix.kind == "grid" else 0
    if plan.num_clips < cells:
        raise UsageError(
            f"the grid has {cells} cells, more than the {plan.num_clips} clips; set num_clips to "
            f"{cells} or a multiple of it"
        )
    return plan


def file_stem(clip_id: str) -> str:
    """Return a file name without dots and slashes for an id; different ids stay different."""
    plain = _NOT_PLAIN.sub(lambda match: b"=%02X" % ord(match[0]), clip_id.encode())
    return plain.decode("ascii")


def _matches(utterance: Utterance, where: Mapping[str, object]) -> bool:
    record = utterance.to_dict()
    return all(record.get(name) == value for name, value in where.items())


def _exceeds(utterance: Utterance, limit_s: float) -> bool:
    """Return whether the manifest states a length above the limit for an utterance."""
    stated = utterance.extra.get("duration_s")
    return isinstance(stated, int | float) and stated > limit_s


def _require_unique(utterances: tuple[Utterance, ...], manifest: Path) -> None:
    seen: set[str] = set()
    for utterance in utterances:
        if utterance.id in seen:
            raise UsageError(
                f"manifest {manifest}: the id {utterance.id} occurs twice; ids must be unique, "
                "the clips' random streams are keyed by them"
            )
        seen.add(utterance.id)
