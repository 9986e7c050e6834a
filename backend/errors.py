"""One shape for every error: `{code, message, details}`, a plain sentence and a way out, never a stack trace."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from structlog.contextvars import get_contextvars

log = logging.getLogger("unweave")


class ApiError(Exception):
    """An answer other than 2xx. `message` is shown to people as it is."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: dict[str, Any] | None = None,
        *,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.details = status, code, message, details
        self.retry_after = retry_after


class InvalidCursorError(ApiError):
    """422 for a cursor that the list it is given to never handed out."""

    def __init__(self) -> None:
        super().__init__(
            422, "invalid_cursor", "This cursor does not belong to this list; start from the first page."
        )


def not_found(code: str, message: str, **details: Any) -> ApiError:
    """404 with the name of what is missing."""
    return ApiError(404, code, message, details or None)


def invalid(code: str, message: str, **details: Any) -> ApiError:
    """422: the request was understood and cannot be done as asked."""
    return ApiError(422, code, message, details or None)


def respond(error: ApiError) -> JSONResponse:
    """The one shape, as a response."""
    headers = {"Cache-Control": "no-store"}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    body = {"code": error.code, "message": error.message, "details": error.details}
    return JSONResponse(body, status_code=error.status, headers=headers)


def database_busy(error: OperationalError) -> ApiError:
    """503, and the cause in the log."""
    log.error("database: %s", error.orig)
    said = "The database is busy or cannot be reached. Try again in a moment."
    return ApiError(503, "database_busy", said, retry_after=2)


_HTTP = {
    400: ("bad_request", "The request could not be read."),
    401: ("unauthorized", "This needs a sign-in."),
    403: ("forbidden", "This is not allowed."),
    404: ("not_found", "There is nothing at this address."),
    405: (
        "method_not_allowed",
        "This address does not take that method; the header Allow names those it takes.",
    ),
    413: ("too_large", "The request is too large."),
    415: ("unsupported_media_type", "Send the body as application/json."),
}


def _sentence(item: dict[str, Any]) -> tuple[str, str]:
    """One validation fault as (field, plain words)."""
    steps = [step for step in item["loc"] if step not in ("body", "query", "path")]
    where = ".".join(str(step) for step in steps) or "request"
    context = item.get("ctx") or {}
    match item["type"]:
        case "missing":
            what = "is required"
        case "extra_forbidden":
            what = "is not a known key"
        case "finite_number":
            what = "must be a number, not NaN or infinity"
        case "greater_than_equal":
            what = f"must be at least {context.get('ge')}"
        case "less_than_equal":
            what = f"must be at most {context.get('le')}"
        case "string_too_long" | "too_long":
            what = f"is too long; the most is {context.get('max_length'):,}"
        case "string_too_short" | "too_short":
            what = f"is too short; the least is {context.get('min_length'):,}"
        case _:
            what = str(item["msg"]).removeprefix("Value error, ")
            what = what[:1].lower() + what[1:]
    return where, what


def from_validation(errors: list[dict[str, Any]]) -> ApiError:
    """Pydantic's list of faults as one error; the first few are put in words, all are named in `details`."""
    if any(item["type"] == "json_invalid" for item in errors):
        return ApiError(422, "malformed_json", "The body is not valid JSON.")
    if len(errors) == 1 and errors[0]["loc"] == ("body",) and errors[0]["type"] == "value_error":
        return ApiError(422, "invalid_request", str(errors[0]["msg"]).removeprefix("Value error, "))
    faults = [_sentence(item) for item in errors]
    shown = "; ".join(f"“{where}” {what}" for where, what in faults[:3])
    more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
    details = {"fields": [{"field": where, "message": what} for where, what in faults[:20]]}
    code = "invalid_strength" if all(where.endswith("strength") for where, _ in faults) else "invalid_request"
    return ApiError(422, code, f"{shown}{more}.", details)


def install(app: FastAPI) -> None:
    """Make every error of `app` leave in the one shape."""

    @app.exception_handler(ApiError)
    async def _api(_: Request, error: ApiError) -> JSONResponse:
        return respond(error)

    @app.exception_handler(RequestValidationError)
    async def _validation(_: Request, error: RequestValidationError) -> JSONResponse:
        return respond(from_validation(list(error.errors())))

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        code, message = _HTTP.get(error.status_code, ("http_error", str(error.detail)))
        response = respond(ApiError(error.status_code, code, message))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(OperationalError)
    async def _database(_: Request, error: OperationalError) -> JSONResponse:
        return respond(database_busy(error))

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        log.exception("unexpected error in %s %s", request.method, request.url.path, exc_info=error)
        said = "Something went wrong on the server. The server's log says what."
        response = respond(ApiError(500, "internal", said))
        response.headers["X-Request-ID"] = str(
            get_contextvars().get("request_id", "")
        )  # no layer around adds it here
        return response
