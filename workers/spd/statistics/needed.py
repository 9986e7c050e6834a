"""A group holds only what is needed for its effect (SPEC 18)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workers.spd.keys import ComponentKey
from workers.spd.method.decomposition import Decomposition, mean_counted
from workers.spd.method.losses import kl_divergence
from workers.spd.prompts.batches import Batch, answer_column
from workers.spd.targets.masks import SiteMask, masked

NEEDED = 0.01  # by how much leaving a component out must change the drop of the answers, a share
KEEPS = 0.9  # share of the whole drop that a quieter group must keep
ROWS = 64


@dataclass(frozen=True)
class Suppressions:
    """What suppressing sets of components together does to the answers of some prompts, the remainder on.

    `answers`: one token id per prompt.
    """

    decomposition: Decomposition
    batch: Batch
    answers: Int[Tensor, " batch"]

    @classmethod
    def on(cls, decomposition: Decomposition, batch: Batch, answers: Sequence[int | None]) -> Suppressions:
        """Where a prompt has no answer, the target's first choice stands for it."""
        rows = torch.arange(len(batch.tokens), device=batch.tokens.device)
        first = batch.log_probs[rows, answer_column(batch)].argmax(-1)
        given = torch.tensor([-1 if token is None else token for token in answers], device=first.device)
        return cls(decomposition, batch, torch.where(given >= 0, given, first))

    @torch.no_grad()
    def drops(self, sets: Sequence[Sequence[ComponentKey]]) -> list[float]:
        """For each set: the fall of the answers' probabilities, 1 − p′/p, on the prompt where it is least."""
        prompts = len(self.batch.tokens)
        at_once = max(1, ROWS // prompts)
        rows = torch.arange(prompts, device=self.answers.device)
        before = self.batch.log_probs[rows, answer_column(self.batch)].gather(1, self.answers[:, None])[:, 0]
        result: list[float] = []
        for first in range(0, len(sets), at_once):
            part = sets[first : first + at_once]
            logits = suppressed(self.decomposition, self.batch, part)
            logs = torch.log_softmax(logits[:, rows, answer_column(self.batch)], dim=-1)
            after = logs.gather(2, self.answers.expand(len(part), prompts)[..., None])[..., 0]
            result += (1 - (after - before).exp()).amin(1).tolist()
        return result


@torch.no_grad()
def suppressed(
    decomposition: Decomposition, batch: Batch, sets: Sequence[Sequence[ComponentKey]]
) -> Float[Tensor, "sets batch kept vocab"]:
    """Logits at the kept positions with each set suppressed at all masked positions."""
    components, count = decomposition.components, len(sets)
    masks: dict[str, SiteMask] = {}
    for site in components.sites:
        named = sorted({key.index for keys in sets for key in keys if key.site == site})
        if not named:
            continue
        places = [components.index[site].index(index) for index in named]
        V, U = components.V[site][:, places], components.U[site][places]
        amount = torch.zeros(count, *batch.tokens.shape, len(places), dtype=V.dtype, device=V.device)
        for row, keys in enumerate(sets):
            for key in keys:
                if key.site == site:
                    amount[row, ..., named.index(key.index)] = -1
        if decomposition.first_unmasked:
            amount[:, :, 0] = 0
        masks[site] = SiteMask(V, U, amount.flatten(0, 1))
    with masked(masks):
        logits = decomposition.target.logits(batch.tokens.repeat(count, 1), batch.keep)
    return logits.float().unflatten(0, (count, -1))


@torch.no_grad()
def side_effects(
    decomposition: Decomposition,
    batch: Batch,
    keys: Sequence[ComponentKey],
    check_stop: Callable[[], None] = lambda: None,
) -> dict[ComponentKey, float]:
    """KL(target ‖ suppressed), nats, of each component alone, a mean over the counted positions of other text."""
    result: dict[ComponentKey, float] = {}
    for key in keys:
        check_stop()
        logits = suppressed(decomposition, batch, [[key]])[0]
        result[key] = float(mean_counted(kl_divergence(batch.log_probs, logits), batch.counted))
    return result


def needed(
    members: Sequence[ComponentKey],
    drops_of: Callable[[Sequence[Sequence[ComponentKey]]], list[float]],
    side: dict[ComponentKey, float] | None = None,
) -> list[ComponentKey]:
    """Those of a group that its effect needs. `drops_of`: by how much sets of components lower the answers.

    With `side` (the effect of each alone on other text) the loudest go first, as long as what remains takes KEEPS of
    what all take. Then, one by one, the component goes whose absence changes the answers' drop least, until every
    absence changes it by more than NEEDED. One component always stays.
    """
    kept = list(members)
    if side is not None and len(kept) > 1:
        whole = drops_of([kept])[0]
        for key in sorted(kept, key=lambda key: (-side[key], str(key))):
            rest = [other for other in kept if other != key]
            if rest and whole > 0 and drops_of([rest])[0] >= KEEPS * whole:
                kept = rest
    while len(kept) > 1:
        without = [[other for other in kept if other != key] for key in kept]
        whole, *drops = drops_of([kept, *without])
        changes = [abs(whole - drop) for drop in drops]
        least = min(range(len(kept)), key=changes.__getitem__)
        if changes[least] > NEEDED:
            break
        kept = without[least]
    return kept
