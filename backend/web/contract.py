"""The OpenAPI document: to what the routes say of themselves, the answers that the layers around them give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

ERROR = {"$ref": "#/components/schemas/ErrorBody"}
SAID = {
    "400": "The request could not be read",
    "401": "Nobody is signed in, and the operation needs somebody",
    "403": "The visitor's role is too small, or a page of another site asked for a change",
    "404": "There is no such thing",
    "413": "The body is too large",
    "421": "The server does not answer to that host name",
    "422": "The request cannot be done as asked",
    "429": "Too much is asked at once; Retry-After says when to come again",
    "500": "Something is wrong on the server",
    "503": "The database or the weights are not there yet; Retry-After says when to come again",
}


def describe(app: FastAPI) -> None:
    """Make `app.openapi` say every status that an operation may answer with, none as a catch-all."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            document["components"]["responses"] = {f"Error{status}": _error(status) for status in SAID}
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    answers = operation["responses"]
                    answers |= {
                        status: {"$ref": f"#/components/responses/Error{status}"}
                        for status in _errors(path, method, operation)
                    }
                    if method == "get":
                        answers["304"] = {"description": "Not changed since the client's ETag"}
                    operation["responses"] = {status: answers[status] for status in sorted(answers)}
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi


def missing(description: str) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that may answer 404 though its path names nothing."""
    return {404: {**_error("404"), "description": description}}


def unknown(description: str) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that anyone may ask and that may answer 401 all the same."""
    return {401: {**_error("401"), "description": description}}


def conflict(description: str) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that may answer 409."""
    return {409: {**_error("409"), "description": description}}


def file(*types: str) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route whose answer is a file of one of these media types."""
    text = {"schema": {"type": "string"}}
    content = {kind: {} if kind.endswith("json") else text for kind in types}
    return {200: {"description": "The file", "content": content}}


def _errors(path: str, method: str, operation: dict[str, Any]) -> Iterator[str]:
    yield from ("413", "421", "422", "429", "500", "503")
    if "{" in path:
        yield "404"
    if "security" in operation:
        yield from ("401", "403")
    if method != "get":
        yield from ("400", "403")


def _error(status: str) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": SAID.get(status, ""),
        "content": {"application/json": {"schema": ERROR}},
    }
    if status in ("429", "503"):
        answer["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return answer
