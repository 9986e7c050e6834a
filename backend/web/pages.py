"""The built front-end: files as they are, every other path the page itself, so that a shared link opens."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from backend.errors import not_found

BACKEND = Path(__file__).resolve().parents[1]
PLACES = (BACKEND / "static", BACKEND.parent / "frontend" / "dist")
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


def install(app: FastAPI, folder: Path | None = None) -> None:
    """Serve the pages for every path the API does not own. Add this last."""

    @app.api_route(
        "/api/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False
    )
    def no_such_route(rest: str) -> Response:
        raise not_found("not_found", f"There is no /api/{rest[:120]} here.")

    @app.api_route("/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
    def page(path: str, request: Request) -> Response:
        root = folder or built()
        if root is None:
            return HTMLResponse(
                NOT_BUILT, status_code=503, headers={"Cache-Control": "no-store", "Retry-After": "5"}
            )
        file = (root / path).resolve()
        if path and file.is_relative_to(root.resolve()) and file.is_file():
            cache = FOREVER if path.startswith("assets/") else "no-cache"
            return FileResponse(file, headers={"Cache-Control": cache})
        if path.startswith("assets/"):
            raise not_found(
                "not_found", "There is no such file; the page may be from an older build. Reload it."
            )
        return FileResponse(root / "index.html", headers={"Cache-Control": "no-cache"})
