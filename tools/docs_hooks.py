"""Hooks of mkdocs: the README is the first page, and links that leave docs/ become plain text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)#:]+)(?P<anchor>#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Return the text of a page with links that work on the site.

    Args:
        markdown: text of the page's own file.
        page: the page.
        config: configuration of the site.
        files: all files of the site.
    """
    source = Path(page.file.abs_src_path)
    if page.file.src_uri == "index.md":
        source = ROOT / "README.md"
        markdown = source.read_text(encoding="utf-8")
    folder = (DOCS / page.file.src_uri).parent

    def link(match: re.Match[str]) -> str:
        target = (source.parent / match["target"]).resolve()
        if not (target.is_relative_to(DOCS) and target.is_file()):
            return f"{match['text']} (`{target.relative_to(ROOT).as_posix()}`)"
        up = "../" * len(folder.relative_to(DOCS).parts)
        path = up + target.relative_to(DOCS).as_posix()
        return f"[{match['text']}]({path}{match['anchor'] or ''})"

    return _LINK.sub(link, markdown)
