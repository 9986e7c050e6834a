"""The same run on a GPU, where there is one: float32 near the CPU's numbers, bf16 near those."""

import pytest
import torch

from tests.spd import tiny
from workers.spd.method.mask_sources import uniform
from workers.spd.run.decompose import decompose

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_run_on_a_gpu_comes_near_the_run_on_the_cpu(tmp_path, precision):
    folder = tiny.saved(tiny.llama_model(), tmp_path / "model")
    prune = {"prune": {"at": [0.5], "below": 0.1}}
    cpu = decompose(tiny.run_config(folder, **prune), tmp_path / "cpu", home=tmp_path)
    gpu = decompose(
        tiny.run_config(folder, precision=precision, **prune), tmp_path / "gpu", home=tmp_path, device="cuda"
    )
    assert gpu.manifest.device == "cuda"
    near = 0.1 if precision == "float32" else 0.2  # masks are drawn on the device, so they are others there
    for line, other in zip(cpu.curves, gpu.curves, strict=True):
        assert other.keys() == line.keys()
        for name in line.keys() & {"faithfulness", "importance_minimality", "l0"}:
            assert other[name] == pytest.approx(line[name], rel=near, abs=near)
    for metric, other in zip(cpu.manifest.metrics, gpu.manifest.metrics, strict=True):
        assert metric.name == other.name
        if metric.train is not None and metric.name.startswith("kl_everything"):
            assert other.train == pytest.approx(metric.train, rel=near, abs=near)


def test_on_a_gpu_a_process_draws_its_own_rows_and_no_others():
    rows = torch.tensor([1, 3])
    one, other = (torch.Generator().manual_seed(3) for _ in range(2))
    every = uniform((2, 5, 3), one, device="cuda", dim=1)
    mine = uniform((2, 5, 3), other, rows, device="cuda", dim=1)
    assert mine.device.type == "cuda"
    assert torch.equal(mine, every[:, rows])
    assert torch.equal(one.get_state(), other.get_state())
