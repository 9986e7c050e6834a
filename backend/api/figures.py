"""Figures for notebooks and slides, made with Plotly: JSON that `plotly.io.from_json` reads, or one HTML file."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from backend.api.deps import CatalogueDep, FindingsDep
from backend.api.roles import LINK, READ
from backend.errors import invalid
from backend.services import files, views
from backend.services.ablation.ablations import stored_importances
from backend.web.contract import file

router = APIRouter(tags=["figures"])

Id = Annotated[str, Path(max_length=200)]
FIGURE = file("application/json", "text/html")
Kind = Literal["json", "html"]
Prompt = Annotated[int, Query(ge=0, le=100_000, description="which prompt, from 0")]


@router.get(
    "/api/decompositions/{id}/figures/{name}.{kind}",
    response_class=Response,
    dependencies=[READ],
    responses=FIGURE,
)
def get_figure(
    id: Id,
    name: Literal["curves", "sites", "importances"],
    kind: Kind,
    catalogue: CatalogueDep,
    prompt: Prompt = 0,
    value: Literal["alive", "l0"] = "alive",
) -> Response:
    """Loss curves, components by site (`value`), or the causal importances of one of the run's prompts (`prompt`)."""
    from backend import figures

    entry = catalogue.get(id)
    if name == "curves":
        made = figures.loss_curves(views.curves(entry), f"Training of {entry.slug}")
    elif name == "sites":
        made = figures.components_by_site(views.site_summaries(entry), value)
    else:
        if prompt >= len(entry.artifact.prompts):
            raise invalid(
                "unknown_prompt", f"The run has {len(entry.artifact.prompts)} prompts, counted from 0."
            )
        made = figures.importance_grid(stored_importances(entry, prompt), entry.artifact.prompts[prompt].text)
    return _answer(made, kind, entry.slug, name)


@router.get(
    "/api/findings/{slug}/figures/{name}.{kind}",
    response_class=Response,
    dependencies=[LINK],
    responses=FIGURE,
)
def get_finding_figure(
    slug: Id,
    name: Literal["output-shift", "importances"],
    kind: Kind,
    findings: FindingsDep,
    prompt: Prompt = 0,
    position: Annotated[int, Query(ge=-1, le=100_000, description="-1: the last one")] = -1,
) -> Response:
    """A finding's output shift at a position, or its causal importances, as they were recorded. Needs no weights."""
    from backend import figures

    found = findings.get(slug)
    if prompt >= len(found.results):
        raise invalid("unknown_prompt", f"This finding has {len(found.results)} prompts, counted from 0.")
    stored = found.results[prompt]
    if name == "output-shift":
        try:
            made = figures.output_shift(stored.result, position, found.title)
        except IndexError as error:
            raise invalid("position_out_of_range", f"This finding has no such position: {error}.") from None
    elif stored.importances is None:
        raise invalid("not_recorded", "This finding holds no causal importances.")
    else:
        made = figures.importance_grid(stored.importances, found.title)
    return _answer(made, kind, slug, name)


def _answer(figure, kind: Kind, of: str, name: str) -> Response:
    if kind == "json":
        return Response(figure.to_json(), media_type="application/json")
    html = figure.to_html(include_plotlyjs=True, full_html=True)
    return Response(html, media_type="text/html", headers=files.disposition(of, name, "html"))
