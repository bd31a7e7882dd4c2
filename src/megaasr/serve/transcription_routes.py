"""`/v1/audio/…`: recordings in, transcripts out."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from megaasr.records import Segment
from megaasr.serve.connection import while_connected
from megaasr.serve.error_responses import RequestError, as_request_error
from megaasr.serve.protocol import (
    ErrorBody,
    Shape,
    TranscriptionDiarizedJson,
    TranscriptionJson,
    TranscriptionVerboseJson,
)
from megaasr.serve.response_formats import render
from megaasr.serve.server_sent_events import EventStreamResponse, TextDeltas, channel_events
from megaasr.serve.services import Services, client_of, log_extra, services_of
from megaasr.serve.transcription_form import (
    OutputOptions,
    TranscriptionForm,
    TranscriptionRequest,
)
from megaasr.serve.transcription_run import TranscriptionRun
from megaasr.serve.uploads import Upload

router = APIRouter(prefix="/v1/audio", tags=["audio"])


def upload_schema(*required: str, **more: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a multipart request for OpenAPI.

    Args:
        required: names of required fields.
        more: further fields with their schemas.
    """
    schema = TranscriptionForm.model_json_schema(ref_template="#/components/schemas/{model}")
    properties = {"file": {"type": "string", "format": "binary"}, **schema["properties"], **more}
    properties["chunking_strategy"] = {"type": "string", "default": "auto"}
    body = {"type": "object", "properties": properties, "required": list(required)}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": body}}}}


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 404, 408, 413, 415, 429, 500, 503)
}
"""Answers other than 200, for OpenAPI."""


@router.post(
    "/transcriptions",
    response_model=TranscriptionJson | TranscriptionVerboseJson | TranscriptionDiarizedJson,
    responses=ERRORS,
    openapi_extra=upload_schema("file"),
)
async def create_transcription(request: Request) -> Response:
    """Transcribe a recording.

    The answer has the format that `response_format` names; with `stream=true` it is a stream of
    events.
    """
    services = services_of(request)
    async with AsyncExitStack() as resources:
        upload = await resources.enter_async_context(
            services.uploads.read(request, client_of(request))
        )
        upload = upload.without_path()
        upload.require_file()
        services.model.require_name(upload.form.model)
        asked = upload.form.request(services.settings.max_samples)
        folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="mega-asr-"))
        path = Path(folder) / "recording"
        await asyncio.to_thread(upload.save, path)
        names = {str(path): upload.name}
        try:
            async with while_connected(request.receive):
                run = await _start(request, services, resources, asked=asked, path=path)
                if upload.form.stream:
                    return await _streamed(services, run, upload, resources.pop_all(), names)
                transcripts = await run.transcripts()
        except Exception as error:
            raise _translated(error, names) from error
        services.metrics.on_transcripts(transcripts)
        log_extra(request, audio_s=round(transcripts[0].duration_s, 3))
        if services.settings.log_texts:
            log_extra(request, texts=[transcript.text for transcript in transcripts])
        body = await asyncio.to_thread(render, transcripts, upload.form.output())
        return Response(body.content, media_type=body.media_type, headers=upload.headers())


@router.post("/translations", responses={400: {"model": ErrorBody}})
async def create_translation(request: Request) -> Response:
    """Refuse: the model does not translate."""
    raise RequestError(
        400,
        "the model transcribes, it does not translate; send the recording to "
        "/v1/audio/transcriptions and translate its text",
        code="translation_not_supported",
    )


async def _start(
    request: Request,
    services: Services,
    resources: AsyncExitStack,
    *,
    asked: TranscriptionRequest,
    path: Path,
) -> TranscriptionRun:
    """Wait for the client's turn and begin to transcribe; both end with the resources.

    Raises:
        RequestError: 429, too many requests wait; 503, the turn did not come in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + services.settings.request_timeout_s
    late = RequestError(
        503,
        f"the request took more than {services.settings.request_timeout_s:.0f} s; send long "
        "recordings to /v1/jobs, or ask the operator for a larger request_timeout_s",
        code="deadline_exceeded",
    )
    try:
        async with asyncio.timeout_at(deadline):
            await resources.enter_async_context(services.admission.turn(client_of(request)))
    except TimeoutError as error:
        raise late from error
    run = await resources.enter_async_context(
        TranscriptionRun(
            services.model,
            path,
            asked,
            owner=client_of(request),
            limits=services.limits,
            executor=services.executor,
        )
    )
    timer = loop.call_at(deadline, run.cancel, late)
    resources.callback(timer.cancel)
    return run


async def _streamed(
    services: Services,
    run: TranscriptionRun,
    upload: Upload,
    resources: AsyncExitStack,
    names: dict[str, str],
) -> Response:
    """Return the stream of events; what fails before the first segment raises here.

    Raises:
        AudioError, ModelError, UsageError, RequestError: the recording cannot be transcribed.
    """
    try:
        segments = run.segments()
        first = await anext(segments, None)
        if first is None:
            await run.transcripts()
        events = _events(services, run, upload.form.output(), segments, first)
        return EventStreamResponse(events, resources, headers=upload.headers(), names=names)
    except BaseException:
        await resources.aclose()
        raise


async def _events(
    services: Services,
    run: TranscriptionRun,
    output: OutputOptions,
    segments: AsyncIterator[Segment],
    first: Segment | None,
) -> AsyncIterator[Shape]:
    deltas = TextDeltas(output)
    segment = first
    while segment is not None:
        if (delta := deltas.delta(segment)) is not None:
            yield delta
        segment = await anext(segments, None)
    transcripts = await run.transcripts()
    services.metrics.on_transcripts(transcripts)
    if transcripts[0].channel is None:
        yield deltas.done(transcripts[0])
    else:
        for event in channel_events(transcripts, output):
            yield event


def _translated(error: Exception, names: dict[str, str]) -> Exception:
    """Return an error whose message names the file as its sender does."""
    return error if isinstance(error, ClientDisconnect) else as_request_error(error, names=names)
