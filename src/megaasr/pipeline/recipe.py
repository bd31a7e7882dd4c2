"""What a pipeline is: steps that are commands of `mega-asr`, with what they read and make."""

from __future__ import annotations

import importlib.util
import itertools
import re
import shlex
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from megaasr.config import Recipe
from megaasr.errors import UsageError

_PLACE = re.compile(r"\{([a-z_0-9]+)\}")
_OUT = "{out}"


class StepRecipe(Recipe):
    """One command. `{out}` and the names of the size's variables stand for their values."""

    name: str = Field(min_length=1, pattern=r"^[a-z0-9-]+$")
    what: str = Field(min_length=1, description="what it is for, for the plan")
    run: tuple[str, ...] = Field(
        min_length=1, description="arguments of mega-asr; one that becomes empty is left out"
    )
    reads: tuple[str, ...] = Field(
        default=(),
        description="files that decide about its result, made by steps before it; one that becomes "
        "empty is left out",
    )
    makes: tuple[str, ...] = Field(min_length=1, description="files that are there when it is done")
    processes: int = Field(default=1, gt=0, description="started by torchrun if more than 1")
    sizes: tuple[str, ...] = Field(default=(), description="only in these sizes; none: in all")
    programs: tuple[str, ...] = Field(default=(), description="that it calls")


class SizeRecipe(Recipe):
    """How big everything is."""

    what: str = Field(min_length=1)
    duration: str = Field(min_length=1, description="as measured, and on what")
    values: dict[str, str] = Field(default={}, description="of the steps' variables")


class PipelineRecipe(Recipe):
    """A chain of steps in several sizes."""

    what: str = Field(min_length=1)
    modules: tuple[str, ...] = Field(default=(), description="that its steps import")
    sizes: dict[str, SizeRecipe] = Field(min_length=1)
    steps: tuple[StepRecipe, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names):
            raise UsageError(f"two steps have the same name ({', '.join(names)})")
        for size, about in self.sizes.items():
            for name, text in about.values.items():
                if set(_PLACE.findall(text)) - {"out"}:
                    raise UsageError(f"size {size}: {name} may name {_OUT} only, not {text}")
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

    def absent(self, steps: Collection[str]) -> list[str]:
        """Return the modules and programs that some steps need and that are not installed here."""
        if not steps:
            return []
        programs = {one: 0 for step in self.steps if step.name in steps for one in step.programs}
        return [
            *(one for one in self.modules if not _is_installed(one)),
            *(one for one in programs if shutil.which(one) is None),
        ]


class Step(Recipe):
    """A step of one size, in one folder.

    In `arguments` the folder of the run is still called `{out}`, since it may be moved.
    """

    name: str
    what: str
    arguments: tuple[str, ...]
    reads: tuple[Path, ...]
    makes: tuple[Path, ...]
    processes: int

    def command(self, out: Path) -> tuple[str, ...]:
        """Return the arguments in a folder."""
        return tuple(one.replace(_OUT, out.as_posix()) for one in self.arguments)

    def shown(self, out: Path) -> str:
        """Return the command as a shell takes it."""
        program = "mega-asr"
        if self.processes > 1:
            program = f"torchrun --standalone --nproc-per-node {self.processes} -m megaasr"
        return f"{program} {shlex.join(self.command(out))}"

    def folder(self, out: Path) -> Path | None:
        """Return the folder below `out` that it is told to write into; None if there is none."""
        command = self.command(out)
        for option, value in itertools.pairwise(command):
            if option in {"--output", "-o"} and out in Path(value).parents:
                return Path(value)
        return None


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
    given = recipe.sizes[size].values
    movable = {**given, "out": _OUT}
    place = {"out": out.as_posix()}
    values = {**{name: _filled(text, place) for name, text in given.items()}, **place}
    return [
        Step(
            name=step.name,
            what=step.what,
            arguments=tuple(
                part for text in step.run for part in _filled(text, movable).split("\n") if part
            ),
            reads=tuple(Path(one) for text in step.reads if (one := _filled(text, values))),
            makes=tuple(Path(_filled(one, values)) for one in step.makes),
            processes=step.processes,
        )
        for step in recipe.steps
        if not step.sizes or size in step.sizes
    ]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # of a module inside another one
        return False


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda found: values[found[1]], text)
