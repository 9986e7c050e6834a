"""What the machine says of itself: how much memory a device has and, about a worker that died without a word,
whether it was started anew since and whether the system ended processes for want of memory."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))


@dataclass(frozen=True)
class Machine:
    """`boot` changes whenever the machine is started; `memory_kills`: processes ended for want of memory since."""

    boot: str
    memory_kills: int


def this_machine() -> Machine:
    """The machine as it is now; where the system says nothing of itself (not Linux), its name and 0."""
    try:
        boot = BOOT_ID.read_text().strip()
    except OSError:
        boot = ""
    kills = 0
    for path in COUNTERS:
        try:
            line = re.search(r"^oom_kill (\d+)$", path.read_text(), re.MULTILINE)
        except OSError:
            continue
        kills = max(kills, int(line[1]) if line else 0)
    return Machine(f"{socket.gethostname()} {boot}".strip(), kills)


def device_memory(device: str) -> int:
    """Bytes that a device has, used or not; of a CPU, the machine's or what its container may have of it."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(torch.device(device))[1]
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in LIMITS:
        try:
            most = min(most, int(path.read_text()))
        except (OSError, ValueError):  # no such file, or “max”
            continue
    return most
