"""Strict recipes: TOML files with overrides, checked before any work starts.

A recipe is a frozen pydantic model whose fields all have a documented meaning. Unknown keys
are errors that name the nearest known key, so that a typing mistake never trains for hours.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from megaasr.errors import UsageError


class Recipe(BaseModel):
    """Base of every recipe and of every table inside one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def resolved_json(self) -> str:
        """Return the complete recipe, defaults filled in, as stable JSON."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)


R = TypeVar("R", bound=Recipe)


def load_recipe(kind: type[R], source: str | Path, overrides: Sequence[str] = ()) -> R:
    """Read and check a recipe.

    Args:
        kind: the recipe class to fill.
        source: a TOML file, or the name of a shipped recipe such as `synthesize-tiny`.
        overrides: `table.field=value` strings; values are read as TOML, else as text. Of a list of
            tables, `phases.0.field` is a field of the first.

    Raises:
        UsageError: the file is missing or not TOML, a key is unknown, or a value is wrong.
    """
    values = _read_toml(source)
    for override in overrides:
        _apply_override(values, override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"recipe {source}: {_explain(kind, error)}") from error


def recipe_fields(source: str | Path) -> frozenset[str]:
    """Return the top-level fields that a recipe sets, to tell what kind of recipe it is.

    Raises:
        UsageError: the file is missing or not TOML.
    """
    return frozenset(_read_toml(source))


def shipped_recipes() -> list[str]:
    """Return the names of the recipes inside the package."""
    folder = resources.files("megaasr.recipes")
    return sorted(f.name[: -len(".toml")] for f in folder.iterdir() if f.name.endswith(".toml"))


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values with the keys that `--set` takes: `table.field`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{inner}": one for inner, one in flat(value).items()}
        else:
            found[key] = value
    return found


def _read_toml(source: str | Path) -> dict[str, Any]:
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
    """Return a table inside another, made if it is not there, or an entry of a list of tables."""
    if isinstance(values, list):
        return values[int(table)] if table.isdecimal() and int(table) < len(values) else None
    return values.setdefault(table, {})


def _explain(kind: type[BaseModel], error: ValidationError) -> str:
    """Turn pydantic's first complaint into one sentence with the nearest key."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg']} (got {first.get('input')!r})"
    known = _fields_at(kind, [str(part) for part in first["loc"][:-1]])
    near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
    return f"unknown key {where}; {hint}"


def _fields_at(kind: type[BaseModel], tables: list[str]) -> list[str]:
    for table in tables:
        field = kind.model_fields.get(table)
        candidates = [] if field is None else [field.annotation, *get_args(field.annotation)]
        nested = next(
            (c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None
        )
        if nested is not None:
            kind = nested
    return list(kind.model_fields)
