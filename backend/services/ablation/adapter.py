"""What the services need of an engine, and the one of workers.spd in this process, imported when one is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from backend.errors import ApiError, invalid
from backend.services.entries import Entry
from backend.settings import Settings
from workers.spd.answers import (
    AblationResult,
    Attribution,
    Continuations,
    HeadPatterns,
    NotFiniteError,
    RegimeOutcome,
    SparseImportances,
    SweepBatch,
    Trace,
    TrustFigures,
)
from workers.spd.keys import ComponentKey
from workers.spd.queries import (
    AblationQuery,
    AttributionQuery,
    CircuitQuery,
    Condition,
    RegimeSpec,
    SweepQuery,
)

if TYPE_CHECKING:  # these import torch
    from workers.spd.ablation.engine import AblationEngine
    from workers.spd.circuits.circuit import CircuitGraph
    from workers.spd.targets.target import Target

T = TypeVar("T")
Ids = tuple[int, ...]


class Ablator(Protocol):
    """What the services need of an engine. Thread-safe: masks travel as arguments, never on shared modules.

    Raises ApiError 422 for what this model cannot answer, 500 for numbers that are not finite, 507 out of memory.
    """

    @property
    def dtype(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def versions(self) -> dict[str, str]: ...

    def importances(
        self, token_ids: Ids, threshold: float, *, recompute: bool = False
    ) -> SparseImportances: ...
    def trace(self, token_ids: Ids, key: ComponentKey) -> Trace: ...
    def ablate(self, query: AblationQuery) -> list[AblationResult]: ...
    def self_check(self, token_ids: Ids) -> float: ...
    def trust(self, token_ids: Ids, threshold: float, *, rest: bool) -> TrustFigures: ...
    def sweep(self, query: SweepQuery) -> Iterator[SweepBatch]: ...
    def attribution(self, query: AttributionQuery) -> Iterator[Attribution | None]: ...
    def regime(self, query: AblationQuery, spec: RegimeSpec) -> Iterator[RegimeOutcome | None]: ...
    def patterns(
        self, token_ids: Ids, condition: Condition, heads: Sequence[tuple[int, int | None]]
    ) -> list[HeadPatterns]: ...
    def continuations(self, token_ids: Ids, condition: Condition, tokens: int) -> Continuations: ...
    def circuit(self, query: CircuitQuery) -> CircuitGraph: ...


Report = Callable[[Any], None]
Loader = Callable[[Entry, Settings, Report], Ablator]


class LocalAblator:
    """The engine of workers.spd in this process."""

    def __init__(self, engine: AblationEngine) -> None:
        self.engine = engine
        self.dtype, self.device, self.versions = engine.dtype, engine.device, engine.versions

    def importances(self, token_ids: Ids, threshold: float, *, recompute: bool = False) -> SparseImportances:
        with _api_errors():
            return self.engine.importances(token_ids, threshold, recompute=recompute)

    def trace(self, token_ids: Ids, key: ComponentKey) -> Trace:
        with _api_errors():
            return self.engine.trace(token_ids, key)

    def ablate(self, query: AblationQuery) -> list[AblationResult]:
        with _api_errors():
            return self.engine.ablate(query)

    def self_check(self, token_ids: Ids) -> float:
        """The self-check of a prompt, cached for the answers to come."""
        with _api_errors():
            return self.engine.self_check(self.engine.clean(token_ids))

    def trust(self, token_ids: Ids, threshold: float, *, rest: bool) -> TrustFigures:
        """How far the decomposition describes a prompt, cached with its clean pass."""
        from workers.spd.ablation.trust import trust

        with _api_errors():
            return trust(self.engine, token_ids, threshold, rest=rest)

    def sweep(self, query: SweepQuery) -> Iterator[SweepBatch]:
        from workers.spd.ablation.sweeps import sweep

        return _each(sweep(self.engine, query))

    def attribution(self, query: AttributionQuery) -> Iterator[Attribution | None]:
        """None while there is more to do, then what each component contributes."""
        from workers.spd.ablation.attribution import attribution_steps

        return _each(attribution_steps(self.engine, query))

    def regime(self, query: AblationQuery, spec: RegimeSpec) -> Iterator[RegimeOutcome | None]:
        from workers.spd.ablation.regimes import regime_steps

        return _each(regime_steps(self.engine, query, spec))

    def patterns(
        self, token_ids: Ids, condition: Condition, heads: Sequence[tuple[int, int | None]]
    ) -> list[HeadPatterns]:
        from workers.spd.ablation.attention import PatternsError, patterns

        try:
            with _api_errors():
                return patterns(self.engine, token_ids, condition, heads)
        except PatternsError as error:
            raise invalid("no_such_pattern", str(error)) from None

    def continuations(self, token_ids: Ids, condition: Condition, tokens: int) -> Continuations:
        from workers.spd.ablation.continuation import continuations

        with _api_errors():
            return continuations(self.engine, token_ids, condition, tokens)

    def circuit(self, query: CircuitQuery) -> CircuitGraph:
        from workers.spd.circuits.circuit import GraphError, circuit_of

        try:
            with _api_errors():
                return circuit_of(self.engine, query)
        except GraphError as error:
            raise invalid("no_circuit", str(error)) from None


@contextmanager
def _api_errors() -> Iterator[None]:
    """Numbers that are not finite, and an out-of-memory, fail the request that met them, and that one alone."""
    try:
        yield
    except NotFiniteError as error:
        raise ApiError(500, "not_finite", str(error)) from error
    except (MemoryError, RuntimeError) as error:
        message = str(error).lower()
        if isinstance(error, MemoryError) or "not enough memory" in message or "out of memory" in message:
            raise ApiError(
                507, "out_of_memory", "There is not enough memory for this request. Shorten the prompt, or ask for "
                "fewer conditions or samples at a time.",
            ) from error  # fmt: skip
        raise


def _each(steps: Iterator[T]) -> Iterator[T]:
    """The same steps, their errors as the API's."""
    while True:
        with _api_errors():
            try:
                step = next(steps)
            except StopIteration:
                return
        yield step


class LocalLoader:
    """Loads engines in this process. Decompositions of the same model share one copy of it in memory."""

    def __init__(self) -> None:
        self._targets: WeakValueDictionary[tuple[str, str], Target] = WeakValueDictionary()

    def __call__(self, entry: Entry, settings: Settings, report: Report) -> Ablator:
        """Fetch, convert and load what is needed, reporting on the way. Imports torch here, and only here."""
        from workers.spd.ablation.engine import AblationEngine
        from workers.spd.ablation.loading import artifact_folder
        from workers.spd.targets.target import load_target, read_card

        folder = artifact_folder(entry.artifact, settings.home, report=report)
        key = (read_card(folder).identity, settings.device)
        target = self._targets.get(key)
        if target is None:
            target = load_target(folder, device=settings.device)
            self._targets[key] = target
        return LocalAblator(AblationEngine.from_artifact(entry.artifact, target, entry.piece))
