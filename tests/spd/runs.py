"""Run a decomposition in a process of its own: `python -m tests.spd.runs CONFIG.json OUT HOME [KILL_AT_STEP]`."""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from workers.spd.config import parse_config
from workers.spd.progress import RunProgress
from workers.spd.run.decompose import decompose

if __name__ == "__main__":
    config, out, home, *kill = sys.argv[1:]
    torch.set_num_threads(1)

    def report(progress: RunProgress) -> None:
        if kill and progress.step == int(kill[0]):
            os.kill(os.getpid(), signal.SIGKILL)

    decompose(parse_config(json.loads(Path(config).read_text())), Path(out), home=Path(home), report=report)
