"""What is on screen as Python: a script, or a notebook, that recomputes it with `import unweave`."""

from __future__ import annotations

import json
import pprint
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from backend.schemas.circuits import CircuitRequest
from backend.schemas.code import CodeRequest
from backend.schemas.findings import Finding
from backend.schemas.workbench import AblationRequest, Prompt, Suppression
from backend.services.entries import Entry

CodeKind = Literal["py", "ipynb"]
WIDTH = 100
DEFAULTS = AblationRequest(text="")


@dataclass(frozen=True)
class Subject:
    """The decomposition that code opens, and its groups by name."""

    slug: str
    hash: str
    groups: Mapping[str, list[str]]

    @classmethod
    def of(cls, entry: Entry) -> Subject:
        return cls(entry.slug, entry.hash, {group.name: group.components for group in entry.artifact.groups})


def of_screen(entry: Entry, request: CodeRequest, kind: CodeKind) -> str:
    """The code of a workbench's state or a circuit."""
    cells = [_opening(Subject.of(entry), "")]
    cells += [_ablation(Subject.of(entry), asked, None) for asked in request.ablations]
    if request.circuit is not None:
        cells.append(_circuit(request.circuit))
    return written(f"{entry.slug} in Unweave", cells, kind)


def of_finding(finding: Finding, groups: Mapping[str, list[str]], kind: CodeKind) -> str:
    """The code of a finding; `groups` are those of its decomposition, where that is here."""
    subject = Subject(finding.decomposition, finding.artifact_hash, groups)
    cells = [_opening(subject, finding.url)]
    for stored in finding.results:
        own = stored.result.tokens[1:] if stored.request.bos else stored.result.tokens
        cells.append(_ablation(subject, stored.request, "".join(token.piece for token in own)))
    return written(f"{finding.title}\n\n{finding.claim}".strip(), cells, kind)


def written(title: str, cells: Sequence[str], kind: CodeKind) -> str:
    """Cells as one script, or as a notebook under a title."""
    if kind == "py":
        head = "\n".join(f"# {line}".rstrip() for line in title.splitlines())
        return "\n\n".join([head, *cells]) + "\n"
    from nbformat import v4, writes

    notebook = v4.new_notebook(cells=[v4.new_markdown_cell(f"# {title}"), *map(v4.new_code_cell, cells)])
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # and no random one: the same question gives the same file
    return writes(notebook) + "\n"


def _opening(subject: Subject, url: str) -> str:
    lines = ["# pip install 'unweave[notebook]'"]
    if url:
        lines.append(f"# recorded as {url}")
    return "\n".join(
        [
            *lines,
            "import unweave as uw",
            "",
            f"d = uw.load({_text(subject.slug)})  # or uw.connect(URL, token=TOKEN).open({_text(subject.slug)})",
            f'assert d.hash.startswith("{subject.hash[:12]}"), "another version of the decomposition"',
        ]
    )


def _ablation(subject: Subject, asked: AblationRequest, says: str | None) -> str:
    """One `d.ablate`; `says`: what token ids say."""
    options: dict[str, Any] = {}
    if asked.components:
        options["suppress" if asked.mode == "suppress" else "keep"] = _chosen(subject, asked.components)
    for name in ("watch", "top_k", "positions", "remainder"):
        value = getattr(asked, name)
        if value != getattr(DEFAULTS, name):
            options[name] = _value(value)
    return _call("ablate", asked, options, says)


def _circuit(asked: CircuitRequest) -> str:
    output = asked.output
    named = {"token": output.token, "against": output.against, "position": output.position}
    named |= {"threshold": asked.threshold, "top_edges": asked.top_edges}
    return _call(
        "circuit", asked, {name: _value(value) for name, value in named.items() if value is not None}, None
    )


def _call(method: str, asked: Prompt, options: Mapping[str, str], says: str | None) -> str:
    prompt = _text(asked.text) if asked.text is not None else _value(asked.token_ids)
    comment = f"  # {json.dumps(says, ensure_ascii=False)}" if asked.text is None and says else ""
    flags = {name: "True" for name in ("bos", "plain_text") if getattr(asked, name)}
    given = "".join(f",\n    {name}={value}" for name, value in {**options, **flags}.items())
    call = f"d.{method}(\n    prompt{given},\n)" if given else f"d.{method}(prompt)"
    return f"prompt = {prompt}{comment}\n{call}"


def _chosen(subject: Subject, components: Sequence[Suppression]) -> str:
    """Groups by name where they are what is chosen, else keys, with strengths and places where they have some."""
    if any(item.positions is not None or item.start is not None for item in components):
        return "[\n        " + ",\n        ".join(map(_part, components)) + ",\n    ]"
    if any(item.strength != 1 for item in components):
        return _value({item.key: item.strength for item in components})
    keys = [item.key for item in components]
    return _value(_groups(subject.groups, keys) or keys)


def _part(item: Suppression) -> str:
    given = item.model_dump(exclude_defaults=True)
    return f"uw.Suppression({', '.join(f'{name}={_value(value)}' for name, value in given.items())})"


def _groups(groups: Mapping[str, list[str]], keys: Sequence[str]) -> list[str]:
    """Names of groups that hold exactly these components together; none where no groups do."""
    wanted, names = set(keys), list[str]()
    inside = [name for name in groups if groups[name] and wanted.issuperset(groups[name])]
    for name in sorted(inside, key=lambda name: -len(groups[name])):
        if wanted.intersection(groups[name]):
            names.append(name)
            wanted.difference_update(groups[name])
    return names if not wanted else []


def _text(text: str) -> str:
    """A string literal that reads like the text: JSON's escapes are Python's too, but for characters past the BMP."""
    return json.dumps(text, ensure_ascii=False)


def _value(value: Any) -> str:
    text = pprint.pformat(value, width=WIDTH, indent=4, compact=True, sort_dicts=False)
    return text.replace("\n", "\n    ")
