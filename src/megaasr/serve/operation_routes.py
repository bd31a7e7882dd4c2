"""Addresses for operators and clients' first look: models, health, metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from megaasr import __version__
from megaasr.serve.metrics import CONTENT_TYPE
from megaasr.serve.protocol import ErrorBody, ModelCard, ModelList
from megaasr.serve.services import Services, services_of

router = APIRouter()


@router.get("/v1/models", tags=["models"], response_model=ModelList)
async def list_models(request: Request) -> JSONResponse:
    """List the served model, and the names of OpenAI's that stand for it."""
    services = services_of(request)
    cards = [_card(services, name) for name in services.model.names]
    return JSONResponse(ModelList(data=cards).to_json())


@router.get(
    "/v1/models/{name:path}",
    tags=["models"],
    response_model=ModelCard,
    responses={404: {"model": ErrorBody}},
)
async def get_model(request: Request, name: str) -> JSONResponse:
    """Describe a model."""
    services = services_of(request)
    services.model.require_name(name)
    return JSONResponse(_card(services, name).to_json())


def _card(services: Services, name: str) -> ModelCard:
    model = services.model
    return ModelCard(
        id=name,
        created=0,  # the weights do not say when they were made
        owned_by="mega-asr",
        alias_of=None if name == model.options.name else model.options.name,
        languages=None if model.languages is None else list(model.languages),
        has_robust_route=model.has_robust_route(),
    )


@router.get("/health", tags=["operation"])
@router.get("/health/ready", tags=["operation"])
async def ready(request: Request) -> JSONResponse:
    """Say whether requests can be transcribed: 200, or 503 with the reason why not."""
    status = services_of(request).model.status
    body: dict[str, Any] = {"status": status.state, "version": __version__}
    if status.reason is not None:
        body |= {"reason": status.reason, "retry_in_s": status.retry_s}
    return JSONResponse(body, status_code=200 if status.state == "ready" else 503)


@router.get("/health/live", tags=["operation"])
async def live() -> JSONResponse:
    """Say that the process answers."""
    return JSONResponse({"status": "live"})


@router.get("/metrics", tags=["operation"])
async def metrics(request: Request) -> Response:
    """Return counters and gauges in Prometheus' format."""
    return Response(services_of(request).metrics.text(), media_type=CONTENT_TYPE)
