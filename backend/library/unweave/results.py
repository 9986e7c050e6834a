"""Answers: each holds the API's own answer (`data`), reads as a table (`to_frame`) and shows itself in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from backend.schemas.circuits import Circuit as CircuitAnswer
from backend.schemas.common import Token
from backend.schemas.decompositions import ComponentRow
from backend.schemas.findings import Finding as FindingAnswer
from backend.schemas.workbench import Ablation as AblationAnswer
from backend.schemas.workbench import AblationRequest
from backend.schemas.workbench import Importances as ImportancesAnswer
from backend.schemas.workbench import Trust as TrustAnswer
from backend.services import finding_files
from backend.services.sentences import probability
from unweave.errors import UnweaveError

if TYPE_CHECKING:
    from pandas import DataFrame
    from plotly.graph_objects import Figure

    from workers.spd.answers import OutputShift, PositionShift

SHOWN = 10


@dataclass(frozen=True)
class Importances:
    """Causal importances of every component at every token of a prompt; those at 0 are left out."""

    data: ImportancesAnswer

    @property
    def tokens(self) -> list[str]:
        """The prompt's tokens as text."""
        return [token.piece for token in self.data.tokens]

    def to_frame(self) -> DataFrame:
        """A row a component and token: key, site, component, position, token, ci, inner_activation."""
        data = self.data
        sites = [data.sites[site] for site in data.site]
        return _frame(
            {
                "key": [f"{site}:{number}" for site, number in zip(sites, data.component, strict=True)],
                "site": sites,
                "component": data.component,
                "position": data.position,
                "token": [data.tokens[position].piece for position in data.position],
                "ci": data.ci,
                "inner_activation": data.inner_activation,
            }
        )

    def figure(self) -> Figure:
        """The largest CI of each site at each token."""
        from backend import figures

        return figures.importance_grid(self.data)

    def _repr_html_(self) -> str:
        sums = [0.0] * len(self.data.tokens)
        for position, ci in zip(self.data.position, self.data.ci, strict=True):
            sums[position] += ci
        return _shaded(self.data.tokens, sums, "sum of CI") + (
            f"<p>{len(self.data.ci):,} causal importances above {self.data.threshold:g}</p>"
        )


@dataclass(frozen=True)
class Ablation:
    """What a prompt's output becomes when components are suppressed, or alone kept. `request` is what was asked."""

    data: AblationAnswer
    request: AblationRequest

    @property
    def tokens(self) -> list[str]:
        """The prompt's tokens as text."""
        return [token.piece for token in self.data.tokens]

    @property
    def kl(self) -> list[float]:
        """KL(before ‖ after) at every position, nats."""
        return self.data.kl

    def probability(self, token: str | int, position: int = -1) -> tuple[float, float]:
        """The probability of a token (0–1) before and after. Raises UnweaveError for one that was not reported."""
        row = next(
            (
                row
                for row in _rows(self._at(position))
                if token in (row.token_id, row.token, _shown(row.token))
            ),
            None,
        )
        if row is None:
            raise UnweaveError(
                f"{token!r} is not among the tokens reported there. Give it in “watch”, or raise “top_k”."
            )
        return row.baseline.probability, row.ablated.probability

    def to_frame(self) -> DataFrame:
        """A row a position and reported token, before and after: probability, logit, rank."""
        rows = finding_files.shift_rows(self.data)
        return _frame_of(rows, [head.split(" [")[0] for head in finding_files.SHIFT_HEADS])

    def figure(self, position: int = -1) -> Figure:
        """Probabilities at a position, before and after."""
        from backend import figures

        return figures.output_shift(self.data, position)

    def _at(self, position: int) -> PositionShift:
        wanted = position if position >= 0 else len(self.data.tokens) + position
        place = next((place for place in self.data.positions if place.position == wanted), None)
        if place is None:
            raise UnweaveError(f"Position {position} was not reported.")
        return place

    def _repr_html_(self) -> str:
        parts = [_shaded(self.data.tokens, self.data.kl, "KL, nats")]
        if self.data.positions:
            place = self.data.positions[-1]
            rows = [
                (
                    _shown(row.token),
                    probability(row.baseline.probability),
                    probability(row.ablated.probability),
                )
                for row in _rows(place)[:SHOWN]
            ]
            parts.append(table(("token", "before", "after"), rows))
            parts.append(f"<p>at position {place.position}, KL {place.kl:.3g} nats</p>")
        return "".join(parts)


@dataclass(frozen=True)
class Trust:
    """How far a decomposition describes a prompt."""

    data: TrustAnswer

    @property
    def level(self) -> str:
        """good, partly, outside or not."""
        return self.data.level

    def to_frame(self) -> DataFrame:
        """A row a token: KL under the causal importances as masks, and with everything off, nats."""
        data = self.data
        return _frame(
            {
                "position": range(len(data.tokens)),
                "token": [token.piece for token in data.tokens],
                "kl": data.kl_by_position,
                "kl_off": data.kl_off_by_position,
            }
        )

    def _repr_html_(self) -> str:
        return f"<p><b>{escape(self.level)}</b>: {escape(self.data.sentence)}</p>" + _shaded(
            self.data.tokens, self.data.kl_by_position, "KL, nats"
        )


@dataclass(frozen=True)
class Circuit:
    """Which component feeds which on a prompt, and the output."""

    data: CircuitAnswer

    def to_frame(self) -> DataFrame:
        """A row an edge, the strongest first: source and target by key and position, via, weight, effect."""
        edges, names = self.data.edges, self._names()
        return _frame(
            {
                "source": [names[source][0] for source in edges.source],
                "source_position": [names[source][1] for source in edges.source],
                "target": [names[target][0] for target in edges.target],
                "target_position": [names[target][1] for target in edges.target],
                "via": [self.data.vias[via] for via in edges.via],
                "weight": edges.weight,
                "effect": edges.effect,
            }
        )

    def nodes(self) -> DataFrame:
        """A row a component in use: key, position, ci, inner_activation, effect."""
        nodes, names = self.data.nodes, self._names()
        return _frame(
            {
                "key": [names[number][0] for number in range(len(nodes.site))],
                "position": nodes.position,
                "ci": nodes.ci,
                "inner_activation": nodes.inner_activation,
                "effect": nodes.effect,
            }
        )

    def _names(self) -> dict[int, tuple[str, int]]:
        """A node's number → its key and position; −1 is the output."""
        nodes, output = self.data.nodes, self.data.output
        columns = zip(nodes.site, nodes.component, nodes.position, strict=True)
        names = {
            number: (f"{self.data.sites[site]}:{component}", position)
            for number, (site, component, position) in enumerate(columns)
        }
        return {**names, -1: (f"output {_shown(output.token.piece)}", output.position)}

    def _repr_html_(self) -> str:
        names, edges = self._names(), self.data.edges
        rows = [
            (
                f"{names[source][0]} @{names[source][1]}",
                f"{names[target][0]} @{names[target][1]}",
                f"{effect:.3g}",
            )
            for source, target, effect in list(zip(edges.source, edges.target, edges.effect, strict=True))[
                :SHOWN
            ]
        ]
        head = f"<p>{len(self.data.nodes.site)} nodes, {len(edges.source)} of {self.data.edges_total:,} edges</p>"
        return head + table(("from", "to", "effect, logits"), rows)


@dataclass(frozen=True)
class Components(Sequence[ComponentRow]):
    """All components of a decomposition, a list of rows."""

    data: list[ComponentRow]

    def to_frame(self) -> DataFrame:
        """A row a component."""
        return _frame_of((row.model_dump() for row in self.data), list(ComponentRow.model_fields)).set_index(
            "key"
        )

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, place: Any) -> Any:
        return self.data[place]

    def _repr_html_(self) -> str:
        rows = [(row.key, row.label, f"{row.max_ci:.3g}") for row in self.data if row.alive]
        head = f"<p>{len(rows):,} of {len(self.data):,} components alive</p>"
        return head + table(("key", "label", "largest CI"), rows[:SHOWN])


@dataclass(frozen=True)
class Finding:
    """A recorded finding."""

    data: FindingAnswer

    @property
    def slug(self) -> str:
        return self.data.slug

    @property
    def title(self) -> str:
        return self.data.title

    @property
    def ablations(self) -> list[Ablation]:
        """What was recorded, a prompt each."""
        return [Ablation(stored.result, stored.request) for stored in self.data.results]

    def to_frame(self) -> DataFrame:
        """A row a prompt, position and reported token."""
        heads = [head.split(" [")[0] for head in finding_files.HEADS]
        return _frame_of(finding_files.rows(self.data), heads)

    def _repr_html_(self) -> str:
        parts = [f"<h4>{escape(self.title)}</h4><p>{escape(self.data.claim)}</p>"]
        for ablation, sentence in zip(self.ablations, self.data.summary, strict=True):
            parts.append(f"<p>{escape(sentence)}</p>{ablation._repr_html_()}")
        return "".join(parts)


# --- tables and HTML -------------------------------------------------------------------------------------------


def _frame(columns: Mapping[str, Any]) -> DataFrame:
    try:
        from pandas import DataFrame
    except ImportError:
        raise UnweaveError("Tables need pandas: pip install 'unweave[notebook]'.") from None
    return DataFrame({name: list(column) for name, column in columns.items()})


def _frame_of(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> DataFrame:
    held = list(rows)
    return _frame({name: [row[name] for row in held] for name in names})


def _rows(place: PositionShift) -> list[OutputShift]:
    """The reported tokens of a position, each once."""
    return list({row.token_id: row for row in [*place.watched, *place.top]}.values())


def _shown(piece: str) -> str:
    return piece.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")


def _shaded(tokens: Sequence[Token], values: Sequence[float], what: str) -> str:
    """Tokens on a ground that is stronger the larger the value."""
    most = max([*values, 1e-12])
    style = "padding:2px 0;background:rgba(15,92,102,{:.2f})"
    spans = (
        f'<span title="{what} {value:.3g}" style="{style.format(0.75 * max(value, 0.0) / most)}">'
        f"{escape(_shown(token.piece))}</span>"
        for token, value in zip(tokens, values, strict=True)
    )
    return f'<p style="font-family:monospace;line-height:1.8">{"".join(spans)}</p>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """An HTML table of texts."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
