"""`GET /api/health`."""

from __future__ import annotations

from fastapi import APIRouter

from backend.api.deps import HealthDep
from backend.schemas.health import Health

router = APIRouter(tags=["health"])


@router.get("/api/health")
def get_health(health: HealthDep) -> Health:
    """Version, database, where each model's weights are, and the workers."""
    return health.report()
