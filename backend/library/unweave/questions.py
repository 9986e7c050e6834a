"""What can be asked of a decomposition, as requests to the API."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from backend.schemas.circuits import Circuit as CircuitAnswer
from backend.schemas.circuits import CircuitOutput, CircuitRequest
from backend.schemas.common import Listing
from backend.schemas.decompositions import ComponentRow, Decomposition, DecompositionListing, Group
from backend.schemas.findings import Finding as FindingAnswer
from backend.schemas.findings import FindingRequest, FindingSummary, Replay
from backend.schemas.workbench import Ablation as AblationAnswer
from backend.schemas.workbench import AblationRequest, ImportancesRequest, Prompt, Suppression
from backend.schemas.workbench import Importances as ImportancesAnswer
from backend.schemas.workbench import Trust as TrustAnswer
from unweave.doors import Question
from unweave.errors import UnweaveError
from unweave.results import Ablation, Circuit, Components, Finding, Importances, Trust

M = TypeVar("M", bound=BaseModel)
Text: TypeAlias = str | Sequence[int]
"""A text, or its token ids."""
Chosen: TypeAlias = str | Mapping[str, float] | Iterable[str | Suppression]
"""Components: a group's name (“␣Woods”), a key (“model.layers.0.mlp.down_proj:3”), several of either, or each with its
strength."""
KEY = re.compile(r"[A-Za-z0-9_.]+:[0-9]{1,7}")
FINDINGS_A_PAGE = 200


class Questions:
    """Questions about one decomposition, whose groups are known by name."""

    def __init__(self, id: str, groups: Mapping[str, list[str]]) -> None:
        self.path, self.id, self.groups = f"/api/decompositions/{quote(id, safe='')}", id, groups

    def importances(self, prompt: Text, **options: Any) -> Question[Importances]:
        body = _checked(ImportancesRequest, **_prompt(prompt), **options)
        return _post(f"{self.path}/importances", body, lambda a: Importances(_read(ImportancesAnswer, a)))

    def ablation(
        self, prompt: Text, suppress: Chosen, keep: Chosen | None, **options: Any
    ) -> AblationRequest:
        """An ablation as the API takes it. Raises UnweaveError."""
        if keep is not None and suppress:
            raise UnweaveError("Either suppress components or keep only some; give one of the two.")
        mode = "suppress" if keep is None else "keep_only"
        chosen = self.chosen(suppress if keep is None else keep)
        return _checked(AblationRequest, **_prompt(prompt), components=chosen, mode=mode, **options)

    def ablate(self, request: AblationRequest) -> Question[Ablation]:
        return _post(f"{self.path}/ablations", request, lambda a: Ablation(_read(AblationAnswer, a), request))

    def trust(self, prompt: Text, bos: bool) -> Question[Trust]:
        body = _checked(Prompt, **_prompt(prompt), bos=bos)
        return _post(f"{self.path}/trust", body, lambda a: Trust(_read(TrustAnswer, a)))

    def circuit(
        self,
        prompt: Text,
        token: str | int | None,
        against: str | int | None,
        position: int | None,
        **options: Any,
    ) -> Question[Circuit]:
        output = _checked(CircuitOutput, position=position, token=token, against=against)
        body = _checked(CircuitRequest, **_prompt(prompt), output=output, **options)
        return _post(f"{self.path}/circuits", body, lambda a: Circuit(_read(CircuitAnswer, a)))

    def components(self) -> Question[Components]:
        return Question("GET", f"{self.path}/components.json", _components)

    def figure(self, name: str, **query: Any) -> Question[Any]:
        return Question("GET", f"{self.path}/figures/{name}.json", _figure, query=query)

    def publish(self, title: str, ablations: Sequence[Ablation], claim: str, notes: str) -> Question[Finding]:
        body = _checked(
            FindingRequest, decomposition=self.id, title=title, claim=claim, notes=notes,
            ablations=[ablation.request for ablation in ablations],
        )  # fmt: skip
        return _post("/api/findings", body, lambda a: Finding(_read(FindingAnswer, a)), again=False)

    def chosen(self, components: Chosen) -> list[Suppression]:
        """Components by key or by the name of their group, each once. Raises UnweaveError for a name nobody knows."""
        if isinstance(components, Mapping):
            pairs: list[tuple[str | Suppression, float]] = list(components.items())
        else:
            named = [components] if isinstance(components, str) else components
            pairs = [(item, 1.0) for item in named]
        found: dict[str, Suppression] = {}
        for item, strength in pairs:
            if isinstance(item, Suppression):
                found.setdefault(item.key, item)
            else:
                for key in self._keys(item):
                    found.setdefault(key, _checked(Suppression, key=key, strength=float(strength)))
        return list(found.values())

    def _keys(self, name: str) -> list[str]:
        if name in self.groups:
            return self.groups[name]
        if KEY.fullmatch(name):
            return [name]
        close = difflib.get_close_matches(name, self.groups, n=3, cutoff=0.5) or list(self.groups)[:8]
        raise UnweaveError(
            f"“{name}” is neither a group of {self.id} nor a component's key. Groups: {', '.join(close) or 'none'}."
        )


# --- about the whole server ------------------------------------------------------------------------------------


def decomposition(id: str) -> Question[Decomposition]:
    return Question("GET", f"/api/decompositions/{quote(id, safe='')}", lambda a: _read(Decomposition, a))


def groups(id: str) -> Question[dict[str, list[str]]]:
    def read(answer: Any) -> dict[str, list[str]]:
        return {group.name: group.components for group in _read(Listing[Group], answer).items}

    return Question("GET", f"/api/decompositions/{quote(id, safe='')}/groups", read)


def decompositions() -> Question[list[str]]:
    return Question(
        "GET", "/api/decompositions", lambda a: [item.id for item in _read(DecompositionListing, a).items]
    )


def findings(q: str | None, cursor: str | None) -> Question[Listing[FindingSummary]]:
    query = {"q": q, "cursor": cursor, "limit": FINDINGS_A_PAGE}
    given = {name: value for name, value in query.items() if value is not None}
    return Question("GET", "/api/findings", lambda a: _read(Listing[FindingSummary], a), query=given)


def finding(slug: str) -> Question[Finding]:
    return Question(
        "GET", f"/api/findings/{quote(slug, safe='')}", lambda a: Finding(_read(FindingAnswer, a))
    )


def replay(slug: str) -> Question[Replay]:
    return Question("POST", f"/api/findings/{quote(slug, safe='')}/replay", lambda a: _read(Replay, a))


# --- reading and writing ---------------------------------------------------------------------------------------


def _prompt(prompt: Text) -> dict[str, Any]:
    return {"text": prompt} if isinstance(prompt, str) else {"token_ids": [int(one) for one in prompt]}


def _checked(model: type[M], **given: Any) -> M:
    try:
        return model(**given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise UnweaveError(f"{where}: {said}" if where else said) from None


def _read(model: type[M], answer: Any) -> M:
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        raise UnweaveError(
            f"The server answers in a form that this version does not know ({error.errors()[0]['loc']}). Use the same "
            "version of Unweave on both sides."
        ) from None


def _post(path: str, body: BaseModel, read: Any, *, again: bool = True) -> Question[Any]:
    return Question("POST", path, read, body.model_dump(mode="json", exclude_none=True), again=again)


def _components(answer: Any) -> Components:
    return Components([_read(ComponentRow, row) for row in answer["rows"]])


def _figure(answer: Any) -> Any:
    import plotly.graph_objects as go

    return go.Figure(answer)
