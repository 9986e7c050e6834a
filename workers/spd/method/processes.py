"""Several processes that train one decomposition: each takes some of the prompts, gradients are added up
(SPEC 16).

Started by `torchrun`; alone, a `World` of size 1, where nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from jaxtyping import Float, Int, Shaped
from torch import Tensor


@dataclass(frozen=True)
class World:
    """This process among its equals; `rank` 0 is the one that stores and reports. device: where what is sent must lie
    (nccl sends from GPUs alone)."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @classmethod
    def join(cls, device: str) -> World:
        """Meet the other processes where `torchrun` started this one (gloo on the CPU, nccl on GPUs)."""
        if dist.is_available() and dist.is_torchelastic_launched() and not dist.is_initialized():
            dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
            if device.startswith("cuda"):
                torch.cuda.set_device(dist.get_rank() % torch.cuda.device_count())
        return cls.current()

    @property
    def leads(self) -> bool:
        """Whether this process stores and reports."""
        return self.rank == 0

    @classmethod
    def current(cls) -> World:
        """The process group as it was initialised; a world of one where none was."""
        if dist.is_available() and dist.is_initialized():
            device = f"cuda:{torch.cuda.current_device()}" if dist.get_backend() == "nccl" else "cpu"
            return cls(dist.get_rank(), dist.get_world_size(), device)
        return cls()

    def rows(self, count: int) -> Int[Tensor, " rows"]:
        """Which of `count` prompts are this process's own."""
        return torch.arange(self.rank, count, self.size)

    def add_up(self, tensors: Iterable[Float[Tensor, ...] | None]) -> None:
        """Replace each tensor by its sum over all processes, in place."""
        if self.size > 1:
            for tensor in tensors:
                if tensor is not None:
                    dist.all_reduce(tensor)

    def summed(self, tensor: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        """The sum over all processes, in a tensor of its own."""
        if self.size == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def any(self, here: bool) -> bool:
        """Whether it holds in any process."""
        return (
            here if self.size == 1 else bool(self.summed(torch.tensor(float(here), device=self.device)) > 0)
        )

    def wait(self) -> None:
        """Until all have come this far."""
        if self.size > 1:
            dist.barrier()
