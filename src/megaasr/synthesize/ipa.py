"""Pronunciation by espeak-ng, which runs as a program."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from megaasr.errors import SynthesisError

_TIMEOUT_S = 300.0


def pronounce(clauses: Sequence[str], accent: str) -> list[str]:
    """Return the IPA of each clause, with ^ for ties; empty if there is nothing to pronounce.

    Args:
        clauses: words without punctuation between them, at least one.
        accent: espeak-ng's name of the accent, such as `en-us`.

    Raises:
        SynthesisError: espeak-ng is missing or failed.
    """
    return run_espeak(clauses, ["--ipa", "--tie=^", "-v", accent])


def run_espeak(clauses: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return what espeak-ng prints for each clause, without speaking.

    Args:
        clauses: words without punctuation between them, at least one.
        options: options that select the accent and what is printed.

    Raises:
        SynthesisError: espeak-ng is missing or failed.
    """
    command = ["espeak-ng", "-q", *options]
    # Each clause is a line that ends like a sentence, for which espeak-ng prints one line.
    text = "".join(f"{clause.strip()}.\n" for clause in clauses)
    command += ["-f", "/dev/stdin"] if len(clauses) > 1 else ["--stdin"]
    try:
        process = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise SynthesisError(
            "espeak-ng is not installed; on Debian or Ubuntu: apt-get install espeak-ng"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SynthesisError(
            f"espeak-ng took more than {_TIMEOUT_S:g} s for {len(clauses)} texts"
        ) from error
    if process.returncode != 0:
        raise SynthesisError(f"espeak-ng failed on {len(clauses)} texts: {process.stderr.strip()}")
    lines = [line.strip() for line in process.stdout.splitlines() if line.strip()]
    if len(lines) == len(clauses):
        return lines
    if len(clauses) == 1:  # a long clause that espeak-ng split, or nothing
        return [" ".join(lines)]
    half = len(clauses) // 2
    return [*run_espeak(clauses[:half], options), *run_espeak(clauses[half:], options)]
