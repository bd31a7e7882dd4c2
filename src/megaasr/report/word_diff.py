"""Differences between a reference and a hypothesis, word by word, as HTML and for a terminal."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from megaasr.text.error_rate import align
from megaasr.text.languages import join_texts

if TYPE_CHECKING:
    from rich.text import Text


def html_diff(reference: str, hypothesis: str, language: str | None, normalizer: str) -> str:
    """Return the alignment as HTML: deleted words in `<del>`, inserted ones in `<ins>`.

    A substitution is a deletion followed by an insertion. Both texts are escaped.

    Args:
        reference: the correct transcript.
        hypothesis: the recognised text.
        language: ISO code; None to guess from the reference.
        normalizer: name of a normaliser, see `megaasr.text.normalize`.
    """
    parts = []
    for step in align(reference, hypothesis, language=language, normalizer=normalizer):
        if step.kind == "hit":
            parts.append(escape(step.reference or ""))
            continue
        deleted = "" if step.reference is None else f"<del>{escape(step.reference)}</del>"
        inserted = "" if step.hypothesis is None else f"<ins>{escape(step.hypothesis)}</ins>"
        parts.append(deleted + inserted)
    return join_texts((part, language) for part in parts) or "<em>nothing</em>"


def terminal_diff(
    reference: str, hypothesis: str, language: str | None = None, *, deletions: bool = True
) -> Text:
    """Return the hypothesis for a terminal: `[-deleted-]` and `{+inserted+}` words in colour.

    Args:
        reference: the correct transcript, or another hypothesis.
        hypothesis: the recognised text.
        language: ISO code; None to guess from the reference.
        deletions: show deleted words; if False, inserted words are marked as `{inserted}`.
    """
    from rich.text import Text

    text = Text()
    if not hypothesis:
        return text.append("(nothing)", style="red")
    for step in align(reference, hypothesis, language=language):
        if step.kind == "hit":
            text.append(f"{step.hypothesis} ")
            continue
        if step.reference is not None and deletions:
            space = " " if step.hypothesis is None else ""
            text.append(f"[-{step.reference}-]{space}", style="red strike")
        if step.hypothesis is not None:
            inserted = f"{{+{step.hypothesis}+}}" if deletions else f"{{{step.hypothesis}}}"
            text.append(f"{inserted} ", style="magenta")
    return text
