"""Languages as users name them on the command line and in their files."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from megaasr.model.prompt import language_code, language_name
from megaasr.text.languages import canonical_language, is_named


def forced_language(language: str | None) -> str | None:
    """Return the code of the language that `--language` names; None for `auto` and without one.

    Raises:
        UsageError: the model does not know the language; the message lists those that it knows.
    """
    if language is None or canonical_language(language) is None:
        return None
    return language_code(language_name(language))


def unknown_languages(languages: Iterable[str | None]) -> None:
    """Say which languages of the records have no entry in the table, and how they are scored."""
    names = sorted({language for language in languages if language and not is_named(language)})
    if names:
        typer.echo(
            f"unknown language {', '.join(names)}: scored by rules for any language "
            "(docs/scoring.md)",
            err=True,
        )
