"""The one door to the ablation engine: loads it in the background, says how far it is, hands it out when ready.

Nothing here imports torch until an engine is loaded, so the server answers within a second of its start. Engines of
several decompositions live side by side; there is no "loaded run".
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol
from weakref import WeakValueDictionary

from backend.errors import ApiError
from backend.schemas.common import EngineState, TargetStatus
from backend.services.entries import Entry
from backend.settings import Settings
from workers.spd.artifact import Artifact

if TYPE_CHECKING:
    from workers.spd.ablation import AblationEngine, AblationResult, SparseImportances
    from workers.spd.targets import Target

log = logging.getLogger("unweave")


@dataclass(frozen=True)
class EditSpec:
    """One checked suppression: a stored component, strength 0–1, positions inside the prompt or None for all."""

    site: str
    index: int
    strength: float
    positions: tuple[int, ...] | None


class Ablator(Protocol):
    """What the services need of an engine. Thread-safe: masks travel as arguments, never on shared modules."""

    @property
    def dtype(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def versions(self) -> dict[str, str]: ...

    def importances(self, token_ids: Sequence[int], threshold: float) -> SparseImportances: ...

    def ablate(
        self,
        token_ids: Sequence[int],
        edits: Sequence[EditSpec],
        mode: Literal["suppress", "keep_only"],
        top_k: int,
        watch: Sequence[int],
        positions: Sequence[int] | None,
    ) -> AblationResult: ...


Report = Callable[[Any], None]
Loader = Callable[[Artifact, Path, str, Report], Ablator]


class LocalAblator:
    """The engine of workers.spd in this process."""

    def __init__(self, engine: AblationEngine) -> None:
        self._engine = engine
        self.dtype, self.device, self.versions = engine.dtype, engine.device, engine.versions

    def importances(self, token_ids: Sequence[int], threshold: float) -> SparseImportances:
        return self._engine.importances(token_ids, threshold)

    def ablate(
        self,
        token_ids: Sequence[int],
        edits: Sequence[EditSpec],
        mode: Literal["suppress", "keep_only"],
        top_k: int,
        watch: Sequence[int],
        positions: Sequence[int] | None,
    ) -> AblationResult:
        from workers.spd.ablation import Edit

        told = [Edit(edit.site, edit.index, edit.strength, edit.positions) for edit in edits]
        return self._engine.ablate(token_ids, told, mode=mode, top_k=top_k, watch=watch, positions=positions)


class LocalLoader:
    """Loads engines in this process. Decompositions of the same weights share one copy of them in memory."""

    def __init__(self) -> None:
        self._targets: WeakValueDictionary[tuple[str, str], Target] = WeakValueDictionary()

    def __call__(self, artifact: Artifact, home: Path, device: str, report: Report) -> Ablator:
        """Fetch, convert and load what is needed, reporting on the way. Imports torch here, and only here."""
        from workers.spd.ablation import AblationEngine, artifact_target

        key = (artifact.manifest.target.weights_hash, device)
        target = self._targets.get(key)
        if target is None:
            target = artifact_target(artifact, home, device=device, report=report)
            self._targets[key] = target
        return LocalAblator(AblationEngine(artifact, target))


@dataclass
class _Slot:
    entry: Entry
    state: EngineState = "absent"
    progress: float | None = None
    message: str | None = None
    ablator: Ablator | None = None
    used: int = 0
    waiting: threading.Event = field(default_factory=threading.Event)


class Engines:
    """Engines by artefact hash. One thread loads them in turn, what somebody waits for first."""

    def __init__(self, settings: Settings, loader: Loader | None = None) -> None:
        self.settings, self._loader = settings, loader or LocalLoader()
        self._slots: dict[str, _Slot] = {}
        self._queue: deque[_Slot] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._clock = 0

    # --- asking -----------------------------------------------------------------------------------------------

    def status(self, entry: Entry) -> TargetStatus:
        """Where the weights of a decomposition are."""
        with self._changed:
            return self._status(self._slot(entry))

    def statuses(self) -> list[TargetStatus]:
        """One line a set of weights that something was asked of; a ready one speaks for its copies."""
        with self._changed:
            slots = sorted(self._slots.values(), key=lambda slot: slot.state == "ready")
            return list({slot.entry.weights_hash: self._status(slot) for slot in slots}.values())

    def want(self, entry: Entry, *, retry: bool = False, first: bool = True) -> TargetStatus:
        """Start loading unless that is done, under way, or failed before (then only with `retry`)."""
        with self._changed:
            slot = self._slot(entry)
            if slot.state == "absent" or (slot.state == "failed" and retry):
                slot.state, slot.progress, slot.message = "loading", None, "Waiting for its turn to load."
                slot.waiting.clear()
                if first:
                    self._queue.appendleft(slot)
                else:
                    self._queue.append(slot)
                self._start()
                self._changed.notify_all()
            return self._status(slot)

    def get(self, entry: Entry) -> Ablator:
        """The engine. Raises ApiError 503: not there yet (with Retry-After and the state), or failed (with why)."""
        status = self.want(entry)
        with self._changed:
            slot = self._slot(entry)
            if slot.ablator is not None:
                self._clock += 1
                slot.used = self._clock
                return slot.ablator
        details = status.model_dump(mode="json")
        if status.state == "failed":
            raise ApiError(
                503, "weights_failed", status.message or "The weights could not be loaded.", details
            )
        share = f" ({status.progress:.0%})" if status.progress is not None else ""
        said = f"The weights of {status.model} are not there yet{share}. {status.message or ''}".strip()
        raise ApiError(503, "weights_not_ready", said, details, retry_after=2)

    def wait(self, entry: Entry, timeout: float) -> TargetStatus:
        """Start loading and wait until that ended, for tools and tests; `timeout` in seconds."""
        self.want(entry)
        with self._changed:
            slot = self._slot(entry)
        slot.waiting.wait(timeout)
        return self.status(entry)

    def close(self) -> None:
        """Load nothing more."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()

    # --- loading ----------------------------------------------------------------------------------------------

    def _slot(self, entry: Entry) -> _Slot:
        if entry.hash not in self._slots:
            self._slots[entry.hash] = _Slot(entry)
        return self._slots[entry.hash]

    def _status(self, slot: _Slot) -> TargetStatus:
        target = slot.entry.artifact.manifest.target
        return TargetStatus(
            weights_hash=target.weights_hash,
            model=target.model.name,
            state=slot.state,
            progress=slot.progress,
            message=slot.message,
        )

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._run, name="unweave-engines", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                slot = self._queue.popleft()
            self._load(slot)

    def _load(self, slot: _Slot) -> None:
        def report(progress: Any) -> None:
            with self._changed:
                slot.state, slot.progress, slot.message = progress.state, progress.fraction, progress.message

        with self._changed:
            slot.message = "Starting the engine."
        try:
            ablator = self._loader(slot.entry.artifact, self.settings.home, self.settings.device, report)
        except Exception as error:
            log.exception("the engine of %s could not be loaded", slot.entry.slug)
            with self._changed:
                slot.state, slot.progress, slot.message = "failed", None, _why(error)
        else:
            with self._changed:
                slot.ablator, slot.state, slot.progress, slot.message = ablator, "ready", 1.0, None
                self._clock += 1
                slot.used = self._clock
                self._make_room()
            log.info("ready: %s", slot.entry.slug)
        slot.waiting.set()

    def _make_room(self) -> None:
        """Past the limit, the engine not used for longest leaves; requests that hold it end undisturbed."""
        ready = sorted((s for s in self._slots.values() if s.ablator is not None), key=lambda s: s.used)
        for slot in ready[: max(0, len(ready) - self.settings.max_engines)]:
            slot.ablator, slot.state, slot.progress, slot.message = None, "absent", None, None


def _why(error: Exception) -> str:
    """A sentence for people. Our own errors are written as one; others get a frame."""
    if type(error).__module__.startswith("workers."):
        return str(error)
    if isinstance(error, ImportError):
        return f"The engine cannot run here: {error}. Install Unweave with its packages, then load the weights again."
    if isinstance(error, MemoryError):
        return "There is not enough memory for this model. Close something, then load the weights again."
    first = (str(error).splitlines() or [""])[0][:300]
    return f"The weights could not be loaded ({type(error).__name__}: {first}). The server's log says more."
