"""Start values: V and U at step 0 (SPEC 14)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workers.spd.config import ConfigError, DecomposeConfig
from workers.spd.method.components import Components
from workers.spd.prompts.batches import Batch
from workers.spd.targets.target import Target

SAME = 1e-4  # relative length of a deviation that is rounding


def initial_components(
    config: DecomposeConfig,
    target: Target,
    sites: list[str],
    batch: Batch,
    generator: torch.Generator,
    moments: Mapping[str, Float[Tensor, "d_in d_in"]] | None = None,
) -> Components:
    """V and U at step 0. `C: auto` takes one component per token input of the data (start `data`), else full rank.
    `moments`: of the text that a start with a background is to be quiet on."""
    V: dict[str, Tensor] = {}
    U: dict[str, Tensor] = {}
    valid = batch.masked(config.reconstruction.first_position == "unmasked")
    if batch.subject is not None and config.start.kind == "data":
        valid = valid & batch.subject  # the words around it need no components
    background = (moments or {}) if config.start.background else {}
    for site in sites:
        W = target.weight(site).float()
        x = batch.inputs[site]
        if not x.is_floating_point() and config.ci.reads == "input":
            raise ConfigError(
                f"ci.reads “input” cannot read {site}, whose input are token ids; take “inner”."
            )
        X = x[valid].float()
        if config.start.kind == "data" and not x.is_floating_point():
            V[site], U[site] = embedding_start(W, x[valid], None if config.C == "auto" else config.C)
        elif config.start.kind == "data":
            if config.start.contexts is None:
                X = contrasts(X, batch.tokens[valid])
            else:
                X = token_means(X, batch.tokens[valid], config.start.contexts)
            if config.C != "auto":
                X = X[: config.C]
            quiet = (
                config.start.background_layers is None or target.layer(site) < config.start.background_layers
            )
            V[site], U[site] = data_start(W, X, background.get(site) if quiet else None, config.start.ridge)
        else:
            C = min(W.shape) if config.C == "auto" else config.C
            V[site], U[site] = (svd_start if config.start.kind == "svd" else random_start)(W, C, generator)
    return Components(V, U, {site: list(range(v.shape[1])) for site, v in V.items()})


def random_start(
    W: Float[Tensor, "d_out d_in"], C: int, generator: torch.Generator
) -> tuple[Float[Tensor, "d_in C"], Float[Tensor, "C d_out"]]:
    """V ~ N(0, 1/d_in), U ~ N(0, 1/C)."""
    d_out, d_in = W.shape
    V = torch.randn(d_in, C, generator=generator) / d_in**0.5
    U = torch.randn(C, d_out, generator=generator) / C**0.5
    return V.to(W), U.to(W)


def svd_start(
    W: Float[Tensor, "d_out d_in"], C: int, generator: torch.Generator
) -> tuple[Float[Tensor, "d_in C"], Float[Tensor, "C d_out"]]:
    """The leading singular directions, the singular value split evenly; components past the rank are random reads
    that write nothing yet."""
    left, values, right = torch.linalg.svd(W.double(), full_matrices=False)
    rank = min(C, values.numel())
    V, U = random_start(W, C, generator)
    U.zero_()
    root = values[:rank].sqrt()
    V[:, :rank] = (right[:rank].T * root).to(W)
    U[:rank] = (left[:, :rank] * root).T.to(W)
    return V, U


def contrasts(
    X: Float[Tensor, "tokens d_in"], token_ids: Int[Tensor, " tokens"]
) -> Float[Tensor, "rows d_in"]:
    """The same span, turned: inputs of one token become their mean and their deviations (orthogonal contrasts).

    Where contexts of a token differ little the mean alone serves them all, and the deviations can die. Occurrences
    that do not differ at all (a common beginning of two prompts) have no deviation.
    """
    rows: list[Tensor] = []
    for token in dict.fromkeys(token_ids.tolist()):
        same = X[token_ids == token]
        n = same.shape[0]
        turn = torch.eye(n, dtype=same.dtype, device=same.device)
        for k in range(1, n):  # Helmert: row k sets occurrence k against the mean of those before it
            turn[k, :k] = -1 / k
            turn[k, k] = 1
        turn[0] = 1 / n
        turned = turn @ same
        length = turned.norm(dim=1)
        rows.append(turned[length > SAME * length.max()])
    return torch.cat(rows)


def token_means(
    X: Float[Tensor, "tokens d_in"], token_ids: Int[Tensor, " tokens"], contexts: int
) -> Float[Tensor, "rows d_in"]:
    """One row a distinct token, the mean of its inputs, then the `contexts` leading directions in which a token's
    occurrences differ from its mean, shared by all tokens and scaled by their RMS. At most d_in rows in all."""
    inputs = X.double()
    tokens = list(dict.fromkeys(token_ids.tolist()))
    means = torch.stack([inputs[token_ids == token].mean(0) for token in tokens])
    place = {token: row for row, token in enumerate(tokens)}
    rows = torch.tensor([place[token] for token in token_ids.tolist()], device=X.device)
    deviations = inputs - means[rows]
    room = max(0, min(contexts, X.shape[1] - len(tokens)))
    _, values, right = torch.linalg.svd(deviations, full_matrices=False)
    kept = min(room, int((values > 1e-6 * values.max().clamp_min(1e-30)).sum()))
    leading = right[:kept] * (values[:kept, None] / len(X) ** 0.5)
    return torch.cat([means, leading]).to(X)


def data_start(
    W: Float[Tensor, "d_out d_in"],
    X: Float[Tensor, "tokens d_in"],
    moments: Float[Tensor, "d_in d_in"] | None = None,
    ridge: float = 1.0,
) -> tuple[Float[Tensor, "d_in tokens"], Float[Tensor, "tokens d_out"]]:
    """The dual basis of the token inputs: one component per token, V its normalised dual, U = W x rescaled.

    It reproduces the target on X (and its span) exactly. Among all duals the pseudo-inverse is the shortest; with
    `moments`, the mean M of b bᵀ over other text, the one is taken that is quietest there: shortest under the metric
    M + s·I with s = tr(M)/(d_in · ridge). In float64.
    """
    inputs = X.double()
    if moments is not None:
        metric = moments.to(inputs)
        metric = metric + torch.eye(len(metric)).to(inputs) * (metric.diagonal().mean() / ridge)
        solved = torch.linalg.solve(metric, inputs.T)  # [d_in, tokens]
        dual = solved @ torch.linalg.pinv(inputs @ solved)
    else:
        dual = torch.linalg.pinv(inputs)
    norm = dual.norm(dim=0).clamp_min(1e-30)
    V = dual / norm
    U = (inputs @ W.double().T) * norm[:, None]
    return V.to(W), U.to(W)


def embedding_start(
    W: Float[Tensor, "d vocab"], ids: Int[Tensor, " tokens"], C: int | None
) -> tuple[Float[Tensor, "vocab C"], Float[Tensor, "C d"]]:
    """The data start of an embedding, whose inputs are one-hot: one component a token that occurs, in order of
    appearance, at most C of them. V_c reads the token, U_c is its row of the table."""
    seen = list(dict.fromkeys(ids.tolist()))[:C]
    V = torch.zeros(W.shape[1], len(seen)).to(W)
    V[seen, torch.arange(len(seen))] = 1
    return V, W[:, seen].T.contiguous()
