"""Below a path of another site: a small reverse proxy in front, one that strips the path and one that does not."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.conftest import serving

HOP = {"connection", "transfer-encoding", "keep-alive"}


@contextmanager
def proxy(to: str, below: str, *, strips: bool) -> Iterator[str]:
    """A reverse proxy that serves `to` below a path, and 404 everywhere else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(f"{below}/"):
                self.send_error(404, "not Unweave's")
                return
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            behind = HTTPConnection(urlsplit(to).netloc, timeout=60)
            path = self.path[len(below) :] if strips else self.path
            behind.request(self.command, path, body or None, dict(self.headers))
            answer = behind.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP | {"content-length"}:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            behind.close()

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def behind(pages_built: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("sub") / "home"
    options = {"UNWEAVE_ROOT_PATH": "/lab/unweave", "UNWEAVE_LOAD_ENGINES": "false", "PIP_NO_INDEX": "1"}
    with serving(home, "--no-worker", **options) as server:
        yield server.url


@pytest.mark.parametrize("strips", [True, False], ids=["stripped", "kept"])
def test_pages_links_and_requests_stay_below_the_path(behind: str, browser: Browser, strips: bool) -> None:
    with proxy(behind, "/lab/unweave", strips=strips) as front:
        page = browser.new_page()
        refused: list[str] = []
        page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
        page.goto(f"{front}/lab/unweave/")
        page.get_by_role("link", name=re.compile("Induction", re.IGNORECASE)).first.click()
        expect(page).to_have_url(re.compile(rf"^{re.escape(front)}/lab/unweave/d/induction"))
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.goto(f"{front}/lab/unweave/findings")
        page.get_by_role("article").first.get_by_role("link").first.click()
        expect(page).to_have_url(re.compile(rf"^{re.escape(front)}/lab/unweave/f/"))
        expect(page.get_by_role("button", name="Embed")).to_be_visible()
        page.reload()  # a shared link
        page.get_by_role("button", name="Embed").click()
        lines = page.get_by_role("dialog").locator("pre").inner_text()
        [address] = re.findall(r'src="([^"]+)"', lines)
        assert address.startswith(f"{front}/lab/unweave/f/")
        frame = page.request.get(address)
        assert frame.ok
        assert 'href="/lab/unweave/f/' in frame.text()
        assert refused == []
        page.close()
