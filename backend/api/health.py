"""`GET /api/health`, and what probes of a load balancer ask: `/healthz`, `/readyz`."""

from __future__ import annotations

from fastapi import APIRouter, Response

from backend.api.deps import HealthDep
from backend.api.roles import PUBLIC, READ
from backend.schemas.health import Health

router = APIRouter(tags=["health"])


@router.get("/api/health", dependencies=[READ])
def get_health(health: HealthDep, response: Response) -> Health:
    """Version, database, where each model's weights are, and the workers."""
    response.headers["Cache-Control"] = "no-store"
    return health.report()


@router.get("/healthz", include_in_schema=False, dependencies=[PUBLIC])
def get_liveness(response: Response) -> dict[str, str]:
    """The process answers. Restarting it is no remedy for anything else."""
    response.headers["Cache-Control"] = "no-store"
    return {"status": "ok"}


@router.get("/readyz", include_in_schema=False, dependencies=[PUBLIC])
def get_readiness(health: HealthDep, response: Response) -> dict[str, str]:
    """Requests can be served: the database answers. Raises ApiError 503 where it does not."""
    response.headers["Cache-Control"] = "no-store"
    health.check_ready()
    return {"status": "ready"}
