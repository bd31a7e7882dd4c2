"""The lines of text files, whatever program wrote them.

Files are UTF-8, with a byte order mark or without, or UTF-16 or UTF-32 with one. Lines end with LF,
CRLF or CR. Nothing is replaced or dropped: a byte that cannot be read is an error that names its
line.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from megaasr.errors import RecordError

# The mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNDECODED = re.compile("[\udc80-\udcff]")
_MEND = "save the file as UTF-8"


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number, from 1, and text of each line, with LF at its end unless it is the last.

    Raises:
        RecordError: a line cannot be decoded, or has a NUL byte; the message names the file and the
            line.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(4)
    encoding = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    lines = _utf_8_lines(path) if encoding is None else _decoded_lines(path, encoding)
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise RecordError(
                f"{path}, line {number}: a NUL byte: damaged, or UTF-16 without a byte order "
                f"mark; {_MEND}"
            )
        # Files with a mark of their own may have been joined.
        yield number, line.removeprefix("\ufeff")


def _utf_8_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file that may be too large for the memory."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            undecoded = None if line.isascii() else _UNDECODED.search(line)
            if undecoded is not None:
                byte = ord(undecoded[0]) - 0xDC00
                raise RecordError(
                    f"{path}, line {number}: the byte 0x{byte:02x} in column "
                    f"{undecoded.start() + 1} is not UTF-8; {_MEND}"
                )
            yield line


def _decoded_lines(path: Path, encoding: str) -> Iterator[str]:
    content = path.read_bytes()
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(encoding, errors="ignore")
        number = len(re.findall("\r\n|\r|\n", before)) + 1
        raise RecordError(
            f"{path}, line {number}: not {encoding.upper()} ({error.reason}), though the byte "
            f"order mark says so; {_MEND}"
        ) from error
    lines = re.split("\r\n|\r|\n", text)
    yield from (f"{line}\n" for line in lines[:-1])
    if lines[-1]:
        yield lines[-1]
