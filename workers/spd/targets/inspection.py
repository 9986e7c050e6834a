"""A model looked at before anything is done with it: its config and its modules, on no device and without weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from workers.spd.config import (
    FolderSource,
    HubSource,
    InductionSource,
    PackageSource,
    Source,
    TextModelSource,
)
from workers.spd.scouted import ModelView, ModuleView
from workers.spd.targets.fetching import CARD, CONFIG, TOKENIZER, check_reachable, context_length
from workers.spd.targets.induction import InductionModel
from workers.spd.targets.masks import PLAIN, measured_scale, of_shape, site_weight, with_weight
from workers.spd.targets.memory import available_bytes
from workers.spd.targets.reading import Described, TargetError, read_description, sentence
from workers.spd.targets.target import read_card, target_folder
from workers.spd.targets.target_check import without_memory
from workers.spd.targets.text_model import llama

TOKENS = (2, 7)
ROWS_TRIED = 4_096


def inspect_model(source: Source, home: Path, device: str = "cpu") -> ModelView:
    """What a model is and which of its modules can be decomposed. Raises TargetError where it cannot be a target, or is
    a package that has not been fetched yet."""
    folder = target_folder(source, home)
    if (folder / CARD).is_file():
        return _of_folder(folder, device)
    if isinstance(source, InductionSource | TextModelSource):
        return _of_settings(source, device)
    if isinstance(source, PackageSource):
        raise TargetError(f"The weights of {source.package} have not been fetched yet.")
    if isinstance(source, HubSource):
        check_reachable(source.repo, source.revision)
        read = read_description(source.repo, revision=source.revision)
        name = source.repo
    else:
        read, name = _on_disk(source)
    return _described(read, name, source.license or read.license, device)


def _on_disk(source: FolderSource) -> tuple[Described, str]:
    place = Path(source.path).expanduser()
    if place.suffix.lower() == ".gguf":
        if not place.is_file():
            raise TargetError(f"There is no file “{place.name}”.")
        return read_description(str(place.parent), gguf_file=place.name), place.stem
    return read_description(str(place)), place.name


def _described(read: Described, name: str, license: str | None, device: str) -> ModelView:
    from transformers import AutoModelForCausalLM

    config = read.config.get_text_config()
    notes: list[str] = []
    if config is not read.config:
        notes.append("It reads more than text; its language model alone is decomposed.")
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (RuntimeError, ValueError, ImportError, AttributeError, NotImplementedError) as error:
        raise TargetError(f"“{name}” cannot be built from its config: {sentence(error)}") from None
    return _view(
        model, name, read.tokenizer, device, layers=int(config.num_hidden_layers), d_model=int(config.hidden_size),
        context=context_length(config), license=license, bos=config.bos_token_id is not None, notes=notes,
    )  # fmt: skip


def _of_folder(folder: Path, device: str) -> ModelView:
    """A target that is converted already."""
    card = read_card(folder)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    model, tokenizer = without_memory(folder, config), Tokenizer.from_file(str(folder / TOKENIZER))
    return _view(
        model, card.model.name, tokenizer, device, layers=card.model.layers,
        d_model=card.model.d_model, context=card.model.context_length, license=card.model.license,
        bos=card.bos_token_id is not None, notes=[],
    )  # fmt: skip


def _of_settings(source: InductionSource | TextModelSource, device: str) -> ModelView:
    """A model that will be trained here."""
    with torch.device("meta"):
        model = InductionModel(source) if isinstance(source, InductionSource) else llama(source)
    induction = isinstance(source, InductionSource)
    return _view(
        model, "Induction heads" if induction else source.name, None, device, layers=2 if induction else source.layers,
        d_model=source.d_model, context=source.length if induction else source.context,
        license=None if induction else source.text.license, bos=induction,
        notes=[f"It is trained here before it is decomposed, in {source.steps:,} steps."],
    )  # fmt: skip


def _view(
    model: nn.Module,
    name: str,
    tokenizer: Tokenizer | None,
    device: str,
    *,
    layers: int,
    d_model: int,
    context: int,
    license: str | None,
    bos: bool,
    notes: list[str],
) -> ModelView:
    model.eval()
    modules = list(_modules(model))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    rows = next((module.d_in for module in modules if module.kind.endswith("Embedding")), 0) or 0
    return ModelView(
        name=name, architecture=type(model).__name__, layers=layers, d_model=d_model, vocabulary=rows,
        context_length=context, parameters=parameters, license=license, bos=bos, notes=notes,
        tokenizer="learned with it" if tokenizer is None else
        f"{type(tokenizer.model).__name__}, {tokenizer.get_vocab_size():,} tokens",
        weight_bytes=4 * parameters, available_bytes=0, modules=modules,
    ).beside(available_bytes(device))  # fmt: skip


def _modules(model: nn.Module) -> Iterator[ModuleView]:
    """Every module that holds parameters of its own, in model order."""
    read = _what_each_reads(model)
    output: Any = getattr(model, "unembed", None) or model.get_output_embeddings()  # type: ignore[operator]
    for path, module in model.named_modules():
        own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if not own:
            continue
        d_out, d_in, refused = None, None, None
        try:
            d_out, d_in = site_weight(module).shape
            refused = _refused(path, module, output, read, d_in)
        except TypeError as error:
            refused = str(error)
        yield ModuleView(
            path=path, kind=type(module).__name__, d_out=d_out, d_in=d_in, parameters=own, refused=refused
        )


def _refused(
    path: str, module: nn.Module, output: Any, read: dict[str, list[tuple[int, ...]]] | None, d_in: int
) -> str | None:
    """Why a module cannot be a site, as far as its shape and the shapes it reads tell. Of a module with a `forward` of
    its own only its weights tell, when the run begins."""
    if module is output:
        return "It writes the logits, which are computed only where they are needed."
    if type(module).forward in PLAIN:
        measured_scale(module)
    elif isinstance(module, nn.Embedding) and not list(module.buffers()):
        rows = torch.rand(min(ROWS_TRIED, len(module.weight)), module.weight.shape[1])
        measured_scale(with_weight(module, rows))
    if read is None:
        return None
    shapes = read.get(path, [])
    if not shapes:
        return "The model does not run it on text."
    if len(shapes) > 1:
        return f"The model runs it {len(shapes)} times in a pass, so there is no one thing that it reads."
    rows, tokens = TOKENS
    fits = {(rows, tokens), (1, tokens), (rows, tokens, d_in), (rows * tokens, d_in)}
    if shapes[0] not in fits:
        return f"It reads a tensor of shape {list(shapes[0])} where one row a prompt and position are needed."
    return None


@torch.no_grad()
def _what_each_reads(model: nn.Module) -> dict[str, list[tuple[int, ...]]] | None:
    """The shapes each module reads in a pass without weights; None where the model does not run that way."""
    seen: dict[str, list[tuple[int, ...]]] = {}
    hooks = [
        module.register_forward_hook(
            lambda _module, args, _output, path=path: seen.setdefault(path, []).append(
                tuple(args[0].shape) if args and isinstance(args[0], torch.Tensor) else ()
            )
        )
        for path, module in model.named_modules()
        if next(iter(module.children()), None) is None
    ]
    tokens = torch.zeros(TOKENS, dtype=torch.long, device="meta")
    try:
        with of_shape(tokens):
            model(tokens) if isinstance(model, InductionModel) else model(input_ids=tokens, use_cache=False)
    except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError, IndexError):
        return None
    finally:
        for hook in hooks:
            hook.remove()
    return seen
