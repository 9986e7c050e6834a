"""What all methods of a comparison share: the decomposition, its target, ordinary text, the other facts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from workers.spd.comparison.subject import Subject
from workers.spd.comparison.text import Statistics
from workers.spd.method.decomposition import Decomposition
from workers.spd.targets.target import Target

RIDGE = 10.0


@dataclass
class World:
    """`learnt`: windows that methods may learn from, and `text`, what they say; `start`: the same run's decomposition
    before training; `blocks`: those that hold sites; `subjects`: of all facts, opened, in the order of the draw."""

    decomposition: Decomposition
    text: Statistics
    blocks: list[int]
    piece: Callable[[int], str]
    seed: int
    learnt: list[list[int]] = field(default_factory=list)
    start: Decomposition | None = None
    subjects: dict[str, Subject] = field(default_factory=dict)
    _weights: dict[str, Float[Tensor, "d_out d_in"]] = field(default_factory=dict)
    _factors: dict[str, Float[Tensor, "d_in d_in"]] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        return self.decomposition.target

    @property
    def sites(self) -> list[str]:
        return self.decomposition.sites

    @property
    def first(self) -> int:
        """Positions at the beginning of a prompt that stay the target's."""
        return 1 if self.decomposition.first_unmasked else 0

    def reading(self, subject: Subject) -> list[str]:
        """The sites that read vectors."""
        return [site for site in self.sites if subject.inputs[site].is_floating_point()]

    def weight(self, site: str) -> Float[Tensor, "d_out d_in"]:
        """In float32."""
        if site not in self._weights:
            self._weights[site] = self.target.weight(site).float()
        return self._weights[site]

    def quiet(self, site: str, x: Float[Tensor, " d_in"]) -> Float[Tensor, " d_in"]:
        """The direction with v · x = 1 that is shortest under the text's second moments and a ridge: C⁻¹x / xᵀC⁻¹x."""
        if site not in self._factors:
            C = self.text.moments[site]
            ridge = torch.eye(len(C), dtype=C.dtype, device=C.device) * (C.diagonal().mean() / RIDGE)
            self._factors[site] = torch.linalg.cholesky(C + ridge)
        solved = torch.cholesky_solve(x.double()[:, None], self._factors[site])[:, 0]
        return (solved / (solved @ x.double())).float()

    def others_mean(self, site: str, subject: Subject) -> Float[Tensor, " d_in"]:
        """Mean of what a site reads at the other facts' subjects, of the same relation where there are any."""
        others = [one for one in self.subjects.values() if one is not subject]
        same = [one for one in others if one.fact.relation == subject.fact.relation]
        return torch.stack([one.inputs[site].float().mean(0) for one in same or others]).mean(0)

    def donor(self, subject: Subject) -> Subject | None:
        """The next fact with another answer, of the same relation where there is one."""
        names = list(self.subjects)
        at = names.index(subject.fact.name)
        others = [self.subjects[name] for name in (*names[at + 1 :], *names[:at])]
        others = [one for one in others if one.fact.answer != subject.fact.answer]
        same = [one for one in others if one.fact.relation == subject.fact.relation]
        return next(iter(same or others), None)

    def generator(self, *what: str) -> torch.Generator:
        """Random numbers for one purpose, the same for the same seed."""
        digest = hashlib.sha256("|".join([str(self.seed), *what]).encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:6], "big"))
