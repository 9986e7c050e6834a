"""A target with its components and causal importance functions: what training, evidence and live ablation share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workers.spd.method.ci import CIFunctions, lower
from workers.spd.method.components import Components
from workers.spd.method.losses import Distance, kl_divergence, mean_squared_error
from workers.spd.method.mask_sources import site_mask
from workers.spd.prompts.batches import Batch
from workers.spd.targets.masks import SiteInput, SiteMask, inner_activation, masked
from workers.spd.targets.target import Target


@dataclass(frozen=True)
class Importances:
    """Of every site: inner activations x·V, γ, and the lower g that feeds the masks."""

    inner: dict[str, Float[Tensor, "batch seq _C"]]
    gamma: dict[str, Float[Tensor, "batch seq _C"]]
    g: dict[str, Float[Tensor, "batch seq _C"]]


class Decomposition:
    """One target, one set of components, one set of causal importance functions. Holds nothing of any one prompt."""

    def __init__(
        self,
        target: Target,
        components: Components,
        ci: CIFunctions,
        *,
        first_unmasked: bool,
        names: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """`names`: of a run by subject (SPEC 27), the tokens of each subject, by which it is found in any prompt; None:
        the remainder is masked everywhere."""
        self.target, self.components, self.ci = target, components, ci
        self.first_unmasked, self.names = first_unmasked, names
        self.by_subject = names is not None
        self.sites = components.sites

    def importances(
        self, inputs: Mapping[str, SiteInput], valid: Bool[Tensor, "batch seq"] | None = None
    ) -> Importances:
        """Causal importances for what the sites read in a clean pass. `valid`: the real
        tokens of prompts padded on the right; None: all.

        Where the first position stays the target's own, its g is 0 by definition: nothing there is ever masked.
        """
        V = self.components.V
        read = {site: inputs[site] for site in V}
        inputs = {site: x.to(V[site].dtype) if x.is_floating_point() else x for site, x in read.items()}
        inner = {site: inner_activation(inputs[site], own) for site, own in V.items()}
        gamma = self.ci(inner, inputs, valid)
        g = {site: lower(value) for site, value in gamma.items()}
        if self.first_unmasked:
            g = {site: torch.cat([torch.zeros_like(v[:, :1]), v[:, 1:]], dim=1) for site, v in g.items()}
        return Importances(inner, gamma, g)

    def remainder_mask(self, tokens: Sequence[int]) -> Float[Tensor, "seq 1"]:
        """m_Δ = 0 where a prompt is described: everywhere, or of a run by subject at the names that stand in it."""
        on = torch.full((len(tokens), 1), float(self.by_subject), device=self.target.device)
        for name in self.names or ():
            for first in range(len(tokens) - len(name) + 1):
                if list(tokens[first : first + len(name)]) == list(name):
                    on[first : first + len(name)] = 0
        return on

    def site_masks(
        self,
        mask: Mapping[str, Float[Tensor, "... seq C"]],
        delta: Mapping[str, Float[Tensor, "... seq 1"]],
        replaced: Mapping[str, Bool[Tensor, "... seq 1"]] | None = None,
    ) -> dict[str, SiteMask]:
        """Masks of a pass over all sites; with `first_unmasked`, position 0 keeps the target's weights."""
        result: dict[str, SiteMask] = {}
        V, U = self.components.V, self.components.U
        for site in self.sites:
            here = None if replaced is None else replaced[site]
            if self.first_unmasked:
                after_first = torch.ones_like(delta[site], dtype=torch.bool)
                after_first[..., 0, :] = False
                here = after_first if here is None else here & after_first
            result[site] = site_mask(V[site], U[site], mask[site], delta[site], here)
        return result

    def distance(
        self, batch: Batch, masks: Mapping[str, SiteMask], samples: int = 1, distance: Distance = "kl"
    ) -> Float[Tensor, "samples batch kept"]:
        """KL(target ‖ masked) in nats, or the mean squared difference of log-probabilities, at the kept positions.
        Masks hold `samples` · batch rows, samples first."""
        tokens = batch.tokens.repeat(samples, 1)
        with masked(masks):
            logits = self.target.logits(tokens, batch.keep)
        logits = logits.unflatten(0, (samples, batch.tokens.shape[0]))
        return {"kl": kl_divergence, "mse": mean_squared_error}[distance](batch.log_probs, logits)

    def kl(
        self, batch: Batch, masks: Mapping[str, SiteMask], samples: int = 1
    ) -> Float[Tensor, "samples batch kept"]:
        """KL(target ‖ masked), nats, at the kept positions."""
        return self.distance(batch, masks, samples)


def mean_counted(
    values: Float[Tensor, "*passes batch kept"], counted: Bool[Tensor, "batch kept"]
) -> Float[Tensor, "*passes"]:
    """Mean over the counted positions."""
    return (values * counted).sum((-2, -1)) / counted.sum()
