"""`/docs`: the addresses of the server, for people; no other host is asked for anything.

FastAPI's own page loads Swagger UI from a public network. Here its files come from the package
`fastapi-offline`; without it, the page is a plain list.
"""

from __future__ import annotations

from html import escape
from importlib import resources
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

_FILES = "docs/files"
_SCRIPT, _STYLE, _ICON = "swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"


def install_api_page(app: FastAPI) -> None:
    """Add the page to an application that has no such page of FastAPI's."""
    folder = _swagger_ui()
    if folder is not None:
        app.mount(f"/{_FILES}", StaticFiles(directory=folder))

    @app.get("/docs", include_in_schema=False)
    async def api_page(request: Request) -> HTMLResponse:
        if folder is None:
            return HTMLResponse(_plain_page(app))
        # Relative addresses are right behind a proxy that adds a path, too.
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url=f"{_FILES}/{_SCRIPT}",
            swagger_css_url=f"{_FILES}/{_STYLE}",
            swagger_favicon_url=f"{_FILES}/{_ICON}",
        )


def _swagger_ui() -> Path | None:
    """Return the folder of Swagger UI; None if the package is missing or has other files."""
    try:
        folder = Path(str(resources.files("fastapi_offline") / "static"))
    except ModuleNotFoundError:
        return None
    complete = all((folder / name).is_file() for name in (_SCRIPT, _STYLE, _ICON))
    return folder if complete else None


def _plain_page(app: FastAPI) -> str:
    schema = app.openapi()
    rows = [
        f"<tr><td>{method.upper()}</td><td>{escape(path)}</td>"
        f"<td>{escape(operation.get('description', ''))}</td></tr>"
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(app.title)}</title>'
        f"<h1>{escape(app.title)}</h1><p>{escape(app.description)}</p>"
        '<p>All fields: <a href="openapi.json">openapi.json</a>. With the Python package '
        "fastapi-offline installed, this page lets you try the addresses.</p>"
        f"<table>{''.join(rows)}</table></html>"
    )
