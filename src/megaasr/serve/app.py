"""The application: its addresses, and what happens around every request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from megaasr import __version__
from megaasr.serve import job_routes, operation_routes, realtime_routes, transcription_routes
from megaasr.serve.access import AccessRules, ApiKeys
from megaasr.serve.api_page import install_api_page
from megaasr.serve.error_responses import install_error_responses
from megaasr.serve.gate import Gate
from megaasr.serve.services import Services

_DESCRIPTION = (
    "Transcribes recordings with Mega-ASR, through OpenAI's interfaces. Errors have OpenAI's "
    "shape, and every answer has an `x-request-id`."
)


def create_app(services: Services) -> ASGIApp:
    """Return the application of a server.

    Args:
        services: its parts; they are closed when the application shuts down.

    Raises:
        UsageError: the API keys cannot be read.
    """
    settings = services.settings
    rules = AccessRules(
        None if settings.api_keys is None else ApiKeys(settings.api_keys),
        host=settings.host,
        allowed_hosts=settings.allowed_hosts,
        cors_origins=settings.cors_origins,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services.start()
        try:
            yield
        finally:
            await services.close()

    app = FastAPI(
        title="Mega-ASR",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    install_error_responses(app)
    install_api_page(app)
    app.include_router(transcription_routes.router)
    app.include_router(job_routes.router)
    app.include_router(realtime_routes.router)
    app.include_router(operation_routes.router)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after"],
        )
    return Gate(
        app,
        rules=rules,
        max_bytes=settings.max_upload_bytes,
        on_answer=services.metrics.on_answer,
    )
