"""A decomposition that answers, and the same for code that awaits."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from backend.schemas.decompositions import Decomposition as Overview
from unweave.questions import Chosen, Questions, Text
from unweave.results import Ablation, Circuit, Components, Finding, Importances, Trust, table

if TYPE_CHECKING:
    from pandas import DataFrame
    from plotly.graph_objects import Figure
    from torch import nn

    from unweave.servers import AsyncServer, Server

Token = str | int
FigureName = Literal["curves", "sites", "importances"]


class _Described:
    """What is known of a decomposition without asking."""

    def __init__(self, overview: Overview, groups: dict[str, list[str]]) -> None:
        self.overview, self.groups = overview, groups
        self._ask = Questions(overview.id, groups)

    @property
    def id(self) -> str:
        """Its slug on the server."""
        return self.overview.id

    @property
    def hash(self) -> str:
        """SHA-256 of its content."""
        return self.overview.artifact_hash

    def __repr__(self) -> str:
        about = self.overview
        return f"<{self.id}: {about.alive:,} components alive at {about.sites} sites of {about.model.name}>"

    def _repr_html_(self) -> str:
        rows = [
            (row.label, "" if row.value is None else f"{row.value:.3g} {row.unit}", row.explain)
            for row in self.overview.headlines
        ]
        return f"<h4>{escape(self.overview.title)}</h4>" + table(("measured", "", ""), rows)


class Decomposition(_Described):
    """A decomposition. Made by `unweave.load`, or `Server.open`."""

    def __init__(self, server: Server, overview: Overview, groups: dict[str, list[str]]) -> None:
        super().__init__(overview, groups)
        self._server = server

    def importances(self, prompt: Text, *, threshold: float = 0.0, bos: bool = False) -> Importances:
        """Causal importances of all components at every token of a prompt."""
        return self._server.ask(self._ask.importances(prompt, threshold=threshold, bos=bos))

    def ablate(
        self, prompt: Text, suppress: Chosen = (), *, keep: Chosen | None = None, watch: Sequence[Token] = (),
        top_k: int = 10, positions: Sequence[int] | None = None, remainder: Literal["on", "off"] | None = None,
        bos: bool = False, plain_text: bool = False,
    ) -> Ablation:  # fmt: skip
        """What the prompt's output becomes without some components, or (`keep`) with them alone.

        `watch`: tokens to report everywhere, beside the `top_k`; `positions`: those to report, all by default;
        `remainder`: what no component explains, by default on to suppress and off to keep; `plain_text`: control tokens
        such as <|endoftext|> are read as they are written.
        """
        request = self._ask.ablation(
            prompt, suppress, keep, watch=list(watch), top_k=top_k, remainder=remainder, bos=bos, plain_text=plain_text,
            positions=None if positions is None else list(positions),
        )  # fmt: skip
        return self._server.ask(self._ask.ablate(request))

    def trust(self, prompt: Text, *, bos: bool = False) -> Trust:
        """How far the decomposition describes a prompt."""
        return self._server.ask(self._ask.trust(prompt, bos))

    def circuit(
        self, prompt: Text, token: Token | None = None, *, against: Token | None = None, position: int | None = None,
        threshold: float | None = None, top_edges: int = 400, bos: bool = False, plain_text: bool = False,
    ) -> Circuit:  # fmt: skip
        """Which component feeds which, and the logit of a token (the likeliest by default), less that of `against`."""
        question = self._ask.circuit(
            prompt,
            token,
            against,
            position,
            threshold=threshold,
            top_edges=top_edges,
            bos=bos,
            plain_text=plain_text,
        )
        return self._server.ask(question)

    @cached_property
    def components(self) -> DataFrame:
        """All components, a row each, by key. Needs pandas."""
        return self.component_rows.to_frame()

    @cached_property
    def component_rows(self) -> Components:
        """All components."""
        return self._server.ask(self._ask.components())

    def figure(self, name: FigureName, **options: Any) -> Figure:
        """A Plotly figure of the run: its curves, its components by site (`value`: alive or l0), or the causal
        importances of one of its prompts (`prompt`, from 0)."""
        return self._server.ask(self._ask.figure(name, **options))

    def publish(self, title: str, *ablations: Ablation, claim: str = "", notes: str = "") -> Finding:
        """Record ablations as a finding; the server computes them itself."""
        return self._server.ask(self._ask.publish(title, ablations, claim, notes))

    def masked(
        self, model: nn.Module, suppress: Chosen = (), *, keep: Chosen | None = None
    ) -> AbstractContextManager[None]:
        """Within this block, forward passes and `generate` of `model` run without some components, or with them alone.

        `model` is the same model, loaded by `transformers` (or wrapped by nnsight). Only of a decomposition that was
        opened in this process.
        """
        from unweave.masking import masked

        request = self._ask.ablation([0], suppress, keep)
        return masked(self._server.engine(self.id), model, request)

    hooks = masked


class AsyncDecomposition(_Described):
    """A decomposition for code that awaits. Made by `AsyncServer.open`."""

    def __init__(self, server: AsyncServer, overview: Overview, groups: dict[str, list[str]]) -> None:
        super().__init__(overview, groups)
        self._server = server

    async def importances(self, prompt: Text, *, threshold: float = 0.0, bos: bool = False) -> Importances:
        """Causal importances of all components at every token of a prompt."""
        return await self._server.ask(self._ask.importances(prompt, threshold=threshold, bos=bos))

    async def ablate(
        self, prompt: Text, suppress: Chosen = (), *, keep: Chosen | None = None, watch: Sequence[Token] = (),
        top_k: int = 10, positions: Sequence[int] | None = None, remainder: Literal["on", "off"] | None = None,
        bos: bool = False, plain_text: bool = False,
    ) -> Ablation:  # fmt: skip
        """As `Decomposition.ablate`."""
        request = self._ask.ablation(
            prompt, suppress, keep, watch=list(watch), top_k=top_k, remainder=remainder, bos=bos, plain_text=plain_text,
            positions=None if positions is None else list(positions),
        )  # fmt: skip
        return await self._server.ask(self._ask.ablate(request))

    async def trust(self, prompt: Text, *, bos: bool = False) -> Trust:
        """How far the decomposition describes a prompt."""
        return await self._server.ask(self._ask.trust(prompt, bos))

    async def circuit(
        self, prompt: Text, token: Token | None = None, *, against: Token | None = None, position: int | None = None,
        threshold: float | None = None, top_edges: int = 400, bos: bool = False, plain_text: bool = False,
    ) -> Circuit:  # fmt: skip
        """As `Decomposition.circuit`."""
        question = self._ask.circuit(
            prompt,
            token,
            against,
            position,
            threshold=threshold,
            top_edges=top_edges,
            bos=bos,
            plain_text=plain_text,
        )
        return await self._server.ask(question)

    async def components(self) -> Components:
        """All components."""
        return await self._server.ask(self._ask.components())

    async def figure(self, name: FigureName, **options: Any) -> Figure:
        """As `Decomposition.figure`."""
        return await self._server.ask(self._ask.figure(name, **options))

    async def publish(self, title: str, *ablations: Ablation, claim: str = "", notes: str = "") -> Finding:
        """Record ablations as a finding; the server computes them itself."""
        return await self._server.ask(self._ask.publish(title, ablations, claim, notes))
