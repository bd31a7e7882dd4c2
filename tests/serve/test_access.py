"""API keys, host names and origins."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from command_line import mega_asr
from megaasr.errors import UsageError

pytest.importorskip("fastapi", reason="the server is not installed")
from megaasr.serve.access import AccessRules, ApiKeys, add_key
from megaasr.serve.error_responses import RequestError

if TYPE_CHECKING:
    from megaasr.serve.http_server import HttpServer


def test_keys_are_stored_as_hashes_and_can_be_revoked(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first, second = add_key(path, "ann"), add_key(path, "bob")
    assert first not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    keys = ApiKeys(path)
    assert [keys.name_of(key) for key in (first, second, "ma-x", "")] == ["ann", "bob", None, None]
    path.write_text(path.read_text().splitlines()[1] + "\n")
    assert keys.name_of(first) is None
    assert keys.name_of(second) == "bob"


def test_mistakes_in_the_file_of_keys_are_named(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# comment\n\nann secret\n")
    with pytest.raises(UsageError, match="keys:3: not a line"):
        ApiKeys(path)
    with pytest.raises(UsageError, match="cannot be read"):
        ApiKeys(tmp_path / "missing")
    path.unlink()
    add_key(path, "ann")
    with pytest.raises(UsageError, match="has a key already"):
        add_key(path, "ann")
    with pytest.raises(UsageError, match="no name of a key"):
        add_key(path, "a b")


def test_the_command_makes_keys(tmp_path: Path) -> None:
    done = mega_asr("serve", "--api-keys", "keys", "--new-key", "ann", cwd=tmp_path)
    assert done.returncode == 0
    assert ApiKeys(tmp_path / "keys").name_of(done.stdout.strip()) == "ann"
    assert mega_asr("serve", "--new-key", "ann", cwd=tmp_path).returncode != 0


@pytest.mark.parametrize("content", ["garbage\n", None])
def test_a_file_that_is_damaged_later_is_no_fault_of_the_client(
    tmp_path: Path,
    content: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "keys"
    headers = {"authorization": f"Bearer {add_key(path, 'ann')}"}
    rules = AccessRules(ApiKeys(path), host="127.0.0.1")
    assert rules.client_name(headers, "::1") == "ann"
    before = path.read_text()
    path.unlink()
    if content is not None:
        path.write_text(content)
        os.utime(path, ns=(1, 1))
    monkeypatch.setattr(logging.getLogger("megaasr"), "propagate", True)
    with pytest.raises(RequestError) as caught:
        rules.client_name(headers, "::1")
    assert not rules.is_revoked(headers, "ann")
    assert (caught.value.status, caught.value.code) == (503, "api_keys_not_readable")
    assert str(tmp_path) not in caught.value.message
    assert str(path) in caplog.text
    assert len(set(caplog.records)) == 1  # however often a client asks
    path.write_text(before)
    assert rules.client_name(headers, "::1") == "ann"


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"host": "127.0.0.1:8000"}, True),
        ({"host": "[::1]:8000"}, True),
        ({"host": "evil.org:8000"}, False),  # a name that was bound to the loopback address
        ({"host": "[bad"}, False),
        ({}, False),
        ({"host": "localhost:8000", "origin": "http://localhost:8000"}, True),
        ({"host": "localhost:8000", "origin": "https://evil.org"}, False),
        ({"host": "localhost:8000", "origin": "null"}, False),
        ({"host": "localhost:8000", "origin": "https://good.org"}, True),
    ],
)
def test_hosts_and_origins(headers: dict[str, str], passes: bool) -> None:
    rules = AccessRules(None, host="127.0.0.1", cors_origins=("https://good.org",))
    if passes:
        rules.check_origin(headers)
    else:
        with pytest.raises(RequestError) as caught:
            rules.check_origin(headers)
        assert caught.value.status == 403


def test_a_server_on_all_addresses_has_any_name() -> None:
    AccessRules(None, host="0.0.0.0").check_origin({"host": "asr.example.org"})


def curl(*arguments: str) -> tuple[int, dict[str, str], Any]:
    """Return status, headers and JSON body of a request by curl."""
    done = subprocess.run(
        ["curl", "--silent", "--include", *arguments], capture_output=True, text=True, check=True
    )
    head, _, body = done.stdout.partition("\n\n")
    first, *lines = head.splitlines()
    headers = dict(re.split(r":\s*", line.lower(), maxsplit=1) for line in lines if ":" in line)
    return int(first.split()[1]), headers, json.loads(body) if body.startswith("{") else body


def test_keys_and_pages_over_http(serve: Callable[..., HttpServer], tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys", "ann")
    url = serve(api_keys=tmp_path / "keys", cors_origins="https://good.org").url
    status, headers, body = curl(f"{url}/v1/models")
    assert (status, body["error"]["code"]) == (401, "invalid_api_key")
    assert headers["x-request-id"].startswith("req_")
    assert curl(f"{url}/v1/models", "-H", "Authorization: Bearer ma-wrong")[0] == 401
    assert curl(f"{url}/v1/models", "-H", f"Authorization: Bearer {key}")[0] == 200
    assert curl(f"{url}/metrics")[0] == 401
    assert curl(f"{url}/health/ready")[0] == 200  # watchers have no key
    asks = ("-X", "OPTIONS", "-H", "Access-Control-Request-Method: POST", "-H")
    allowed = curl(f"{url}/v1/models", *asks, "Origin: https://good.org")[1]
    assert allowed["access-control-allow-origin"] == "https://good.org"
    status, _, body = curl(f"{url}/v1/models", "-H", "Origin: https://evil.org")
    assert (status, body["error"]["code"]) == (403, "origin_not_allowed")
