"""The methods compared. Each chooses, for a subject and every budget, an edit from what it may know (docs/evidence.md).

A method of rank-one terms offers a pool of them; which are taken is decided for all in the same way. Terms are sorted
by their first-order effect at the subject's places; the first SHORT of them are taken out one by one on the trained
questions and sorted anew by what that does; the edit is as many as the budget allows, from the top.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from workers.spd.comparison.edits import Edit, Patches, Projections, Terms
from workers.spd.comparison.stored import MethodCard
from workers.spd.comparison.subject import Asking, Place, Subject, last_log_probs
from workers.spd.comparison.world import World

SHORT = 8


@dataclass(frozen=True)
class Choice:
    """An edit and what it is made of, in words; components by their key."""

    edit: Edit
    parts: list[str]


@runtime_checkable
class Method(Protocol):
    """`card` says what it is."""

    @property
    def card(self) -> MethodCard: ...

    def choose(self, subject: Subject, budgets: Sequence[int]) -> dict[int, Choice]:
        """An edit of at most so many terms, for each budget; none where the method has nothing to offer."""
        ...


Name = Callable[[str, int], str]
Values = dict[str, Float[Tensor, " _n"]]


@dataclass(frozen=True)
class Pool:
    """Terms on offer, and what each is called."""

    terms: Terms
    name: Name


@dataclass(frozen=True)
class FromPool:
    """Terms of a pool, by the common rule; `ranked` gives them in an order of its own instead (largest first)."""

    card: MethodCard
    pool: Callable[[Subject], Pool]
    ranked: Callable[[Subject, Terms], Values] | None = None

    def choose(self, subject: Subject, budgets: Sequence[int]) -> dict[int, Choice]:
        pool = self.pool(subject)
        if not pool.terms.count:
            return {}
        places = self.places(subject, pool, max(budgets))
        return {
            budget: Choice(
                pool.terms.chosen(places[:budget]), [pool.name(*place) for place in places[:budget]]
            )
            for budget in budgets
        }

    def places(self, subject: Subject, pool: Pool, most: int) -> list[tuple[str, int]]:
        """The places of at most so many terms, the most effective first. Worked out once for a subject."""
        known = subject.orders.get(self.card.name, [])
        if len(known) < min(most, pool.terms.count):
            known = self._ordered(subject, pool.terms, most)
            subject.orders[self.card.name] = known
        return known[:most]

    def _ordered(self, subject: Subject, terms: Terms, most: int) -> list[tuple[str, int]]:
        if self.ranked is not None:
            return _largest(self.ranked(subject, terms), most)
        listed = _largest(
            {site: -value for site, value in subject.first_order(terms).items()}, max(most, SHORT)
        )
        short, rest = listed[:SHORT], listed[SHORT:]
        chosen = terms.chosen(short)
        by_site = [(site, column) for site in chosen.V for own, column in short if own == site]
        effects = subject.exact_terms(chosen).tolist()
        return [place for _, place in sorted(zip(effects, by_site, strict=True))] + rest


def _largest(values: Values, count: int) -> list[tuple[str, int]]:
    flat = [(float(v), site, at) for site, own in values.items() for at, v in enumerate(own.tolist())]
    flat.sort(key=lambda row: (-row[0], row[1], row[2]))
    return [(site, at) for _, site, at in flat[:count]]


# --- pools ----------------------------------------------------------------------------------------------------------

Direction = Callable[[str, Float[Tensor, " d_in"], Subject], Float[Tensor, " d_in"]]


def per_token(world: World, direction: Direction) -> Callable[[Subject], Pool]:
    """One term for each token of the subject and each site: read v, write W x̄ of what v stands for. `direction` gives
    v, scaled so that v · x̄ is 1 where x̄ is the subject's input, and its write is W x̄."""

    def pool(subject: Subject) -> Pool:
        V: dict[str, Tensor] = {}
        U: dict[str, Tensor] = {}
        for site in world.reading(subject):
            means = [subject.mean(subject.inputs[site], place).float() for place in subject.places]
            pairs = [(direction(site, x, subject), x) for x in means]
            V[site] = torch.stack([v for v, _ in pairs], 1)
            U[site] = torch.stack([world.weight(site) @ x for _, x in pairs])
        return Pool(Terms(V, U), lambda site, at: f"{world.piece(subject.places[at].token)} at {site}")

    return pool


def projected(world: World, direction: Direction) -> Callable[[Subject], Pool]:
    """The same with the direction itself taken out of what the site reads: read d/|d|², write W d."""

    def pool(subject: Subject) -> Pool:
        V: dict[str, Tensor] = {}
        U: dict[str, Tensor] = {}
        for site in world.reading(subject):
            directions = [
                direction(site, subject.mean(subject.inputs[site], place).float(), subject)
                for place in subject.places
            ]
            V[site] = torch.stack([d / d.square().sum().clamp_min(1e-30) for d in directions], 1)
            U[site] = torch.stack([world.weight(site) @ d for d in directions])
        return Pool(Terms(V, U), lambda site, at: f"{world.piece(subject.places[at].token)} at {site}")

    return pool


def fixed(terms: Terms, name: Name) -> Callable[[Subject], Pool]:
    """A pool that is the same for every fact."""
    return lambda subject: Pool(terms, name)


def by_activation(subject: Subject, terms: Terms) -> Values:
    """How much each term writes at the subject's places."""
    return {
        site: (subject.inputs[site] @ V).abs().mean(0) * terms.U[site].norm(dim=1)
        for site, V in terms.V.items()
    }


# --- methods that are no pool of terms ------------------------------------------------------------------------------


@dataclass(frozen=True)
class RandomWrites:
    """The reads that another method chose, each with a random write of the same length."""

    card: MethodCard
    world: World
    like: Method

    def choose(self, subject: Subject, budgets: Sequence[int]) -> dict[int, Choice]:
        generator = self.world.generator("random writes", subject.fact.name)
        result: dict[int, Choice] = {}
        for budget, choice in self.like.choose(subject, budgets).items():
            assert isinstance(choice.edit, Terms)
            U = {site: _turned(own, generator) for site, own in choice.edit.U.items()}
            result[budget] = Choice(Terms(choice.edit.V, U), choice.parts)
        return result


def _turned(U: Float[Tensor, "n d"], generator: torch.Generator) -> Float[Tensor, "n d"]:
    random = torch.randn(U.shape, generator=generator).to(U)
    return random / random.norm(dim=1, keepdim=True) * U.norm(dim=1, keepdim=True)


@dataclass(frozen=True)
class ResidualDirections:
    """Of the residual stream behind a block, the direction from its mean on other text to its mean at the subject."""

    card: MethodCard
    world: World

    def choose(self, subject: Subject, budgets: Sequence[int]) -> dict[int, Choice]:
        means = self.world.text.states
        blocks = [block for block in self.world.blocks if block in subject.blocks]
        pool = [
            (block, place, subject.mean(subject.blocks[block], place).float() - means[block])
            for block in blocks
            for place in subject.places
        ]
        alone = [subject.exact(self._edit([one])) for one in pool]
        order = sorted(range(len(pool)), key=lambda at: (alone[at], at))
        return {
            budget: Choice(
                self._edit([pool[at] for at in order[:budget]]),
                [
                    f"{self.world.piece(pool[at][1].token)} behind block {pool[at][0]}"
                    for at in order[:budget]
                ],
            )
            for budget in budgets
        }

    def _edit(self, chosen: Sequence[tuple[int, Place, Float[Tensor, " d_model"]]]) -> Projections:
        directions = {
            block: torch.linalg.qr(torch.stack([d for own, _, d in chosen if own == block], 1))[0].T
            for block in dict.fromkeys(block for block, _, _ in chosen)
        }
        return Projections(directions, {block: self.world.text.states[block] for block in directions})


@dataclass(frozen=True)
class PatchedFrom:
    """What sites give at the subject, replaced by what they give at another subject: that of the next fact (in the
    order of the draw) with another answer, its tokens aligned at the end."""

    card: MethodCard
    world: World

    def choose(self, subject: Subject, budgets: Sequence[int]) -> dict[int, Choice]:
        donor = self.world.donor(subject)
        if donor is None:
            return {}
        words = self._words(subject)
        ends = {place.offset: place for place in donor.places}
        last, donor_last = max(p.offset for p in subject.places), max(ends)
        pool: list[tuple[float, str, int, Tensor]] = []
        for site in self.world.sites:
            for place in subject.places:
                other = ends.get(donor_last - (last - place.offset))
                if other is None:
                    continue
                row = donor.mean(donor.outputs[site], other)
                gap = row - subject.mean(subject.outputs[site], place)
                effect = float(gap @ subject.mean(subject.gradients[site], place))
                pool.append((effect, site, place.offset, row))
        pool.sort(key=lambda one: (one[0], one[1], one[2]))
        short = pool[: max(*budgets, SHORT)]
        exact = [subject.exact(self._edit(words, [one])) for one in short]
        order = sorted(range(len(short)), key=lambda at: (exact[at], at))
        return {
            budget: Choice(
                self._edit(words, [short[at] for at in order[:budget]]),
                [f"{donor.fact.name} at {short[at][1]}" for at in order[:budget]],
            )
            for budget in budgets
            if order
        }

    def _words(self, subject: Subject) -> tuple[int, ...]:
        question = next(q for q in subject.fact.train if q.subject)
        return tuple(question.ids[at] for at in question.subject)

    def _edit(
        self, words: tuple[int, ...], chosen: Sequence[tuple[float, str, int, Float[Tensor, " d_out"]]]
    ) -> Patches:
        outputs: dict[str, dict[int, Tensor]] = {}
        for _, site, offset, row in chosen:
            outputs.setdefault(site, {})[offset] = row
        return Patches(words, outputs)


@dataclass(frozen=True)
class Rewritten:
    """A rank-one edit of ROME's kind: the reads are another method's keys (C⁻¹k, quiet on other text), the writes are
    found by gradient descent so that the answer becomes unlikely and the other tokens keep their proportions."""

    card: MethodCard
    world: World
    keys: Method
    steps: int = 8
    rate: float = 0.5
    keep: float = 1.0

    def choose(self, subject: Subject, budgets: Sequence[int]) -> dict[int, Choice]:
        return {
            budget: Choice(self._rewritten(subject, choice.edit), choice.parts)
            for budget, choice in self.keys.choose(subject, budgets).items()
            if isinstance(choice.edit, Terms)
        }

    def _rewritten(self, subject: Subject, start: Terms) -> Terms:
        """From W k on, Adam on the writes: −log(1 − p) of the answer, and KL of the other tokens among themselves."""
        U = {site: own.clone().requires_grad_(True) for site, own in start.U.items()}
        terms = Terms(start.V, U)
        scale = {site: float(own.pow(2).mean().sqrt()) for site, own in start.U.items()}
        groups = [{"params": [own], "lr": self.rate * scale[site]} for site, own in U.items()]
        optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
        with torch.no_grad():
            parts = [(part, last_log_probs(part.target, part.tokens, part.last)) for part in subject.asked]
        for _ in range(self.steps):
            optimizer.zero_grad()
            with torch.enable_grad():
                loss = torch.stack([self._loss(*part, terms) for part in parts]).mean()
            loss.backward()
            optimizer.step()
        return Terms(start.V, {site: own.detach() for site, own in U.items()})

    def _loss(self, part: Asking, clean: Float[Tensor, "batch vocab"], terms: Terms) -> Float[Tensor, ""]:
        with terms.running(part.tokens, part.first):
            logs = last_log_probs(part.target, part.tokens, part.last)
        own = part.answers[:, None]
        gone = -torch.log1p(-logs.gather(1, own).exp().clamp(max=1 - 1e-6)).mean()
        before, after = (torch.log_softmax(v.scatter(1, own, -1e9), -1) for v in (clean, logs))
        kept = (before.exp() * (before - after)).sum(-1).mean()
        return gone + self.keep * kept
