"""Groups of options: their fields are options of the command, and arrive as the group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from megaasr.cli.argument_groups import grouped


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option(min=1, help="Columns.")] = 3
    height: Annotated[int, typer.Option("--height", "-H")] = 4


@dataclass(frozen=True)
class Colour:
    name: str = "red"
    dark: Annotated[bool, typer.Option("--dark")] = False


@pytest.fixture
def calls() -> list[object]:
    return []


@pytest.fixture
def app(calls: list[object]) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @grouped
    def paint(file: str, *, size: Size, layers: int = 1, colour: Colour) -> None:
        """Paint a file."""
        calls.append((file, size, layers, colour))

    return app


def test_the_fields_are_options_where_their_group_is(app: typer.Typer) -> None:
    parameters = typer.main.get_command(app).params
    names = [parameter.name for parameter in parameters]
    assert names[:6] == ["file", "width", "height", "layers", "name", "dark"]
    assert parameters[2].opts == ["--height", "-H"]
    assert typer.main.get_command(app).help == "Paint a file."


def test_the_command_is_given_its_groups(app: typer.Typer, calls: list[object]) -> None:
    for arguments in (["a"], ["b", "-H", "9", "--dark", "--layers", "2", "--width", "5"]):
        assert CliRunner().invoke(app, arguments).exit_code == 0
    assert calls == [("a", Size(), 1, Colour()), ("b", Size(5, 9), 2, Colour(dark=True))]


def test_a_value_that_cannot_be_used_is_noticed(app: typer.Typer, calls: list[object]) -> None:
    result = CliRunner().invoke(app, ["a", "--width", "0"])
    assert result.exit_code == 2
    assert "--width" in result.output
    assert calls == []


def test_a_name_that_two_options_have_is_noticed() -> None:
    def paint(*, size: Size, width: int = 1) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name"):
        grouped(paint)
