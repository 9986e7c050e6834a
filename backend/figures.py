"""Plotly figures of what the pages show, for export and notebooks: data in the wire's shapes → a figure.

    import httpx, plotly.io
    base = "http://127.0.0.1:8000/api/decompositions/induction/figures"
    plotly.io.from_json(httpx.get(f"{base}/curves.json").text)

`plotly` takes most of a second to import, so this module is imported only where a figure is asked for.
"""

from __future__ import annotations

from typing import Any, Literal

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from backend.schemas.decompositions import Curve, SiteSummary
from backend.schemas.workbench import Ablation, Importances
from workers.spd.keys import layer_of, short_name

FigureName = Literal["curves", "sites", "importances"]
# The sequential scale of causal importance and the colours of the page's light theme (frontend/src/ui/tokens.css).
CI_SCALE = ["#f3f1ea", "#d2e3db", "#9ac8c1", "#58a2a5", "#237480", "#0a4450"]
KINDS = ["#0f5c66", "#d9763f", "#7a4a9e", "#a9adb3", "#8a5a00", "#5b8fdb", "#1a6b4a"]
BEFORE, AFTER = "#a9adb3", "#0f5c66"
_FONT = {"family": "Inter, system-ui, sans-serif", "size": 13, "color": "#1b2026"}
_ACROSS = 3


def loss_curves(curves: list[Curve], title: str = "Training") -> go.Figure:
    """One panel a curve over the steps, logarithmic where all its values are positive; gaps where none was finite."""
    rows = max(1, -(-len(curves) // _ACROSS))
    figure = make_subplots(
        rows=rows,
        cols=min(_ACROSS, max(1, len(curves))),
        subplot_titles=[f"{curve.label}{f', {curve.unit}' if curve.unit else ''}" for curve in curves],
    )
    for number, curve in enumerate(curves):
        row, col = number // _ACROSS + 1, number % _ACROSS + 1
        line = go.Scatter(x=curve.steps, y=curve.values, mode="lines", name=curve.name, line={"color": AFTER})
        figure.add_trace(line, row=row, col=col)
        if all(value is None or value > 0 for value in curve.values):
            figure.update_yaxes(type="log", exponentformat="power", row=row, col=col)
    figure.update_xaxes(title_text="step", row=rows)
    return _finished(figure, title, height=90 + 240 * rows, showlegend=False)


def components_by_site(
    sites: list[SiteSummary], value: Literal["alive", "l0"] = "alive", title: str | None = None
) -> go.Figure:
    """Alive components, or mean L0 a position, stacked by layer: a colour a kind of matrix."""
    figure = go.Figure()
    for number, kind in enumerate(dict.fromkeys(_kind(site) for site in sites)):
        own = [site for site in sites if _kind(site) == kind]
        figure.add_bar(
            name=kind,
            x=[site.short if site.layer is None else f"L{site.layer}" for site in own],
            y=[getattr(site, value) for site in own],
            marker_color=KINDS[number % len(KINDS)],
        )
    words = {"alive": "alive components", "l0": "L0, components in use per position"}[value]
    figure.update_layout(barmode="stack", yaxis_title=words, xaxis_type="category")
    return _finished(figure, title or words.capitalize(), height=420)


def importance_grid(importances: Importances, title: str = "Causal importance") -> go.Figure:
    """Max CI (0–1) of each site at each position of a prompt; rows in model order, from above."""
    rows = len(importances.sites)
    values = [[0.0] * len(importances.tokens) for _ in range(rows)]
    for site, position, ci in zip(importances.site, importances.position, importances.ci, strict=True):
        values[site][position] = max(values[site][position], ci)
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=list(range(len(importances.tokens))),
            y=[short_name(site) for site in importances.sites],
            colorscale=CI_SCALE,
            zmin=0,
            zmax=1,
            xgap=1,
            ygap=1,
            colorbar={"title": "max CI"},
            hovertemplate="%{y}, position %{x}: %{z:.3f}<extra></extra>",
        )
    )
    pieces = [token.piece.replace(" ", "␣").replace("\n", "↵") for token in importances.tokens]
    figure.update_xaxes(
        tickvals=list(range(len(pieces))), ticktext=[_plain(piece) for piece in pieces], side="top"
    )
    figure.update_yaxes(autorange="reversed", type="category")
    return _finished(figure, title, height=160 + 18 * rows)


def output_shift(result: Ablation, position: int = -1, title: str = "Output shift") -> go.Figure:
    """Probabilities of the tokens reported at a position, before and after. Raises IndexError for one not reported."""
    wanted = position if position >= 0 else len(result.tokens) + position
    shift = next((place for place in result.positions if place.position == wanted), None)
    if shift is None:
        raise IndexError(f"position {wanted} was not reported")
    rows = list({row.token_id: row for row in [*shift.top, *shift.watched]}.values())
    names = [_plain(row.token.replace(" ", "␣").replace("\n", "↵")) for row in rows]
    figure = go.Figure()
    for name, side, colour in (("before", "baseline", BEFORE), ("after", "ablated", AFTER)):
        shown = [getattr(row, side).probability for row in rows]
        figure.add_bar(name=name, x=names, y=shown, marker_color=colour)
    figure.update_layout(barmode="group", yaxis_title="probability", xaxis_type="category")
    return _finished(figure, f"{title}, position {wanted}, KL {shift.kl:.3g} nats", height=420)


def _kind(site: SiteSummary) -> str:
    short = short_name(site.site)
    return short if layer_of(site.site) is None else short.split(" ", 1)[-1]


def _plain(text: str) -> str:
    """Plotly reads a few HTML tags in labels; text of prompts and tokens stays text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _finished(figure: go.Figure, title: str, **layout: Any) -> go.Figure:
    figure.update_layout(
        title=_plain(title),
        template="plotly_white",
        font=_FONT,
        margin={"l": 70, "r": 20, "t": 80, "b": 50},
        **layout,
    )
    return figure
