"""What is particular to some sites: fused and tied weights, and modules that look usable and are not (SPEC 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workers.spd.targets.masks import recorded, site_weight
from workers.spd.targets.target import Target, TargetError

FUSED = {"c_attn": ("query", "key", "value")}


def slice_names(site: str) -> tuple[str, ...]:
    """The slices a fused site's outputs fall into, of equal size and in order; empty for a site that is not fused."""
    return FUSED.get(site.rsplit(".", 1)[-1], ())


def write_slices(site: str, U: Float[Tensor, "C d_out"]) -> list[str | None]:
    """In which slice of a fused site most of each write direction lies (by norm); None for a site that is not fused."""
    names = slice_names(site)
    if not names or U.shape[1] % len(names):
        return [None] * U.shape[0]
    sizes = U.unflatten(1, (len(names), -1)).norm(dim=-1)  # [C, slices]
    return [names[place] for place in sizes.argmax(1).tolist()]


@torch.no_grad()
def check_sites(target: Target, sites: Sequence[str]) -> None:
    """Run the target once on a few tokens. Raises TargetError for a site that does not read one row per prompt and
    position, or that runs more than once."""
    batch, seq = 2, min(7, target.card.model.context_length)
    generator = torch.Generator().manual_seed(
        0
    )  # tokens that differ: an expert that gets all of them is still one
    tokens = torch.randint(0, len(target.embedding()), (batch, seq), generator=generator).to(target.device)
    output = target.unembedding()
    for site in sites:
        module = target.model.get_submodule(site)
        if isinstance(module, nn.Linear) and module.weight is output:
            raise TargetError(
                f"“{site}” cannot be a site: it writes the logits, which are computed only where they are needed. "
                "Leave it out of “sites”."
            )
    runs: Counter[str] = Counter()
    with ExitStack() as stack, recorded() as inputs:
        for site in sites:
            hook = target.model.get_submodule(site).register_forward_hook(lambda *_, s=site: runs.update([s]))
            stack.callback(hook.remove)
        target.logits(tokens)
    for site in sites:
        x = inputs.get(site)
        if x is None:
            raise TargetError(f"“{site}” cannot be a site: the model does not run it on text.")
        if runs[site] > 1:
            raise TargetError(
                f"“{site}” cannot be a site: the model runs it {runs[site]} times in a pass, so there is no one thing "
                "that it reads."
            )
        d_in = site_weight(target.model.get_submodule(site)).shape[1]
        ids = not x.is_floating_point()
        fits = (
            tuple(x.shape) in ((batch, seq), (1, seq)) if ids else tuple(x.shape) == (batch, seq, d_in)
        )  # (1, seq): position ids
        if not fits:
            raise TargetError(
                f"“{site}” cannot be a site: it reads a tensor of shape {list(x.shape)} where one row per prompt and "
                "position is needed."
            )


def tied_notes(target: Target, sites: Sequence[str]) -> list[str]:
    """A sentence for each site whose weight another module uses too: only the site is decomposed."""
    modules = list(target.model.named_modules(remove_duplicate=False))
    notes: list[str] = []
    for site in sites:
        weight = target.model.get_submodule(site).weight
        others = [name for name, one in modules if one._parameters.get("weight") is weight and name != site]
        if others:
            notes.append(
                f"{site} shares its weight with {' and '.join(others)}. The decomposition acts on {site} alone; "
                f"{' and '.join(others)} keep{'s' if len(others) == 1 else ''} the target's weight."
            )
    return notes
