"""The frame of a self-contained page without scripts: it opens from disk and fetches nothing."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib import resources

from megaasr import __version__


def plain_page(title: str, lead: str, body: str) -> str:
    """Return a page as HTML.

    Args:
        title: title of the page, plain text.
        lead: introduction under the title, plain text.
        body: content of the page, HTML.
    """
    style = (resources.files("megaasr.report") / "benchmark.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; media-src data:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f"<header><h1>{escape(title)}</h1><p class=soft>{escape(lead)}</p>"
        f"</header><main>{body}</main><footer><p>megaasr {__version__}</p></footer></body></html>\n"
    )
