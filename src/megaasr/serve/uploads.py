"""Uploads: multipart requests whose recording goes to a file."""

from __future__ import annotations

import asyncio
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from megaasr.serve.error_responses import RequestError
from megaasr.serve.transcription_form import TranscriptionForm, parse_form

IGNORED_HEADER = "x-mega-asr-ignored"
"""Header that names the fields of a request that mean nothing here."""

_MAX_FIELDS = 500
_COPY_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Upload:
    """What a multipart request holds.

    Attributes:
        form: its fields.
        ignored: names of fields that mean nothing here.
        file: the recording, spooled; None if the request has none.
        name: what the sender calls the recording.
        path: the field `path`, which names a recording on this machine; None without one.
    """

    form: TranscriptionForm
    ignored: tuple[str, ...]
    file: UploadFile | None
    name: str
    path: str | None

    def without_path(self) -> Upload:
        """Return the same for an address that takes no `path`: the field means nothing there."""
        if self.path is None:
            return self
        return replace(self, path=None, ignored=(*self.ignored, "path"))

    def headers(self) -> dict[str, str]:
        """Return the headers of the answer that tell what was ignored."""
        ignored = ", ".join(n for n in self.ignored if n.isascii() and n.isidentifier())
        return {IGNORED_HEADER: ignored} if ignored else {}

    def save(self, target: Path) -> None:
        """Copy the recording to a file; blocks.

        Raises:
            OSError: the disk is full, for example.
        """
        assert self.file is not None
        self.file.file.seek(0)
        with target.open("xb") as copy:
            shutil.copyfileobj(self.file.file, copy, _COPY_BYTES)

    def require_file(self) -> None:
        """Check that there is a recording.

        Raises:
            RequestError: 400, there is none.
        """
        if self.file is None:
            raise RequestError(
                400,
                "the field file, which holds the recording, is missing; with curl: -F "
                "file=@talk.wav",
                param="file",
                code="missing_file",
            )


class UploadReader:
    """Reads uploads, a limited number at a time: each may fill the disk, as slowly as it likes.

    Args:
        max_uploads: largest number of uploads at the same time.
        max_per_client: the same, of one client.
        timeout_s: seconds that an upload may take.
    """

    def __init__(self, max_uploads: int, max_per_client: int, timeout_s: float) -> None:
        self._max_uploads = max_uploads
        self._max_per_client = max_per_client
        self._timeout_s = timeout_s
        self._running: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """Number of uploads that are being received."""
        return self._running.total()

    @asynccontextmanager
    async def read(self, request: Request, client: str) -> AsyncIterator[Upload]:
        """Read a multipart request; its spooled file is deleted afterwards.

        Raises:
            RequestError: 400, 408, 413, 415 or 429.
        """
        if (
            self._running.total() >= self._max_uploads
            or self._running[client] >= self._max_per_client
        ):
            raise RequestError(
                429,
                f"{self._running.total()} uploads are being received, {self._running[client]} of "
                "them from this client; try again later",
                code="too_many_uploads",
                retry_after_s=2,
            )
        self._running[client] += 1
        try:
            form = await _read_form(request, self._timeout_s)
        finally:
            self._running[client] -= 1
            if not self._running[client]:
                del self._running[client]
        try:
            yield _upload(form)
        finally:
            await form.close()


async def _read_form(request: Request, timeout_s: float) -> FormData:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise RequestError(
            415,
            f"the request is {kind or 'of no type'}; a recording is sent as multipart/form-data",
            code="unsupported_media_type",
        )
    try:
        async with asyncio.timeout(timeout_s):
            return await request.form(max_files=2, max_fields=_MAX_FIELDS)
    except TimeoutError as error:
        raise RequestError(
            408, f"the upload took more than {timeout_s:.0f} s", code="upload_timeout"
        ) from error


def _upload(form: FormData) -> Upload:
    fields: list[tuple[str, str]] = []
    file: UploadFile | None = None
    path: str | None = None
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "file" or file is not None:
                raise RequestError(
                    400, "one recording is sent, as the field file", param=name, code="invalid_file"
                )
            file = value
        elif name == "file":
            raise RequestError(
                400,
                "the field file is text, not a file; with curl: -F file=@talk.wav",
                param="file",
                code="invalid_file",
            )
        elif name == "path":
            path = value
        else:
            fields.append((name, value))
    parsed, ignored = parse_form(fields)
    return Upload(parsed, ignored, file, _file_name(file), path)


def _file_name(file: UploadFile | None) -> str:
    """Return the last part of a file's name without control characters, for messages and lists."""
    name = re.split(r"[/\\]", (file.filename if file else None) or "recording")[-1]
    shown = "".join(char for char in name if unicodedata.category(char)[0] != "C")
    return shown[:200] or "recording"
