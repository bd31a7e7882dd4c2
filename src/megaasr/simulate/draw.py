"""A draw: every random decision about one degraded clip, as a frozen record."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from megaasr.errors import RecordError
from megaasr.simulate.positions import Compounds
from megaasr.simulate.primitives import AnyPrimitive


class Draw(BaseModel):
    """The degradation that `Simulator.apply` applies; the same draw and input give the same bytes.

    Attributes:
        draw_schema: version of this record; draws of version 1 have no `compounds` and `position`.
        scenario: canonical name of the scenario; `clean` for no degradation.
        severity: difficulty of the whole clip, 0 (easy) to 1 (hard).
        compounds: ranges that the parameters were drawn from; None in version 1, which had the
            literal ones only.
        position: where the parameters stand in their ranges, -1 (mild) to 1 (hard), see
            `positions.position`; None in version 1.
        seed, utterance, copy_index: key of the random streams: the user's seed, the id of the clean
            clip, and the number of its degraded copy.
        speed: speed of the speech relative to the clean clip, 0.5 to 2.0, at the same pitch.
        steps: primitives in the order of their application, with all parameters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    draw_schema: Literal[1, 2] = 2
    scenario: str
    severity: float = Field(ge=0, le=1)
    compounds: Compounds | None = None
    position: float | None = Field(None, ge=-1, le=1)
    seed: int
    utterance: str
    copy_index: int = Field(ge=0)
    speed: float = Field(1.0, ge=0.5, le=2.0)
    steps: tuple[AnyPrimitive, ...]

    def to_json(self) -> str:
        """Return the draw as a single line of JSON."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Draw:
        """Parse the JSON of a draw.

        Raises:
            RecordError: `text` is not a draw of this version; the message names the field.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the text"
            raise RecordError(f"not a draw of this version: {where}: {first['msg']}") from error
