"""Devices: whether there is such a one, its memory, and what this process has taken of it."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path


class DeviceError(Exception):
    """A device that is not there; the message is a plain sentence with a way out."""


def check_device(device: str) -> None:
    """Raises DeviceError where nothing can run on `device`."""
    import torch  # here, so that who only asks for the memory of a CPU need not wait for it

    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise DeviceError(f"There is no device “{device}”. Name cpu, cuda or cuda:0.") from None
    if wanted.type != "cuda":
        return
    if not torch.cuda.is_available():
        raise DeviceError(
            f"PyTorch sees no GPU here, so nothing can run on “{device}”. Leave out --device and UNWEAVE_DEVICE to use "
            "the CPU, or install a PyTorch that is built for this machine's CUDA (https://pytorch.org)."
        )
    if wanted.index is not None and wanted.index >= torch.cuda.device_count():
        raise DeviceError(
            f"There is no “{device}”: this machine has {torch.cuda.device_count()} GPUs, from cuda:0."
        )


def available_bytes(device: str) -> int:
    """Bytes that are free this moment."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(torch.device(device))[0]
    info = Path("/proc/meminfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def peak_bytes(device: str) -> int:
    """The most bytes that this process has held so far."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(torch.device(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
