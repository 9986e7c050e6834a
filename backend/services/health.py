"""How the server is."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from backend.db.session import Database
from backend.errors import ApiError
from backend.schemas.health import DatabaseHealth, Health
from backend.services.ablation.engines import Engines
from backend.services.catalogue import Catalogue
from backend.services.jobs import JobService
from backend.settings import app_version


class HealthService:
    """Version, database, engines and workers in one answer, which never fails itself."""

    def __init__(self, database: Database, catalogue: Catalogue, engines: Engines, jobs: JobService) -> None:
        self.database, self.catalogue, self.engines, self.jobs = database, catalogue, engines, jobs
        self.stopping = False

    def report(self) -> Health:
        """The state of everything; "degraded" where the database or an engine failed."""
        database = self._database()
        engine = self.engines.statuses()
        failed = not database.ok or any(status.state == "failed" for status in engine)
        return Health(
            version=app_version(),
            status="degraded" if failed else "ok",
            database=database,
            engine=engine,
            workers=self.jobs.workers(),
            warnings=self.catalogue.warnings(),
        )

    def check_ready(self) -> None:
        """Raise ApiError 503 where the server is about to end or the database cannot be used."""
        if self.stopping:
            raise ApiError(503, "stopping", "The server is stopping.", retry_after=5)
        database = self._database()
        if not database.ok:
            raise ApiError(
                503, "not_ready", database.message or "The database cannot be reached.", retry_after=2
            )

    def _database(self) -> DatabaseHealth:
        try:
            return DatabaseHealth(ok=True, engine=self.database.kind, revision=self.database.revision())
        except SQLAlchemyError:
            message = "The database cannot be reached."
            return DatabaseHealth(ok=False, engine=self.database.kind, revision=None, message=message)
