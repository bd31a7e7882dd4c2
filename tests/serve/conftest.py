"""Servers of tiny, and the official client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from megaasr.serve.http_server import HttpServer

pytest.importorskip("fastapi", reason="the server is not installed")


@pytest.fixture(scope="session")
def server() -> Iterator[HttpServer]:
    """A server with the default settings."""
    from running_server import running

    with running() as started:
        yield started


@pytest.fixture
def serve() -> Iterator[Callable[..., HttpServer]]:
    """Starts servers with other settings; they are stopped after the test."""
    from running_server import running

    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running(**settings))


@pytest.fixture
def openai_client(server: HttpServer) -> Any:
    """The official client."""
    openai = pytest.importorskip("openai", reason="the official client is not installed")
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)
