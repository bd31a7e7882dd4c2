"""The snippet for browsers in docs/server.md, in headless Chromium."""

from __future__ import annotations

import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import soundfile

pytest.importorskip("fastapi", reason="the server is not installed")
from running_server import CLIPS, running

PAGE = (Path(__file__).parents[2] / "docs" / "server.md").read_text(encoding="utf-8")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def test_a_page_transcribes_a_recording(tmp_path: Path, browser: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    samples, rate = soundfile.read(CLIPS / "1-clean.flac", dtype="int16")
    soundfile.write(tmp_path / "talk.wav", samples, rate)
    (page,) = re.findall(r"```html\n(.*?)```", PAGE, flags=re.DOTALL)
    handler = partial(QuietHandler, directory=str(tmp_path))
    pages = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    origin = f"http://127.0.0.1:{pages.server_port}"
    thread = threading.Thread(target=pages.serve_forever, daemon=True)
    thread.start()
    try:
        with running(cors_origins=origin) as server:
            html = page.replace("http://127.0.0.1:8000", server.url)
            (tmp_path / "page.html").write_text(html)
            browser.get(f"{origin}/page.html")
            browser.find_element("id", "file").send_keys(str(tmp_path / "talk.wav"))
            output = browser.find_element("id", "text")
            WebDriverWait(browser, 120).until(lambda _: output.text)
            assert output.text == "There are fifty-six monkeys near the nightclub."
    finally:
        pages.shutdown()
        pages.server_close()
        thread.join(30)
