"""A draw: everything that was decided about one degraded clip, as a frozen record."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from megaasr.errors import RecordError
from megaasr.simulate.primitives import AnyPrimitive


class Draw(BaseModel):
    """What `Simulator.apply` does to a clip; the same draw and input give the same bytes.

    Attributes:
        draw_schema: version of this record.
        scenario: canonical name; `clean` if nothing is done.
        severity: 0..1, shared by every parameter.
        seed, utterance, copy_index: what the random streams were keyed by.
        speed: 0.75..1.5, how much faster the speech becomes, its pitch kept; 1.0 for none.
        steps: the primitives in order, every parameter drawn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    draw_schema: Literal[1] = 1
    scenario: str
    severity: float = Field(ge=0, le=1)
    seed: int
    utterance: str
    copy_index: int = Field(ge=0)
    speed: float = Field(1.0, ge=0.5, le=2.0)
    steps: tuple[AnyPrimitive, ...]

    def to_json(self) -> str:
        """Return the draw as one line of JSON."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Draw:
        """Read a draw.

        Raises:
            RecordError: it is no draw, or of another version; names the field.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the text"
            raise RecordError(f"not a draw of this version: {where}: {first['msg']}") from error
