"""Tables that can be shown as HTML and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#+!|~])")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: the text of the cell.
        note: details, shown as a tooltip and read out by screen readers.
        heat: strength of the background colour, 0..10; None for no colour.
        strong: set in bold.
    """

    text: str
    note: str = ""
    heat: int | None = None
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption; the first column names the rows.

    Attributes:
        caption: description of the values, with their unit.
        head: names of the columns.
        rows: the rows, each with as many cells as there are columns.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]

    def html(self) -> str:
        """Return the table as HTML, in a region that scrolls sideways, also by keyboard."""
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.head)
        rows = "".join(f"<tr>{_row_html(row)}</tr>" for row in self.rows)
        caption = escape(self.caption)
        return (
            f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}">'
            f"<table><caption><span>{caption}</span></caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
        )

    def markdown(self) -> str:
        """Return the table as GitHub-flavoured Markdown, with the caption above it."""
        lines = [
            f"**{plain_markdown(self.caption)}**",
            "",
            "| " + " | ".join(plain_markdown(name) or " " for name in self.head) + " |",
            "|---|" + "---:|" * (len(self.head) - 1),
        ]
        for row in self.rows:
            texts = [plain_markdown(_as_cell(value).text) for value in row]
            lines.append("| " + " | ".join(texts) + " |")
        return "\n".join(lines)


def plain_markdown(text: str) -> str:
    """Return a text as Markdown that shows it literally."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _as_cell(value: Cell | str) -> Cell:
    return value if isinstance(value, Cell) else Cell(value)


def _row_html(row: Sequence[Cell | str]) -> str:
    name, *values = map(_as_cell, row)
    cells = [f'<th scope="row"{_title(name)}>{breakable(name.text)}</th>']
    for value in values:
        heat = "" if value.heat is None else f' class="heat{value.heat}"'
        text = _unbroken(value.text)
        text = f"<strong>{text}</strong>" if value.strong else text
        cells.append(f"<td{heat}{_title(value)}>{text}</td>")
    return "".join(cells)


def _unbroken(text: str) -> str:
    """Return a text as HTML that is broken before parentheses, but not inside them: `12.3 (10.1 to
    14.4)` has at most two lines."""
    return escape(re.sub(r"\([^)]*\)", lambda match: match[0].replace(" ", "\u00a0"), text))


def breakable(name: str) -> str:
    """Return a name as HTML that may be broken after each +, for narrow screens."""
    return re.sub(r"\+(?=\S)", "+<wbr>", escape(name))


def _title(cell: Cell) -> str:
    return f' title="{escape(cell.note)}"' if cell.note else ""
