"""What the library raises."""

from __future__ import annotations

from typing import Any


class UnweaveError(Exception):
    """What was asked cannot be done; the message is a plain sentence. `code` and `status` are the API's."""

    def __init__(
        self,
        message: str,
        code: str = "",
        status: int = 0,
        details: dict[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.status, self.details, self.retry_after = code, status, details or {}, retry_after
