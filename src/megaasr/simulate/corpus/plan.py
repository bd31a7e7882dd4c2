"""Which clip is made of what: a pure function of recipe and manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from megaasr.errors import UsageError
from megaasr.hashing import file_sha256
from megaasr.records import Utterance, read_manifest
from megaasr.simulate.corpus.recipe import SimulatedCorpusRecipe
from megaasr.simulate.mix import draw_scenario, grid_cell

_NOT_PLAIN = re.compile(rb"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class PlannedClip:
    """One clip to make.

    Attributes:
        id: the utterance's and the copy's number; unique in the data set.
        utterance: the clean clip.
        copy_index: which degraded copy of it, from 0.
        scenario: canonical name, or `clean`.
        severity: 0..1, or None if it is drawn with the clip's other parameters.
    """

    id: str
    utterance: Utterance
    copy_index: int
    scenario: str
    severity: float | None


@dataclass(frozen=True, slots=True)
class Shard:
    """The unit of work.

    Attributes:
        number: from 0.
        name: of its file.
        clips: in order.
    """

    number: int
    name: str
    clips: tuple[PlannedClip, ...]


@dataclass(frozen=True)
class CorpusPlan:
    """All clips of a data set, made when they are asked for.

    Attributes:
        recipe: what is wanted.
        manifest: the file of clean utterances; their audio is relative to its folder.
        manifest_sha256: of the file's bytes.
        listed: how many utterances the manifest has.
        utterances: those that are wanted and not too long, in the manifest's order.
    """

    recipe: SimulatedCorpusRecipe
    manifest: Path
    manifest_sha256: str
    listed: int
    utterances: tuple[Utterance, ...]

    @property
    def num_clips(self) -> int:
        """How many clips there are in all."""
        return self.recipe.num_clips or len(self.utterances)

    @property
    def num_shards(self) -> int:
        """How many shards hold them."""
        return -(-self.num_clips // self.recipe.shard_size)

    def clips_in(self, shard: int) -> int:
        """Return how many clips shard `shard` (from 0) has."""
        size = self.recipe.shard_size
        return min(size, self.num_clips - shard * size)

    def shard_name(self, shard: int) -> str:
        """Return the file name of shard `shard` (from 0)."""
        return f"{self.recipe.split}-{shard:05d}-of-{self.num_shards:05d}.parquet"

    def shard(self, number: int) -> Shard:
        """Return shard `number` (from 0) with its clips."""
        first = number * self.recipe.shard_size
        last = first + self.clips_in(number)
        clips = tuple(self.clip(k) for k in range(first, last))
        return Shard(number, self.shard_name(number), clips)

    def clip(self, number: int) -> PlannedClip:
        """Return clip `number` (from 0): every utterance is used before one is used twice."""
        copy_index, place = divmod(number, len(self.utterances))
        utterance, mix = self.utterances[place], self.recipe.mix
        if mix.kind == "grid":
            cell = grid_cell(mix.cells, number, len(self.utterances))
        else:
            cell = draw_scenario(
                mix, seed=self.recipe.seed, utterance=utterance.id, copy_index=copy_index
            )
        severity = self.recipe.severity if cell.severity is None else cell.severity
        clip_id = f"{utterance.id}-{copy_index:03d}"
        return PlannedClip(clip_id, utterance, copy_index, cell.scenario, severity)


def plan_corpus(recipe: SimulatedCorpusRecipe, manifest: Path) -> CorpusPlan:
    """Read a manifest and plan the data set.

    Raises:
        UsageError: the manifest cannot be read, has no usable utterance or an id twice, or a
            grid needs more clips.
        RecordError: a line of the manifest is no utterance.
    """
    try:
        sha256 = file_sha256(manifest)
        listed = tuple(read_manifest(manifest))
    except OSError as error:
        raise UsageError(f"manifest {manifest}: {error.strerror or error}") from error
    _require_unique(listed, manifest)
    limit_s = recipe.longest_source_s
    # Most recipes want all: then no record is built of millions of utterances.
    wanted = [one for one in listed if _has(one, recipe.where)] if recipe.where else listed
    usable = tuple(one for one in wanted if limit_s is None or not _exceeds(one, limit_s))
    if not usable:
        what = f"all {len(wanted)} utterances are too long" if wanted else "it is empty"
        if listed and not wanted:
            what = f"none of {len(listed)} utterances has {recipe.where}"
        raise UsageError(f"manifest {manifest}: {what}, there is nothing to degrade")
    plan = CorpusPlan(recipe, manifest, sha256, len(listed), usable)
    cells = len(recipe.mix.cells) if recipe.mix.kind == "grid" else 0
    if plan.num_clips < cells:
        raise UsageError(
            f"the grid has {cells} cells, more than the {plan.num_clips} clips; set num_clips to "
            f"{cells} or a multiple of it"
        )
    return plan


def file_stem(clip_id: str) -> str:
    """Return an id as a file name without dots and slashes; different ids stay different."""
    plain = _NOT_PLAIN.sub(lambda found: b"=%02X" % ord(found[0]), clip_id.encode())
    return plain.decode("ascii")


def _has(utterance: Utterance, where: Mapping[str, object]) -> bool:
    known = utterance.to_dict()
    return all(known.get(name) == value for name, value in where.items())


def _exceeds(utterance: Utterance, limit_s: float) -> bool:
    """Tell whether the manifest states that an utterance is too long."""
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
