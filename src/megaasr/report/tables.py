"""Tables that can be shown as HTML and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#+!|~])")


@dataclass(frozen=True, slots=True)
class Cell:
    """One value.

    Attributes:
        text: what is shown.
        note: more about it, for the pointer and for people who hear the page.
        heat: 0..10, how dark its background is; None for none.
        strong: the value that a row or column is about.
    """

    text: str
    note: str = ""
    heat: int | None = None
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption; the first column holds the names of the rows.

    Attributes:
        caption: what the table says, with its unit.
        head: names of the columns.
        rows: as many cells in each as there are columns.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]

    def html(self) -> str:
        """Return the table in a region of its own that scrolls sideways, by keyboard too."""
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.head)
        rows = "".join(f"<tr>{_row(row)}</tr>" for row in self.rows)
        caption = escape(self.caption)
        return (
            f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}">'
            f"<table><caption><span>{caption}</span></caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
        )

    def markdown(self) -> str:
        """Return the table as GitHub writes them; the caption stands above."""
        lines = [
            f"**{plain_markdown(self.caption)}**",
            "",
            "| " + " | ".join(plain_markdown(name) or " " for name in self.head) + " |",
            "|---|" + "---:|" * (len(self.head) - 1),
        ]
        for row in self.rows:
            texts = [plain_markdown(_cell(one).text) for one in row]
            lines.append("| " + " | ".join(texts) + " |")
        return "\n".join(lines)


def plain_markdown(text: str) -> str:
    """Return a text as Markdown that shows it and nothing else."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _cell(one: Cell | str) -> Cell:
    return one if isinstance(one, Cell) else Cell(one)


def _row(row: Sequence[Cell | str]) -> str:
    name, *values = map(_cell, row)
    cells = [f'<th scope="row"{_title(name)}>{_breakable(name.text)}</th>']
    for value in values:
        heat = "" if value.heat is None else f' class="heat{value.heat}"'
        text = f"<strong>{escape(value.text)}</strong>" if value.strong else escape(value.text)
        cells.append(f"<td{heat}{_title(value)}>{text}</td>")
    return "".join(cells)


def _breakable(text: str) -> str:
    """Return a name that may go on in a new line after each +, for narrow screens."""
    return re.sub(r"\+(?=\S)", "+<wbr>", escape(text))


def _title(cell: Cell) -> str:
    return f' title="{escape(cell.note)}"' if cell.note else ""
