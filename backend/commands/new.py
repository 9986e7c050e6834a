"""`unweave sites` and `unweave new`: what a model is made of, and a config of one's own, from a shell."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from workers.spd.config import (
    ConfigError,
    FolderSource,
    HubSource,
    Source,
    load_config,
    parse_config,
    preset_names,
)
from workers.spd.config.cautions import cautions
from workers.spd.config.recipes import Size, recipe
from workers.spd.prompts.files import format_of, read_prompt_file
from workers.spd.scouted import AskedPrompt, ModelView, ModuleView


class NewError(Exception):
    """What cannot be done; the message is a plain sentence."""


def source_of(model: str) -> Source:
    """A preset's model by the preset's name, a folder or GGUF file, or a hub's owner/name."""
    if model in preset_names():
        return load_config(model).target
    path = Path(model).expanduser()
    if path.exists() or model.startswith((".", "/", "~")) or path.suffix == ".gguf":
        return FolderSource(path=str(path.resolve()))
    try:
        return HubSource(repo=model)
    except ValueError:
        raise NewError(
            f"“{model}” is no preset, folder, GGUF file or owner/name. Presets: {', '.join(preset_names())}."
        ) from None


def look(source: Source, home: Path, device: str) -> ModelView:
    """The model, without its weights where that is possible. Raises NewError."""
    from workers.spd.targets.inspection import inspect_model
    from workers.spd.targets.reading import TargetError

    try:
        return inspect_model(source, home, device)
    except TargetError as error:
        raise NewError(str(error)) from None


def matching(model: ModelView, patterns: list[str]) -> list[ModuleView]:
    """The modules that match a pattern; all where there is none."""
    return [
        module
        for module in model.modules
        if not patterns or any(fnmatch.fnmatchcase(module.path, pattern) for pattern in patterns)
    ]


def print_sites(model: ModelView, patterns: list[str], console: Console) -> int:
    """A line a module; with patterns, those that match. Returns how many can be sites."""
    console.print(
        f"{model.name}: {model.architecture}, {model.parameters:,} parameters, {model.layers} layers of width "
        f"{model.d_model:,}, {model.tokenizer}, licence {model.license or 'not stated'}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    table = Table("module", "kind", "shape", "parameters", "", box=None, pad_edge=False)
    usable = 0
    for module in matching(model, patterns):
        usable += module.refused is None
        shape = "" if module.d_out is None else f"{module.d_out:,} × {module.d_in:,}"
        table.add_row(module.path, module.kind, shape, f"{module.parameters:,}", module.refused or "")
    console.print(table, soft_wrap=True)
    for note in model.notes:
        console.print(note, highlight=False, soft_wrap=True)
    return usable


def make_config(
    name: str, source: Source, sites: list[str], prompts: Path, size: Size, model: ModelView
) -> tuple[str, list[str]]:
    """The config as YAML, and what gives reason to think again. Raises NewError."""
    for pattern in sites:
        if not any(
            module.refused is None and fnmatch.fnmatchcase(module.path, pattern) for module in model.modules
        ):
            raise NewError(f"“{pattern}” matches no module of {model.name} that can be a site.")
    try:
        read = read_prompt_file(prompts.read_text(encoding="utf-8"), format_of(prompts.name))
        written: dict[str, Any] = {
            "name": name,
            "target": source.model_dump(mode="json", exclude_none=True),
            "sites": sites,
            "data": {
                "kind": "prompts",
                "prompts": [prompt.model_dump(mode="json", exclude_unset=True) for prompt in read],
            },
            **recipe("prompts", size),
        }
        config = parse_config(written)
    except (OSError, UnicodeDecodeError) as error:
        raise NewError(f"{prompts} cannot be read: {error}.") from None
    except ConfigError as error:
        raise NewError(str(error)) from None
    return yaml.safe_dump(written, sort_keys=False, allow_unicode=True, width=100), cautions(config)


def ask_all(source: Source, prompts: Path, home: Path, device: str) -> list[tuple[str, AskedPrompt]]:
    """Every prompt of a file with what the model makes of it. Raises NewError."""
    from workers.spd.run.scout import Scout, refusal

    try:
        read = read_prompt_file(prompts.read_text(encoding="utf-8"), format_of(prompts.name))
        answers = Scout(home, device).answer(
            {
                "about": "prompts",
                "source": source.model_dump(mode="json"),
                "prompts": [prompt.model_dump(mode="json") for prompt in read],
                "bos": False,
            }
        )
    except Exception as error:
        words = refusal(error)
        if words is None:
            raise
        raise NewError(words) from None
    return [
        (prompt.text, AskedPrompt.model_validate(answer))
        for prompt, answer in zip(read, answers, strict=True)
    ]
