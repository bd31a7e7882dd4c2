"""Who may use the server: API keys, names of the host, and origins of web pages.

Keys are random numbers of 256 bits, so that a plain SHA-256 is enough to store them. The file has a
line for each, `NAME sha256:HEX`, and is read again when it changes: a deleted line revokes its key.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from megaasr.atomic import write_atomically
from megaasr.errors import UsageError
from megaasr.serve.error_responses import RequestError

KEY_PREFIX = "ma-"
"""Beginning of every key, by which people and scanners recognise one."""
SUBPROTOCOL_PREFIX = "openai-insecure-api-key."
"""Beginning of the WebSocket subprotocol that carries a key, for browsers."""
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
"""Names of the loopback address."""

_LOGGER = logging.getLogger(__name__)
_LINE = re.compile(r"(?P<name>[\w.@-]+) sha256:(?P<digest>[0-9a-f]{64})")
_NAME = re.compile(r"[\w.@-]{1,64}")


class ApiKeys:
    """The keys of a file.

    Args:
        path: the file.

    Raises:
        UsageError: the file cannot be read, or a line is no key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed_ns = -1
        self._digests: dict[str, str] = {}
        self._refresh()

    def name_of(self, key: str) -> str | None:
        """Return the name of a key, or None if it is unknown; in a time that tells nothing.

        Raises:
            UsageError: the file has changed and cannot be used any more.
        """
        self._refresh()
        digest = _digest(key)
        names = [
            name
            for name, stored in self._digests.items()
            if hmac.compare_digest(digest, stored)  # each is compared, whether one matched or not
        ]
        return names[0] if names else None

    def _refresh(self) -> None:
        try:
            changed_ns = self._path.stat().st_mtime_ns
            if changed_ns != self._changed_ns:
                self._digests = _read(self._path)
                self._changed_ns = changed_ns
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{self._path}: the API keys cannot be read: {error}") from error


def add_key(path: Path, name: str) -> str:
    """Create a key, add it to a file, and return it; it is stored nowhere else.

    Args:
        path: file of keys; created if it is missing.
        name: name of the key's owner, shown in logs.

    Raises:
        UsageError: the name is not usable, or has a key already.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of a key: up to 64 letters, digits and . _ - @")
    digests = _read(path) if path.exists() else {}
    if name in digests:
        raise UsageError(f"{path}: {name} has a key already; delete its line first")
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    digests[name] = _digest(key)
    lines = [f"{owner} sha256:{digest}\n" for owner, digest in digests.items()]
    write_atomically(path, "".join(lines))
    path.chmod(0o600)
    return key


class AccessRules:
    """Decides whether a request may pass.

    Args:
        keys: the API keys; None lets everybody pass.
        host: address that the server listens on.
        allowed_hosts: names by which it may be addressed.
        cors_origins: origins of web pages that may use it.
    """

    def __init__(
        self,
        keys: ApiKeys | None,
        *,
        host: str,
        allowed_hosts: Sequence[str] = (),
        cors_origins: Sequence[str] = (),
    ) -> None:
        self._keys = keys
        # A page whose name was bound to the loopback address must not read what is served there.
        self._hosts = {
            *allowed_hosts,
            *(LOOPBACK_HOSTS if allowed_hosts or host in LOOPBACK_HOSTS else ()),
        }
        self._origins = set(cors_origins)
        self._logged: str | None = None  # why the keys cannot be checked; a client may ask often

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Refuse what a web page sends that may not use the server, and unknown host names.

        Raises:
            RequestError: 403.
        """
        host = headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if self._hosts and name not in self._hosts:
            raise RequestError(
                403,
                f"the server is not known as {host!r}; its operator can add the name to "
                "allowed_hosts",
                code="host_not_allowed",
            )
        origin = headers.get("origin")
        if origin is None or "*" in self._origins or origin in self._origins:
            return
        if urlsplit(origin).netloc != host or not host:
            raise RequestError(
                403,
                f"pages of {origin} may not use this server; its operator can add them to "
                "cors_origins",
                code="origin_not_allowed",
            )

    def client_name(self, headers: Mapping[str, str], address: str) -> str:
        """Return the name of a request's key, or the address of its sender if no key is needed.

        Raises:
            RequestError: 401, there is no valid key; 503, the file of keys cannot be used.
        """
        if self._keys is None:
            return address
        key = bearer_key(headers) or _subprotocol_key(headers)
        try:
            name = None if key is None else self._keys.name_of(key)
        except UsageError as error:  # the operator's, and its message names a path
            if str(error) != self._logged:
                self._logged = str(error)
                _LOGGER.error("%s", error)
            raise RequestError(
                503,
                "the API keys cannot be checked; the operator finds the reason in the log",
                code="api_keys_not_readable",
                retry_after_s=30,
            ) from error
        self._logged = None
        if name is None:
            what = "no API key was sent" if key is None else "the API key is unknown"
            raise RequestError(
                401, f"{what}; send one as Authorization: Bearer KEY", code="invalid_api_key"
            )
        return name

    def is_revoked(self, headers: Mapping[str, str], name: str) -> bool:
        """Return whether the key of a request that passed before is valid no more.

        While the file of the keys cannot be used, nothing is known to be revoked.

        Args:
            headers: headers of the request.
            name: what `client_name` returned for it.
        """
        if self._keys is None:
            return False
        try:
            return self.client_name(headers, "") != name
        except RequestError as error:
            return error.status == 401


def bearer_key(headers: Mapping[str, str]) -> str | None:
    """Return the key in the header `Authorization`; None without one."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else None


def _subprotocol_key(headers: Mapping[str, str]) -> str | None:
    for entry in headers.get("sec-websocket-protocol", "").split(","):
        if entry.strip().startswith(SUBPROTOCOL_PREFIX):
            return entry.strip().removeprefix(SUBPROTOCOL_PREFIX)
    return None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _read(path: Path) -> dict[str, str]:
    digests = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise UsageError(
                f"{path}:{number}: not a line of the form NAME sha256:HEX; add keys with "
                "mega-asr serve --new-key NAME"
            )
        digests[match["name"]] = match["digest"]
    return digests
