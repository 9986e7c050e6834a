"""The induction circuit as the paper tabulates it: which components act at which position of `[BOS] T* S M T* S`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.spd.artifact import PaperComparison, TableLine
from workers.spd.data import Prompt, clean_batch
from workers.spd.decomposition import Decomposition

SITES = {
    "Q0": "layers.0.attn.q", "K0": "layers.0.attn.k", "V0": "layers.0.attn.v",
    "Q1": "layers.1.attn.q", "K1": "layers.1.attn.k", "V1": "layers.1.attn.v",
}  # fmt: skip
OURS_ONLY = {"O0": "layers.0.attn.o", "O1": "layers.1.attn.o"}
PAPER = {
    "Q0": (1, "m", 1.0), "K0": (1, "s1", 1.0), "V0": (1, "s1", 1.0),
    "Q1": (1, "s2", 1.0), "K1": (1, "m", 1.0), "V1": (11, "m", 5.053),
}  # fmt: skip
SOURCE = "arXiv 2511.08854, induction heads"


@dataclass(frozen=True)
class SiteUse:
    """components: those whose CI passes the threshold at `position` in at least one sequence; total: the mean over
    sequences of the CI summed over components there; elsewhere: the same, mean over all other positions."""

    position: str
    components: int
    total: float
    elsewhere: float


@torch.no_grad()
def site_use(decomposition: Decomposition, prompts: list[Prompt], threshold: float) -> dict[str, SiteUse]:
    """Where each site acts, over these sequences (whose `marks` name s1, m and s2)."""
    batch = clean_batch(decomposition.target, [prompt.ids for prompt in prompts], "answer")
    g = decomposition.importances(batch.inputs).g
    rows = torch.arange(len(prompts))
    at = {
        name: torch.tensor([(prompt.marks or {})[name] for prompt in prompts]) for name in ("s1", "m", "s2")
    }
    result: dict[str, SiteUse] = {}
    for name, site in (SITES | OURS_ONLY).items():
        if site not in g:
            continue
        values: Tensor = g[site].cpu()
        best = max(at, key=lambda mark: float(values[rows, at[mark]].sum()))
        here = values[rows, at[best]]
        everywhere = float(values.sum(-1).mean(0).sum())
        total = float(here.sum(-1).mean())
        others = values.shape[1] - 1
        result[name] = SiteUse(
            best, int((here > threshold).any(0).sum()), total, (everywhere - total) / others
        )
    return result


def without_site(decomposition: Decomposition, prompts: list[Prompt], site: str) -> float:
    """How often the target still copies M when the site's whole output is 0: what the model needs the site for."""
    batch = clean_batch(decomposition.target, [prompt.ids for prompt in prompts], "answer")
    module = decomposition.target.model.get_submodule(site)
    handle = module.register_forward_hook(lambda module, args, output: torch.zeros_like(output))
    try:
        with torch.no_grad():
            guess = decomposition.target.logits(batch.tokens, batch.keep)[:, 0].argmax(-1).cpu()
    finally:
        handle.remove()
    answers = torch.tensor([prompt.answer for prompt in prompts])
    return float((guess == answers).float().mean())


def paper_table(decomposition: Decomposition, prompts: list[Prompt], threshold: float) -> PaperComparison:
    """The paper's six rows beside ours. A row agrees when position and order of size do: at most two components for
    one, at most fourteen for V1, and a mean summed CI of at least 0.95."""
    uses = site_use(decomposition, prompts, threshold)
    rows: list[TableLine] = []
    for name, (count, position, total) in PAPER.items():
        use = uses.get(name)
        if use is None:
            continue
        accuracy = without_site(decomposition, prompts, SITES[name])
        limit = 14 if name == "V1" else 2
        agrees = use.position == position and 1 <= use.components <= limit and use.total >= 0.95
        rows.append(
            TableLine(
                name=name,
                paper=_words(count, position, total),
                ours=_words(use.components, use.position, use.total),
                agrees=agrees,
                note=f"Elsewhere {use.elsewhere:.3f} a position. With this site's output set to 0 the model copies M "
                f"in {accuracy:.0%} of sequences.",
            )
        )
    notes = [
        f"{name}, which the paper does not list: {_words(use.components, use.position, use.total)}."
        for name, use in uses.items()
        if name in OURS_ONLY
    ]
    return PaperComparison(title="The induction circuit", source=SOURCE, rows=rows, notes=notes)


def _words(count: int, position: str, total: float) -> str:
    return f"{count} at {position} ({total:.3g})"
