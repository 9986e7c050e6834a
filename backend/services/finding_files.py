"""A finding, or a list of them, as a file: rows for a spreadsheet, JSON, and Markdown for a notebook or an issue."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from backend.schemas.findings import Finding, FindingSummary
from backend.schemas.workbench import Ablation
from backend.services.sentences import probability

SIDES = ("baseline", "ablated")
SHIFT_HEADS = [
    "position",
    "kl [nats]",
    "token_id",
    "token",
    *[f"{side}_{name}" for side in SIDES for name in ("probability", "logit", "rank")],
]
HEADS = ["prompt", "text", *SHIFT_HEADS]
LIST_HEADS = ["slug", "title", "claim", "decomposition", "created_at", "featured", "summary"]
ROWS = 10


def rows(finding: Finding) -> Iterator[dict[str, Any]]:
    """Every reported token at every position of every prompt, prompts counted from 1."""
    for number, stored in enumerate(finding.results, 1):
        text = "".join(token.piece for token in stored.result.tokens)
        for row in shift_rows(stored.result):
            yield {"prompt": number, "text": text, **row}


def shift_rows(result: Ablation) -> Iterator[dict[str, Any]]:
    """Every reported token at every position of an ablation."""
    for place in result.positions:
        for row in {row.token_id: row for row in [*place.top, *place.watched]}.values():
            yield {
                "position": place.position,
                "kl": place.kl,
                "token_id": row.token_id,
                "token": row.token,
                **{
                    f"{side}_{name}": value
                    for side in SIDES
                    for name, value in asdict(getattr(row, side)).items()
                },
            }


def list_row(finding: FindingSummary) -> dict[str, Any]:
    """One finding of a list."""
    return finding.model_dump(mode="json", include=set(LIST_HEADS))


def markdown(finding: Finding) -> str:
    """The finding as Markdown. Text that people typed is escaped, but for the notes, which are Markdown themselves."""
    parts = [f"# {_text(finding.title)}", _text(finding.claim)]
    for number, stored in enumerate(finding.results):
        at = finding.focus[number] if number < len(finding.focus) else -1
        place = next((p for p in stored.result.positions if p.position == at), None)
        parts.append(f"## {_code(''.join(token.piece for token in stored.result.tokens))}")
        parts.append(_text(finding.summary[number]) if number < len(finding.summary) else "")
        if place is not None:
            lines = ["| token | before | after |", "| --- | ---: | ---: |"]
            shown = {row.token_id: row for row in [*place.watched, *place.top]}.values()
            for row in list(shown)[:ROWS]:
                before, after = probability(row.baseline.probability), probability(row.ablated.probability)
                lines.append(f"| {_code(row.token)} | {before} | {after} |")
            parts.append("\n".join(lines))
    if finding.notes:
        parts += ["## Notes", finding.notes.strip()]
    of = finding.provenance
    decomposition = f"decomposition {finding.decomposition} ({finding.artifact_hash[:12]})"
    source = f"{of.model}, {decomposition}, {of.dtype}, {of.device}"
    parts.append(f"{_text(source)}. {finding.created_at:%Y-%m-%d}, {finding.url}")
    return "\n\n".join(part for part in parts if part) + "\n"


def bibtex(finding: Finding, base: str) -> str:
    """The finding as an entry of a bibliography; `base` is where the server is."""
    of = finding.provenance
    fields = {
        "title": f"{{{_bib(finding.title)}}}",
        "year": f"{finding.created_at:%Y}",
        "month": f"{finding.created_at:%b}".lower(),
        "howpublished": f"Unweave {of.versions.get('unweave', '')}, \\url{{{base}{finding.url}}}",
        "note": _bib(
            f"Decomposition {finding.decomposition}, SHA-256 {finding.artifact_hash}, of {of.model}"
        ),
    }
    lines = ",\n".join(
        f"  {name} = {value}" if name == "month" else f"  {name} = {{{value}}}"
        for name, value in fields.items()
    )
    return f"@misc{{unweave-{finding.slug},\n{lines}\n}}\n"


def _bib(text: str) -> str:
    """Text as TeX reads it."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in " ".join(text.split()))


def _text(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Text in a code span, whatever backticks it holds; a bar would end a table's cell, and spaces at the edges and
    tabs would not be seen."""
    plain = text.replace("\n", "↵").replace("\t", "⇥").replace("|", "∣")
    edges = len(plain) - len(plain.lstrip(" ")), len(plain) - len(plain.rstrip(" "))
    plain = "␣" * edges[0] + plain.strip(" ") + "␣" * (edges[1] if plain.strip(" ") else 0)
    ticks = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    return f"{ticks} {plain} {ticks}"
