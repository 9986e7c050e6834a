"""The ablation engine: what a prompt's output becomes when chosen components are suppressed, or alone kept.

suppress   m = 1 − strength at the chosen components, 1 at all others, remainder on: y = x Wᵀ − Σ strength · (x V_c) U_c
keep_only  m = strength at the chosen components, 0 at all others, remainder off: y = Σ strength · (x V_c) U_c + b

Nothing chosen to suppress is the target model itself, bit for bit. An engine holds no state of any request but a
cache of clean passes keyed by token ids; masks travel as arguments, so any number of threads may use it at once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

import workers
from workers.spd.artifact import Artifact, ArtifactError
from workers.spd.ci import CIFunctions
from workers.spd.components import Components
from workers.spd.decomposition import Decomposition
from workers.spd.losses import kl_divergence
from workers.spd.masks import SiteMask, masked, recorded
from workers.spd.targets import Report, Target, ensure_target, load_target

Mode = Literal["suppress", "keep_only"]
CACHED_PASSES = 32
CACHED_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Edit:
    """One component of an ablation. `strength` 0–1; `positions` None means all (see `AblationEngine.ablate`)."""

    site: str
    index: int
    strength: float = 1.0
    positions: tuple[int, ...] | None = None


@dataclass(frozen=True)
class OutputStat:
    """One token at one position: probability 0–1, logit, rank from 1."""

    probability: float
    logit: float
    rank: int


@dataclass(frozen=True)
class ShiftRow:
    token_id: int
    baseline: OutputStat
    ablated: OutputStat


@dataclass(frozen=True)
class PositionResult:
    """kl: KL(baseline ‖ ablated), nats; top: union of the top k before and after, by baseline probability."""

    position: int
    kl: float
    top: list[ShiftRow]
    watched: list[ShiftRow]


@dataclass(frozen=True)
class AblationResult:
    """max_kl: over all positions of the prompt, reported or not; self_check_max_kl: everything on against the
    target, both in nats."""

    positions: list[PositionResult]
    max_kl: float
    self_check_max_kl: float


@dataclass(frozen=True)
class SparseImportances:
    """Columns of equal length; `site` indexes the artefact's sites, `component` is the index as trained."""

    site: list[int]
    position: list[int]
    component: list[int]
    ci: list[float]
    inner_activation: list[float]
    below_threshold: int


@dataclass(frozen=True)
class CleanPass:
    """The target's logits of a prompt, [seq, vocab], what its sites read, and the self-check (nats)."""

    logits: Tensor
    inputs: dict[str, Tensor]
    self_check: float

    def nbytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in [self.logits, *self.inputs.values()])


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
        self.artifact, self.target = artifact, target
        self.decomposition = load_decomposition(artifact, target)
        self._place = {
            (site, index): place
            for site, indices in self.decomposition.components.index.items()
            for place, index in enumerate(indices)
        }
        self._passes: OrderedDict[tuple[int, ...], CleanPass] = OrderedDict()
        self._lock = threading.Lock()

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
        return (site, index) in self._place

    @torch.inference_mode()
    def clean(self, token_ids: Sequence[int]) -> CleanPass:
        """The target's own pass of a prompt, kept for the next question about it."""
        key = tuple(token_ids)
        with self._lock:
            if key in self._passes:
                self._passes.move_to_end(key)
                return self._passes[key]
        tokens = torch.tensor([key], device=self.target.device)
        with recorded() as inputs:
            logits = self.target.logits(tokens)[0]
        found = CleanPass(logits, inputs, self._self_check(tokens, logits))
        with self._lock:
            self._passes[key] = found
            while len(self._passes) > 1 and (
                len(self._passes) > CACHED_PASSES
                or sum(p.nbytes() for p in self._passes.values()) > CACHED_BYTES
            ):
                self._passes.popitem(last=False)
        return found

    def _self_check(self, tokens: Tensor, logits: Tensor) -> float:
        """Everything on, through the components: the largest KL from the target over the positions, nats.

        The remainder's output x Δᵀ = x Wᵀ − (x V) U is formed and the components are added back one mask at a time,
        as `coefficient` −1 and then +1, so a broken V, U or hook shows.
        """
        V, U = self.decomposition.components.V, self.decomposition.components.U
        masks = {
            site: SiteMask(
                torch.cat([V[site], V[site]], dim=1),
                torch.cat([U[site], U[site]], dim=0),
                torch.cat([-torch.ones(V[site].shape[1]), torch.ones(V[site].shape[1])]).to(V[site]),
            )
            for site in self.decomposition.sites
        }
        with masked(masks):
            again = self.target.logits(tokens)[0]
        return max(0.0, float(kl_divergence(torch.log_softmax(logits.double(), -1), again.double()).max()))

    @torch.inference_mode()
    def importances(self, token_ids: Sequence[int], threshold: float = 0.0) -> SparseImportances:
        """Causal importances of a prompt above `threshold`, in site order, then position, then component."""
        return sparse_importances(self.decomposition, self.clean(token_ids).inputs, threshold)[0]

    def _masks(self, edits: Sequence[Edit], mode: Mode, seq: int) -> dict[str, SiteMask]:
        decomposition = self.decomposition
        V, U = decomposition.components.V, decomposition.components.U
        start = 1 if decomposition.first_unmasked else 0
        by_site: dict[str, list[Edit]] = {}
        for edit in edits:
            assert 0 <= edit.strength <= 1, edit
            assert (edit.site, edit.index) in self._place, edit
            by_site.setdefault(edit.site, []).append(edit)
        masks: dict[str, SiteMask] = {}
        for site in decomposition.sites if mode == "keep_only" else by_site:
            chosen = by_site.get(site, [])
            places = [self._place[site, edit.index] for edit in chosen]
            amount = torch.zeros(seq, len(chosen))
            for column, edit in enumerate(chosen):
                rows = range(start, seq) if edit.positions is None else edit.positions
                assert all(0 <= row < seq for row in rows), edit
                amount[list(rows), column] = edit.strength
            amount = amount.to(V[site])
            if mode == "suppress":
                masks[site] = SiteMask(V[site][:, places], U[site][places], -amount)
            else:
                delta = torch.zeros(seq, 1).to(V[site])
                delta[:start] = 1
                amount[:start] = 0
                masks[site] = SiteMask(V[site][:, places], U[site][places], amount, delta)
        return masks

    @torch.inference_mode()
    def ablate(
        self,
        token_ids: Sequence[int],
        edits: Sequence[Edit],
        *,
        mode: Mode = "suppress",
        top_k: int = 10,
        watch: Sequence[int] = (),
        positions: Sequence[int] | None = None,
    ) -> AblationResult:
        """Run one ablation and compare it with the target, position by position.

        Where the decomposition leaves the first position to the target (an attention sink), an edit with `positions`
        None means all but the first; naming position 0 reaches it.
        """
        clean = self.clean(token_ids)
        seq = len(token_ids)
        tokens = torch.tensor([list(token_ids)], device=self.target.device)
        with masked(self._masks(edits, mode, seq)):
            logits = self.target.logits(tokens)[0]
        before = torch.log_softmax(clean.logits.double(), dim=-1)
        kl = kl_divergence(before, logits.double()).clamp_min(0)
        results = [
            _position(position, float(kl[position]), clean.logits[position], logits[position], top_k, watch)
            for position in (range(seq) if positions is None else positions)
        ]
        return AblationResult(results, float(kl.max()), clean.self_check)


def _position(
    position: int, kl: float, before: Tensor, after: Tensor, top_k: int, watch: Sequence[int]
) -> PositionResult:
    before, after = before.float(), after.float()
    p, q = before.softmax(-1), after.softmax(-1)
    k = min(top_k, before.numel())
    union = dict.fromkeys([*before.topk(k).indices.tolist(), *after.topk(k).indices.tolist()])
    order = sorted(union, key=lambda token: -float(p[token]))

    def stat(token: int, logits: Tensor, probabilities: Tensor) -> OutputStat:
        rank = int((logits > logits[token]).sum()) + 1
        return OutputStat(float(probabilities[token]), float(logits[token]), rank)

    def row(token: int) -> ShiftRow:
        return ShiftRow(token, stat(token, before, p), stat(token, after, q))

    return PositionResult(position, kl, [row(t) for t in order], [row(t) for t in watch])


def sparse_importances(
    decomposition: Decomposition, inputs: dict[str, Tensor], threshold: float
) -> list[SparseImportances]:
    """Sparse causal importances of each prompt of a clean pass, rounded to six digits."""
    found = decomposition.importances(inputs)
    batch = next(iter(found.g.values())).shape[0]
    results = [SparseImportances([], [], [], [], [], 0) for _ in range(batch)]
    below = [0] * batch
    for number, site in enumerate(decomposition.sites):
        g, inner, index = found.g[site], found.inner[site], decomposition.components.index[site]
        for row in range(batch):
            above = (g[row] > max(threshold, 0.0)).nonzero()
            below[row] += int((g[row] > 0).sum()) - above.shape[0]
            columns = results[row]
            columns.site.extend([number] * above.shape[0])
            columns.position.extend(above[:, 0].tolist())
            columns.component.extend(index[place] for place in above[:, 1].tolist())
            columns.ci.extend(round(v, 6) for v in g[row][above[:, 0], above[:, 1]].tolist())
            columns.inner_activation.extend(
                float(f"{v:.6g}") for v in inner[row][above[:, 0], above[:, 1]].tolist()
            )
    return [
        SparseImportances(c.site, c.position, c.component, c.ci, c.inner_activation, b)
        for c, b in zip(results, below, strict=True)
    ]
