"""What a system got wrong, word by word, as HTML."""

from __future__ import annotations

from html import escape

from megaasr.text.error_rate import align
from megaasr.text.languages import unit


def word_diff(reference: str, hypothesis: str, language: str | None, normalizer: str) -> str:
    """Return the alignment: missing words struck out, wrong and added ones marked.

    Args:
        reference, hypothesis: plain texts; whatever stands in them is inert in the result.
        language, normalizer: see `megaasr.text.error_rate.count_errors`.
    """
    between = " " if unit(language) == "word" else ""
    parts = []
    for step in align(reference, hypothesis, language=language, normalizer=normalizer):
        said = escape(step.reference or "")
        heard = escape(step.hypothesis or "")
        if step.kind == "hit":
            parts.append(said)
        elif step.kind == "deletion":
            parts.append(f"<del>{said}</del>")
        elif step.kind == "insertion":
            parts.append(f"<ins>{heard}</ins>")
        else:
            parts.append(f"<del>{said}</del><ins>{heard}</ins>")
    return between.join(parts) or "<em>nothing</em>"
