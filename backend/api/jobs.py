"""Jobs: start, watch, cancel, repeat, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse

from backend.api.deps import CheckpointsDep, JobsDep
from backend.api.roles import ADMIN, READ, WRITE, ChangeDep, VisitorDep
from backend.schemas.common import CURSOR, Listing
from backend.schemas.jobs import Job, JobLog, JobRequest, OpenedCheckpoint, Preset
from backend.web.contract import conflict

router = APIRouter(prefix="/api/jobs", tags=["jobs"], dependencies=[READ])


class EventStream(StreamingResponse):
    media_type = "text/event-stream"


JobId = Annotated[str, Path(max_length=200)]


@router.get("/presets")
def list_presets(jobs: JobsDep) -> Listing[Preset]:
    """The configs that ship, ready to start or to edit."""
    return jobs.presets()


@router.post("", status_code=201, dependencies=[WRITE], responses=conflict("The name is taken"))
def create_job(request: JobRequest, jobs: JobsDep, who: VisitorDep, change: ChangeDep) -> Job:
    """Put a decomposition in the queue."""
    job = jobs.create(request, anywhere=who.may("admin"))
    change.made(job.id)
    return job


@router.get("")
def list_jobs(
    jobs: JobsDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=400, json_schema_extra=CURSOR)] = None,
) -> Listing[Job]:
    """Jobs, the newest first. Curves are left out; ask for one job to see its curve."""
    return jobs.listing(limit=limit, cursor=cursor)


@router.get("/{id}")
def get_job(id: JobId, jobs: JobsDep) -> Job:
    """One job with its progress and curve."""
    return jobs.get(id)


@router.post("/{id}/cancel", dependencies=[WRITE])
def cancel_job(id: JobId, jobs: JobsDep) -> Job:
    """Cancel a job that waits or runs; what it made so far is removed. A job that has ended stays as it is."""
    return jobs.cancel(id)


@router.post(
    "/{id}/resume",
    status_code=201,
    dependencies=[WRITE],
    responses=conflict("It left nothing to resume, or its name is taken by now"),
)
def resume_job(id: JobId, jobs: JobsDep, change: ChangeDep) -> Job:
    """Go on with the checkpoint of a job that failed (`resumable`): a new job of the same name."""
    job = jobs.resume(id)
    change.made(job.id)
    return job


@router.post("/{id}/discard", dependencies=[WRITE])
def discard_job(id: JobId, jobs: JobsDep) -> Job:
    """Throw away the checkpoint that a failed job kept."""
    return jobs.discard(id)


@router.post(
    "/{id}/retry",
    status_code=201,
    dependencies=[WRITE],
    responses=conflict("It has not ended, or its name is taken"),
)
def retry_job(id: JobId, jobs: JobsDep, change: ChangeDep) -> Job:
    """Do a job that has ended once more, from its beginning: a new job with the same config."""
    job = jobs.retry(id)
    change.made(job.id)
    return job


@router.post(
    "/{id}/checkpoint", dependencies=[WRITE], responses=conflict("It has written no checkpoint, or left none")
)
def open_job_checkpoint(id: JobId, checkpoints: CheckpointsDep) -> OpenedCheckpoint:
    """Open the last checkpoint of a job while it trains, as a decomposition whose title says at which step it is. It
    goes when the job ends."""
    return checkpoints.open(id)


@router.delete("/{id}", status_code=204, dependencies=[ADMIN], responses=conflict("It has not ended"))
def delete_job(id: JobId, jobs: JobsDep) -> None:
    """Remove a job that has ended, with its log and its checkpoint. The decomposition it made stays."""
    jobs.delete(id)


@router.get("/{id}/log")
def get_job_log(id: JobId, jobs: JobsDep, lines: Annotated[int, Query(ge=1, le=2_000)] = 200) -> JobLog:
    """The end of a job's log, while it runs and after."""
    return jobs.log(id, lines)


@router.get(
    "/{id}/events",
    response_class=EventStream,
    responses={
        200: {"description": "Events", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    },
)
async def stream_job_events(id: JobId, jobs: JobsDep) -> EventStream:
    """Server-sent events: a `job` event, its data the Job without its config, whenever something changed (at most twice
    a second); `end` when the job has ended, after which the stream closes and a client should not connect again."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventStream(await jobs.events(id), headers=headers)
