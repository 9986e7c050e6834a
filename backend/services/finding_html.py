"""A finding as one HTML page: small, for frames on other sites, or whole, as a file. No script, nothing to load.

It is made of escaped text only, and of notes that are sanitised.
"""

from __future__ import annotations

from html import escape

from backend.schemas.findings import Finding
from backend.services import files
from backend.services.sentences import probability
from workers.spd.answers import OutputShift

ROWS = 5
STYLE = """
:root{color-scheme:light dark;--bg:#fff;--ink:#1b2026;--soft:#545d68;--line:#e5e2da;--before:#a9adb3;--after:#0f5c66;
--link:#0f5c66}
@media(prefers-color-scheme:dark){:root{--bg:#161b21;--ink:#e9ebee;--soft:#aeb7c2;--line:#29313a;--before:#6d7783;
--after:#5cc2cf;--link:#5cc2cf}}
*{box-sizing:border-box}body{margin:0;padding:14px 16px;background:var(--bg);color:var(--ink);
font:14px/1.45 Inter,system-ui,sans-serif}
h1{font-size:16px;margin:0 0 4px}h2{font:12.5px ui-monospace,monospace;margin:14px 0 4px;color:var(--soft)}
p{margin:0 0 4px}.soft,footer{color:var(--soft)}a{color:var(--link)}
table{border-collapse:collapse;width:100%;max-width:34rem}th,td{padding:3px 8px 3px 0;text-align:right;
border-bottom:1px solid var(--line);font-weight:400;font-variant-numeric:tabular-nums}
th:first-child{text-align:left;font-family:ui-monospace,monospace}thead th{color:var(--soft);font-size:12px}
.bar{display:block;height:4px;border-radius:2px;background:var(--before);margin:2px 0}
.bar.after{background:var(--after)}td.bars{width:34%}
dt{float:left;clear:left;width:8rem;color:var(--soft)}dd{margin:0 0 2px 8rem;overflow-wrap:anywhere}
footer{margin-top:12px;font-size:12px}
"""


def page(finding: Finding, base: str = "", *, whole: bool = False) -> str:
    """The page; `base` is where this server is, for its link. `whole`: with every reported token, notes and
    provenance."""
    parts = [
        f"<h1>{escape(finding.title)}</h1>",
        f'<p class="soft">{escape(finding.claim)}</p>' if finding.claim else "",
    ]
    for number, stored in enumerate(finding.results):
        text = "".join(token.piece for token in stored.result.tokens)
        at = finding.focus[number] if number < len(finding.focus) else -1
        place = next((p for p in stored.result.positions if p.position == at), None)
        parts.append(f"<h2>{escape(text)}</h2>")
        if number < len(finding.summary) and finding.summary[number]:
            parts.append(f"<p>{escape(finding.summary[number])}</p>")
        if place is not None:
            rows = {row.token_id: row for row in [*place.watched, *place.top]}.values()
            likely = sorted(rows, key=lambda row: -max(row.baseline.probability, row.ablated.probability))
            parts.append(_table(likely if whole else likely[:ROWS]))
    if whole:
        facts = files.facts(finding.provenance) | {"recorded": f"{finding.created_at:%Y-%m-%d}"}
        rows = "".join(
            f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items()
        )
        parts += [finding.notes_html, f"<h2>Provenance</h2><dl>{rows}</dl>"]
    model = finding.provenance.model
    parts.append(
        f"<footer>{escape(model)} · {escape(finding.decomposition)} · "
        f'<a href="{escape(base)}/f/{escape(finding.slug)}" '
        'target="_blank" rel="noopener">Open in Unweave</a></footer>'
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(finding.title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style><body><main>{''.join(parts)}</main></body></html>"
    )


def _table(rows: list[OutputShift]) -> str:
    most = max([0.01, *(max(row.baseline.probability, row.ablated.probability) for row in rows)])

    def bar(p: float, kind: str) -> str:
        return f'<span class="bar {kind}" style="width:{100 * min(1.0, p / most):.1f}%"></span>'

    lines = "".join(
        f'<tr><th scope="row">{escape(row.token.replace(" ", "␣"))}</th>'
        f'<td class="bars" aria-hidden="true">{bar(row.baseline.probability, "")}'
        f"{bar(row.ablated.probability, 'after')}</td>"
        f"<td>{probability(row.baseline.probability)}</td><td>{probability(row.ablated.probability)}</td></tr>"
        for row in rows
    )
    return (
        '<table><thead><tr><th scope="col">Token</th><td></td><th scope="col">Before</th>'
        f'<th scope="col">After</th></tr></thead><tbody>{lines}</tbody></table>'
    )
