"""The groups of facts, and what suppressing each does to its own fact and to all others (SPEC 22).

A fact's *group* holds the alive components of which at least SHARE of the causal importance over all training prompts
falls on the prompts of this fact, those that nothing else uses, as far as its fall needs them. Suppressing a fact's
group should take its answer away and leave every other fact's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from statistics import median

import torch

from workers.spd.artifact import FactResult, FactTable, HarvestGroup
from workers.spd.keys import ComponentKey
from workers.spd.method.decomposition import Decomposition
from workers.spd.prompts.batches import Batch, Prompt, clean_batch, padded
from workers.spd.prompts.facts import Candidate, answers_of
from workers.spd.statistics.needed import Suppressions, needed, side_effects
from workers.spd.targets.masks import SiteMask, masked

SHARE = 0.9
ROWS = 64


@torch.no_grad()
def fact_groups(
    decomposition: Decomposition, prompts: list[Prompt], threshold: float
) -> dict[str, list[ComponentKey]]:
    """The components that each fact of the training prompts has to itself, {subject: keys}."""
    train = [prompt for prompt in prompts if prompt.data.split == "train"]
    subjects = list(dict.fromkeys(prompt.data.fact or "" for prompt in train))
    total = {site: torch.zeros(len(subjects), len(i)) for site, i in decomposition.components.index.items()}
    peak = {site: torch.zeros(len(i)) for site, i in decomposition.components.index.items()}
    for first in range(0, len(train), ROWS):
        part = train[first : first + ROWS]
        batch = clean_batch(decomposition.target, [prompt.ids for prompt in part], "answer")
        here = batch.masked(decomposition.first_unmasked)
        rows = torch.tensor([subjects.index(prompt.data.fact or "") for prompt in part])
        for site, g in decomposition.importances(batch.inputs, batch.valid).g.items():
            value = (g * here[..., None]).cpu()
            total[site].index_add_(0, rows, value.sum(1))
            peak[site] = torch.maximum(peak[site], value.amax((0, 1)))
    groups: dict[str, list[ComponentKey]] = {subject: [] for subject in subjects}
    for site, index in decomposition.components.index.items():
        largest, whose = total[site].max(0)
        own = (peak[site] > threshold) & (largest >= SHARE * total[site].sum(0))
        for place in own.nonzero().flatten().tolist():
            groups[subjects[int(whose[place])]].append(ComponentKey(site, index[place]))
    return groups


@torch.no_grad()
def needed_groups(
    decomposition: Decomposition,
    prompts: list[Prompt],
    groups: dict[str, list[ComponentKey]],
    rest: Batch | None,
    check_stop: Callable[[], None] = lambda: None,
) -> dict[str, list[ComponentKey]]:
    """The same groups without what the fact's fall on its training prompts does not need (SPEC 18)."""
    result: dict[str, list[ComponentKey]] = {}
    for subject, keys in groups.items():
        check_stop()
        asked = [p for p in prompts if p.data.split == "train" and p.data.fact == subject]
        result[subject] = keys
        if len(keys) > 1:
            batch = clean_batch(decomposition.target, [prompt.ids for prompt in asked], "answer")
            suppressions = Suppressions.on(decomposition, batch, [prompt.answer for prompt in asked])
            side = None if rest is None else side_effects(decomposition, rest, keys, check_stop)
            result[subject] = needed(keys, suppressions.drops, side)
    return result


def named_groups(groups: dict[str, list[ComponentKey]], prompts: list[Prompt]) -> list[HarvestGroup]:
    """The facts' groups as the page shows them, under the subjects' names."""
    counts = Counter(prompt.data.fact for prompt in prompts if prompt.data.split == "train")
    return [
        HarvestGroup(
            name=subject,
            token=subject,
            components=[str(key) for key in keys],
            why=f"Each has at least {SHARE:.0%} of its causal importance on the {counts[subject]} training prompts "
            f"about {subject}, so no other fact uses it, and the fall of this one needs it.",
        )
        for subject, keys in groups.items()
        if keys
    ]


@torch.no_grad()
def _probabilities(
    decomposition: Decomposition, prompts: list[Prompt], keys: list[ComponentKey]
) -> list[float]:
    """The answers' probabilities with these components suppressed, the remainder on, at all masked positions."""
    components = decomposition.components
    places: dict[str, list[int]] = {}
    for key in keys:
        places.setdefault(key.site, []).append(components.index[key.site].index(key.index))
    result: list[float] = []
    for first in range(0, len(prompts), ROWS):
        part = prompts[first : first + ROWS]
        tokens, valid = padded([prompt.ids for prompt in part])
        answer_at = valid.sum(1) - 1
        device = decomposition.target.device
        keep = answer_at.unique()
        masks: dict[str, SiteMask] = {}
        for site, chosen in places.items():
            V, U = components.V[site][:, chosen], components.U[site][chosen]
            amount = -torch.ones(*tokens.shape, len(chosen), device=device, dtype=V.dtype)
            if decomposition.first_unmasked:
                amount[:, 0] = 0
            masks[site] = SiteMask(V, U, amount)
        with masked(masks):
            logits = decomposition.target.logits(tokens.to(device), keep.to(device)).float().cpu()
        rows = torch.arange(len(part))
        columns = torch.searchsorted(keep, answer_at)
        answers = torch.tensor([prompt.answer for prompt in part])
        result += torch.softmax(logits[rows, columns], -1)[rows, answers].tolist()
    return result


def fact_table(
    decomposition: Decomposition,
    prompts: list[Prompt],
    candidates: list[Candidate],
    groups: dict[str, list[ComponentKey]],
    rank: int,
    check_stop: Callable[[], None] = lambda: None,
) -> FactTable:
    """Suppress each fact's group and ask for all facts again.

    A prompt counts where the target itself has the answer at most at `rank` there. `drop`: share by which the named
    fact's answer falls, the median of its prompts; `change`: |p′/p − 1| of the other facts' answers, on held-out
    prompts (training prompts where there are none). `check_stop` is called before every group and may raise.
    """

    def counted(split: str) -> list[tuple[Prompt, float]]:
        chosen = [prompt for prompt in prompts if prompt.data.split == split]
        if not chosen:
            return []
        ranks, probabilities = answers_of(decomposition.target, chosen)
        return [(p, before) for p, r, before in zip(chosen, ranks, probabilities, strict=True) if r <= rank]

    def middle(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return median(known) if known else None

    train, held_out = counted("train"), counted("held_out")
    rows: list[FactResult] = []
    changes: list[float] = []
    for one in candidates:
        keys = groups.get(one.subject, [])
        figures: dict[str, float | None] = {}
        worst: tuple[float, str] | None = None
        if one.kept and keys:
            check_stop()
            own = [item for item in train if item[0].data.fact == one.subject]
            asked = [*own, *held_out] if held_out else train
            after = _probabilities(decomposition, [prompt for prompt, _ in asked], keys)
            drops = [
                (prompt.data, 1 - now / before) for (prompt, before), now in zip(asked, after, strict=True)
            ]
            named = [(data.split, drop) for data, drop in drops if data.fact == one.subject]
            moved = [(abs(drop), data.fact or "") for data, drop in drops if data.fact != one.subject]
            changes += [change for change, _ in moved]
            worst = max(moved, default=None)
            figures = {
                "train_drop": middle(drop for split, drop in named if split == "train"),
                "held_out_drop": middle(drop for split, drop in named if split == "held_out"),
                "others_change": middle(change for change, _ in moved),
            }
        rows.append(
            FactResult(
                subject=one.subject, relation=one.relation, answer=one.answer, rank=one.rank,
                probability=one.probability, kept=one.kept, components=len(keys) if one.kept else None,
                others_worst=worst[0] if worst else None, others_worst_subject=worst[1] if worst else None,
                **figures,
            )
        )  # fmt: skip

    def quantile(values: list[float], q: float) -> float | None:
        return float(torch.tensor(values, dtype=torch.float64).quantile(q)) if values else None

    return FactTable(
        rank=rank, share=SHARE, rows=rows, held_out_prompts=len(held_out), train_prompts=len(train),
        train_drop=middle(row.train_drop for row in rows), held_out_drop=middle(row.held_out_drop for row in rows),
        others_change=middle(changes), others_change_95=quantile(changes, 0.95),
    )  # fmt: skip
