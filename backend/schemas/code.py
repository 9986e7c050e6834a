"""What is on screen, as Python."""

from __future__ import annotations

from pydantic import Field

from backend.schemas.circuits import CircuitRequest
from backend.schemas.common import Body
from backend.schemas.workbench import AblationRequest


class CodeRequest(Body):
    """What the code recomputes, in this order."""

    ablations: list[AblationRequest] = Field(default=[], max_length=8)
    circuit: CircuitRequest | None = None
