"""Memory of a device, and what this process has taken of it."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import torch


def available_bytes(device: str) -> int:
    """Bytes that are free this moment."""
    if device.startswith("cuda"):
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
        return torch.cuda.max_memory_allocated(torch.device(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
