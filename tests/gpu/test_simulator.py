"""The simulator against what CUDA does, where the other tests of this folder would see nothing go wrong."""

from pathlib import Path

import pytest
from gpu.simulator import Machine

pytestmark = pytest.mark.thorough

CHECKS = """
import torch, simcuda
def raises(text, work, kind=RuntimeError):
    try:
        work()
    except kind as error:
        assert text in str(error), (text, str(error))
        return
    raise AssertionError(f"no error: {text}")

x = torch.randn(5, 7, device="cuda")
c = x.cpu()
assert torch.cuda.device_count() == 2 and x.device == torch.device("cuda", 0) and not c.is_cuda
mixed = "Expected all tensors to be on the same device"
for work in (
    lambda: x + c,
    lambda: x @ c.T,
    lambda: torch.cat([x, c]),
    lambda: torch.nn.functional.embedding(torch.tensor([1]), x),
    lambda: x.masked_fill(c > 0, 0),
    lambda: x + x.to("cuda:1"),
):
    raises(mixed, work)
raises("indices should be either on cpu or on the same device", lambda: c[(x > 0)[:, 0]], Exception)
raises("can't convert cuda:0 device type tensor to numpy", x.numpy, TypeError)
generator = "Expected a 'cuda' device type for generator"
raises(generator, lambda: torch.rand(3, device="cuda", generator=torch.Generator()))
x + torch.tensor(2.0), x[torch.tensor([1, 2])], x[[0, 2]], x[x > 0]

simcuda.c.reset_counts()
x.sum().item(), x.tolist(), c.to("cuda"), torch.tensor(1.0, device="cuda"), (x > 0).nonzero()
assert simcuda.c.counts()["syncs"] == 5
simcuda.c.reset_counts()
(x @ x.T).relu_(), c.pin_memory().to("cuda", non_blocking=True), x[1:3], x.to(torch.float64)
counts = simcuda.c.counts()
assert counts.get("syncs", 0) == 0 and counts["launches"] == 3, counts
assert simcuda.c.contexts() == [0, 1]
print("as CUDA")
"""


def test_it_refuses_and_counts_as_cuda_does(gpus: Machine, tmp_path: Path) -> None:
    assert gpus.python(CHECKS, here=tmp_path, SIMCUDA_DEVICES="2") == "as CUDA\n"
