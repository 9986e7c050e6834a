"""Where components read and write, and which point alike: facts of the weights, no data but a sign.

A rank-1 matrix V Uᵀ is the same with both signs turned. Where data says which sign the inner activation mostly has
when a component fires, the directions are turned so that it is positive: then what is written is U as it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from workers.spd.method.decomposition import Decomposition
from workers.spd.targets.sites import slice_names
from workers.spd.targets.target import Target

Face = Literal["residual", "neurons", "heads", "tokens", "other"]
TOP = 8
NEAREST = 8
BLOCK = 256

_HEADS_IN = ("o_proj", "out_proj", "attn.c_proj", "attention.dense", "attn.o")
_HEADS_OUT = ("q_proj", "k_proj", "v_proj", "c_attn", "query_key_value", "attn.q", "attn.k", "attn.v")
_NEURONS_OUT = ("gate_proj", "up_proj", "c_fc", "fc1", "dense_h_to_4h", "fc_in")
_NEURONS_IN = ("down_proj", "mlp.c_proj", "fc2", "dense_4h_to_h", "fc_out")
_NORMS = {"attention": ("input_layernorm", "ln_1"), "mlp": ("post_attention_layernorm", "ln_2")}
_LAST_NORMS = ("model.norm", "transformer.ln_f", "gpt_neox.final_layer_norm", "model.final_layernorm")


def faces(target: Target, site: str) -> tuple[Face, Face]:
    """What a site reads and what it writes, by the name of its module; “other” where the name says nothing."""
    if isinstance(target.model.get_submodule(site), nn.Embedding):
        return "tokens", "residual"
    for endings, sides in (
        (_HEADS_IN, ("heads", "residual")),
        (_HEADS_OUT, ("residual", "heads")),
        (_NEURONS_OUT, ("residual", "neurons")),
        (_NEURONS_IN, ("neurons", "residual")),
    ):
        if site.endswith(endings):
            return sides  # type: ignore[return-value]
    return "other", "other"


@dataclass(frozen=True)
class Scored:
    """The strongest of a direction. `kind`: token (id of the vocabulary, cosine), neuron (number, weight as a share of
    the direction's length), head (number, the share of its squared length that lies there)."""

    kind: Literal["token", "neuron", "head"]
    ids: np.ndarray
    scores: np.ndarray


def _gain(target: Target, site: str, face: Face) -> Float[Tensor, " d_model"] | None:
    """What a norm multiplies the residual stream by on the way into a site."""
    if face not in ("heads", "neurons") or "." not in site:
        return None
    block = site.rsplit(".", 2)[0]
    for name in _NORMS["attention" if face == "heads" else "mlp"]:
        try:
            return target.model.get_submodule(f"{block}.{name}").weight.float()  # type: ignore[union-attr,return-value]
        except AttributeError:
            continue
    return None


def _last_gain(target: Target) -> Float[Tensor, " d_model"] | None:
    for name in _LAST_NORMS:
        try:
            return target.model.get_submodule(name).weight.float()  # type: ignore[union-attr,return-value]
        except AttributeError:
            continue
    return None


def heads_of(target: Target, site: str, size: int) -> list[tuple[int, int]]:
    """Where each head lies in a direction over heads: (first, past the last). Of a fused matrix, each slice's heads in
    turn, so that head h of slice s is number s · heads + h. Empty where the model does not say."""
    config = getattr(target.model, "config", None)
    many = getattr(config, "num_attention_heads", None) or (1 if config is None else None)
    if not many:
        return []
    width = getattr(config, "head_dim", None) or target.card.model.d_model // many
    if size % width or (slice_names(site) and size != 3 * many * width):
        return []
    return [(at, at + width) for at in range(0, size, width)]


def strongest(
    target: Target, site: str, face: Face, direction: Float[Tensor, "C d"], *, writes: bool
) -> list[Scored]:
    """For each component (row of `direction`) the tokens, neurons or heads that it reads or writes most.

    Tokens: cosine with the embeddings it reads (through the norm before the site), or with the rows of the
    unembedding it moves (through the last norm). The largest and the smallest TOP, signs kept.
    """
    length = direction.norm(dim=1, keepdim=True).clamp_min(1e-12)
    if face == "residual":
        table = (target.unembedding() if writes else target.embedding()).float()
        if table.shape[1] != direction.shape[1]:
            return []
        gain = _last_gain(target) if writes else _gain(target, site, faces(target, site)[1])
        turned = direction if gain is None else direction * gain
        turned = turned / turned.norm(dim=1, keepdim=True).clamp_min(1e-12)
        sizes = table.norm(dim=1).clamp_min(1e-6)
        return _both_ends("token", turned, lambda rows: (rows @ table.T) / sizes)
    if face == "tokens":
        return _both_ends("token", direction / length, lambda rows: rows)
    if face == "neurons":
        share = direction / length
        order = share.abs().topk(min(TOP, share.shape[1]), dim=1).indices
        return [
            Scored("neuron", row.numpy(), values.numpy())
            for row, values in zip(order.cpu(), share.gather(1, order).cpu(), strict=True)
        ]
    if face == "heads" and (spans := heads_of(target, site, direction.shape[1])):
        share = torch.stack([direction[:, a:b].pow(2).sum(1) for a, b in spans], 1) / length.pow(2)
        values, order = share.topk(min(TOP, share.shape[1]), dim=1)
        return [
            Scored("head", row.numpy(), part.numpy())
            for row, part in zip(order.cpu(), values.cpu(), strict=True)
        ]
    return []


def _both_ends(
    kind: Literal["token"],
    directions: Float[Tensor, "C d"],
    scores: Callable[[Float[Tensor, "rows d"]], Float[Tensor, "rows vocab"]],
) -> list[Scored]:
    result: list[Scored] = []
    for block in directions.split(BLOCK):
        all = scores(block)
        most = min(TOP, all.shape[1])
        high, low = all.topk(most, dim=1), all.topk(most, dim=1, largest=False)
        ids = torch.cat([high.indices, low.indices.flip(1)], 1).cpu().numpy()
        values = torch.cat([high.values, low.values.flip(1)], 1).cpu().numpy()
        result += [Scored(kind, row, part) for row, part in zip(ids, values, strict=True)]
    return result


# --- neighbours -----------------------------------------------------------------------------------------------

Likeness = Literal["matrix", "reads", "writes"]
LIKENESSES: tuple[Likeness, ...] = ("matrix", "reads", "writes")


@dataclass(frozen=True)
class Nearest:
    """For every component its NEAREST others, the closest first: ordinals [C, k] (−1 where there are fewer) and
    cosines. A cosine keeps its sign; the closest are those of the largest size."""

    ordinals: np.ndarray
    cosines: np.ndarray


@torch.no_grad()
def nearest(
    decomposition: Decomposition, usable: np.ndarray, check_stop: Callable[[], None] = lambda: None
) -> dict[Likeness, Nearest]:
    """Nearest by cosine across sites. matrix: of the rank-1 matrices, between sites of one shape; reads and writes:
    of the directions that face the residual stream. `usable`: [C] bool, those that may be anyone's neighbour."""
    target, sites = decomposition.target, decomposition.sites
    V, U = decomposition.components.V, decomposition.components.U
    starts = np.cumsum([0, *(V[site].shape[1] for site in sites)])
    total = int(starts[-1])
    ordinals = {site: torch.arange(int(starts[n]), int(starts[n + 1])) for n, site in enumerate(sites)}
    faced = {site: faces(target, site) for site in sites}
    shapes: dict[tuple[int, int], list[str]] = {}
    for site in sites:
        shapes.setdefault((V[site].shape[0], U[site].shape[1]), []).append(site)
    groups: dict[Likeness, list[list[str]]] = {
        "matrix": list(shapes.values()),
        "reads": [[site for site in sites if faced[site][0] == "residual"]],
        "writes": [[site for site in sites if faced[site][1] == "residual"]],
    }
    result: dict[Likeness, Nearest] = {}
    for name in LIKENESSES:
        best = np.full((total, NEAREST), -1, np.int32)
        cosines = np.zeros((total, NEAREST), np.float32)
        for group in groups[name]:
            if not group:
                continue
            places = torch.cat([ordinals[site] for site in group])
            left = _unit([V[site].T for site in group]) if name != "writes" else None
            right = _unit([U[site] for site in group]) if name != "reads" else None
            _fill(best, cosines, places, left, right, torch.from_numpy(usable), check_stop)
        result[name] = Nearest(best, cosines)
    return result


def _unit(parts: Sequence[Float[Tensor, "_ d"]]) -> Float[Tensor, "components d"]:
    rows = torch.cat([part.float() for part in parts])
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)


def _fill(
    best: np.ndarray,
    cosines: np.ndarray,
    places: Int[Tensor, " group"],
    left: Float[Tensor, "group d_in"] | None,
    right: Float[Tensor, "group d_out"] | None,
    usable: Bool[Tensor, " components"],
    check_stop: Callable[[], None],
) -> None:
    allowed = usable[places]
    some = next(part for part in (left, right) if part is not None)
    most = min(NEAREST, len(places) - 1)
    if most < 1:
        return
    for first in range(0, len(places), BLOCK):
        check_stop()
        rows = slice(first, min(first + BLOCK, len(places)))
        cosine = torch.ones(rows.stop - first, len(places), device=some.device)
        for part in (left, right):
            if part is not None:
                cosine = cosine * (part[rows] @ part.T)
        size = cosine.abs()
        size[:, ~allowed.to(size.device)] = -1
        size[torch.arange(rows.stop - first), torch.arange(first, rows.stop)] = -1  # not its own neighbour
        values, order = size.topk(most, dim=1)
        chosen = torch.where(values >= 0, places.to(order.device)[order], -1)
        at = places[rows].numpy()
        best[at, :most] = chosen.cpu().numpy()
        cosines[at, :most] = cosine.gather(1, order).cpu().numpy()
