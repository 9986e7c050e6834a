"""An artefact as the gallery and the overview show it."""

from __future__ import annotations

import math
from collections.abc import Callable

from backend.schemas.common import TargetStatus, Token
from backend.schemas.decompositions import (
    AblationCheck,
    Curve,
    Decomposition,
    DecompositionSummary,
    FactRow,
    FactTable,
    ModelInfo,
    RunPrompt,
    SiteSummary,
    Thumbnail,
    VariantTable,
)
from backend.services.entries import Entry
from backend.services.evidence import Evidence, reconstruction_in_words, words
from backend.services.paper import method_parts, paper_table
from workers.spd.artifact import Artifact, HarvestPrompt, Manifest
from workers.spd.keys import layer_of, short_name

THUMBNAIL_ROWS = 12
THUMBNAIL_COLUMNS = 24


def summary(entry: Entry, target: TargetStatus, featured: list[str]) -> DecompositionSummary:
    """A decomposition in the gallery."""
    manifest = entry.artifact.manifest
    trained = sum(site.trained for site in manifest.sites)
    card = manifest.target.model
    return DecompositionSummary(
        id=entry.slug,
        artifact_hash=entry.hash,
        title=manifest.config.title or entry.slug,
        description=manifest.config.description,
        model=ModelInfo(
            name=card.name,
            architecture=card.architecture,
            parameters=card.parameters,
            layers=card.layers,
            vocabulary=card.vocabulary,
            context_length=entry.limit,
            license=card.license or getattr(manifest.target.source, "license", None),
        ),
        created_at=manifest.created_at,
        shipped=entry.shipped,
        sites=len(manifest.sites),
        components=trained,
        alive=entry.alive,
        headlines=Evidence(manifest).headlines(entry.alive, trained),
        thumbnail=thumbnail(entry),
        target=target,
        featured_findings=featured,
    )


def overview(entry: Entry, target: TargetStatus, featured: list[str]) -> Decomposition:
    """A decomposition in full, without its components."""
    manifest = entry.artifact.manifest
    return Decomposition(
        **dict(summary(entry, target, featured)),
        provenance=entry.provenance(),
        config=manifest.config.model_dump(mode="json"),
        source=manifest.target.source.model_dump(mode="json"),
        site_summaries=site_summaries(entry),
        prompts=[_prompt(prompt) for prompt in entry.artifact.prompts],
        evidence=Evidence(manifest).rows(),
        reconstruction_positions=reconstruction_in_words(manifest),
        curves=curves(entry),
        paper_table=None if manifest.paper is None else paper_table(manifest.paper),
        method=method_parts(manifest.config),
        variants=variant_table(entry.artifact),
        ablation_checks=[
            AblationCheck(
                group=" + ".join(check.groups),
                change=_change(check.baseline, check.ablated),
                untrained_change=None
                if check.untrained is None
                else _change(check.baseline, check.untrained),
                **check.model_dump(exclude={"groups", "untrained"}),
            )
            for check in manifest.checks
        ],
        facts=fact_table(manifest),
        notes=manifest.notes,
        training_seconds=manifest.training_seconds,
        default_watch=default_watch(entry),
    )


def variant_table(artifact: Artifact) -> VariantTable | None:
    """What the run's settings bring; None where no variants were trained."""
    found = artifact.variants
    return None if found is None else VariantTable.model_validate(found.model_dump())


def _change(before: float, after: float) -> float:
    return (after - before) / before if before else 0.0


def fact_table(manifest: Manifest) -> FactTable | None:
    """What suppressing each fact of the run does; None where the run was not over facts."""
    facts, data = manifest.facts, manifest.config.data
    if facts is None or data.kind != "facts":
        return None
    asked = {relation.name: (relation.held_out or relation.templates)[0] for relation in data.relations}
    return FactTable(
        **facts.model_dump(exclude={"rows"}),
        candidates=len(facts.rows),
        known=sum(row.kept for row in facts.rows),
        rows=[
            FactRow(
                **row.model_dump(),
                group=row.subject if row.kept and row.components else None,
                prompt=asked[row.relation].replace("{}", row.subject),
            )
            for row in facts.rows
        ],
        templates=[template for relation in data.relations for template in relation.templates],
        held_out_templates=[template for relation in data.relations for template in relation.held_out],
        bos=data.bos,
    )


def site_summaries(entry: Entry) -> list[SiteSummary]:
    """The decomposed matrices in model order."""
    manifest, columns = entry.artifact.manifest, entry.artifact.columns
    alive = dict.fromkeys(entry.site_names, 0)
    for site, lives in zip(columns.site, columns.alive, strict=True):
        alive[site] += lives
    return [
        SiteSummary(
            site=site.name,
            short=short_name(site.name),
            layer=layer_of(site.name),
            d_in=site.d_in,
            d_out=site.d_out,
            components=site.trained,
            stored=len(site.kept),
            alive=alive[site.name],
            l0=manifest.l0_by_site.get(site.name, 0.0),
            faithfulness=manifest.faithfulness_by_site.get(site.name),
        )
        for site in manifest.sites
    ]


def curves(entry: Entry) -> list[Curve]:
    """The logged figures of the training, a curve each over the steps that measured it; a value that was not finite
    shows as a gap."""
    lines = entry.artifact.curves
    names = dict.fromkeys(name for line in lines for name in line if name not in ("step", "seconds", "time"))
    units = {metric.name: metric.unit for metric in entry.artifact.manifest.metrics}
    result: list[Curve] = []
    for name in names:
        measured = [line for line in lines if name in line]
        steps, values = [int(line["step"]) for line in measured], [line[name] for line in measured]
        finite = [
            float(v) if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) else None
            for v in values
        ]
        if any(value is not None for value in finite):
            known = name.removesuffix("_held_out").removesuffix("_train")
            unit = units.get(known, "nats" if "reconstruction" in name or name.startswith("kl") else "")
            result.append(Curve(name=name, label=words(name).label, unit=unit, steps=steps, values=finite))
    return result


def default_watch(entry: Entry) -> list[str]:
    """The answers of the run's prompts, training ones first, each once; where none asks to be watched (a run over many
    facts), those of the first prompts, which the workbench opens with."""
    prompts = sorted(entry.artifact.prompts, key=lambda prompt: prompt.split != "train")
    answers = [prompt.answer for prompt in prompts if prompt.watch and prompt.answer is not None]
    first = [prompt.answer for prompt in prompts[:2] if prompt.answer is not None]
    return list(dict.fromkeys(answers or first))[:8]


def tokens(prompt: HarvestPrompt) -> list[Token]:
    """The tokens of a harvested prompt."""
    return [Token(id=i, piece=piece) for i, piece in zip(prompt.token_ids, prompt.pieces, strict=True)]


def _prompt(prompt: HarvestPrompt) -> RunPrompt:
    return RunPrompt(
        text=prompt.text,
        split=prompt.split,
        bos=prompt.bos,
        tokens=tokens(prompt),
        answer=prompt.answer,
        answer_probability=prompt.answer_probability,
        fact=prompt.fact,
    )


def thumbnail(entry: Entry) -> Thumbnail | None:
    """Max CI of the first training prompt: one row per site where there are few, else one row per band of layers."""
    prompts = entry.artifact.prompts
    if not prompts:
        return None
    prompt = next((prompt for prompt in prompts if prompt.split == "train"), prompts[0])
    rows, row_of = _thumbnail_rows(entry.site_names)
    width = min(len(prompt.token_ids), THUMBNAIL_COLUMNS)
    first = len(prompt.token_ids) - width
    values = [[0.0] * width for _ in rows]
    for site, position, ci in zip(prompt.site, prompt.position, prompt.ci, strict=True):
        if position >= first:
            line = values[row_of(site)]
            line[position - first] = max(line[position - first], round(ci, 4))
    return Thumbnail(rows=rows, tokens=prompt.pieces[first:], values=values)


def _thumbnail_rows(sites: list[str]) -> tuple[list[str], Callable[[int], int]]:
    if len(sites) <= THUMBNAIL_ROWS:
        return [short_name(site) for site in sites], lambda site: site
    band = math.ceil(len(sites) / THUMBNAIL_ROWS)
    rows = [short_name(sites[start]) for start in range(0, len(sites), band)]
    return rows, lambda site: site // band
