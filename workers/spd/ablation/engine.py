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
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

import workers
from workers.spd.ablation.edits import Editor
from workers.spd.ablation.importances import component_trace, sparse_row
from workers.spd.ablation.loading import artifact_target, load_decomposition
from workers.spd.ablation.outputs import Baseline, Rows, kl_rows, shifts
from workers.spd.ablation.passes import CleanPass, Passes, Touch
from workers.spd.ablation.selfcheck import check_edits, self_check
from workers.spd.answers import AblationResult, AnswerShift, SelfCheck, SparseImportances, Trace, check_finite
from workers.spd.artifact import Artifact
from workers.spd.keys import ComponentKey
from workers.spd.lru import LRU
from workers.spd.method.decomposition import Decomposition, Importances
from workers.spd.queries import AblationQuery, Condition
from workers.spd.targets.fetching import Report
from workers.spd.targets.target import Target

CLEAN_BYTES = 256 * 2**20
ANSWER_BYTES = 64 * 2**20
OUTPUT_BYTES = 32 * 2**20
CIRCUIT_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Changed:
    """A condition's output at the positions from `first` on; before it, the clean pass's. `cached`: from an earlier
    pass."""

    first: int
    rows: Rows
    cached: bool = False


class AblationEngine:
    """Live causal importances and ablations of one decomposition. `piece` is the text of a token in answers."""

    def __init__(self, decomposition: Decomposition, piece: Callable[[int], str] = str) -> None:
        self.decomposition, self.target, self.piece = decomposition, decomposition.target, piece
        self.passes = Passes(self.target)
        self.editor = Editor(decomposition, self.passes)
        self._prompt_locks = [threading.Lock() for _ in range(16)]
        self._clean_passes: LRU[tuple[int, ...], CleanPass] = LRU(CLEAN_BYTES)
        self._answers: LRU[Hashable, AblationResult] = LRU(ANSWER_BYTES)
        self._outputs: LRU[Hashable, Changed] = LRU(OUTPUT_BYTES)
        self.circuits: LRU[Hashable, Any] = LRU(CIRCUIT_BYTES)
        check_edits(decomposition, self.passes.probe)
        self._probe_check = self.self_check(self.passes.clean(self.passes.probe, inputs=False))

    @classmethod
    def from_artifact(
        cls, artifact: Artifact, target: Target, piece: Callable[[int], str] = str
    ) -> AblationEngine:
        """An engine over a stored decomposition. Raises ArtifactError where it was made from other weights."""
        return cls(load_decomposition(artifact, target), piece)

    @classmethod
    def load(
        cls, artifact: Artifact, home: Path, *, device: str = "cpu", report: Report = lambda p: None
    ) -> AblationEngine:
        """Fetch what is missing, load it, and check that the weights are those the artefact was made from."""
        return cls.from_artifact(artifact, artifact_target(artifact, home, device=device, report=report))

    @property
    def device(self) -> str:
        return str(self.target.device)

    @property
    def dtype(self) -> str:
        return str(self.target.dtype).removeprefix("torch.")

    @property
    def versions(self) -> dict[str, str]:
        return workers.versions()

    # --- the clean pass of a prompt, and what is worked out from it once -----------------------------------------

    @torch.inference_mode()
    def clean(self, token_ids: Sequence[int]) -> CleanPass:
        """The target's own pass of a prompt, cached for the next question about it."""
        key = tuple(token_ids)
        clean = self._clean_passes.get(key)
        if clean is None:
            with self._prompt_locks[
                hash(key) % len(self._prompt_locks)
            ]:  # of two questions at once, one runs it
                clean = self._clean_passes.get(key)
                if clean is None:
                    clean = self.passes.clean(key)
                    self._clean_passes.put(key, clean, clean.nbytes())
        return clean

    def baseline(self, clean: CleanPass) -> Baseline:
        """The clean pass's output with its top tokens."""
        with clean.lock:
            if clean.baseline is None:
                clean.baseline = Baseline.of(clean.logits)
            return clean.baseline

    @torch.inference_mode()
    def site_importances(self, clean: CleanPass) -> Importances:
        """Inner activations and causal importances of all sites. Once they are known, the clean pass drops the sites'
        inputs."""
        with clean.lock:
            if clean.importances is None:
                inputs = clean.inputs or self.passes.clean(clean.token_ids).inputs
                clean.importances = self.decomposition.importances(inputs or {})
                clean.inputs = None
            return clean.importances

    @torch.inference_mode()
    def self_check(self, clean: CleanPass) -> float:
        """Everything on through the components against the target, nats. It costs a pass, so it is paid once per
        prompt, when the first answer about it needs it."""
        if clean.self_check is None:
            clean.self_check = self_check(self.decomposition, self.passes, clean, self.baseline(clean).rows)
        return clean.self_check

    def importances(
        self, token_ids: Sequence[int], threshold: float = 0.0, *, recompute: bool = False
    ) -> SparseImportances:
        """Causal importances of a prompt above `threshold`, in site order, then position, then component.

        `recompute` drops the prompt's cached clean pass first."""
        if recompute:
            self._clean_passes.drop(tuple(token_ids))
        clean = self.clean(token_ids)
        cached = clean.importances is not None
        sparse = sparse_row(self.decomposition, self.site_importances(clean), 0, threshold)
        return replace(sparse, cached=cached)

    def trace(self, token_ids: Sequence[int], key: ComponentKey) -> Trace:
        """CI and inner activation of one component at every position of a prompt. Raises KeyError where the artefact
        does not hold it."""
        column = self.editor.column[key.site, key.index]
        return component_trace(self.site_importances(self.clean(token_ids)), 0, key.site, column)

    # --- passes -----------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def logits(
        self, clean: CleanPass, conditions: Sequence[Condition], *, last: int | None = None
    ) -> tuple[int, Float[Tensor, "conditions positions vocab"]]:
        """The first position that any condition touches, and the logits under each condition from there on. With
        `last`, only that many positions from the end."""
        seq = len(clean.token_ids)
        touches = [self.editor.touch(condition, seq) for condition in conditions]
        touch = Touch(min(t.block for t in touches), min(t.position for t in touches))
        first = touch.position if last is None else max(touch.position, seq - last)
        start = self.passes.start(clean, touch)
        masks = self.editor.masks(conditions, start.position, seq)
        keep = None
        if first > start.position:
            keep = torch.arange(first - start.position, seq - start.position, device=self.target.device)
        return first, self.passes.resumed(clean, masks, start, batch=len(conditions), keep=keep)

    def outputs(
        self, clean: CleanPass, conditions: Sequence[Condition], *, recompute: bool = False
    ) -> list[Changed]:
        """The output under each condition, cached for questions about other tokens or positions of it; those not
        cached are computed in one pass. What would fill half of the cache is not cached."""
        keys = [(clean.token_ids, c.edits, c.mode, c.effective_remainder) for c in conditions]
        outputs = {place: None if recompute else self._outputs.get(key) for place, key in enumerate(keys)}
        missing = [place for place, output in outputs.items() if output is None]
        if missing:
            first, stacked = self.logits(clean, [conditions[place] for place in missing])
            for place, logits in zip(missing, stacked, strict=True):
                # Of several, a copy: a view would hold all of them for as long as one is cached.
                rows = Rows.of(logits if len(missing) == 1 else logits.clone())
                outputs[place] = Changed(first, rows)
                if rows.nbytes() <= OUTPUT_BYTES // 2:
                    self._outputs.put(keys[place], Changed(first, rows, cached=True), rows.nbytes())
        return [output for output in outputs.values() if output is not None]

    # --- answers ----------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def ablate(self, query: AblationQuery) -> list[AblationResult]:
        """Each condition compared with the target, position by position; those not cached share one pass.

        Raises NotFiniteError.
        """
        keys = [replace(query, conditions=(condition,), recompute=False) for condition in query.conditions]
        answers = {
            place: None if query.recompute else self._answers.get(key) for place, key in enumerate(keys)
        }
        missing = [place for place, answer in answers.items() if answer is None]
        if missing:
            clean = self.clean(query.token_ids)
            acting = [
                place for place in missing if self.editor.acts(query.conditions[place], len(query.token_ids))
            ]
            if not acting:
                self.self_check(clean)
            outputs = self.outputs(
                clean, [query.conditions[place] for place in acting], recompute=query.recompute
            )
            changed = dict(zip(acting, outputs, strict=True))
            for place in missing:
                result = self._result(clean, changed.get(place), query)
                self._answers.put(keys[place], replace(result, cached=True), result.nbytes())
                answers[place] = result
        return [self._checked(query, answer) for answer in answers.values() if answer is not None]

    def _checked(self, query: AblationQuery, result: AblationResult) -> AblationResult:
        """The answer with the prompt's own self-check, if that has run by now."""
        clean = self._clean_passes.get(query.token_ids)
        if clean is None or clean.self_check is None or result.self_check.of == "prompt":
            return result
        return replace(result, self_check=SelfCheck(clean.self_check))

    def _result(self, clean: CleanPass, changed: Changed | None, query: AblationQuery) -> AblationResult:
        """An output compared with the clean pass's; None means that nothing changed."""
        baseline, seq = self.baseline(clean), len(clean.token_ids)
        before = after = baseline.rows
        kl = before.total.new_zeros(seq)
        if changed is not None:
            kl[changed.first :] = kl_rows(before.pick(slice(changed.first, None)), changed.rows)
            after = before.followed_by(changed.rows, changed.first)
        nats = kl.tolist()
        check_finite(nats)
        answer = None
        if query.answer is not None:
            ces = [-rows.log_probability(seq - 1, query.answer) for rows in (before, after)]
            answer = AnswerShift(query.answer, self.piece(query.answer), *ces)
        return AblationResult(
            positions=shifts(baseline, after, kl, query, self.piece),
            kl=nats,
            max_kl=max(nats),
            self_check=SelfCheck(self._probe_check, "probe"),
            answer=answer,
            cached=changed is not None and changed.cached,
        )
