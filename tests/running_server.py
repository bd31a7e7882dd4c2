"""A real server of tiny on a free loopback port, in a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from megaasr.serve.http_server import HttpServer
from megaasr.serve.settings import load_settings

CLIPS = Path(__file__).parents[1] / "src" / "megaasr" / "cli" / "demo_clips"


@contextmanager
def running(**settings: Any) -> Iterator[HttpServer]:
    """Run a server of tiny with further settings; it is stopped at the end."""
    options = {"model": "tiny", "port": 0, "preload": True, "log_level": "warning", **settings}
    server = HttpServer(load_settings(None, {}, options))
    started = threading.Event()
    thread = threading.Thread(target=server.run, kwargs={"on_start": started.set}, daemon=True)
    thread.start()
    try:
        assert started.wait(60)
        yield server
    finally:
        server.stop()
        thread.join(60)
    assert not thread.is_alive()
