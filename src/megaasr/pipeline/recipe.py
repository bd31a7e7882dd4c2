"""What a pipeline is: steps that are commands of `mega-asr`, with what they read and make."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from megaasr.config import Recipe
from megaasr.errors import UsageError

_PLACE = re.compile(r"\{([a-z_0-9]+)\}")


class StepRecipe(Recipe):
    """One command. `{out}` and the names of the size's variables stand for their values."""

    name: str = Field(min_length=1, pattern=r"^[a-z0-9-]+$")
    what: str = Field(min_length=1, description="what it is for, for the plan")
    run: tuple[str, ...] = Field(
        min_length=1, description="arguments of mega-asr; one that becomes empty is left out"
    )
    reads: tuple[str, ...] = Field(
        default=(), description="files that decide about its result, made by steps before it"
    )
    makes: tuple[str, ...] = Field(min_length=1, description="files that are there when it is done")
    processes: int = Field(default=1, gt=0, description="started by torchrun if more than 1")
    sizes: tuple[str, ...] = Field(default=(), description="only in these sizes; none: in all")


class SizeRecipe(Recipe):
    """How big everything is."""

    what: str = Field(min_length=1)
    duration: str = Field(min_length=1, description="as measured, and on what")
    values: dict[str, str] = Field(default={}, description="of the steps' variables")


class PipelineRecipe(Recipe):
    """A chain of steps in several sizes."""

    what: str = Field(min_length=1)
    sizes: dict[str, SizeRecipe] = Field(min_length=1)
    steps: tuple[StepRecipe, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names):
            raise UsageError(f"two steps have the same name ({', '.join(names)})")
        for step in self.steps:
            for size in step.sizes:
                if size not in self.sizes:
                    raise UsageError(f"step {step.name}: there is no size {size}")
            for size in step.sizes or self.sizes:
                known = {"out", *self.sizes[size].values}
                for text in (*step.run, *step.reads, *step.makes):
                    missing = set(_PLACE.findall(text)) - known
                    if missing:
                        raise UsageError(
                            f"step {step.name}, size {size}: nothing says what "
                            f"{', '.join(sorted(missing))} is"
                        )
        return self


class Step(Recipe):
    """A step of one size, in one folder, all names filled in."""

    name: str
    what: str
    arguments: tuple[str, ...]
    reads: tuple[Path, ...]
    makes: tuple[Path, ...]
    processes: int


def plan(recipe: PipelineRecipe, size: str, out: Path) -> list[Step]:
    """Return the steps of a size, in order.

    Args:
        recipe: the pipeline.
        size: one of its sizes.
        out: the folder of the run.

    Raises:
        UsageError: there is no such size.
    """
    if size not in recipe.sizes:
        raise UsageError(f"there is no size {size}, but {', '.join(recipe.sizes)}")
    place = {"out": out.as_posix()}
    given = recipe.sizes[size].values
    values = {**{name: _filled(text, place) for name, text in given.items()}, **place}
    return [
        Step(
            name=step.name,
            what=step.what,
            arguments=tuple(
                part for text in step.run for part in _filled(text, values).split("\n") if part
            ),
            reads=tuple(Path(_filled(one, values)) for one in step.reads),
            makes=tuple(Path(_filled(one, values)) for one in step.makes),
            processes=step.processes,
        )
        for step in recipe.steps
        if not step.sizes or size in step.sizes
    ]


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda found: values[found[1]], text)
