"""The induction circuit as the paper tabulates it: which components act at which position of `[BOS] T* S M T* S`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from workers.spd.artifact import PaperComparison, TableLine
from workers.spd.method.decomposition import Decomposition
from workers.spd.method.losses import kl_divergence
from workers.spd.prompts.batches import Prompt, clean_batch
from workers.spd.targets.induction import InductionModel
from workers.spd.targets.masks import masked

Mark = Literal["BOS", "s1", "m", "s2"]
MARKS: tuple[Mark, ...] = get_args(Mark)
SITES = {
    "Q0": "layers.0.attn.q", "K0": "layers.0.attn.k", "V0": "layers.0.attn.v",
    "Q1": "layers.1.attn.q", "K1": "layers.1.attn.k", "V1": "layers.1.attn.v",
}  # fmt: skip
OURS_ONLY = {"O0": "layers.0.attn.o", "O1": "layers.1.attn.o"}
PAPER: dict[str, tuple[int, Mark, float]] = {
    "Q0": (1, "m", 1.0), "K0": (1, "s1", 1.0), "V0": (1, "s1", 1.0),
    "Q1": (1, "s2", 1.0), "K1": (1, "m", 1.0), "V1": (11, "m", 5.053),
}  # fmt: skip
SOURCE = "arXiv 2511.08854, induction heads"
RARE = 0.01
NOISE = 0.02
NEEDED = 1e-3


@dataclass(frozen=True)
class SiteUse:
    """One site over many sequences.

    marks: the CI summed over components at each mark, mean over sequences; components: how many pass the threshold at
    each mark in at least RARE of the sequences; elsewhere: the CI summed over components, mean over all positions but
    the marks and over sequences.
    """

    marks: dict[Mark, float]
    components: dict[Mark, int]
    elsewhere: float

    @property
    def position(self) -> Mark:
        """The mark with most importance."""
        return max(MARKS, key=self.marks.__getitem__)

    @property
    def total(self) -> float:
        """The summed CI there."""
        return self.marks[self.position]


def _marks(prompts: list[Prompt]) -> dict[Mark, Int[Tensor, " prompts"]]:
    return {
        mark: torch.tensor([0 if mark == "BOS" else (prompt.marks or {})[mark] for prompt in prompts])
        for mark in MARKS
    }


@torch.no_grad()
def site_use(decomposition: Decomposition, prompts: list[Prompt], threshold: float) -> dict[str, SiteUse]:
    """Where each site acts, over these sequences (whose `marks` name s1, m and s2)."""
    batch = clean_batch(decomposition.target, [prompt.ids for prompt in prompts], "answer")
    g = decomposition.importances(batch.inputs, batch.valid).g
    rows, at = torch.arange(len(prompts)), _marks(prompts)
    result: dict[str, SiteUse] = {}
    for name, site in (SITES | OURS_ONLY).items():
        if site not in g:
            continue
        values: Tensor = g[site].cpu()
        here: dict[Mark, Tensor] = {mark: values[rows, at[mark]] for mark in MARKS}
        marks: dict[Mark, float] = {mark: float(value.sum(-1).mean()) for mark, value in here.items()}
        used: dict[Mark, int] = {
            mark: int(((v > threshold).float().mean(0) >= RARE).sum()) for mark, v in here.items()
        }
        others = values.shape[1] - len(MARKS)
        elsewhere = (float(values.sum(-1).mean(0).sum()) - sum(marks.values())) / others
        result[name] = SiteUse(marks, used, max(0.0, elsewhere))  # a difference of sums: rounding can pass 0
    return result


@contextmanager
def silenced(decomposition: Decomposition, site: str, where: Bool[Tensor, "batch seq"]) -> Iterator[None]:
    """Within this block the site's output is 0 at these positions of the batch."""

    def silence(
        module: nn.Module,
        args: tuple[Float[Tensor, "batch seq d_in"]],
        output: Float[Tensor, "batch seq d_out"],
    ) -> Float[Tensor, "batch seq d_out"]:
        return output * ~where[..., None]

    handle = decomposition.target.model.get_submodule(site).register_forward_hook(silence)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True)
class Behaviour:
    """What the target does on induction sequences, means over them.

    accuracy: share in which it copies M; kl: from the undisturbed target at the answer, nats; first: attention of
    layer 0 from m to s1; second: attention of layer 1 from s2 to m.
    """

    accuracy: float
    kl: float
    first: float
    second: float


@torch.no_grad()
def patterns(
    model: InductionModel, tokens: Int[Tensor, "batch seq"]
) -> tuple[Float[Tensor, "batch seq seq"], Float[Tensor, "batch seq seq"]]:
    """Attention probabilities of both layers, [batch, query, key]."""
    positions = model.positions[: tokens.shape[1]]
    x = model.embed(tokens)
    return (
        model.layer(0).attn.pattern(x, positions),
        model.layer(1).attn.pattern(model.layer(0)(x, positions), positions),
    )


@torch.no_grad()
def behaviour(
    decomposition: Decomposition, prompts: list[Prompt], site: str | None = None, mark: Mark | None = None
) -> Behaviour:
    """What the target does on these sequences, with the output of `site` 0 at one mark or (None) everywhere."""
    model = decomposition.target.model
    assert isinstance(model, InductionModel)
    batch = clean_batch(decomposition.target, [prompt.ids for prompt in prompts], "answer")
    rows, at = torch.arange(len(prompts)), _marks(prompts)
    where = torch.ones_like(batch.tokens, dtype=torch.bool)
    if mark is not None:
        where = torch.zeros_like(where)
        where[rows, at[mark]] = True
    with nullcontext() if site is None else silenced(decomposition, site, where):
        logits = decomposition.target.logits(batch.tokens, batch.keep)[:, 0]
        first, second = patterns(model, batch.tokens)
    answers = torch.tensor([prompt.answer for prompt in prompts])
    return Behaviour(
        accuracy=float((logits.argmax(-1).cpu() == answers).float().mean()),
        kl=max(0.0, float(kl_divergence(batch.log_probs[:, 0], logits).mean())),
        first=float(first[rows, at["m"], at["s1"]].mean()),
        second=float(second[rows, at["s2"], at["m"]].mean()),
    )


def without_site(
    decomposition: Decomposition, prompts: list[Prompt], site: str, mark: Mark | None = None
) -> Behaviour:
    """The target with the site's output 0, at one mark or everywhere: what the model needs the site for.

    For queries and keys a zero leaves the position terms, which are added after the site; for values, where the mean
    may carry something, it is harsher than taking the mean.
    """
    return behaviour(decomposition, prompts, site, mark)


def paper_table(decomposition: Decomposition, prompts: list[Prompt], threshold: float) -> PaperComparison:
    """The paper's six rows beside ours.

    A row's `agrees` is of its place: components act at the paper's position with a mean summed CI of at least 0.95; the
    site is quiet (NOISE) at every position but the marks; and another mark is quiet too or the target itself needs the
    site there (its output 0 there costs at least NEEDED nats). Where the target does without the site at the paper's
    position, and the site is quiet there too, there is nothing to compare: None. How many components act is compared
    by the row's `verdict`.
    """
    uses = site_use(decomposition, prompts, threshold)
    rows: list[TableLine] = []
    for name, (count, position, total) in PAPER.items():
        use = uses.get(name)
        if use is None:
            continue
        alone = {mark: without_site(decomposition, prompts, SITES[name], mark) for mark in MARKS}
        everywhere = without_site(decomposition, prompts, SITES[name], None)
        also: list[Mark] = [mark for mark in MARKS if mark != position and use.marks[mark] > NOISE]
        only_there = use.elsewhere <= NOISE and all(alone[mark].kl >= NEEDED for mark in also)
        enough = use.components[position] >= 1 and use.marks[position] >= 0.95
        does_without = alone[position].kl < NEEDED and use.marks[position] <= NOISE
        agrees = None if only_there and does_without else only_there and enough
        elsewhere = "; ".join(
            [
                f"at {mark} the target {'needs' if alone[mark].kl >= NEEDED else 'does not need'} it "
                f"(KL {alone[mark].kl:.2g} without)"
                for mark in also
            ]
            + [f"{max(0.0, use.elsewhere):.4f} at any position but the marks"]
        )
        here = alone[position]
        rows.append(
            TableLine(
                name=name,
                paper=_words(count, position, total),
                ours=" + ".join(
                    _words(use.components[mark], mark, use.marks[mark]) for mark in (position, *also)
                ),
                agrees=agrees,
                note=f"{elsewhere[:1].upper()}{elsewhere[1:]}. With its output 0 at {position} alone the target "
                f"copies M in {here.accuracy:.0%} of sequences (KL {here.kl:.2g}), with 0 everywhere in "
                f"{everywhere.accuracy:.0%} (KL {everywhere.kl:.2g}).",
            )
        )
    clean = behaviour(decomposition, prompts)
    notes = [
        f"The target copies M in {clean.accuracy:.1%} of sequences. Its attention goes from m to s1 with "
        f"{clean.first:.2f} in layer 0 (mean over sequences) and from s2 to m with {clean.second:.4f} in layer 1.",
        f"“n at p (x)”: n components pass CI {threshold} at p in at least {RARE:.0%} of the sequences; x is the CI "
        f"summed over components there. Up to {NOISE} counts as noise. KL in nats, at the answer.",
        *(
            f"{name}, which the paper does not list: {_words(use.components[use.position], use.position, use.total)}."
            for name, use in uses.items()
            if name in OURS_ONLY
        ),
    ]
    return PaperComparison(title="The induction circuit", source=SOURCE, rows=rows, notes=notes)


def _words(count: int, position: str, total: float) -> str:
    return f"{count} at {position} ({total:.3g})"


@torch.no_grad()
def circuit(
    decomposition: Decomposition,
    prompt: Prompt,
    pieces: list[str],
    threshold: float,
    use: dict[str, SiteUse] | None = None,
) -> dict[str, Any]:
    """One sequence for the page: the attention of both layers, and which components act where.

    `attention` holds a layer's rows, query by query, each as long as the keys it may see (probabilities, 3 digits),
    `masked_attention` the same with the importances as masks and the remainder off; `acting` one entry per component
    and position whose CI passes the threshold; `use`, where it is given, what each site does over many sequences.
    """
    model = decomposition.target.model
    assert isinstance(model, InductionModel)
    batch = clean_batch(decomposition.target, [prompt.ids], "answer")
    g = decomposition.importances(batch.inputs, batch.valid).g
    acting = [
        {
            "site": site, "component": decomposition.components.index[site][place], "position": position,
            "ci": round(float(g[site][0, position, place]), 3),
        }
        for site in decomposition.sites
        for position, place in (g[site][0] > threshold).nonzero().tolist()
    ]  # fmt: skip
    nothing = {site: value.new_zeros(*value.shape[:2], 1) for site, value in g.items()}
    with masked(decomposition.site_masks(g, nothing)):
        under_masks = patterns(model, batch.tokens)
    return {
        "pieces": pieces, "marks": prompt.marks, "attention": _rows(patterns(model, batch.tokens)),
        "masked_attention": _rows(under_masks), "acting": acting,
        "use": {SITES[name]: asdict(one) for name, one in (use or {}).items() if name in SITES},
    }  # fmt: skip


def _rows(layers: tuple[Float[Tensor, "1 seq seq"], ...]) -> list[list[list[float]]]:
    return [
        [[round(value, 3) for value in row[: query + 1]] for query, row in enumerate(layer[0].tolist())]
        for layer in layers
    ]
