"""What the services need of an engine, and the one of workers.spd in this process, imported when one is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol
from weakref import WeakValueDictionary

from backend.errors import ApiError, invalid
from workers.spd.artifact import Artifact

if TYPE_CHECKING:
    from workers.spd.ablation.attention import HeadPattern
    from workers.spd.ablation.continuation import Continuations
    from workers.spd.ablation.edits import Condition
    from workers.spd.ablation.engine import AblationEngine, AblationResult, SparseImportances
    from workers.spd.ablation.importances import Trace
    from workers.spd.ablation.regimes import RegimeResult, RegimeSpec
    from workers.spd.ablation.sweeps import SweepRow
    from workers.spd.circuits.circuit import CircuitGraph
    from workers.spd.targets.target import Target

Mode = Literal["suppress", "keep_only"]
Remainder = Literal["on", "off"]


@dataclass(frozen=True)
class EditSpec:
    """One checked suppression: a stored component, strength 0–1, positions inside the prompt or None for all, but
    none before `start`."""

    site: str
    index: int
    strength: float
    positions: tuple[int, ...] | None
    start: int | None = None


@dataclass(frozen=True)
class ConditionSpec:
    """One checked basket under one mode."""

    edits: tuple[EditSpec, ...] = ()
    mode: Mode = "suppress"
    remainder: Remainder | None = None


@dataclass(frozen=True)
class RegimeAsk:
    """A checked mask regime; `selection` None: the causal importances say what stays."""

    kind: Literal["ci", "rounded", "stochastic", "adversarial"]
    selection: tuple[EditSpec, ...] | None
    threshold: float
    samples: int
    seed: int
    steps: int


class Ablator(Protocol):
    """What the services need of an engine. Thread-safe: masks travel as arguments, never on shared modules."""

    @property
    def dtype(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def versions(self) -> dict[str, str]: ...

    def importances(
        self, token_ids: Sequence[int], threshold: float, *, recompute: bool = False
    ) -> SparseImportances: ...

    def trace(self, token_ids: Sequence[int], site: str, index: int) -> Trace: ...

    def ablate(
        self,
        token_ids: Sequence[int],
        edits: Sequence[EditSpec],
        mode: Mode,
        top_k: int,
        watch: Sequence[int],
        positions: Sequence[int] | None,
        *,
        remainder: Remainder | None = None,
        answer: int | None = None,
        recompute: bool = False,
    ) -> AblationResult: ...

    def conditions(
        self,
        token_ids: Sequence[int],
        conditions: Sequence[ConditionSpec],
        top_k: int,
        watch: Sequence[int],
        positions: Sequence[int] | None,
        answer: int | None = None,
        recompute: bool = False,
    ) -> list[AblationResult]: ...

    def check(self, token_ids: Sequence[int]) -> float: ...

    def sweep(
        self,
        token_ids: Sequence[int],
        conditions: Sequence[ConditionSpec],
        position: int | None,
        watch: Sequence[int],
        contrast: tuple[int, int] | None,
        answer: int | None,
    ) -> Iterator[list[SweepRow]]: ...

    def regime(
        self,
        token_ids: Sequence[int],
        spec: RegimeAsk,
        top_k: int,
        watch: Sequence[int],
        positions: Sequence[int] | None,
    ) -> Iterator[RegimeResult | None]: ...

    def patterns(
        self, token_ids: Sequence[int], condition: ConditionSpec, heads: Sequence[tuple[int, int | None]]
    ) -> list[HeadPattern]: ...

    def continuations(
        self, token_ids: Sequence[int], condition: ConditionSpec, tokens: int
    ) -> Continuations: ...

    def circuit(
        self,
        token_ids: Sequence[int],
        position: int,
        token: int | None,
        against: int | None,
        threshold: float,
    ) -> tuple[CircuitGraph, int, bool]: ...


Report = Callable[[Any], None]
Loader = Callable[[Artifact, Path, str, Report], Ablator]


class LocalAblator:
    """The engine of workers.spd in this process."""

    def __init__(self, engine: AblationEngine) -> None:
        self._engine = engine
        self.dtype, self.device, self.versions = engine.dtype, engine.device, engine.versions

    def importances(
        self, token_ids: Sequence[int], threshold: float, *, recompute: bool = False
    ) -> SparseImportances:
        return _within_memory(lambda: self._engine.importances(token_ids, threshold, recompute=recompute))

    def trace(self, token_ids: Sequence[int], site: str, index: int) -> Trace:
        return _within_memory(lambda: self._engine.trace(token_ids, site, index))

    def ablate(
        self,
        token_ids: Sequence[int],
        edits: Sequence[EditSpec],
        mode: Mode,
        top_k: int,
        watch: Sequence[int],
        positions: Sequence[int] | None,
        *,
        remainder: Remainder | None = None,
        answer: int | None = None,
        recompute: bool = False,
    ) -> AblationResult:
        spec = ConditionSpec(tuple(edits), mode, remainder)
        return self.conditions(token_ids, [spec], top_k, watch, positions, answer, recompute)[0]

    def conditions(
        self,
        token_ids: Sequence[int],
        conditions: Sequence[ConditionSpec],
        top_k: int,
        watch: Sequence[int],
        positions: Sequence[int] | None,
        answer: int | None = None,
        recompute: bool = False,
    ) -> list[AblationResult]:
        told = [_condition(spec) for spec in conditions]
        return _within_memory(
            lambda: self._engine.conditions(
                token_ids, told, top_k=top_k, watch=watch, positions=positions, answer=answer, recompute=recompute
            )
        )  # fmt: skip

    def check(self, token_ids: Sequence[int]) -> float:
        """The self-check of a prompt, kept for the answers to come."""
        return _within_memory(lambda: self._engine.self_check(self._engine.clean(token_ids)))

    def sweep(
        self,
        token_ids: Sequence[int],
        conditions: Sequence[ConditionSpec],
        position: int | None,
        watch: Sequence[int],
        contrast: tuple[int, int] | None,
        answer: int | None,
    ) -> Iterator[list[SweepRow]]:
        from workers.spd.ablation.sweeps import sweep

        told = [_condition(spec) for spec in conditions]
        return _each_within_memory(
            sweep(
                self._engine, token_ids, told, position=position, watch=watch, contrast=contrast, answer=answer
            )
        )  # fmt: skip

    def regime(
        self,
        token_ids: Sequence[int],
        spec: RegimeAsk,
        top_k: int,
        watch: Sequence[int],
        positions: Sequence[int] | None,
    ) -> Iterator[RegimeResult | None]:
        from workers.spd.ablation.regimes import RegimeRun

        def steps() -> Iterator[RegimeResult | None]:
            run = RegimeRun(self._engine, token_ids, _regime(spec))
            for samples in run.steps():
                yield None if samples is None else run.result(samples, top_k, watch, positions)

        return _each_within_memory(steps())

    def patterns(
        self, token_ids: Sequence[int], condition: ConditionSpec, heads: Sequence[tuple[int, int | None]]
    ) -> list[HeadPattern]:
        from workers.spd.ablation.attention import PatternsError, patterns

        try:
            told = _condition(condition)
            return _within_memory(lambda: patterns(self._engine, token_ids, told, heads))
        except PatternsError as error:
            raise invalid("no_such_pattern", str(error)) from None

    def continuations(self, token_ids: Sequence[int], condition: ConditionSpec, tokens: int) -> Continuations:
        from workers.spd.ablation.continuation import continuations

        told = _condition(condition)
        return _within_memory(lambda: continuations(self._engine, token_ids, told, tokens))

    def circuit(
        self,
        token_ids: Sequence[int],
        position: int,
        token: int | None,
        against: int | None,
        threshold: float,
    ) -> tuple[CircuitGraph, int, bool]:
        """The circuit, the token it explains (where None: the likeliest), and whether it was kept from before."""
        from workers.spd.circuits.circuit import GraphError, circuit_of

        try:
            return _within_memory(
                lambda: circuit_of(self._engine, token_ids, position, token, against, threshold)
            )
        except GraphError as error:
            raise invalid("no_circuit", str(error)) from None


def _edits(edits: Sequence[EditSpec]) -> tuple[Any, ...]:
    from workers.spd.ablation.edits import Edit

    return tuple(Edit(e.site, e.index, e.strength, e.positions, e.start) for e in edits)


def _condition(spec: ConditionSpec) -> Condition:
    from workers.spd.ablation.edits import Condition

    return Condition(_edits(spec.edits), spec.mode, spec.remainder)


def _regime(spec: RegimeAsk) -> RegimeSpec:
    from workers.spd.ablation.regimes import RegimeSpec

    selection = None if spec.selection is None else _edits(spec.selection)
    return RegimeSpec(spec.kind, selection, spec.threshold, spec.samples, spec.seed, spec.steps)


def _within_memory(work: Callable[[], Any]) -> Any:
    """An out-of-memory fails the request that asked for too much, and that one alone."""
    try:
        return work()
    except (MemoryError, RuntimeError) as error:
        said = str(error).lower()
        if isinstance(error, MemoryError) or "not enough memory" in said or "out of memory" in said:
            raise ApiError(
                507, "out_of_memory", "There is not enough memory for this request. Shorten the prompt, or ask for "
                "fewer conditions or samples at a time.",
            ) from error  # fmt: skip
        raise


def _each_within_memory(steps: Iterator[Any]) -> Iterator[Any]:
    end = object()
    while (found := _within_memory(lambda: next(steps, end))) is not end:
        yield found


class LocalLoader:
    """Loads engines in this process. Decompositions of the same weights share one copy of them in memory."""

    def __init__(self) -> None:
        self._targets: WeakValueDictionary[tuple[str, str], Target] = WeakValueDictionary()

    def __call__(self, artifact: Artifact, home: Path, device: str, report: Report) -> Ablator:
        """Fetch, convert and load what is needed, reporting on the way. Imports torch here, and only here."""
        from workers.spd.ablation.engine import AblationEngine, artifact_target

        key = (artifact.manifest.target.weights_hash, device)
        target = self._targets.get(key)
        if target is None:
            target = artifact_target(artifact, home, device=device, report=report)
            self._targets[key] = target
        return LocalAblator(AblationEngine(artifact, target))
