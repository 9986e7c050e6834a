"""What a run will hold in memory, before its first step: counted, not measured (docs/scale.md).

The target's weights, what is trained (value, gradient and two moments of Adam: 16 bytes a parameter), and what a step
keeps for its backward pass, which is counted on one and on two rows and grows with the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from workers.spd.method.training import Trainer
from workers.spd.prompts.batches import Batch

# Fitted to the peaks that `make bench ARGS=scale` measures (docs/scale.md): the backward pass of what is kept, of the
# logits, and buffers of the libraries.
BACKWARD, LIKE_LOGITS, BUFFERS = 1.3, 1.5, 32 * 2**20
TRAINED = 16  # bytes a parameter: its value, its gradient, two moments of Adam, in float32


@dataclass(frozen=True)
class Sizes:
    """Bytes. target: weights and buffers; trained: components and importance functions with their gradients and
    moments, and the start that a targeted run keeps; batch: what is known of a batch's prompts; step: what a step keeps
    until its backward pass, and the gradient of the logits."""

    target: int
    trained: int
    batch: int
    step: int

    @property
    def total(self) -> int:
        return self.target + self.trained + self.batch + self.step

    def __str__(self) -> str:
        return (
            f"Memory: {_size(self.target)} for the model's weights, {_size(self.trained)} for what is trained with its "
            f"gradients and Adam's moments, {_size(self.batch + self.step)} for a step; {_size(self.total)} in all."
        )


def sizes(trainer: Trainer, batch: Batch, rest: Batch | None = None) -> Sizes:
    """Of a run with this trainer whose steps read batches like these. Changes nothing about the run."""
    parameters = [*trainer.components.parameters(), *trainer.ci.parameters()]
    start = trainer.start.parameters() if trainer.start is not None else []
    model = trainer.target.model
    batches = [batch] if rest is None else [batch, rest]
    steps = [_step(trainer, batch, trainer.losses)]
    if rest is not None:
        steps.append(_step(trainer, rest, trainer.rest_loss))
    return Sizes(
        target=_bytes([*model.parameters(), *model.buffers()]),
        trained=TRAINED * sum(p.numel() for p in parameters) + _bytes(start),
        batch=_bytes(tensor for one in batches for tensor in (one.log_probs, *one.inputs.values())),
        step=BUFFERS
        + int(BACKWARD * sum(kept for kept, _ in steps) + LIKE_LOGITS * max(most for _, most in steps)),
    )


def _step(trainer: Trainer, batch: Batch, losses: Callable[[Batch], object]) -> tuple[float, float]:
    """Bytes that a step keeps for its backward pass, and those of the largest tensor of them."""
    rows, few = len(batch.tokens), trainer.world.size
    if rows <= 2 * few:
        return _kept(trainer, batch, losses)
    one, two = (
        _kept(trainer, batch.rows(torch.arange(count, device=batch.tokens.device)), losses)
        for count in (few, 2 * few)
    )
    times = (rows - few) / few
    return one[0] + (two[0] - one[0]) * times, one[1] + (two[1] - one[1]) * times


def _kept(trainer: Trainer, batch: Batch, losses: Callable[[Batch], object]) -> tuple[int, int]:
    """The same of a few rows, by running their losses."""
    model, trained = trainer.target.model, [*trainer.components.parameters(), *trainer.ci.parameters()]
    known = [*model.parameters(), *model.buffers(), *trained, *trainer.weights.values()]
    known += [batch.log_probs, *batch.inputs.values()]
    seen = {tensor.untyped_storage().data_ptr() for tensor in known}
    kept: dict[int, int] = {}

    def keep(tensor: Shaped[Tensor, ...]) -> Shaped[Tensor, ...]:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    state, adversary = trainer.generator.get_state(), trainer.adversary
    try:
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            held = losses(batch)  # and with it what its graph keeps, so that no two share a place in memory
    finally:
        trainer.generator.set_state(state)
        trainer.adversary = adversary
    del held
    return sum(kept.values()), max(kept.values(), default=0)


def _bytes(tensors: Iterable[Shaped[Tensor, ...]]) -> int:
    """Of tensors, each storage once."""
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
