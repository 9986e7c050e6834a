"""`/f/{slug}/embed`: a finding as one small page for frames on other sites, and `/api/oembed`, which tells them of it.

A policy of its own (backend/web/headers.py) lets any site frame it and lets it do nothing.
"""

from __future__ import annotations

import re
from html import escape
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse
from starlette.responses import JSONResponse

from backend.api.deps import FindingsDep
from backend.api.roles import LINK
from backend.errors import not_found
from backend.services.finding_html import page

WIDTH, HEIGHT = 640, 420
LINKED = re.compile(r"/f/([a-z0-9][a-z0-9-]*)(?:/embed)?/?(?:[?#]|$)")


def install(app: FastAPI, root_path: str = "") -> None:
    """Serve the embeds. Add this before the pages."""

    @app.get("/f/{slug}/embed", include_in_schema=False, dependencies=[LINK])
    def embed(slug: str, findings: FindingsDep) -> HTMLResponse:
        return HTMLResponse(page(findings.get(slug), root_path), headers={"Cache-Control": "no-cache"})

    @app.get("/api/oembed", include_in_schema=False, dependencies=[LINK])
    def oembed(
        url: Annotated[str, Query(max_length=2_000)], findings: FindingsDep, request: Request
    ) -> JSONResponse:
        """How a finding's link is framed by pages that know oEmbed (oembed.com)."""
        linked = LINKED.search(url)
        if linked is None:
            raise not_found("not_a_finding", "This is not the link of a finding.")
        found, base = findings.get(linked[1]), site(request, root_path)
        frame = f'src="{escape(base)}/f/{found.slug}/embed" title="{escape(found.title)}"'
        answer: dict[str, Any] = {
            "version": "1.0", "type": "rich", "title": found.title, "provider_name": "Unweave", "provider_url": base,
            "width": WIDTH, "height": HEIGHT, "html": f'<iframe {frame} width="{WIDTH}" height="{HEIGHT}"></iframe>',
        }  # fmt: skip
        return JSONResponse(answer)


def site(request: Request, root_path: str) -> str:
    """Where this server is, as it was asked."""
    return f"{request.url.scheme}://{request.url.netloc}{root_path}"
