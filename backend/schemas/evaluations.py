"""Evaluations: every method on the same facts."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from backend.schemas.common import Wire


class EvaluationSummary(Wire):
    """A stored evaluation of a decomposition."""

    id: str = Field(description="of its content: the same table has the same id")
    created_at: datetime
    facts: int
    methods: int
    seed: int
    source: str = Field(description="the facts: the run's own (“run”), or the name of a file")
    budgets: list[int] = Field(description="terms an edit may have")
    seconds: float
