"""Turn paths, bytes and streams into one seekable binary file for the decoders.

Paths are opened; bytes and streams (stdin, sockets, uploads) are spooled with bounded memory.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, TypeAlias, cast

from megaasr.errors import (
    AudioEmptyError,
    AudioError,
    AudioFormatError,
    AudioNotFoundError,
    UsageError,
)

AudioSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]
"""A path, the bytes of a file, or a binary stream (read from its position to its end)."""

_SPOOL_IN_MEMORY = 8 * 2**20
_COPY_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class OpenSource:
    """A recording opened for decoding.

    Attributes:
        label: name used in messages: the caller's path, `<bytes>`, `<stdin>` or `<stream>`.
        file: seekable binary file with the encoded audio, never empty.
        size: size of the encoded audio in bytes.
        path: the regular file on disk; None for bytes and streams.
    """

    label: str
    file: BinaryIO
    size: int
    path: Path | None

    def head(self, count: int) -> bytes:
        """Return the first bytes of the encoded audio, `count` or as many as there are."""
        self.file.seek(0)
        return self.file.read(count)

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Yield a path that another program can open; bytes and streams are copied to a file.

        Raises:
            AudioError: the temporary copy cannot be written.
        """
        if self.path is not None:
            yield self.path.absolute()
            return
        with temporary_folder(self.label) as folder:
            copy = folder / "recording"
            with _spool_errors(self.label), copy.open("wb") as target:
                self.file.seek(0)
                shutil.copyfileobj(self.file, target, _COPY_BYTES)
            yield copy


@contextmanager
def open_source(source: AudioSource) -> Iterator[OpenSource]:
    """Open a recording for decoding; what is opened here is closed afterwards.

    Raises:
        AudioNotFoundError: no file has this path.
        AudioFormatError: the path is a folder or a device.
        AudioEmptyError: the file has 0 bytes.
        AudioError: the file cannot be read, for lack of permission for example.
        UsageError: `source` is neither a path, nor bytes, nor a binary stream.
    """
    if isinstance(source, str | os.PathLike):
        label = os.fspath(source)
        file, path = _open_path(label)
    elif isinstance(source, bytes | bytearray | memoryview):
        label, file, path = "<bytes>", io.BytesIO(source), None
    elif hasattr(source, "read"):
        label, path = _stream_label(source), None
        file = _spool(source, label)
    else:
        raise UsageError(
            f"a recording is a path, bytes or a binary stream, got {type(source).__name__}; "
            "for samples in memory use megaasr.audio.from_array"
        )
    with file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            raise AudioEmptyError(label, "0 bytes long; record or copy it again")
        file.seek(0)
        yield OpenSource(label, file, size, path)


def _open_path(label: str) -> tuple[BinaryIO, Path | None]:
    if not label:
        raise UsageError("the name of the recording is empty")
    path = Path(label)
    try:
        if path.is_dir():
            raise AudioFormatError(label, "a folder, not a recording; name a file inside it")
        if path.is_char_device() or path.is_block_device():
            raise AudioFormatError(label, "a device, not a recording; record to a file first")
        file = path.open("rb")
        if path.is_file():
            return file, path
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise AudioNotFoundError(label, _missing(label)) from error
    except PermissionError as error:
        raise AudioError(
            label, "no permission to read it; change its rights (chmod u+r) or copy it"
        ) from error
    except OSError as error:
        raise AudioError(label, f"cannot be opened: {error.strerror or error}") from error
    with file:  # a named pipe or the shell's <(command): readable only once, so copy it
        return _spool(file, label), None


def _missing(label: str) -> str:
    if "://" in label:
        return "an address, not a file; download it first and name the file"
    if Path(label).is_absolute() or "\0" in label:
        return "no such file; check the name"
    return f"no such file in {Path.cwd()}; check the name, or give the full path"


def _stream_label(stream: IO[bytes]) -> str:
    name = getattr(stream, "name", None)
    return name if isinstance(name, str) and name else "<stream>"


def _spool(stream: IO[bytes], label: str) -> BinaryIO:
    """Copy a stream to a seekable file, in memory up to 8 MiB and on disk beyond."""
    spool = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=_SPOOL_IN_MEMORY))  # noqa: SIM115
    try:
        while True:
            try:
                data = stream.read(_COPY_BYTES)
            except (OSError, ValueError) as error:
                raise AudioError(label, f"the stream cannot be read: {error}") from error
            if data is None:
                raise AudioError(label, "the stream is in non-blocking mode; make it blocking")
            if isinstance(data, str):
                raise UsageError(f"{label} is a text stream; open it in binary mode ('rb')")
            if not data:
                return spool
            with _spool_errors(label):
                spool.write(data)
    except BaseException:
        spool.close()
        raise


@contextmanager
def temporary_folder(label: str) -> Iterator[Path]:
    """Yield a new folder that is deleted afterwards.

    Args:
        label: name of the recording, for the error message.

    Raises:
        AudioError: the folder cannot be created.
    """
    with _spool_errors(label):
        folder = tempfile.TemporaryDirectory(prefix="megaasr-")
    with folder as name:
        yield Path(name)


@contextmanager
def _spool_errors(label: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AudioError(
            label,
            f"no temporary copy could be written ({error}); free space in the folder for "
            "temporary files, or point TMPDIR to another one",
        ) from error
