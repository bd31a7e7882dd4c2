"""JSON as the standard has it: `Infinity` and `NaN`, which Python writes, are not part of it."""

from __future__ import annotations

import json
import math
from typing import Any


def dumps(value: Any, **options: Any) -> str:
    """Return a value as JSON that every reader understands; floats that are not finite are `null`.

    Args:
        value: JSON values; tuples are lists.
        options: arguments of `json.dumps`, such as `indent`.
    """
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:  # rare, and walking through every document would take longer than writing it
        return json.dumps(finite(value), allow_nan=False, **options)


def finite(value: Any) -> Any:
    """Return a copy of JSON values with None instead of floats that are not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {finite(key): finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value
