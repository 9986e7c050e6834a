"""Every method by name, in the order in which a table lists them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from workers.spd.comparison.dictionaries import INSTALLED, SparseLatents, trained_coders
from workers.spd.comparison.edits import Terms
from workers.spd.comparison.methods import (
    FromPool,
    Method,
    PatchedFrom,
    Pool,
    RandomWrites,
    ResidualDirections,
    Rewritten,
    by_activation,
    fixed,
    per_token,
    projected,
)
from workers.spd.comparison.stored import MethodCard
from workers.spd.comparison.subject import Subject
from workers.spd.comparison.world import World
from workers.spd.method.decomposition import Decomposition
from workers.spd.method.start import svd_start


def _card(name: str, title: str, about: str, gated: bool = False) -> MethodCard:
    return MethodCard(name=name, title=title, about=about, gated=gated)


CARDS = [
    _card("spd", "SPD", "Components of this decomposition."),
    _card("start", "Untrained start", "The same run's components before its first step."),
    _card(
        "ridge", "Ridge dual",
        "Read: the direction with v·x = 1 at the subject that is quietest on other text, in closed form. Write: W x.",
    ),
    _card("own", "Own input", "The subject's input at a site, taken out of what the site reads."),
    _card("own_centred", "Own input, mean removed", "The same, less the mean input on other text."),
    _card("means", "Difference of means", "The subject's input less the mean at the other facts' subjects."),
    _card("svd", "Singular directions", "Singular directions of the weight."),
    _card("random", "Random directions", "As many random reads as the ridge dual has. Write: W v."),
    _card("random_write", "Random writes", "The reads that SPD chose, each with a random write of the same length."),
    _card("neurons_activation", "Neurons by activation", "The neurons that write most at the subject."),
    _card("neurons", "Neurons by attribution", "Neurons, chosen as components are."),
    _card(
        "residual", "Residual direction",
        "Behind a block, the direction from the stream's mean on other text to its mean at the subject, projected out.",
    ),
    _card(
        "patch", "Patching",
        "What sites give at the subject, replaced by what they give at another fact's subject.", gated=True,
    ),
    _card("rome", "Rank-one edit", "ROME's kind: reads of the ridge dual, writes by gradient descent on the answer."),
    _card("sae", "Sparse autoencoder", "Latents of autoencoders of what sites read, trained on the same text."),
]  # fmt: skip

NAMES = [card.name for card in CARDS]
BY_NAME = {card.name: card for card in CARDS}


def methods_of(world: World, names: list[str]) -> list[Method]:
    """Those named that fit this decomposition, in the order of the table."""
    made = (_MAKERS[card.name](world) for card in CARDS if card.name in names)
    return [method for method in made if method is not None]


def _components(name: str, decomposition: Decomposition) -> FromPool:
    components = decomposition.components
    terms = Terms(
        {site: V.detach() for site, V in components.V.items()},
        {site: U.detach() for site, U in components.U.items()},
    )
    return FromPool(BY_NAME[name], fixed(terms, lambda site, at: f"{site}:{components.index[site][at]}"))


def _spd(world: World) -> Method:
    return _components("spd", world.decomposition)


def _start(world: World) -> Method | None:
    return None if world.start is None else _components("start", world.start)


def _ridge(world: World) -> FromPool:
    return FromPool(BY_NAME["ridge"], per_token(world, lambda site, x, subject: world.quiet(site, x)))


def _own(world: World) -> Method:
    return FromPool(BY_NAME["own"], projected(world, lambda site, x, subject: x))


def _own_centred(world: World) -> Method:
    return FromPool(BY_NAME["own_centred"], projected(world, lambda site, x, s: x - world.text.mean[site]))


def _means(world: World) -> Method:
    return FromPool(BY_NAME["means"], projected(world, lambda site, x, s: x - world.others_mean(site, s)))


def _svd(world: World) -> Method:
    generator = world.generator("svd")
    weights = {site: world.weight(site) for site in world.sites}
    made = {site: svd_start(W, min(W.shape), generator) for site, W in weights.items()}
    terms = Terms({site: V for site, (V, _) in made.items()}, {site: U for site, (_, U) in made.items()})
    return FromPool(BY_NAME["svd"], fixed(terms, lambda site, at: f"direction {at} of {site}"))


def _random(world: World) -> Method:
    def pool(subject: Subject) -> Pool:
        generator = world.generator("random", subject.fact.name)
        count = len(subject.places)
        V = {
            site: torch.nn.functional.normalize(
                torch.randn(world.weight(site).shape[1], count, generator=generator), dim=0
            ).to(world.weight(site))
            for site in world.reading(subject)
        }
        terms = Terms(V, {site: (world.weight(site) @ own).T for site, own in V.items()})
        return Pool(terms, lambda site, at: f"random {at} at {site}")

    return FromPool(BY_NAME["random"], pool)


def _random_write(world: World) -> Method:
    return RandomWrites(BY_NAME["random_write"], world, _spd(world))


def _neurons(name: str) -> Callable[[World], Method | None]:
    def make(world: World) -> Method | None:
        sites = [site for site in world.sites if _reads_neurons(world, site)]
        if not sites:
            return None
        W = {site: world.weight(site) for site in sites}
        terms = Terms(
            {site: torch.eye(w.shape[1]).to(w) for site, w in W.items()}, {s: w.T for s, w in W.items()}
        )
        pool = fixed(terms, lambda site, at: f"neuron {at} of {site}")
        return FromPool(BY_NAME[name], pool, by_activation if name == "neurons_activation" else None)

    return make


def _reads_neurons(world: World, site: str) -> bool:
    """Whether a site is the matrix that an MLP writes with: it reads more than the stream is wide, and writes it."""
    d_out, d_in = world.weight(site).shape
    return d_out == world.target.card.model.d_model and d_in > d_out


def _residual(world: World) -> Method | None:
    return ResidualDirections(BY_NAME["residual"], world) if world.blocks else None


def _patch(world: World) -> Method:
    return PatchedFrom(BY_NAME["patch"], world)


def _rome(world: World) -> Method:
    return Rewritten(BY_NAME["rome"], world, _ridge(world))


def _sae(world: World) -> Method | None:
    return SparseLatents(BY_NAME["sae"], trained_coders(world)) if INSTALLED and world.learnt else None


_MAKERS: dict[str, Callable[[World], Method | None]] = {
    "spd": _spd, "start": _start, "ridge": _ridge, "own": _own, "own_centred": _own_centred, "means": _means,
    "svd": _svd, "random": _random, "random_write": _random_write, "neurons_activation": _neurons("neurons_activation"),
    "neurons": _neurons("neurons"), "residual": _residual, "patch": _patch, "rome": _rome, "sae": _sae,
}  # fmt: skip
