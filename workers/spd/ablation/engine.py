"""The ablation engine: what a prompt's output becomes when chosen components are suppressed, or alone kept
(SPEC 17).

suppress   m = 1 − strength at the chosen components, 1 at all others, remainder on: y = x Wᵀ − Σ strength · (x V_c) U_c
keep_only  m = strength at the chosen components, 0 at all others, remainder off: y = Σ strength · (x V_c) U_c + b

Nothing chosen to suppress is the target model itself, bit for bit. An engine holds no state of any request but
caches keyed by content; masks travel as arguments, so any number of threads may use it at once. docs/ablation.md says
what each mode means.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

import workers
from workers.spd.ablation.edits import Condition, Edit, Editor, Mode, Remainder
from workers.spd.ablation.importances import SparseImportances, Trace, sparse_importances, sparse_row, trace
from workers.spd.ablation.loading import artifact_target, load_decomposition
from workers.spd.ablation.outputs import (
    MOST_TOP,
    Entropy,
    OutputStat,
    PositionResult,
    Rows,
    ShiftRow,
    kl_rows,
    shifts,
)
from workers.spd.ablation.passes import CleanPass, Passes, Touch
from workers.spd.ablation.selfcheck import check_edits, self_check
from workers.spd.artifact import Artifact
from workers.spd.lru import LRU
from workers.spd.method.decomposition import Decomposition
from workers.spd.method.decomposition import Importances as SiteImportances
from workers.spd.targets.fetching import Report
from workers.spd.targets.target import Target

__all__ = [
    "AblationEngine", "AblationResult", "AnswerShift", "CleanPass", "Condition", "Edit", "Entropy", "Mode",
    "OutputStat", "PositionResult", "Remainder", "ShiftRow", "SparseImportances", "artifact_target",
    "load_decomposition", "sparse_importances",
]  # fmt: skip

CLEAN_BYTES = 256 * 2**20
ANSWER_BYTES = 64 * 2**20
OUTPUT_BYTES = 32 * 2**20
CIRCUIT_BYTES = 32 * 2**20
SHIFT_BYTES = 500  # of a row of an answer: three objects and their numbers, measured


@dataclass(frozen=True)
class AnswerShift:
    """Cross-entropy −log p of a given token at the last position, nats."""

    token_id: int
    baseline_ce: float
    ablated_ce: float


@dataclass(frozen=True)
class AblationResult:
    """max_kl: over all positions of the prompt, reported or not; self_check_max_kl: everything on against the
    target; kl: a position, of all; in nats. `cached`: the answer, or the pass it is read from, was kept from before.

    The self-check costs a pass. An answer that has something to show does not wait for it: until it is there for this
    prompt, `self_check_of` says "probe" and the figure is that of a few tokens run when the engine was loaded.
    """

    positions: list[PositionResult]
    max_kl: float
    self_check_max_kl: float
    self_check_of: Literal["prompt", "probe"] = "prompt"
    kl: tuple[float, ...] = ()
    answer: AnswerShift | None = None
    cached: bool = False

    def nbytes(self) -> int:
        """About how much memory it takes."""
        rows = sum(len(place.top) + len(place.watched) + 1 for place in self.positions)
        return 1_000 + SHIFT_BYTES * rows + 40 * len(self.kl)


@dataclass(frozen=True)
class Output:
    """What the model says under a condition at the positions from `first` on; before it, what it says untouched.
    `cached`: from a pass made earlier."""

    first: int
    rows: Rows
    cached: bool = False


class AblationEngine:
    """Live causal importances and ablations of one decomposition."""

    def __init__(self, artifact: Artifact, target: Target) -> None:
        self._set(load_decomposition(artifact, target))

    @classmethod
    def over(cls, decomposition: Decomposition) -> AblationEngine:
        """An engine over a decomposition in memory."""
        engine = cls.__new__(cls)
        engine._set(decomposition)
        return engine

    def _set(self, decomposition: Decomposition) -> None:
        self.decomposition, self.target = decomposition, decomposition.target
        target = decomposition.target
        self.passes = Passes(target)
        self.editor = Editor(self.decomposition, self.passes)
        self._passing = [threading.Lock() for _ in range(16)]
        self._cleans: LRU[tuple[int, ...], CleanPass] = LRU(CLEAN_BYTES)
        self._answers: LRU[Hashable, AblationResult] = LRU(ANSWER_BYTES)
        self._outputs: LRU[Hashable, Output] = LRU(OUTPUT_BYTES)
        self.circuits: LRU[Hashable, Any] = LRU(CIRCUIT_BYTES)
        check_edits(decomposition, self.passes.probe)
        self._probe_check = self.self_check(self.passes.clean(self.passes.probe, inputs=False))

    @classmethod
    def load(
        cls, artifact: Artifact, home: Path, *, device: str = "cpu", report: Report = lambda p: None
    ) -> AblationEngine:
        """Fetch what is missing, load it, and check that the weights are those the artefact was made from."""
        return cls(artifact, artifact_target(artifact, home, device=device, report=report))

    @property
    def weights_hash(self) -> str:
        return self.target.card.weights_hash

    @property
    def device(self) -> str:
        return str(self.target.device)

    @property
    def dtype(self) -> str:
        return str(self.target.dtype).removeprefix("torch.")

    @property
    def versions(self) -> dict[str, str]:
        return workers.versions()

    def has(self, site: str, index: int) -> bool:
        """Whether the artefact holds this component."""
        return (site, index) in self.editor.place

    # --- what is known of a prompt ----------------------------------------------------------------------------

    @torch.inference_mode()
    def clean(self, token_ids: Sequence[int]) -> CleanPass:
        """The target's own pass of a prompt, kept for the next question about it."""
        key = tuple(token_ids)
        found = self._cleans.get(key)
        if found is None:
            with self._passing[hash(key) % len(self._passing)]:  # asked twice at once, it runs once
                found = self._cleans.get(key)
                if found is None:
                    found = self.passes.clean(key)
                    self._cleans.put(key, found, found.nbytes())
        return found

    def baseline(self, clean: CleanPass) -> tuple[Rows, Tensor]:
        """The clean pass's output with its top tokens, [seq, k]; worked out once."""
        with clean.lock:
            if "baseline" not in clean.known:
                rows = Rows.of(clean.logits)
                top = rows.logits.topk(min(MOST_TOP, rows.logits.shape[-1])).indices
                clean.known["baseline"] = rows, top
            return clean.known["baseline"]

    @torch.inference_mode()
    def site_importances(self, clean: CleanPass) -> SiteImportances:
        """Inner activations and causal importances of all sites, from the clean pass; worked out once, and then
        what the sites read is let go."""
        with clean.lock:
            if "importances" not in clean.known:
                inputs = clean.inputs or self.passes.clean(clean.token_ids).inputs
                clean.known["importances"] = self.decomposition.importances(inputs or {})
                clean.inputs = None
            return clean.known["importances"]

    def importances(
        self, token_ids: Sequence[int], threshold: float = 0.0, *, recompute: bool = False
    ) -> SparseImportances:
        """Causal importances of a prompt above `threshold`, in site order, then position, then component.

        `recompute` forgets the prompt's clean pass first."""
        if recompute:
            self._cleans.drop(tuple(token_ids))
        clean = self.clean(token_ids)
        known = "importances" in clean.known
        found = sparse_row(self.decomposition, self.site_importances(clean), 0, threshold)
        return replace(found, cached=known)

    def trace(self, token_ids: Sequence[int], site: str, index: int) -> Trace:
        """CI and inner activation of one component at every position of a prompt. Raises KeyError where the artefact
        does not hold it."""
        place = self.editor.place[site, index]
        return trace(self.site_importances(self.clean(token_ids)), 0, site, place)

    # --- passes -----------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def logits(
        self, clean: CleanPass, conditions: Sequence[Condition], *, last: int | None = None
    ) -> tuple[int, Tensor]:
        """Logits under each condition from the first position any of them touches on: (position, [conditions,
        positions, vocab]). With `last`, only that many positions from the end."""
        seq = len(clean.token_ids)
        touches = [self.editor.touch(condition, seq) for condition in conditions]
        touch = Touch(min(t.block for t in touches), min(t.position for t in touches))
        first = touch.position if last is None else max(touch.position, seq - last)
        start = self.passes.start(clean, touch)
        masks = self.editor.masks([self.editor.site_edits(c, start.position, seq) for c in conditions])
        keep = None
        if first > start.position:
            keep = torch.arange(first - start.position, seq - start.position, device=self.target.device)
        return first, self.passes.resumed(clean, masks, start, batch=len(conditions), keep=keep)

    @torch.inference_mode()
    def self_check(self, clean: CleanPass) -> float:
        """Everything on through the components against the target, nats. It costs a pass, so it is paid once a
        prompt, when the first answer about it needs it."""
        if "self_check" not in clean.known:
            before, _ = self.baseline(clean)
            clean.known["self_check"] = self_check(self.decomposition, self.passes, clean, before)
        return clean.known["self_check"]

    def outputs(
        self, clean: CleanPass, conditions: Sequence[Condition], *, recompute: bool = False
    ) -> list[Output]:
        """The output under each condition, kept for whoever asks for other tokens or positions of it next; those
        not kept are computed in one pass. What does not fit beside others is not kept."""
        keys = [
            (clean.token_ids, condition.edits, condition.mode, condition.keeps_remainder) for condition in conditions
        ]  # fmt: skip
        found = [None if recompute else self._outputs.get(key) for key in keys]
        missing = [place for place, output in enumerate(found) if output is None]
        if missing:
            first, stacked = self.logits(clean, [conditions[place] for place in missing])
            for place, logits in zip(missing, stacked, strict=True):
                # Of several, a copy: a view would hold all of them for as long as one is kept.
                rows = Rows.of(logits if len(missing) == 1 else logits.clone())
                found[place] = Output(first, rows)
                if rows.nbytes() <= OUTPUT_BYTES // 2:
                    self._outputs.put(keys[place], Output(first, rows, cached=True), rows.nbytes())
        return [output for output in found if output is not None]

    # --- answers ----------------------------------------------------------------------------------------------

    def ablate(
        self,
        token_ids: Sequence[int],
        edits: Sequence[Edit],
        *,
        mode: Mode = "suppress",
        remainder: Remainder | None = None,
        top_k: int = 10,
        watch: Sequence[int] = (),
        positions: Sequence[int] | None = None,
        answer: int | None = None,
        recompute: bool = False,
    ) -> AblationResult:
        """Run one ablation and compare it with the target, position by position.

        Where the decomposition leaves the first position to the target (an attention sink), an edit with `positions`
        None means all but the first; naming position 0 reaches it.
        """
        return self.conditions(
            token_ids, [Condition(tuple(edits), mode, remainder)], top_k=top_k, watch=watch, positions=positions,
            answer=answer, recompute=recompute,
        )[0]  # fmt: skip

    @torch.inference_mode()
    def conditions(
        self,
        token_ids: Sequence[int],
        conditions: Sequence[Condition],
        *,
        top_k: int = 10,
        watch: Sequence[int] = (),
        positions: Sequence[int] | None = None,
        answer: int | None = None,
        recompute: bool = False,
    ) -> list[AblationResult]:
        """Several ablations of one prompt, in one pass where they are not known already."""
        asked = (top_k, tuple(watch), None if positions is None else tuple(positions), answer)
        keys = [(tuple(token_ids), condition, *asked) for condition in conditions]
        kept = [None if recompute else self._answers.get(key) for key in keys]
        missing = [place for place, found in enumerate(kept) if found is None]
        if missing:
            clean = self.clean(token_ids)
            acting = [place for place in missing if self.acts(conditions[place], len(token_ids))]
            if not acting:
                self.self_check(clean)
            outputs = self.outputs(clean, [conditions[place] for place in acting], recompute=recompute)
            changed = dict(zip(acting, outputs, strict=True))
            for place in missing:
                result = self._result(clean, changed.get(place), top_k, watch, positions, answer)
                self._answers.put(keys[place], result, result.nbytes())
                kept[place] = result
        new = set(missing)
        return [
            self._checked(token_ids, found if place in new else replace(found, cached=True))
            for place, found in enumerate(kept)
            if found is not None
        ]

    def _checked(self, token_ids: Sequence[int], result: AblationResult) -> AblationResult:
        """The answer with the best self-check there is by now."""
        clean = self._cleans.get(tuple(token_ids))
        known = None if clean is None else clean.known.get("self_check")
        if known is None or result.self_check_of == "prompt":
            return result
        return replace(result, self_check_max_kl=known, self_check_of="prompt")

    def acts(self, condition: Condition, seq: int) -> bool:
        """Whether a condition changes anything at all."""
        if condition.mode == "keep_only" or not condition.keeps_remainder:
            return True
        return any(edit.strength > 0 and self.editor.rows(edit, seq) for edit in condition.edits)

    def _result(
        self,
        clean: CleanPass,
        output: Output | None,
        top_k: int,
        watch: Sequence[int],
        positions: Sequence[int] | None,
        answer: int | None,
    ) -> AblationResult:
        """Compare an output with the clean pass's; None means that nothing changed."""
        before, top = self.baseline(clean)
        seq = len(clean.token_ids)
        after, kl = before, before.total.new_zeros(seq)
        if output is not None:
            first, changed = output.first, output.rows
            kl[first:] = kl_rows(before.pick(slice(first, None)), changed)
            after = changed if first == 0 else _joined(before, changed, first)
        asked = list(range(seq) if positions is None else positions)
        at = slice(None) if positions is None else torch.tensor(asked, device=kl.device)
        answered = None
        if answer is not None:
            ces = [-rows.log_probability(seq - 1, answer) for rows in (before, after)]
            answered = AnswerShift(answer, *ces)
        results = shifts(asked, before.pick(at), after.pick(at), kl[at], top_k, watch, before_top=top[at])
        nats = tuple(kl.tolist())
        cached = output is not None and output.cached
        return AblationResult(results, max(nats), self._probe_check, "probe", nats, answered, cached)


def _joined(before: Rows, changed: Rows, first: int) -> Rows:
    return Rows(
        *(torch.cat([getattr(before, name)[:first], getattr(changed, name)])
          for name in ("logits", "most", "total", "entropy"))
    )  # fmt: skip
