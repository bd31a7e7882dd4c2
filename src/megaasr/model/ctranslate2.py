"""Reads the weights of a CTranslate2 model, format version 6 (`model.bin`), without CTranslate2.

Layout (little-endian): version, name and revision of the specification; the number of variables;
for each variable its name, rank, dimensions, type, byte count and data; then aliases as pairs of
names.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megaasr.errors import CheckpointError

VERSION = 6
_TYPES: dict[int, type[np.generic]] = {
    0: np.float32,
    1: np.int8,
    2: np.int16,
    3: np.int32,
    4: np.float16,
}


class _Reader:
    """Reads consecutive values from a byte string."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def number(self, code: str) -> int:
        """Read the next integer, of the given `struct` format code."""
        (value,) = struct.unpack_from(f"<{code}", self._data, self._position)
        self._position += struct.calcsize(code)
        return int(value)

    def text(self) -> str:
        """Read the next string, zero-terminated and preceded by its length."""
        length = self.number("H")
        start, self._position = self._position, self._position + length
        return self._data[start : start + length].rstrip(b"\0").decode()

    def array(self) -> NDArray[Any]:
        """Read the next array: rank, dimensions, type, byte count and values."""
        shape = [self.number("I") for _ in range(self.number("B"))]
        dtype = np.dtype(_TYPES[self.number("B")])
        length = self.number("I")
        values = np.frombuffer(self._data, dtype, length // dtype.itemsize, self._position)
        self._position += length
        return values.reshape(shape)


def read_ctranslate2(path: Path) -> dict[str, NDArray[Any]]:
    """Return the variables of a model by name, without aliases.

    Args:
        path: `model.bin` of a converted model.

    Raises:
        CheckpointError: the file has another format version, an unknown data type, or is truncated.
    """
    reader = _Reader(path.read_bytes())
    try:
        version = reader.number("I")
        if version != VERSION:
            raise CheckpointError(
                f"{path} has CTranslate2's version {version}; only version {VERSION} can be read"
            )
        reader.text()  # name of the specification
        reader.number("I")  # revision of the specification
        variables: dict[str, NDArray[Any]] = {}
        for _ in range(reader.number("I")):
            name = reader.text()
            variables[name] = reader.array()
    except (struct.error, KeyError, ValueError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); fetch it again") from error
    return variables
