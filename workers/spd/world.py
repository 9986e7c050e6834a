"""Several processes that train one decomposition: each takes some of the prompts, gradients are added up.

Started by `torchrun`; alone, a `World` of size 1, where nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """This process among its equals; `rank` 0 is the one that stores and reports."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> World:
        """The process group as it was initialised; a world of one where none was."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def rows(self, count: int) -> Tensor:
        """Which of `count` prompts are this process's own."""
        return torch.arange(self.rank, count, self.size)

    def add_up(self, tensors: Iterable[Tensor | None]) -> None:
        """Replace each tensor by its sum over all processes, in place."""
        if self.size > 1:
            for tensor in tensors:
                if tensor is not None:
                    dist.all_reduce(tensor)

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in a tensor of its own."""
        if self.size == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def wait(self) -> None:
        """Until all have come this far."""
        if self.size > 1:
            dist.barrier()
