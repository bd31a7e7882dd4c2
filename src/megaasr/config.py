"""Strict recipes: TOML files with overrides, validated before any work starts.

A recipe is a frozen pydantic model with a description of every field. Unknown keys are errors that
suggest the closest field, so that a misspelt key never costs hours of training.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from megaasr import strict_json
from megaasr.errors import UsageError


class Recipe(BaseModel):
    """Base class of all recipes and of the tables in them."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def resolved_json(self) -> str:
        """Return the complete recipe, including defaults, as JSON with a stable order."""
        return strict_json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)


R = TypeVar("R", bound=Recipe)


def load_recipe(kind: type[R], source: str | Path, overrides: Sequence[str] = ()) -> R:
    """Read and validate a recipe.

    Args:
        kind: class of the recipe.
        source: path of a TOML file, or name of a shipped recipe such as `synthesize-tiny`.
        overrides: strings of the form `table.field=value`. Values that are not valid TOML are used
            as text. `phases.0.field` is a field of the first entry in a list of tables.

    Raises:
        UsageError: the file is missing or not TOML, a key is unknown, or a value is invalid.
    """
    values = read_toml(source)
    for override in overrides:
        _apply_override(values, override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"recipe {source}: {explain_invalid(kind, error)}") from error


def recipe_fields(source: str | Path) -> frozenset[str]:
    """Return the top-level fields that a recipe sets, which identify the kind of recipe.

    Raises:
        UsageError: the file is missing or not TOML.
    """
    return frozenset(read_toml(source))


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that ship with the package."""
    folder = resources.files("megaasr.recipes")
    return sorted(f.name[: -len(".toml")] for f in folder.iterdir() if f.name.endswith(".toml"))


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values as one dictionary with the keys of `--set`: `table.field`."""
    flattened: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flattened |= {f"{key}.{inner}": item for inner, item in flatten(value).items()}
        else:
            flattened[key] = value
    return flattened


def read_toml(source: str | Path) -> dict[str, Any]:
    """Return the content of a TOML file or a shipped recipe.

    Raises:
        UsageError: the file is missing or not TOML.
    """
    if os.path.isfile(source):  # noqa: PTH113 (Path raises for a name that is too long)
        recipe: Traversable = Path(source)
    elif str(source) in shipped_recipes():
        recipe = resources.files("megaasr.recipes") / f"{source}.toml"
    else:
        raise UsageError(
            f"no recipe {source}: give the path of a TOML file, or one of the shipped recipes "
            f"({', '.join(shipped_recipes())})"
        )
    try:
        return tomllib.loads(recipe.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"recipe {source} is not valid TOML: {error}") from error


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {override}: write it as table.field=value")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {"value": text}
    if len(parsed) > 1:
        raise UsageError(f"--set {key.strip()}: one field at a time")
    value = parsed["value"]
    *tables, name = key.strip().split(".")
    for table in tables:
        inner = _inner(values, table)
        if not isinstance(inner, dict | list):
            raise UsageError(f"--set {override}: {table} is a value, not a table")
        values = inner  # type: ignore[assignment]
    if isinstance(values, list):
        raise UsageError(
            f"--set {override}: {'.'.join(tables)} is a list; name a field of an entry"
        )
    values[name] = value


def _inner(values: Any, table: str) -> Any:
    """Return a table inside another, created if it is missing, or an entry of a list of tables."""
    if isinstance(values, list):
        return values[int(table)] if table.isdecimal() and int(table) < len(values) else None
    return values.setdefault(table, {})


def explain_invalid(kind: type[BaseModel], error: ValidationError) -> str:
    """Return pydantic's first error as one sentence, with the closest field for an unknown key."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg']} (got {first.get('input')!r})"
    fields = _fields_of_table(kind, [str(part) for part in first["loc"][:-1]])
    near = difflib.get_close_matches(str(first["loc"][-1]), fields, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(fields)}"
    return f"unknown key {where}; {hint}"


def _fields_of_table(kind: type[BaseModel], tables: list[str]) -> list[str]:
    """Return the fields of a nested table, given the names of the tables that lead to it."""
    for table in tables:
        field = kind.model_fields.get(table)
        candidates = [] if field is None else [field.annotation, *get_args(field.annotation)]
        nested = next(
            (c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None
        )
        if nested is not None:
            kind = nested
    return list(kind.model_fields)
