"""All services of one app, wired once."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from backend.db.session import Database
from backend.services.ablation.ablations import Ablations
from backend.services.ablation.adapter import Loader
from backend.services.ablation.attributions import Attributions
from backend.services.ablation.compute import ComputePool
from backend.services.ablation.engines import Engines
from backend.services.ablation.experiments import Experiments
from backend.services.ablation.sweeps import Sweeps
from backend.services.access.visitors import Visitors
from backend.services.catalogue import Catalogue
from backend.services.checkpoints import Checkpoints
from backend.services.circuits import Circuits
from backend.services.collections import Collections
from backend.services.components import Components
from backend.services.evaluations import Evaluations
from backend.services.findings import Findings
from backend.services.gallery import Gallery
from backend.services.harvests import Harvests
from backend.services.health import HealthService
from backend.services.housekeeping import Housekeeping
from backend.services.jobs import JobService
from backend.services.labels import Labels
from backend.services.models import Models
from backend.services.prompts import Prompts
from backend.services.shelf import Shelf
from backend.settings import Settings
from workers.jobs.limits import Limits
from workers.jobs.store import Mirror, Store
from workers.spd.artifact import recover

log = logging.getLogger("unweave")


@dataclass(frozen=True)
class Services:
    """What routes are given. `start` before the first request, `close` after the last."""

    settings: Settings
    database: Database
    catalogue: Catalogue
    engines: Engines
    gallery: Gallery
    components: Components
    harvests: Harvests
    evaluations: Evaluations
    labels: Labels
    prompts: Prompts
    ablations: Ablations
    experiments: Experiments
    attributions: Attributions
    sweeps: Sweeps
    circuits: Circuits
    findings: Findings
    collections: Collections
    jobs: JobService
    models: Models
    checkpoints: Checkpoints
    housekeeping: Housekeeping
    health: HealthService
    visitors: Visitors
    pool: ComputePool

    def start(self) -> None:
        """Migrate, read the artefacts, seed the featured findings, and let the weights load in the background.

        Raises DatabaseError where the database cannot be used; anything else that is broken is only warned of.
        """
        self.settings.artifacts.mkdir(parents=True, exist_ok=True)
        self._recover()
        self.database.migrate()
        self.visitors.start()
        self.catalogue.refresh()
        if self.catalogue.mirror is not None:
            self.catalogue.mirror.start()
        self.findings.seed(self.settings.featured)
        if self.settings.load_engines:
            for entry in self.catalogue.entries():
                self.engines.want(entry, first=False)

    def _recover(self) -> None:
        try:
            for name in recover(self.settings.artifacts):
                log.warning("brought back “%s”, whose replacement was interrupted", name)
        except OSError as error:
            log.warning("an interrupted replacement could not be undone: %s", error)

    def leave(self) -> None:
        """The server will end soon: be no longer ready, and end what streams for as long as it is read."""
        self.health.stopping = self.jobs.stopping = True

    def close(self) -> None:
        """Give back threads and connections."""
        if self.catalogue.mirror is not None:
            self.catalogue.mirror.stop()
        self.engines.close()
        self.jobs.close()
        self.models.close()
        self.pool.close()
        self.database.close()


def build(settings: Settings, loader: Loader | None = None) -> Services:
    """Wire the services over one home folder and one database; touches nothing yet but the home folder."""
    database = Database(settings.url)
    catalogue = Catalogue(
        settings,
        database,
        Mirror(settings.home, Store(settings.store)) if settings.store is not None else None,
    )
    engines = Engines(settings, loader)
    harvests = Harvests(settings.home)
    prompts = Prompts()
    pool = ComputePool(settings.compute_threads, settings.compute_queue)
    ablations = Ablations(engines, prompts, pool)
    jobs = JobService(settings, job_limits(settings))
    shelf = Shelf(settings.home)
    findings = Findings(database, catalogue, ablations, pool)
    models = Models(settings, job_limits(settings))
    return Services(
        settings=settings,
        database=database,
        catalogue=catalogue,
        engines=engines,
        gallery=Gallery(catalogue, engines, database, shelf),
        components=Components(database, harvests),
        harvests=harvests,
        evaluations=Evaluations(settings.home),
        labels=Labels(database, harvests),
        prompts=prompts,
        ablations=ablations,
        experiments=Experiments(engines, prompts, pool),
        attributions=Attributions(engines, prompts, pool),
        sweeps=Sweeps(engines, prompts, pool),
        circuits=Circuits(engines, prompts, pool),
        findings=findings,
        collections=Collections(database, findings),
        jobs=jobs,
        housekeeping=Housekeeping(settings.home, catalogue, database, jobs, shelf),
        models=models,
        checkpoints=Checkpoints(settings, jobs, catalogue, models.scout),
        health=HealthService(database, catalogue, engines, jobs),
        visitors=Visitors(settings, database),
        pool=pool,
    )


def job_limits(settings: Settings) -> Limits:
    """What jobs from the page may ask for, where the owner of the server has a say."""
    return Limits(
        queued=settings.job_queue,
        folders=tuple(settings.job_folders),
        packages=tuple(settings.job_packages),
    )
