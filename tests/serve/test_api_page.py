"""`/docs` works without another host, with Swagger UI or without it."""

from __future__ import annotations

import re
import sys
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

pytest.importorskip("fastapi", reason="the server is not installed")
from fastapi import FastAPI
from fastapi.testclient import TestClient

from megaasr.serve.api_page import install_api_page
from megaasr.serve.http_server import HttpServer

REFERENCE = re.compile(r"""(?:src|href)=["']([^"']+)|url: ["']([^"']+)""")


def references(page: str) -> list[str]:
    """Everything that a page loads or links to."""
    return [first or second for first, second in REFERENCE.findall(page)]


def test_the_page_loads_everything_from_the_server(server: HttpServer) -> None:
    pytest.importorskip("fastapi_offline", reason="Swagger UI is not installed")
    address = f"{server.url}/docs"
    page = httpx.get(address).text
    names = references(page)
    assert any(name.endswith(".js") for name in names)
    assert any(name.endswith(".css") for name in names)
    assert any(name.endswith("openapi.json") for name in names)
    for name in names:
        loaded = urljoin(address, name)
        assert loaded.startswith(server.url)
        answer = httpx.get(loaded)
        assert answer.status_code == 200, name
        assert answer.content
    assert httpx.get(urljoin(address, "docs/files/../../health/live")).json()["status"] == "live"
    for escape in ("docs/files/..%2fcore.py", "docs/files/%2e%2e/core.py", "docs/files/none"):
        answer = httpx.get(urljoin(address, escape))
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")


def test_without_swagger_ui_the_page_is_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    missing: Any = None
    monkeypatch.setitem(sys.modules, "fastapi_offline", missing)
    app = FastAPI(title="A & B", docs_url=None)

    @app.get("/v1/things")
    async def things() -> None:
        """List <things>."""

    install_api_page(app)
    page = TestClient(app).get("/docs").text
    assert references(page) == ["openapi.json"]
    assert "A &amp; B" in page
    assert "GET</td><td>/v1/things</td><td>List &lt;things&gt;." in page
