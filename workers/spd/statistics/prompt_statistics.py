"""Statistics of every component over the run's prompts, and what they give: labels and named groups (SPEC 18).

A token's importance for a component is its mean CI over the token's occurrences (positions that are masked) in training
prompts; a component's strongest token is the one with the highest. A named group holds the components that fire on a
token and matter: those whose suppression alone moves a training prompt's answer, not the many that fire and change
little.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workers.spd.ablation.importances import sparse_importances
from workers.spd.artifact import HarvestColumns, HarvestGroup, HarvestPrompt
from workers.spd.keys import ComponentKey
from workers.spd.method.decomposition import Decomposition
from workers.spd.prompts.batches import Batch, Prompt, clean_batch
from workers.spd.statistics.labels import label_text, writes_bar
from workers.spd.statistics.needed import Suppressions, needed, side_effects
from workers.spd.statistics.single_effects import single_effects
from workers.spd.targets.sites import write_slices
from workers.spd.targets.tokenizer import PromptTokenizer

TOP_TOKENS = 5
EFFECT_PROMPTS = 4
MOST_PROMPTS = 256
GROUP_SHARE = 0.5
GROUP_PROMPTS = 16


@dataclass(frozen=True)
class PromptStatistics:
    """`unasked`: alive components that were not suppressed alone; their effect stands as 0."""

    columns: HarvestColumns
    prompts: list[HarvestPrompt]
    groups: list[HarvestGroup]
    unasked: int = 0

    def with_groups(self, first: list[HarvestGroup]) -> PromptStatistics:
        """The same with these groups first; a token's group of the same name or the same components goes."""
        held = {frozenset(group.components) for group in first}
        names = {group.name for group in first}
        rest = [g for g in self.groups if g.name not in names and frozenset(g.components) not in held]
        return replace(self, groups=[*first, *rest])

    def alive(self) -> int:
        """Components above the threshold somewhere in the training prompts."""
        return sum(self.columns.alive)


def visible(piece: str) -> str:
    """A token as it is shown: spaces and line ends visible."""
    return piece.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")


@torch.no_grad()
def prompt_statistics(
    decomposition: Decomposition,
    prompts: list[Prompt],
    tokenizer: PromptTokenizer,
    *,
    threshold: float,
    bos: bool,
    shown: int | None = None,
    most_effects: int | None = None,
    rest: Batch | None = None,
    check_stop: Callable[[], None] = lambda: None,
    report: Callable[[int, int], None] = lambda done, of: None,
) -> PromptStatistics:
    """Gather statistics over the training prompts, and keep up to `shown` prompts per split with their importances.

    Alive components are suppressed alone, at most the `most_effects` with the highest mean importance; `report` gets
    the number done and the number in all. `rest`: windows of the text a targeted run must be quiet on. `check_stop` is
    called before every pass and may raise.
    """
    stored: list[HarvestPrompt] = []
    sums: dict[str, dict[int, Float[Tensor, " _C"]]] = {site: {} for site in decomposition.sites}
    counts: dict[int, int] = defaultdict(int)
    peak = {site: torch.zeros(len(index)) for site, index in decomposition.components.index.items()}
    above = {site: torch.zeros(len(index)) for site, index in decomposition.components.index.items()}
    total = {site: torch.zeros(len(index)) for site, index in decomposition.components.index.items()}
    positions = 0
    kept: dict[str, int] = defaultdict(int)
    start = 1 if decomposition.first_unmasked else 0
    for prompt in prompts:
        check_stop()
        split = prompt.data.split
        show = shown is None or kept[split] < shown
        if split != "train" and not show:
            continue
        kept[split] += 1
        batch = clean_batch(decomposition.target, [prompt.ids], "answer")
        if split == "train":
            g = decomposition.importances(batch.inputs, batch.valid).g
            for site, value in g.items():
                rows = value[0, start:].cpu()
                peak[site] = torch.maximum(peak[site], rows.amax(0)) if len(rows) else peak[site]
                above[site] += (rows > threshold).sum(0)
                total[site] += rows.sum(0)
                for token, row in zip(prompt.ids[start:], rows, strict=True):
                    sums[site][token] = sums[site].get(token, torch.zeros_like(row)) + row
            for token in prompt.ids[start:]:
                counts[token] += 1
            positions += len(prompt.ids) - start
        if not show:
            continue
        columns = sparse_importances(decomposition, batch.inputs, 0.0)[0]
        probability = None
        if prompt.answer is not None:
            probability = float(batch.log_probs[0, 0, prompt.answer].exp())
        stored.append(
            HarvestPrompt(
                text=prompt.data.text,
                split=split,
                bos=bos,
                token_ids=prompt.ids,
                pieces=[tokenizer.piece(token) for token in prompt.ids],
                answer=prompt.data.answer,
                answer_probability=probability,
                fact=prompt.data.fact,
                watch=prompt.data.watch,
                site=columns.site,
                position=columns.position,
                component=columns.component,
                ci=columns.ci,
                inner_activation=columns.inner_activation,
            )
        )
    alive = {site: (value > threshold).nonzero().flatten().tolist() for site, value in peak.items()}
    asked, unasked = _asked(alive, total, most_effects)
    train = [prompt.ids for prompt in prompts if prompt.data.split == "train"][:MOST_PROMPTS]
    batch = clean_batch(decomposition.target, train, "answer")
    effects = single_effects(decomposition, batch, asked, check_stop, each=EFFECT_PROMPTS, report=report)
    columns = _columns(
        decomposition, tokenizer, sums, counts, peak, above, total, effects, positions, threshold
    )
    groups = groups_of(columns, all_alive=rest is not None)
    groups = _needed_groups(decomposition, prompts, groups, tokenizer, rest, check_stop)
    return PromptStatistics(columns, stored, groups, unasked)


def _asked(
    alive: dict[str, list[int]], total: dict[str, Float[Tensor, " _C"]], most: int | None
) -> tuple[dict[str, list[int]], int]:
    """The alive components to suppress alone, those with the highest summed importance first; how many are left out."""
    ranked = sorted((-float(total[site][place]), site, place) for site in alive for place in alive[site])
    chosen: dict[str, list[int]] = {site: [] for site in alive}
    for _, site, place in ranked[:most]:
        chosen[site].append(place)
    return {site: sorted(places) for site, places in chosen.items()}, max(
        0, len(ranked) - (most or len(ranked))
    )


def _columns(
    decomposition: Decomposition,
    tokenizer: PromptTokenizer,
    sums: dict[str, dict[int, Float[Tensor, " _C"]]],
    counts: dict[int, int],
    peak: dict[str, Float[Tensor, " _C"]],
    above: dict[str, Float[Tensor, " _C"]],
    total: dict[str, Float[Tensor, " _C"]],
    effects: dict[str, Float[Tensor, " _C"]],
    positions: int,
    threshold: float,
) -> HarvestColumns:
    table = HarvestColumns(
        site=[], index=[], alive=[], mean_ci=[], max_ci=[], density=[], label=[], top_token=[], top_tokens=[],
        write_norm=[], effect=[], reads=[], writes=[], slice=[],
    )  # fmt: skip
    for site in decomposition.sites:
        V, U = decomposition.components.V[site], decomposition.components.U[site]
        reads, writes, strong = _reads_and_writes(decomposition, site, tokenizer)
        slices = write_slices(site, U)
        for place, index in enumerate(decomposition.components.index[site]):
            means = sorted(
                ((float(value[place]) / counts[token], token) for token, value in sums[site].items()),
                reverse=True,
            )
            top = [tokenizer.piece(token) for mean, token in means[:TOP_TOKENS] if mean > threshold]
            alive = bool(peak[site][place] > threshold)
            table.site.append(site)
            table.index.append(index)
            table.alive.append(alive)
            table.mean_ci.append(round(float(total[site][place]) / max(1, positions), 6))
            table.max_ci.append(round(float(peak[site][place]), 6))
            table.density.append(round(float(above[site][place]) / max(1, positions), 6))
            named = [visible(piece) for piece in strong[place][:2]] or (
                [f"the {slices[place]} slice"] if slices[place] else []
            )
            table.label.append(label_text([visible(piece) for piece in top[:3]], named, alive=alive))
            table.slice.append(slices[place])
            table.top_token.append(top[0] if top else None)
            table.top_tokens.append(top)
            table.write_norm.append(float(f"{float(V[:, place].norm() * U[place].norm()):.6g}"))
            table.effect.append(float(f"{float(effects[site][place]):.4g}"))
            table.reads.append(reads[place])
            table.writes.append(writes[place])
    return table


def _reads_and_writes(
    decomposition: Decomposition, site: str, tokenizer: PromptTokenizer, top: int = 5
) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
    """Tokens whose embedding V reads most strongly, tokens that U promotes through the unembedding, and those of them
    whose cosine passes `writes_bar`.

    Only where the site reads or writes the residual stream of a model with tied shapes; else empty lists.
    """
    V, U = decomposition.components.V[site], decomposition.components.U[site]
    embed, unembed = decomposition.target.embedding(), decomposition.target.unembedding()
    none: list[list[str]] = [[] for _ in range(V.shape[1])]
    reads, writes, strong = none, none, none
    if V.shape[1] == 0:
        return [], [], []

    def words(order: Int[Tensor, "C top"]) -> list[list[str]]:
        return [[tokenizer.piece(token) for token in row] for row in order.tolist()]

    if V.shape[0] == embed.shape[1] and decomposition.target.layer(site) == 0:
        scale = embed.float().norm(dim=1, keepdim=True).clamp_min(1e-6)
        reads = words(((embed.float() / scale) @ V.float()).abs().T.topk(top, dim=-1).indices)
    if U.shape[1] == unembed.shape[1] and any(
        part in site for part in ("down_proj", "o_proj", "c_proj", ".o")
    ):
        order = (U.float() @ unembed.float().T).topk(top, dim=-1).indices
        writes = words(order)
        rows = unembed.float()[order]
        cosine = torch.cosine_similarity(rows, U.float()[:, None], dim=-1)
        passes = (cosine >= writes_bar(*unembed.shape)).tolist()
        strong = [
            [piece for piece, passed in zip(row, flags, strict=True) if passed]
            for row, flags in zip(writes, passes, strict=True)
        ]
    return reads, writes, strong


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def groups_of(columns: HarvestColumns, *, all_alive: bool = False) -> list[HarvestGroup]:
    """One group per token: of the alive components whose strongest token it is, those that matter (or `all_alive`).

    A component matters whose effect is at least GROUP_SHARE of the largest among them.
    """
    by_token: dict[str, list[tuple[float, str]]] = {}
    for site, index, alive, token, effect in zip(
        columns.site, columns.index, columns.alive, columns.top_token, columns.effect, strict=True
    ):
        if alive and token is not None:
            by_token.setdefault(token, []).append((effect, str(ComponentKey(site, index))))
    groups: list[tuple[float, HarvestGroup]] = []
    for token, members in by_token.items():
        strongest = max(effect for effect, _ in members)
        if strongest == 0:  # none of them was suppressed, or none does anything
            continue
        least = 0.0 if all_alive else GROUP_SHARE * strongest
        matter = [key for effect, key in members if effect >= least]
        why = f"{_counted(len(members), 'component fires', 'components fire')} most on {visible(token)}"
        groups.append((strongest, HarvestGroup(name=visible(token), token=token, components=matter, why=why)))
    return [group for _, group in sorted(groups, key=lambda item: (-item[0], item[1].name))]


def _needed_groups(
    decomposition: Decomposition,
    prompts: list[Prompt],
    groups: list[HarvestGroup],
    tokenizer: PromptTokenizer,
    rest: Batch | None,
    check_stop: Callable[[], None],
) -> list[HarvestGroup]:
    """The same groups, each without the components that its effect does not need (see `needed`). Of a run by subject,
    a token of a name is judged beside what the tokens of that name with a larger effect have kept."""
    start = 1 if decomposition.first_unmasked else 0
    where: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        if prompt.data.split == "train":
            for token in dict.fromkeys(prompt.ids[start:]):
                where[tokenizer.piece(token)].append(prompt)
    result: list[HarvestGroup] = []
    for group in groups:
        check_stop()
        asked = where[group.token][:GROUP_PROMPTS]
        keys = [ComponentKey.parse(key) for key in group.components]
        if asked and len(keys) > 1:
            batch = clean_batch(decomposition.target, [prompt.ids for prompt in asked], "answer")
            suppressions = Suppressions.on(decomposition, batch, [prompt.answer for prompt in asked])
            side = None if rest is None else side_effects(decomposition, rest, keys, check_stop)
            beside = _of_the_same_name(result, asked, tokenizer) if decomposition.by_subject else []
            keys = needed(keys, partial(_drops_beside, suppressions, beside), side)
        why = (
            f"{group.why}; {_counted(len(keys), 'is', 'are')} needed to lower the answers of the prompts it stands in"
            + (", the quietest on other text that do." if rest is not None else ".")
        )
        result.append(group.model_copy(update={"components": [str(key) for key in keys], "why": why}))
    return result


def _of_the_same_name(
    judged: list[HarvestGroup], asked: list[Prompt], tokenizer: PromptTokenizer
) -> list[ComponentKey]:
    """What the groups judged so far have kept whose token stands in the subject of one of these prompts."""
    tokens = {tokenizer.piece(prompt.ids[at]) for prompt in asked for at in prompt.subject}
    return [ComponentKey.parse(key) for group in judged if group.token in tokens for key in group.components]


def _drops_beside(
    suppressions: Suppressions, beside: list[ComponentKey], sets: Sequence[Sequence[ComponentKey]]
) -> list[float]:
    """The drops of sets that are suppressed together with others."""
    return suppressions.drops([[*keys, *beside] for keys in sets])
