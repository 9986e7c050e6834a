"""A hub of our own on this machine: enough of the Hugging Face hub's HTTP for datasets and models to be read
from it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

COMMIT = "c0ffee" * 6 + "abcd"


class Hub(ThreadingHTTPServer):
    """`repositories`: {owner/name: {path: bytes}}; `asked`: every request, with its authorisation."""

    def __init__(self, repositories: dict[str, dict[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def running(repositories: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    hub = Hub(repositories)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self._answer(body)

    def _answer(self, body: str = "") -> None:
        path = unquote(urlparse(self.path).path)
        self.server.asked.append((f"{self.command} {path}", self.headers.get("Authorization")))
        if self.command == "POST" and self._written(path, body):
            return
        if found := re.fullmatch(
            r"/api/(?:datasets|models)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?", path
        ):
            name, what, revision, below = found.groups()
            files = self._files(name, revision or "main")
            if files is None:
                return
            if what == "paths-info":
                sent = json.loads(body) if body.startswith("{") else parse_qs(body)
                wanted = sent.get("paths", [])
                wanted = [wanted] if isinstance(wanted, str) else wanted
                self._json([entry for entry in _tree(files, "", True) if entry["path"] in wanted])
            elif what == "tree":
                recursive = "recursive=true" in self.path.lower()
                self._json(_tree(files, below or "", recursive))
            else:
                siblings = [{"rfilename": file} for file in files]
                self._json({"id": name, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []})
        elif found := re.fullmatch(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            name, revision, file = found.groups()
            files = self._files(name, revision)
            if files is None:
                return
            if file not in files:
                self._missing("EntryNotFound")
                return
            self._bytes(files[file])
        else:
            self._missing("RepoNotFound")

    def _written(self, path: str, body: str) -> bool:
        """Whether this was part of a push, which is then answered; only to those who sign in."""
        push = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path)
        if path not in ("/api/repos/create", "/api/validate-yaml") and push is None:
            return False
        if self.headers.get("Authorization") is None:
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path == "/api/repos/create":
            sent = json.loads(body)
            name = f"{sent['organization']}/{sent['name']}"
            self.server.repositories.setdefault(name, {})
            self._json({"url": f"{self.server.url}/{name}"})
        elif push is None:
            self._json({"errors": [], "warnings": []})
        elif push[2] == "preupload":
            how = {"uploadMode": "regular", "shouldIgnore": False}
            self._json({"files": [{"path": file["path"], **how} for file in json.loads(body)["files"]]})
        else:
            self._commit(push[1], [json.loads(line) for line in body.splitlines()])
        return True

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        files = self.server.repositories[name]
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del files[line["value"]["path"]]
        self._json(
            {"commitOid": COMMIT, "commitUrl": f"{self.server.url}/{name}/commit/{COMMIT}", "success": True}
        )

    def _files(self, name: str, revision: str) -> dict[str, bytes] | None:
        files = self.server.repositories.get(name)
        if files is None:
            self._missing("RepoNotFound")
        elif revision not in ("main", COMMIT):
            self._missing("RevisionNotFound")
            return None
        return files

    def _json(self, value: Any) -> None:
        self._bytes(json.dumps(value).encode(), "application/json")

    def _bytes(self, data: bytes, kind: str = "application/octet-stream") -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        part, whole = data, len(data)
        if wanted:
            first, last = int(wanted[1]), int(wanted[2] or whole - 1)
            part = data[first : last + 1]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(part)))
        if wanted:
            self.send_header("Content-Range", f"bytes {wanted[1]}-{int(wanted[1]) + len(part) - 1}/{whole}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(part)

    def _missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _tree(files: dict[str, bytes], below: str, recursive: bool) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path, data in files.items():
        if below and not path.startswith(below.rstrip("/") + "/"):
            continue
        rest = path[len(below.rstrip("/")) + 1 :] if below else path
        steps = rest.split("/")
        at = below.rstrip("/")
        for step in steps[:-1] if recursive else steps[:-1][:1]:
            at = f"{at}/{step}".lstrip("/")
            found[at] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": at}
        if recursive or len(steps) == 1:
            found[path] = {
                "type": "file",
                "oid": hashlib.sha1(data).hexdigest(),
                "size": len(data),
                "path": path,
            }
    return list(found.values())
