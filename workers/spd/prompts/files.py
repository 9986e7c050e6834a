"""Prompts from a file: lines of text, CSV, or JSON lines (text, answer, split, fact). Needs no torch."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import ValidationError

from workers.spd.config import ConfigError, PromptData

Format = Literal["text", "csv", "jsonl"]
FIELDS = ("text", "answer", "split", "fact", "watch")
ARROW = re.compile(r"\s*(?:=>|→|\t)\s*")


def format_of(name: str) -> Format:
    """The format that a file's name tells."""
    ending = name.rsplit(".", 1)[-1].lower()
    return "csv" if ending in ("csv", "tsv") else "jsonl" if ending in ("jsonl", "ndjson", "json") else "text"


def read_prompt_file(content: str, format: Format) -> list[PromptData]:
    """The prompts of a file's text.

    text: a prompt a line, its answer after `=>`, `→` or a tab; the answer gets a leading space. csv: a head with the
    column text, and answer, split, fact where there are any; lines above it that begin with # and columns with a unit
    in brackets, as this software writes them, are passed over. jsonl: an object a line. Empty lines are passed over.
    Raises ConfigError naming the line at fault.
    """
    content = content.removeprefix("\ufeff")
    rows = {"text": _text, "csv": _csv, "jsonl": _json_lines}[format](content)
    prompts = [_prompt(number, row) for number, row in rows]
    if not prompts:
        raise ConfigError("There is no prompt in it.")
    return prompts


def _prompt(number: int, row: dict[str, Any]) -> PromptData:
    if unknown := [name for name in row if name not in FIELDS]:
        raise ConfigError(
            f"Line {number}: “{unknown[0]}” is not a field of a prompt; they are {', '.join(FIELDS)}."
        )
    try:
        return PromptData.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise ConfigError(f"Line {number}: {where}: {first['msg']}.") from None


def _text(content: str) -> Iterable[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        text, *answer = ARROW.split(line, maxsplit=1)
        yield (
            number,
            {"text": text, **({"answer": f" {answer[0].strip()}"} if answer and answer[0].strip() else {})},
        )


def _csv(content: str) -> Iterable[tuple[int, dict[str, Any]]]:
    above = 0
    while content.startswith("#"):
        content, above = content.partition("\n")[2], above + 1
    head = content.split("\n", 1)[0]
    rows = csv.DictReader(
        io.StringIO(content, newline=""), delimiter="\t" if "\t" in head else ",", strict=True
    )
    names = [(name or "").strip().lower() for name in rows.fieldnames or []]
    if "text" not in names:
        raise ConfigError(
            f"Line {above + 1}: a CSV file of prompts begins with its columns, and one of them is “text”."
        )
    rows.fieldnames = names
    try:
        for row in rows:
            if None in row:
                raise ConfigError(
                    f"Line {rows.line_num + above}: it has more cells than the first line has columns."
                )
            yield rows.line_num + above, {name: v for name, v in row.items() if v and "[" not in name}
    except csv.Error as error:
        raise ConfigError(f"Line {rows.line_num + above}: {error}.") from None


def _json_lines(content: str) -> Iterable[tuple[int, dict[str, Any]]]:
    if content.lstrip().startswith("["):  # one list instead of lines
        try:
            rows = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"It is not JSON: {error}.") from None
        numbered = list(enumerate(rows, 1))
    else:
        numbered = []
        for number, line in enumerate(content.splitlines(), 1):
            if line.strip():
                try:
                    numbered.append((number, json.loads(line)))
                except (ValueError, RecursionError) as error:
                    raise ConfigError(f"Line {number} is not JSON: {error}.") from None
    for number, row in numbered:
        if not isinstance(row, dict):
            raise ConfigError(f'Line {number} is not an object such as {{"text": …, "answer": …}}.')
        yield number, {name: value for name, value in row.items() if value is not None}
