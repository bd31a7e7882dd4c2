"""How the text of a chunk is searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from megaasr.errors import UsageError

SearchMethod = Literal["greedy", "best", "consensus", "auto"]
"""Names of the methods, see `SearchOptions`."""
Utility = Literal["errors", "reward"]
"""What the consensus maximises, see `SearchOptions`."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How the text of a chunk is searched.

    Attributes:
        method: `greedy` takes the most probable token in every step. `best` takes the most probable
            and `consensus` the most central of several sampled transcripts and the greedy ones,
            see `megaasr.transcribe.consensus`. `auto` takes the consensus where the audio is
            degraded or a check fails, and the greedy text elsewhere.
        samples: number of samples of a chunk, at least 1.
        temperature: sampling temperature, above 0.
        utility: what the consensus has of all others: the fewest expected word `errors`, or the
            highest expected `reward` of DG-WGPO (`megaasr.text.dg_reward`), which also counts
            words that are nearly right.
        alternatives: number of different texts of a chunk that its segment lists, the most frequent
            first; methods without samples have none.

    Raises:
        UsageError: a value is out of range.
    """

    method: SearchMethod = "greedy"
    samples: int = 12
    temperature: float = 0.5
    utility: Utility = "errors"
    alternatives: int = 0

    def __post_init__(self) -> None:
        if self.method not in get_args(SearchMethod):
            names = ", ".join(get_args(SearchMethod))
            raise UsageError(f"decode is {self.method}; it can be {names}")
        if self.utility not in get_args(Utility):
            raise UsageError(
                f"utility is {self.utility}; it can be {' or '.join(get_args(Utility))}"
            )
        if self.method == "greedy" and self.alternatives:
            raise UsageError("alternatives need samples: choose another decode than greedy")
        if self.alternatives < 0:
            raise UsageError(f"alternatives is {self.alternatives}; it must be at least 0")
        if self.samples < 1:
            raise UsageError(f"samples is {self.samples}; it must be at least 1")
        if not self.temperature > 0:
            raise UsageError(f"temperature is {self.temperature:g}; samples need more than 0")

    @property
    def draws_samples(self) -> bool:
        """Whether samples are drawn for any chunk."""
        return self.method != "greedy"

    def to_dict(self) -> dict[str, str | int | float]:
        """Return the options by the names of `SEARCH_FIELDS`."""
        return {
            "decode": self.method,
            "samples": self.samples,
            "temperature": self.temperature,
            "utility": self.utility,
            "alternatives": self.alternatives,
        }


GREEDY = SearchOptions()
SEARCH_FIELDS = ("decode", "samples", "temperature", "utility")
"""Names of the options that decide the text, as users write them."""


def parse_search(values: Mapping[str, str]) -> SearchOptions:
    """Return the options that users wrote as text, by the names of `SEARCH_FIELDS`.

    Raises:
        UsageError: a value is no number, or out of range.
    """
    try:
        samples = int(values.get("samples", GREEDY.samples))
        temperature = float(values.get("temperature", GREEDY.temperature))
    except ValueError as error:
        raise UsageError(f"samples or temperature: {error}") from error
    method: Any = values.get("decode", "consensus")
    utility: Any = values.get("utility", GREEDY.utility)
    return SearchOptions(method, samples, temperature, utility)
