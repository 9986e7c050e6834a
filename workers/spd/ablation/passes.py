"""Passes of a target that begin where something changes, and end where something is asked.

The clean pass of a prompt keeps the output of each block and its keys and values. A later pass about the same prompt
runs the model's own `forward`, but blocks before the first touched one hand on what the clean pass had, positions
before the first touched one are read from the kept keys and values, and the unembedding runs only at positions asked
for. No architecture is copied: a block that is skipped is a call that returns at once.

What a pass resumes from travels in a ContextVar; nothing of a request is ever stored on a module (SPEC 2).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from workers.spd.ablation.outputs import Baseline
from workers.spd.method.decomposition import Importances
from workers.spd.targets import onednn
from workers.spd.targets.masks import SiteMask, masked, of_shape, recorded
from workers.spd.targets.target import Target

KeysValues = tuple[Float[Tensor, "1 heads seq d_head"], Float[Tensor, "1 heads seq d_head"]]
SiteInputs = dict[str, Float[Tensor, "1 seq d_in"] | Int[Tensor, "1 seq"]]  # an embedding reads token ids
PROBE = 5
WORTH = 8  # a suffix brings its own attention mask and copies keys: only worth it where it saves an eighth
AGREES = 1e-4  # relative: a resumed pass that differs by more means an architecture that hands on more than `hidden`


@dataclass(frozen=True)
class _Resume:
    """Blocks before `block` do not run; the one before it answers with `hidden`."""

    block: int
    hidden: Float[Tensor, "batch seq d_model"]


_resume: ContextVar[_Resume | None] = ContextVar("unweave_resume", default=None)
_outputs: ContextVar[list[Float[Tensor, "batch seq d_model"]] | None] = ContextVar(
    "unweave_outputs", default=None
)


@dataclass
class CleanPass:
    """A prompt's clean pass, and what the engine works out from it once, under `lock`. The pass itself never changes,
    but for `inputs`, which its reader may drop.

    outputs: of each block; keys_values: of each block, or None where the architecture's cache cannot be resumed;
    inputs: what each site reads; baseline, importances, self_check (nats) and trust ({regime: nats a position}): None
    until the first question for them.
    """

    token_ids: tuple[int, ...]
    logits: Float[Tensor, "seq vocab"]
    outputs: list[Float[Tensor, "1 seq d_model"]]
    keys_values: list[KeysValues] | None
    inputs: SiteInputs | None
    baseline: Baseline | None = None
    importances: Importances | None = None
    self_check: float | None = None
    trust: dict[str, list[float]] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def nbytes(self) -> int:
        """Bytes of the tensors held here; shared storage counts once."""
        tensors = [self.logits, *self.outputs, *(self.inputs or {}).values()]
        tensors += [t for pair in self.keys_values or [] for t in pair]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        return sum(storages.values())


@dataclass(frozen=True)
class Touch:
    """Where a pass first differs from the clean one: `block` (0 … number of blocks) and `position`."""

    block: int = 0
    position: int = 0


def find_blocks(model: nn.Module, layers: int) -> tuple[str, list[nn.Module]]:
    """The path and members of the list of blocks: the outermost ModuleList of `layers` like members that holds most
    parameters. Empty where there is none."""
    best: tuple[int, str, list[nn.Module]] = (0, "", [])
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == layers:
            size = sum(p.numel() for p in module.parameters())
            if size > best[0]:
                best = (size, name, list(module))
    return best[1], best[2]


def _attach(blocks: Sequence[nn.Module]) -> None:
    """Let blocks obey `_resume` and `_outputs`. Calling it again changes nothing."""
    for place, block in enumerate(blocks):
        if getattr(block, "_unweave_block", None) is None:
            block._unweave_block = place  # type: ignore[assignment]
            # A bound method, so that a deep copy of the model runs its own blocks and not these.
            block.forward = MethodType(_skippable, block)


def _skippable(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """A block's forward, or what the clean pass had of it."""
    resume, place = _resume.get(), block._unweave_block
    if resume is not None and place < resume.block:  # type: ignore[operator]
        if place == resume.block - 1:
            return resume.hidden
        return args[0] if args else kwargs["hidden_states"]
    result = type(block).forward(block, *args, **kwargs)
    outputs = _outputs.get()
    if outputs is not None:
        outputs.append(result)
    return result


@contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


class Passes:
    """Clean and resumed passes of one target. Holds nothing of any prompt; threads may share it.

    At construction a short probe compares resumed passes with a whole one. What does not agree is not used: such
    a target's passes run whole, only slower.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.path, self.blocks = find_blocks(target.model, target.layers)
        _attach(self.blocks)
        onednn.adopt(target.model)
        self.resumes = self.suffixes = True
        with torch.inference_mode():
            self._probe()

    def block_of(self, site: str) -> int:
        """The block a site lies in; 0 for one outside the blocks, since a whole pass is always right."""
        if self.path and site.startswith(self.path + "."):
            return int(site[len(self.path) + 1 :].split(".", 1)[0])
        return 0

    def inside(self, site: str) -> bool:
        """Whether a site lies in a block."""
        return bool(self.path) and site.startswith(self.path + ".")

    # --- passes -----------------------------------------------------------------------------------------------

    def clean(self, token_ids: Sequence[int], *, inputs: bool = True) -> CleanPass:
        """The target's own pass of a prompt, with what later passes resume from."""
        tokens = torch.tensor([list(token_ids)], device=self.target.device)
        cache = self.new_cache()
        outputs: list[Float[Tensor, "batch seq d_model"]] = []
        with recorded() as read, _set(_outputs, outputs):
            logits = self._forward(tokens, None, cache)[0]
        return CleanPass(
            tuple(token_ids), logits, outputs if self.resumes else [], _kept(cache, len(token_ids)),
            dict(read) if inputs else None,
        )  # fmt: skip

    def start(self, clean: CleanPass, touch: Touch) -> Touch:
        """Where a pass that differs from `touch` on really starts, given what this target supports."""
        block = touch.block if self.resumes and clean.outputs else 0
        usable = self.suffixes and clean.keys_values is not None
        position = min(touch.position, len(clean.token_ids) - 1) if usable else 0
        if position < max(2, len(clean.token_ids) // WORTH):
            position = 0
        return Touch(block, position)

    def resumed(
        self,
        clean: CleanPass,
        masks: Mapping[str, SiteMask],
        start: Touch,
        *,
        batch: int = 1,
        keep: Int[Tensor, " kept"] | None = None,
    ) -> Float[Tensor, "batch kept vocab"]:
        """Logits under masks, from `start` (an answer of `start()`) on.

        Masks hold rows for the positions from `start.position` on; `keep` counts from there too, None means all.
        """
        n = len(clean.token_ids)
        tokens = torch.tensor([clean.token_ids[start.position :]], device=self.target.device)
        tokens = tokens.expand(batch, n - start.position)
        cache = _prefix(clean.keys_values, start.position, batch) if start.position else None
        resume = None
        if start.block:
            hidden = clean.outputs[start.block - 1][:, start.position :]
            resume = _Resume(start.block, hidden.expand(batch, -1, -1))
        with masked(masks), _set(_resume, resume):
            return self._forward(tokens, keep, cache)

    @property
    def probe(self) -> list[int]:
        """A few tokens that every target takes."""
        return [i % self.target.card.model.vocabulary for i in range(1, PROBE + 1)]

    @property
    def origin(self) -> Touch:
        """Where a whole pass starts."""
        return Touch(0, 0)

    def with_state(
        self, clean: CleanPass, masks: Mapping[str, SiteMask], keep: Int[Tensor, " kept"]
    ) -> tuple[Float[Tensor, "1 kept vocab"], Float[Tensor, "1 seq d_model"]]:
        """A whole pass: its logits at `keep`, and the state after the last block at every position."""
        outputs: list[Float[Tensor, "batch seq d_model"]] = []
        with _set(_outputs, outputs):
            logits = self.resumed(clean, masks, self.origin, keep=keep)
        return logits, outputs[-1]

    def from_state(
        self, clean: CleanPass, state: Float[Tensor, "1 seq d_model"], keep: Int[Tensor, " kept"]
    ) -> Float[Tensor, "1 kept vocab"]:
        """Logits at `keep` of a state after the last block: only what follows the blocks runs."""
        tokens = torch.tensor([clean.token_ids], device=self.target.device)
        with _set(_resume, _Resume(len(self.blocks), state)):
            return self._forward(tokens, keep, None)

    def whole(
        self,
        tokens: Int[Tensor, "batch seq"],
        masks: Mapping[str, SiteMask],
        cache: DynamicCache | None = None,
    ) -> Float[Tensor, "batch 1 vocab"]:
        """Logits at the last position; a `cache` is read and filled, so that a continuation resumes from it."""
        with masked(masks):
            return self._forward(tokens, torch.tensor([tokens.shape[1] - 1], device=tokens.device), cache)

    def new_cache(self) -> DynamicCache | None:
        """An empty cache for a continuation; None where the target takes none."""
        model = self.target.transformer
        return DynamicCache(config=model.config) if self.suffixes and model is not None else None

    def _forward(
        self, tokens: Int[Tensor, "batch seq"], keep: Int[Tensor, " kept"] | None, cache: DynamicCache | None
    ) -> Float[Tensor, "batch kept vocab"]:
        if cache is None:
            return self.target.logits(tokens, keep)
        assert self.target.transformer is not None
        kept: Any = 0 if keep is None else keep
        with of_shape(tokens):
            return self.target.transformer(
                input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=kept
            ).logits

    # --- the probe --------------------------------------------------------------------------------------------

    def _probe(self) -> None:
        """Try what is promised on a few tokens, and give up what this architecture does not do."""
        ids = self.probe
        if not self.blocks:
            self.resumes = False
        plain = self.target.logits(torch.tensor([ids], device=self.target.device))[0]
        if self.target.transformer is not None:
            self.suffixes = self._works(ids, plain, Touch(0, 2))
        else:
            self.suffixes = False
        if self.resumes:
            places = {1, len(self.blocks) // 2, len(self.blocks)}
            self.resumes = all(self._works(ids, plain, Touch(place, 0)) for place in places)
        if self.resumes and self.suffixes:
            self.suffixes = self._works(ids, plain, Touch(max(1, len(self.blocks) // 2), 2))

    def _works(self, ids: list[int], plain: Float[Tensor, "seq vocab"], touch: Touch) -> bool:
        try:
            clean = self.clean(ids, inputs=False)
            if self.start(clean, touch) != touch or not all(isinstance(o, Tensor) for o in clean.outputs):
                return False
            again = self.resumed(clean, {}, touch, batch=2)
        except (TypeError, ValueError, RuntimeError, KeyError, IndexError, AttributeError):
            return False
        wanted = plain[touch.position :]
        close = (again - wanted).abs().max() <= AGREES * wanted.abs().max()
        return bool(close) and bool((clean.logits - plain).abs().max() <= AGREES * plain.abs().max())


def _kept(cache: DynamicCache | None, seq: int) -> list[KeysValues] | None:
    """The keys and values of a filled cache, where every block kept all of them."""
    if cache is None or not all(type(layer) is DynamicLayer for layer in cache.layers):
        return None
    pairs: list[KeysValues] = []
    for layer in cache.layers:
        assert isinstance(layer, DynamicLayer)
        if layer.keys is None or layer.values is None or layer.keys.shape[-2] != seq:
            return None
        pairs.append((layer.keys, layer.values))
    return pairs


def _prefix(keys_values: list[KeysValues] | None, position: int, batch: int) -> DynamicCache:
    """A cache of its own over views of the first positions; adding to it copies, so nothing shared is written."""
    assert keys_values is not None
    cache = DynamicCache()
    for keys, values in keys_values:
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys = keys[:, :, :position].expand(batch, -1, -1, -1)
        layer.values = values[:, :, :position].expand(batch, -1, -1, -1)
        cache.layers.append(layer)
    return cache
