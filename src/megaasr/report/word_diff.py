"""Differences between two texts, word by word, as HTML and for a terminal.

Against a reference, whatever is wrong has the colour of errors: missing words are struck out, wrong
and added ones underlined. Between two hypotheses nothing is known to be wrong; words that only one
of them has get a neutral mark.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from megaasr.text.error_rate import align
from megaasr.text.languages import join_texts

if TYPE_CHECKING:
    from rich.text import Text

NOTHING = "<em>nothing</em>"
"""HTML of an empty text."""


def html_diff(reference: str, hypothesis: str, language: str | None, normalizer: str) -> str:
    """Return the alignment with a reference as HTML: missing words in `<del>`, wrong ones in
    `<ins>`.

    A substitution is a deletion, a space, and an insertion. Both texts are escaped.

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
        parts.append(f"{deleted} {inserted}".strip())
    return join_texts((part, language) for part in parts) or NOTHING


def html_differences(text: str, other_text: str, language: str | None) -> str:
    """Return a text as HTML, with the words in `<mark>` that another hypothesis does not have.

    Args:
        text: the text.
        other_text: the other hypothesis.
        language: ISO code; None to guess from the other text.
    """
    parts = [
        escape(step.hypothesis) if step.kind == "hit" else f"<mark>{escape(step.hypothesis)}</mark>"
        for step in align(other_text, text, language=language)
        if step.hypothesis is not None
    ]
    return join_texts((part, language) for part in parts) or NOTHING


def terminal_diff(reference: str, hypothesis: str, language: str | None = None) -> Text:
    """Return the alignment with a reference for a terminal: `[-missing-]` and `{+wrong+}` words,
    both in red.

    Args:
        reference: the correct transcript.
        hypothesis: the recognised text.
        language: ISO code; None to guess from the reference.
    """
    from rich.text import Text

    text = Text()
    if not hypothesis:
        return text.append("(nothing)", style="red")
    for step in align(reference, hypothesis, language=language):
        if step.kind == "hit":
            text.append(f"{step.hypothesis} ")
            continue
        if step.reference is not None:
            text.append(f"[-{step.reference}-]", style="red strike").append(" ")
        if step.hypothesis is not None:
            text.append(f"{{+{step.hypothesis}+}}", style="red underline").append(" ")
    return text


def terminal_differences(text: str, other_text: str, language: str | None = None) -> Text:
    """Return a text for a terminal, with the words in braces that another hypothesis does not have.

    Args:
        text: the text.
        other_text: the other hypothesis.
        language: ISO code; None to guess from the other text.
    """
    from rich.text import Text

    marked = Text()
    if not text:
        return marked.append("(nothing)", style="dim")
    for step in align(other_text, text, language=language):
        if step.hypothesis is None:
            continue
        if step.kind == "hit":
            marked.append(f"{step.hypothesis} ")
        else:
            marked.append(f"{{{step.hypothesis}}}", style="cyan").append(" ")
    return marked
