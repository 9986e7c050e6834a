"""Unweave as a library: decompositions of transformer weights, opened, asked and made from Python.

import unweave as uw

d = uw.load("sports-smollm2")
d.ablate("Tiger Woods is an American professional", suppress=["␣Woods"])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from backend.schemas.workbench import Suppression
from unweave.decomposition import AsyncDecomposition, Decomposition
from unweave.errors import UnweaveError
from unweave.results import Ablation, Circuit, Components, Finding, Importances, Trust
from unweave.servers import PATIENCE, AsyncServer, Server, local, remote

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from backend.settings import Settings

__all__ = [
    "Ablation", "AsyncDecomposition", "AsyncServer", "Circuit", "Components", "Decomposition", "Finding", "Importances",
    "Server", "Suppression", "Trust", "UnweaveError", "connect", "connect_async", "decompose", "here", "load",
]  # fmt: skip


def load(name: str, *, home: str | Path | None = None, device: str | None = None) -> Decomposition:
    """Open a decomposition in this process: by its slug or content hash, or by owner/name (or owner/name@revision) on
    the Hugging Face hub, from which it is fetched once.

    `home` is the folder that `unweave serve` uses too (`$UNWEAVE_HOME`, else ~/.unweave); `device` is cpu, cuda or
    cuda:0. The model's weights are fetched and loaded with the first question that needs them.
    """
    place = here(home=home, device=device)
    return place.open(_fetched(name, place.settings) if "/" in name else name)


def here(*, home: str | Path | None = None, device: str | None = None) -> Server:
    """Everything in a home folder of this machine, without a server."""
    return local(None if home is None else Path(home), device)


def connect(url: str, *, token: str | None = None, patience: float = PATIENCE) -> Server:
    """A server of Unweave, such as http://127.0.0.1:8000.

    `token`: an access token, by default `$UNWEAVE_TOKEN`; `patience`: seconds for which a busy server is asked again.
    """
    return Server(remote(url, token, patience))


def connect_async(url: str, *, token: str | None = None, patience: float = PATIENCE) -> AsyncServer:
    """The same for code that awaits."""
    return AsyncServer(remote(url, token, patience))


def decompose(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompts: Sequence[str | tuple[str, str] | Mapping[str, Any]],
    name: str,
    sites: Sequence[str] = ("*.mlp.*",),
    size: Literal["quick", "good", "thorough"] = "good",
    home: str | Path | None = None,
    device: str | None = None,
    replace: bool = False,
    **settings: Any,
) -> Decomposition:
    """Decompose a model that is in memory, with a progress bar, and open the result.

    `prompts`: texts, or (text, answer) pairs; `sites`: patterns of module names; `size`: the recipe's length;
    `settings`: any other key of a config (docs/decompose.md). The model is kept under home/models/NAME, so that the
    result can be opened again.
    """
    from unweave.making import make

    place = here(home=home, device=device)
    settings_of = place.settings
    slug = make(
        settings_of.home, settings_of.device, model, tokenizer, name=name, prompts=prompts, sites=sites, size=size,
        replace=replace, settings=settings,
    )  # fmt: skip
    return place.open(slug)


def _fetched(name: str, settings: Settings) -> str:
    """The hash of a hub's decomposition, pulled where it was not before."""
    from backend.commands.exchange import ExchangeError
    from backend.commands.hub import pull, pulled

    before = pulled(name, settings.home)
    if before is not None:
        return before
    try:
        return pull(name, settings.home, replace=False, most_bytes=settings.max_import_bytes).artifact.hash
    except ExchangeError as error:
        raise UnweaveError(str(error)) from None
