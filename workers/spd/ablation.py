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
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor

import workers
from workers.spd.artifact import Artifact, ArtifactError
from workers.spd.ci import CIFunctions
from workers.spd.components import Components
from workers.spd.decomposition import Decomposition
from workers.spd.decomposition import Importances as SiteImportances
from workers.spd.edits import Condition, Edit, Editor, Mode, Remainder
from workers.spd.importances import SparseImportances, sparse_importances, sparse_row
from workers.spd.outputs import (
    MOST_TOP,
    Entropy,
    OutputStat,
    PositionResult,
    Rows,
    ShiftRow,
    kl_rows,
    shifts,
)
from workers.spd.passes import CleanPass, Passes, Touch
from workers.spd.selfcheck import self_check
from workers.spd.targets import Report, Target, ensure_target, load_target

__all__ = [
    "AblationEngine", "AblationResult", "AnswerShift", "CleanPass", "Condition", "Edit", "Entropy", "Mode",
    "OutputStat", "PositionResult", "Remainder", "ShiftRow", "SparseImportances", "artifact_target",
    "load_decomposition", "sparse_importances",
]  # fmt: skip

CACHED_BYTES = 256 * 2**20
CACHED_ROWS = 100_000
K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(frozen=True)
class AnswerShift:
    """Cross-entropy −log p of a given token at the last position, nats."""

    token_id: int
    baseline_ce: float
    ablated_ce: float


@dataclass(frozen=True)
class AblationResult:
    """max_kl: over all positions of the prompt, reported or not; self_check_max_kl: everything on against the
    target; kl: a position, of all; in nats. `cached`: the answer was kept from before, not computed anew.

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


class LRU(Generic[K, T]):
    """The most recently used values up to a total size; at least one stays. Threads may share it."""

    def __init__(self, most: int) -> None:
        self.most, self._kept = most, OrderedDict[K, tuple[T, int]]()
        self._lock = threading.Lock()

    def get(self, key: K) -> T | None:
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: K, value: T, size: int) -> None:
        with self._lock:
            self._kept[key] = (value, size)
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(size for _, size in self._kept.values()) > self.most:
                self._kept.popitem(last=False)


def load_decomposition(artifact: Artifact, target: Target) -> Decomposition:
    """The stored components and CI functions on a target. Raises ArtifactError where they do not belong together."""
    manifest = artifact.manifest
    if manifest.target.weights_hash != target.card.weights_hash:
        raise ArtifactError(
            f"“{artifact.name}” was made from other weights ({manifest.target.weights_hash[:12]}) than those of "
            f"{target.card.model.name} here ({target.card.weights_hash[:12]}); its ablations would mean nothing."
        )
    config = manifest.config
    stored = load_file(artifact.path / "components.safetensors")
    sites = [site.name for site in manifest.sites]
    target.attach(sites)
    try:
        components = Components(
            {site: stored[f"{site}.V"].float() for site in sites},
            {site: stored[f"{site}.U"].float() for site in sites},
            {site: stored[f"{site}.index"].tolist() for site in sites},
        )
        shapes = {site: (V.shape[0], V.shape[1]) for site, V in components.V.items()}
        ci = CIFunctions(shapes, config.ci, torch.Generator().manual_seed(0))
        ci.load_state_dict(
            {name: t.float() for name, t in load_file(artifact.path / "ci.safetensors").items()}
        )
    except (KeyError, RuntimeError) as error:
        raise ArtifactError(f"“{artifact.name}” is not whole: {error}.") from None
    components.to(target.device).requires_grad_(False)
    ci.to(target.device).requires_grad_(False)
    return Decomposition(
        target, components, ci, first_unmasked=config.reconstruction.first_position == "unmasked"
    )


def artifact_target(
    artifact: Artifact, home: Path, *, device: str = "cpu", report: Report = lambda p: None
) -> Target:
    """The target an artefact was made from: out of the artefact itself where it is small enough to ship, else from
    its source (fetched once). Raises TargetError."""
    own = artifact.path / "target"
    folder = own if own.is_dir() else ensure_target(artifact.manifest.target.source, home, report=report)
    return load_target(folder, device=device)


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
        self._cleans: LRU[tuple[int, ...], CleanPass] = LRU(CACHED_BYTES)
        self._answers: LRU[Hashable, AblationResult] = LRU(CACHED_ROWS)
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

    def importances(self, token_ids: Sequence[int], threshold: float = 0.0) -> SparseImportances:
        """Causal importances of a prompt above `threshold`, in site order, then position, then component."""
        return sparse_row(self.decomposition, self.site_importances(self.clean(token_ids)), 0, threshold)

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
            logits: dict[int, Tensor] = {}
            first = len(token_ids)
            if acting:
                first, stacked = self.logits(clean, [conditions[place] for place in acting])
                logits = dict(zip(acting, stacked, strict=True))
            else:
                self.self_check(clean)
            for place in missing:
                result = self._result(clean, first, logits.get(place), top_k, watch, positions, answer)
                size = sum(len(p.top) + len(p.watched) for p in result.positions) + len(result.kl)
                self._answers.put(keys[place], result, size)
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
        first: int,
        logits: Tensor | None,
        top_k: int,
        watch: Sequence[int],
        positions: Sequence[int] | None,
        answer: int | None,
    ) -> AblationResult:
        """Compare [positions from `first` on, vocab] with the clean pass; None means that nothing changed."""
        before, top = self.baseline(clean)
        seq = len(clean.token_ids)
        after, kl = before, before.total.new_zeros(seq)
        if logits is not None:
            changed = Rows.of(logits)
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
        return AblationResult(results, max(nats), self._probe_check, "probe", nats, answered)


def _joined(before: Rows, changed: Rows, first: int) -> Rows:
    return Rows(
        *(torch.cat([getattr(before, name)[:first], getattr(changed, name)])
          for name in ("logits", "most", "total", "entropy"))
    )  # fmt: skip
