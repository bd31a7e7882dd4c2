"""Groups of options: a command takes a dataclass, and each of its fields is an option."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import update_wrapper
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose groups are replaced by their options, for typer to read.

    Args:
        command: function of a command. A parameter whose type is a dataclass is a group; the fields
            are annotated as parameters of a command are, and each has a default.

    Raises:
        ValueError: two options have one name.
    """
    groups: dict[str, type] = {}
    options: list[Parameter] = []
    types = get_type_hints(command, include_extras=True)
    for name, parameter in signature(command).parameters.items():
        if is_dataclass(types[name]):
            groups[name] = types[name]
            options += _options(types[name])
        else:
            options.append(
                Parameter(
                    name,
                    Parameter.KEYWORD_ONLY,
                    default=parameter.default,
                    annotation=types[name],
                )
            )

    def run(**values: Any) -> None:
        for name, group in groups.items():
            names = [field.name for field in fields(group)]
            values[name] = group(**{option: values.pop(option) for option in names})
        command(**values)

    wrapper: Any = update_wrapper(run, command)
    wrapper.__signature__ = Signature(options)
    wrapper.__annotations__ = {option.name: option.annotation for option in options}
    return run


def _options(group: type) -> list[Parameter]:
    """Return the fields of a dataclass as parameters."""
    types = get_type_hints(group, include_extras=True)
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=types[field.name],
        )
        for field in fields(group)
    ]
