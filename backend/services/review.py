"""A config looked at before it is started: what its patterns match, how many components that makes, and what gives
reason to think again."""

from __future__ import annotations

import fnmatch
import shlex

import yaml

from backend.errors import invalid
from backend.schemas.models import Review, ReviewedSite
from workers.spd.config import CorpusData, DecomposeConfig, PromptsConfig
from workers.spd.config.cautions import cautions
from workers.spd.scouted import ModelView, ModuleView

MANY_COMPONENTS = 20_000
MANY_PROMPTS = 200


def review(config: DecomposeConfig, model: ModelView) -> Review:
    """Raises ApiError 422 for a pattern that matches nothing, or only what cannot be a site."""
    modules = matched(config.sites, model)
    sites = [
        ReviewedSite(
            path=module.path, d_out=module.d_out or 0, d_in=module.d_in or 0, parameters=module.parameters,
            components=_components(config, module),
        )
        for module in modules
    ]  # fmt: skip
    counts = [site.components for site in sites]
    written = config.model_dump(mode="json", exclude_unset=True)
    return Review(
        config=written,
        yaml=yaml.safe_dump(written, sort_keys=False, allow_unicode=True, width=100),
        command=f"unweave decompose {shlex.quote(config.name)}.yaml",
        sites=sites,
        parameters=sum(site.parameters for site in sites),
        components=None if None in counts else sum(count for count in counts if count is not None),
        notes=[*_of_shapes(config, sites), *cautions(config), *_of_model(config, model)],
    )


def matched(patterns: tuple[str, ...], model: ModelView) -> list[ModuleView]:
    """The modules that are decomposed, in model order. Raises ApiError 422."""
    chosen: set[str] = set()
    for pattern in patterns:
        found = [module for module in model.modules if fnmatch.fnmatchcase(module.path, pattern)]
        if not found:
            raise invalid("no_site", f"“{pattern}” matches no module of {model.name} that has weights.")
        refused = next((module for module in found if module.refused is not None), None)
        if refused is not None:
            raise invalid(
                "refused_site",
                f"“{pattern}” matches {refused.path}, which cannot be a site. {refused.refused}",
            )
        chosen |= {module.path for module in found}
    return [module for module in model.modules if module.path in chosen]


def _components(config: DecomposeConfig, module: ModuleView) -> int | None:
    if config.start.kind == "data":  # at most C, and one a token input
        return None
    return min(module.d_out or 0, module.d_in or 0) if config.C == "auto" else config.C


def _of_shapes(config: DecomposeConfig, sites: list[ReviewedSite]) -> list[str]:
    notes: list[str] = []
    if isinstance(config.C, int) and config.start.kind != "data":
        above = [site for site in sites if min(site.d_out, site.d_in) < config.C]
        if above:
            rank = min(min(site.d_out, site.d_in) for site in above)
            more = f" and {len(above) - 1} more" if len(above) > 1 else ""
            notes.append(
                f"C is {config.C}, and the rank of {above[0].path}{more} is at most {rank}: components past the rank "
                "write nothing at the start."
            )
    total = sum(site.components or 0 for site in sites)
    if total > MANY_COMPONENTS:
        numbers = sum((site.components or 0) * (site.d_in + site.d_out) for site in sites)
        notes.append(
            f"The start “{config.start.kind}” makes {total:,} components, {numbers / 1e6:,.0f} million numbers to "
            "train. A number for “C”, or fewer sites, makes the run smaller."
        )
    return notes


def _of_model(config: DecomposeConfig, model: ModelView) -> list[str]:
    notes = [note for note in model.notes if "trained here" not in note]
    data = config.data
    if isinstance(data, CorpusData) and data.window > model.context_length:
        notes.append(
            f"Windows have {data.window} tokens, and the model takes {model.context_length}; lower “data.window”."
        )
    if isinstance(data, PromptsConfig):
        train = sum(prompt.split == "train" for prompt in data.prompts)
        if config.rest is None and train <= MANY_PROMPTS:
            notes.append(
                "There is no “rest” text, so nothing keeps the components quiet on everything that the prompts are not "
                "about."
            )
    return notes
