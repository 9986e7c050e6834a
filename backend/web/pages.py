"""The built front-end: files as they are, the paths of its pages the page itself, so that a shared link opens."""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape
from pathlib import Path
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount
from starlette.types import Receive, Scope, Send

from backend.api.roles import PUBLIC, may_look
from backend.errors import ApiError, not_found
from backend.schemas.findings import Finding
from backend.web.embeds import site

BACKEND = Path(__file__).resolve().parents[1]
PLACES = (BACKEND / "static", BACKEND.parent / "frontend" / "dist")
PATHS = (
    "/", "/d/$id", "/d/$id/workbench", "/d/$id/components", "/d/$id/c/$key", "/d/$id/circuit", "/d/$id/prompts",
    "/d/$id/evidence", "/f/$slug", "/findings", "/collections/$slug", "/jobs", "/new", "/sign-in", "/access",
)  # fmt: skip
"""The pages, as frontend/src/pages/router.tsx writes them. At any other path the page says that there is none, with
status 404: a probe or a wrong link must not pass for a page."""
FINDING = re.compile(r"f/([a-z0-9][a-z0-9-]*)/?")
DESCRIPTION = re.compile(r'<meta name="description" content="[^"]*"\s*/?>')
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
FOREVER = "public, max-age=31536000, immutable"

NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Unweave</title>
<body style="font:16px/1.6 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem">
<h1>Unweave is running</h1><p>Its pages are not built yet. Run <code>make run</code>, or
<code>npm ci &amp;&amp; npm run build</code> in <code>frontend/</code>, and reload.</p>
<p>The API answers: <a href="/api/health">/api/health</a>, <a href="/api/openapi.json">/api/openapi.json</a>.</p>
</body></html>"""


def built() -> Path | None:
    """The folder with index.html: the packaged one, or frontend/dist of a checkout."""
    return next((place for place in PLACES if (place / "index.html").is_file()), None)


def install(app: FastAPI, folder: Path | None = None, *, root_path: str = "") -> None:
    """Serve the pages for every path the API does not own. Add this last."""
    known = re.compile("|".join(re.sub(r"\$\w+", "[^/]+", path) for path in PATHS))
    routes = list(app.router.routes)

    def methods(scope: Scope) -> list[str]:
        """Those that the address takes."""
        asked = [{**scope, "method": method} for method in METHODS]
        return [one["method"] for one in asked if any(r.matches(one)[0] is Match.FULL for r in routes)]

    async def no_such_route(scope: Scope, receive: Receive, send: Send) -> None:
        taken = methods({**scope, "root_path": "", "path_params": {}})
        if taken:
            raise HTTPException(
                405, headers={"Allow": ", ".join([*taken, "HEAD"] if "GET" in taken else taken)}
            )
        raise not_found("not_found", f"There is no {scope['path'][:125]} here.")

    app.router.routes.append(Mount("/api", app=no_such_route))

    @app.api_route("/{path:path}", methods=["GET", "HEAD"], include_in_schema=False, dependencies=[PUBLIC])
    def page(path: str, request: Request) -> Response:
        root = folder or built()
        if root is None:
            return HTMLResponse(
                NOT_BUILT, status_code=503, headers={"Cache-Control": "no-store", "Retry-After": "5"}
            )
        file = _file(root, path)
        if file is not None and path != "index.html":
            cache = FOREVER if path.startswith("assets/") else "no-cache"
            return FileResponse(file, headers={"Cache-Control": cache})
        if path.startswith("assets/"):
            raise not_found(
                "not_found", "There is no such file; the page may be from an older build. Reload it."
            )
        status = 200 if known.fullmatch("/" + path.removesuffix("/")) and "\0" not in path else 404
        html = _page(root, root_path, (root / "index.html").stat().st_mtime_ns)
        shared = FINDING.fullmatch(path)
        services = getattr(request.app.state, "services", None)  # none before the server has started
        if shared is not None and services is not None and may_look(request):
            try:
                finding = services.findings.get(shared[1])
                html = _about(html, finding, site(request, root_path))
            except ApiError:
                pass  # the page says that there is none
        return HTMLResponse(html, status_code=status, headers={"Cache-Control": "no-cache"})


@lru_cache(maxsize=4)
def _page(root: Path, root_path: str, _changed: int) -> str:
    """The page with the path it lies below: its files, which it names from its own place, and what it asks for."""
    html = (root / "index.html").read_text(encoding="utf-8")
    named = html.replace('="./', f'="{root_path}/')
    return named.replace('name="unweave-root" content=""', f'name="unweave-root" content="{root_path}"')


def _about(html: str, finding: Finding, base: str) -> str:
    """The page with a finding's own title and what other sites show of a link to it (ogp.me, oembed.com)."""
    address = base + finding.url
    said = finding.claim or " ".join(finding.summary)
    tags = {
        "title": finding.title,
        "description": said,
        "type": "article",
        "url": address,
        "site_name": "Unweave",
    }
    lines = [f'<meta property="og:{name}" content="{escape(text)}" />' for name, text in tags.items()]
    known = f"{escape(base)}/api/oembed?url={quote(address, safe='')}"
    lines.append(f'<link rel="alternate" type="application/json+oembed" href="{known}" />')
    title = f"<title>{escape(finding.title)} · Unweave</title>"
    html = DESCRIPTION.sub(lambda _: f'<meta name="description" content="{escape(said)}" />', html, count=1)
    return html.replace("<title>Unweave</title>", title + "".join(lines), 1)


def _file(root: Path, path: str) -> Path | None:
    """The file of the front-end at a path; None where there is none, or the path cannot be one (a NUL, too long)."""
    try:
        file = (root / path).resolve()
        return file if path and file.is_relative_to(root.resolve()) and file.is_file() else None
    except (OSError, ValueError):
        return None
