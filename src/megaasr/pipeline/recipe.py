"""Pipeline recipes: steps that are commands of `mega-asr`, with the files they read and make."""

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

_PLACEHOLDER = re.compile(r"\{([a-z_0-9]+)\}")
_OUT = "{out}"


class StepRecipe(Recipe):
    """One step. `{out}` stands for the run's folder, other names for the size's variables."""

    name: str = Field(min_length=1, pattern=r"^[a-z0-9-]+$")
    what: str = Field(min_length=1, description="purpose of the step, shown in the plan")
    run: tuple[str, ...] = Field(
        min_length=1, description="arguments of mega-asr; an argument that becomes empty is omitted"
    )
    reads: tuple[str, ...] = Field(
        default=(),
        description="files of earlier steps that determine the result; a path that becomes empty "
        "is omitted",
    )
    makes: tuple[str, ...] = Field(
        min_length=1, description="files that exist when the step is finished"
    )
    processes: int = Field(default=1, gt=0, description="processes; torchrun starts 2 or more")
    sizes: tuple[str, ...] = Field(
        default=(), description="sizes that have this step; empty for all"
    )
    programs: tuple[str, ...] = Field(default=(), description="external programs that it calls")


class SizeRecipe(Recipe):
    """One size of a pipeline."""

    what: str = Field(min_length=1, description="purpose of the size")
    duration: str = Field(min_length=1, description="measured duration, with the machine")
    values: dict[str, str] = Field(default={}, description="values of the steps' variables")


class PipelineRecipe(Recipe):
    """A chain of steps in one or more sizes."""

    what: str = Field(min_length=1, description="purpose of the pipeline")
    modules: tuple[str, ...] = Field(default=(), description="Python modules that the steps import")
    sizes: dict[str, SizeRecipe] = Field(min_length=1)
    steps: tuple[StepRecipe, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names):
            raise UsageError(f"two steps have the same name ({', '.join(names)})")
        for size, size_recipe in self.sizes.items():
            for name, text in size_recipe.values.items():
                if set(_PLACEHOLDER.findall(text)) - {"out"}:
                    raise UsageError(f"size {size}: {name} may name {_OUT} only, not {text}")
        for step in self.steps:
            for size in step.sizes:
                if size not in self.sizes:
                    raise UsageError(f"step {step.name}: there is no size {size}")
            for size in step.sizes or self.sizes:
                defined = {"out", *self.sizes[size].values}
                for text in (*step.run, *step.reads, *step.makes):
                    undefined = set(_PLACEHOLDER.findall(text)) - defined
                    if undefined:
                        raise UsageError(
                            f"step {step.name}, size {size}: nothing says what "
                            f"{', '.join(sorted(undefined))} is"
                        )
        return self

    def missing_requirements(self, steps: Collection[str]) -> list[str]:
        """Return the modules and programs that some steps need and this machine lacks.

        Args:
            steps: names of the steps.
        """
        if not steps:
            return []
        programs = {name: 0 for step in self.steps if step.name in steps for name in step.programs}
        return [
            *(module for module in self.modules if not _is_installed(module)),
            *(program for program in programs if shutil.which(program) is None),
        ]


class PlannedStep(Recipe):
    """A step of one size in one folder.

    Attributes:
        name: name of the step.
        what: purpose of the step.
        arguments: arguments of mega-asr; they keep `{out}`, since the run's folder may be moved.
        reads: files that determine the result.
        makes: files that exist when the step is finished.
        processes: number of processes.
    """

    name: str
    what: str
    arguments: tuple[str, ...]
    reads: tuple[Path, ...]
    makes: tuple[Path, ...]
    processes: int

    def command(self, out: Path) -> tuple[str, ...]:
        """Return the arguments of mega-asr for a run in the folder `out`."""
        return tuple(argument.replace(_OUT, out.as_posix()) for argument in self.arguments)

    def command_line(self, out: Path) -> str:
        """Return the command line, quoted for a shell."""
        program = "mega-asr"
        if self.processes > 1:
            program = f"torchrun --standalone --nproc-per-node {self.processes} -m megaasr"
        return f"{program} {shlex.join(self.command(out))}"

    def output_folder(self, out: Path) -> Path | None:
        """Return the folder below `out` that the command writes into; None if there is none."""
        command = self.command(out)
        for option, value in itertools.pairwise(command):
            if option in {"--output", "-o"} and out in Path(value).parents:
                return Path(value)
        return None


def plan(recipe: PipelineRecipe, size: str, out: Path) -> list[PlannedStep]:
    """Return the steps of one size, in order.

    Args:
        recipe: the pipeline.
        size: name of the size.
        out: the run's folder.

    Raises:
        UsageError: there is no such size.
    """
    if size not in recipe.sizes:
        raise UsageError(f"there is no size {size}, but {', '.join(recipe.sizes)}")
    variables = recipe.sizes[size].values
    folder = {"out": out.as_posix()}
    values = {**{name: _substitute(text, folder) for name, text in variables.items()}, **folder}
    movable_values = {**variables, "out": _OUT}  # for arguments, which keep {out}
    return [
        PlannedStep(
            name=step.name,
            what=step.what,
            arguments=tuple(
                argument
                for text in step.run
                for argument in _substitute(text, movable_values).split("\n")
                if argument
            ),
            reads=tuple(Path(path) for text in step.reads if (path := _substitute(text, values))),
            makes=tuple(Path(_substitute(text, values)) for text in step.makes),
            processes=step.processes,
        )
        for step in recipe.steps
        if not step.sizes or size in step.sizes
    ]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # the package that should contain it is missing
        return False


def _substitute(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)
