"""The ranges of the encoder's attention that a user may choose; see `layout.model_config`."""

from __future__ import annotations

from typing import Literal

EncoderAttention = Literal["windowed", "global"]
