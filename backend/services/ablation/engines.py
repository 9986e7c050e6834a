"""The one door to the ablation engine: loads it in the background, says how far it is, hands it out when ready.

Nothing here imports torch until an engine is loaded, so the server answers within a second of its start. Engines of
several decompositions live side by side, within a budget; there is no "loaded run".
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.errors import ApiError
from backend.schemas.common import EngineState, TargetStatus
from backend.services.ablation.adapter import Ablator, Loader, LocalLoader
from backend.services.entries import Entry
from backend.settings import Settings
from workers.jobs.places import without_places

log = logging.getLogger("unweave")
WORKING = 1.25  # of its weights: what a model and its passes need beside them


@dataclass
class _Slot:
    entry: Entry
    state: EngineState = "absent"
    progress: float | None = None
    message: str | None = None
    ablator: Ablator | None = None
    used: int = 0
    waiting: threading.Event = field(default_factory=threading.Event)

    def leave(self) -> None:
        self.ablator, self.state, self.progress, self.message = None, "absent", None, None


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
        """One line per set of weights that something was asked of; a ready one speaks for its copies."""
        with self._changed:
            slots = sorted(self._slots.values(), key=lambda slot: slot.state == "ready")
            return list({slot.entry.model_identity: self._status(slot) for slot in slots}.values())

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
        sentence = f"The weights of {status.model} are not there yet{share}. {status.message or ''}".strip()
        raise ApiError(503, "weights_not_ready", sentence, details, retry_after=2)

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

    def join(self, seconds: float) -> None:
        """After `close`, wait for what is still being loaded."""
        if self._thread is not None:
            self._thread.join(seconds)

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
            refusal = self._make_room_for(slot)
            if refusal is not None:
                slot.state, slot.progress, slot.message = "failed", None, refusal
        if refusal is not None:
            slot.waiting.set()
            return
        try:
            ablator = self._loader(slot.entry, self.settings, report)
        except Exception as error:
            expected = type(error).__module__.startswith(
                "workers."
            )  # no network, say: the sentence is enough
            log.error(
                "the engine of %s could not be loaded: %s", slot.entry.slug, error, exc_info=not expected
            )
            with self._changed:
                slot.state, slot.progress, slot.message = "failed", None, _why(error, self.settings.home)
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
        for slot in self._ready()[: max(0, len(self._ready()) - self.settings.max_engines)]:
            slot.leave()

    def _make_room_for(self, slot: _Slot) -> str | None:
        """Let those not used for longest leave until this one fits; or say, with both numbers, that it cannot."""
        budget = self.budget
        if _bytes([slot]) > budget:
            return (
                f"{slot.entry.artifact.manifest.target.model.name} needs about {_gigabytes(_bytes([slot]))} of memory "
                f"and the budget is {_gigabytes(budget)}. Raise UNWEAVE_MEMORY_BUDGET_MB, or use a machine with more."
            )
        for other in self._ready():
            if _bytes([slot, *self._ready()]) <= budget:
                break
            other.leave()
        return None

    def _ready(self) -> list[_Slot]:
        return sorted((s for s in self._slots.values() if s.ablator is not None), key=lambda s: s.used)

    @property
    def used_bytes(self) -> int:
        """Bytes that what is loaded needs, by what the artefacts say."""
        with self._changed:
            return _bytes(self._ready())

    @property
    def budget(self) -> int:
        """Bytes that models and decompositions may take."""
        if self.settings.memory_budget_mb is not None:
            return self.settings.memory_budget_mb * 2**20
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4


def _bytes(slots: list[_Slot]) -> int:
    """What engines need, by what their artefacts say. Decompositions of the same model share one copy."""
    weights = {s.entry.model_identity: s.entry.artifact.manifest.target.model.parameters * 4 for s in slots}
    components = sum(
        len(site.kept) * (site.d_in + site.d_out) * 4
        for s in {s.entry.hash: s for s in slots}.values()
        for site in s.entry.artifact.manifest.sites
    )
    return int(sum(weights.values()) * WORKING) + components


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.1f} GB" if size >= 2**29 else f"{size / 2**20:.0f} MB"


def _why(error: Exception, home: Path) -> str:
    """A sentence for people, without the server's paths. Our own errors are written as one; others get a frame."""
    if type(error).__module__.startswith("workers."):
        return without_places(str(error), home)
    if isinstance(error, ImportError):
        return f"The engine cannot run here: {error}. Install Unweave with its packages, then load the weights again."
    if isinstance(error, MemoryError):
        return "There is not enough memory for this model. Close something, then load the weights again."
    first = without_places((str(error).splitlines() or [""])[0], home)[:300]
    return f"The weights could not be loaded ({type(error).__name__}: {first}). The server's log says more."
