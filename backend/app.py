"""create_app(settings): routers, error handlers, lifespan; no logic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware

from backend import errors
from backend.api import (
    access,
    circuits,
    collections,
    components,
    decompositions,
    evaluations,
    experiments,
    figures,
    findings,
    health,
    jobs,
    models,
    tables,
    workbench,
)
from backend.api.roles import READ
from backend.schemas.common import ErrorBody
from backend.services import container
from backend.services.container import Services
from backend.settings import Settings, app_version
from backend.web import contract, embeds, pages
from backend.web.caching import Conditional
from backend.web.headers import (
    BodyLimit,
    HeadAsGet,
    KnownHosts,
    OwnPages,
    SecurityHeaders,
    ServerTiming,
    SubPath,
    allowed_hosts,
)
from backend.web.metrics import Metrics
from backend.web.requests import Requests
from backend.web.visitors import Forwarded, Recognise

ERRORS: dict[int | str, dict[str, Any]] = {
    422: {"model": ErrorBody, "description": "The request cannot be done as asked"},
}


def operation_id(route: APIRoute) -> str:
    """The name of the route's function: stable, and readable in a generated client."""
    return route.name


def create_app(settings: Settings, services: Services | None = None) -> FastAPI:
    """The application over one home folder and one database; nothing is opened until it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.services = services or container.build(settings)
        app.state.services.start()
        metrics.watch(app.state.services)
        retention = asyncio.create_task(app.state.services.jobs.retain())
        try:
            yield
        finally:
            retention.cancel()
            app.state.services.close()

    metrics = Metrics()
    app = FastAPI(
        title="Unweave",
        version=app_version(),
        lifespan=lifespan,
        generate_unique_id_function=operation_id,
        responses=ERRORS,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        servers=[{"url": settings.root_path}] if settings.root_path else None,
    )
    errors.install(app)
    nouns = (
        health,
        figures,
        decompositions,
        evaluations,
        components,
        workbench,
        experiments,
        circuits,
        findings,
        collections,
        jobs,
        models,
        tables,
        access,
    )
    for noun in nouns:
        app.include_router(noun.router)
    app.add_api_route("/metrics", metrics.answer, include_in_schema=False, dependencies=[READ])
    embeds.install(app, settings.root_path)
    pages.install(app, root_path=settings.root_path)
    contract.describe(app)
    app.add_middleware(Conditional)
    app.add_middleware(
        GZipMiddleware, minimum_size=1_000, compresslevel=5,
        exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, experiments.NDJSON),
    )  # fmt: skip
    app.add_middleware(HeadAsGet)
    app.add_middleware(BodyLimit, most=settings.max_body_bytes)
    app.add_middleware(Recognise)
    app.add_middleware(OwnPages, allowed=settings.allowed_hosts)
    app.add_middleware(KnownHosts, allowed=allowed_hosts(settings.host, settings.allowed_hosts))
    app.add_middleware(SecurityHeaders)
    app.add_middleware(ServerTiming)
    app.add_middleware(SubPath, root=settings.root_path)
    app.add_middleware(Requests, metrics=metrics)
    app.add_middleware(Forwarded, trusted=settings.proxy_addresses)
    return app
