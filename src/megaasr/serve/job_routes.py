"""`/v1/jobs`: long recordings in the background; results survive a restart of the server."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from megaasr.serve.error_responses import RequestError, as_request_error
from megaasr.serve.job_store import ENDED, Job
from megaasr.serve.named_recordings import path_below
from megaasr.serve.protocol import ErrorBody, JobDeleted, JobList, JobObject, JobProgress
from megaasr.serve.response_formats import render
from megaasr.serve.services import Jobs, Services, client_of, services_of
from megaasr.serve.transcription_form import TranscriptionForm, parse_form
from megaasr.serve.transcription_routes import ERRORS, upload_schema

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_OUTPUT_FIELDS = (
    "response_format",
    "timestamp_granularities",
    "include",
    "unintelligible",
    "max_line_width",
    "max_line_count",
    "highlight_words",
)


@router.post(
    "",
    status_code=202,
    response_model=JobObject,
    responses=ERRORS,
    openapi_extra=upload_schema(path={"type": "string", "description": "Instead of file."}),
)
async def create_job(request: Request) -> JSONResponse:
    """Queue a recording; the fields are those of a transcription.

    In place of `file`, `path` may name a recording below the operator's `path_root`.
    """
    services, jobs = _jobs_of(request)
    async with services.uploads.read(request, client_of(request)) as upload:
        if upload.form.stream:
            raise RequestError(400, "a job is not streamed; ask for its progress", param="stream")
        services.model.require_name(upload.form.model)
        asked = upload.form.request(services.settings.max_samples)
        if jobs.store.count("queued", "running") >= services.settings.max_jobs:
            raise RequestError(
                429,
                f"{services.settings.max_jobs} jobs wait already; try again later",
                code="too_many_jobs",
                retry_after_s=60,
            )
        job_id = jobs.store.new_id()
        named = None if upload.path is None else path_below(services.settings, upload.path)
        path = named or jobs.store.audio_path(job_id)
        name = upload.name if named is None else str(upload.path)
        try:
            if named is None:
                upload.require_file()
                await asyncio.to_thread(upload.save, path)
            stated = await asyncio.to_thread(services.limits.check, path, asked.selection.track)
            job = jobs.store.add(
                job_id,
                client_of(request),
                name,
                upload.form,
                path=None if named is None else str(named),
                duration_s=stated.duration_s,
            )
        except BaseException as error:
            jobs.store.audio_path(job_id).unlink(missing_ok=True)
            if isinstance(error, Exception):
                raise as_request_error(error, names={str(path): name}) from error
            raise
    jobs.runner.notify()
    headers = {"location": f"/v1/jobs/{job_id}", **upload.headers()}
    return JSONResponse(_shape(services, job).to_json(), 202, headers=headers)


@router.get("", response_model=JobList)
async def list_jobs(
    request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> JSONResponse:
    """List the jobs of the API key (without keys: of the address), the latest first."""
    services, jobs = _jobs_of(request)
    own_jobs = jobs.store.of_client(client_of(request), limit)
    return JSONResponse(JobList(data=[_shape(services, job) for job in own_jobs]).to_json())


@router.get("/{job_id}", response_model=JobObject, responses={404: {"model": ErrorBody}})
async def get_job(request: Request, job_id: str) -> JSONResponse:
    """Return state and progress of a job."""
    services, jobs = _jobs_of(request)
    return JSONResponse(_shape(services, _own(jobs, request, job_id)).to_json())


@router.get("/{job_id}/result", responses={404: {"model": ErrorBody}, 409: {"model": ErrorBody}})
async def get_result(request: Request, job_id: str) -> Response:
    """Return the transcript; fields of the query change its format."""
    _, jobs = _jobs_of(request)
    job = _own(jobs, request, job_id)
    if job.status != "completed":
        why = "" if job.error is None else f": {job.error['message']}"
        raise RequestError(
            409, f"job {job_id} is {job.status}{why}; there is no result", code=f"job_{job.status}"
        )
    for field in request.query_params:
        if field.removesuffix("[]") not in _OUTPUT_FIELDS:
            raise RequestError(
                400,
                f"{field} cannot be changed after a job is done; {', '.join(_OUTPUT_FIELDS)} can",
                param=field,
                code="unknown_field",
            )
    changes, _ = parse_form(request.query_params.multi_items())
    form = _changed(job.form, changes)
    form.request(job.form.samples)  # checks the fields together
    transcripts = jobs.store.transcripts(job_id)
    if len(transcripts) > 1 and form.response_format in ("text", "srt", "vtt"):
        raise RequestError(
            400,
            f"{form.response_format} has no place for the names of channels; use diarized_json",
            param="response_format",
            code="invalid_value",
        )
    body = await asyncio.to_thread(render, transcripts, form.output())
    return Response(body.content, media_type=body.media_type)


@router.post("/{job_id}/cancel", response_model=JobObject, responses={409: {"model": ErrorBody}})
async def cancel_job(request: Request, job_id: str) -> JSONResponse:
    """Cancel a job that has not ended."""
    services, jobs = _jobs_of(request)
    job = _own(jobs, request, job_id)
    if not jobs.runner.cancel(job_id):
        raise RequestError(409, f"job {job_id} is {job.status} already", code=f"job_{job.status}")
    return JSONResponse(_shape(services, _own(jobs, request, job_id)).to_json())


@router.delete("/{job_id}", response_model=JobDeleted, responses={404: {"model": ErrorBody}})
async def delete_job(request: Request, job_id: str) -> JSONResponse:
    """Delete a job with its recording and its transcript; one that runs is cancelled."""
    _, jobs = _jobs_of(request)
    _own(jobs, request, job_id)
    jobs.runner.cancel(job_id)
    jobs.store.delete(job_id)
    return JSONResponse(JobDeleted(id=job_id).to_json())


def _changed(form: TranscriptionForm, changes: TranscriptionForm) -> TranscriptionForm:
    """Return the form of a job with what a query says; what only fits another format is left out.

    Args:
        form: the fields of the job.
        changes: the fields of the query.
    """
    update = {name: getattr(changes, name) for name in changes.model_fields_set}
    if update.get("response_format", form.response_format) != form.response_format:
        update = {"timestamp_granularities": (), "include": ()} | update
    return form.model_copy(update=update)


def _jobs_of(request: Request) -> tuple[Services, Jobs]:
    services = services_of(request)
    if services.jobs is None:
        raise RequestError(
            404,
            "this server has no jobs; its operator can give it a folder for them with --data-dir",
            code="jobs_disabled",
        )
    return services, services.jobs


def _own(jobs: Jobs, request: Request, job_id: str) -> Job:
    """Return a job of the client; those of others look as if they did not exist."""
    job = jobs.store.get(job_id)
    if job is None or job.client != client_of(request):
        raise RequestError(404, f"there is no job {job_id}", code="job_not_found")
    return job


def _shape(services: Services, job: Job) -> JobObject:
    expiry_s = services.settings.job_expiry_h * 3600
    return JobObject(
        id=job.id,
        status=job.status,
        name=job.name,
        created_at=job.created,
        started_at=job.started,
        ended_at=job.ended,
        expires_at=job.ended + expiry_s if job.status in ENDED and job.ended else None,
        progress=JobProgress(done_s=job.done_s, duration_s=job.duration_s),
        error=job.error,
    )
