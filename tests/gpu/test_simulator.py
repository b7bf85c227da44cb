"""The simulator against what CUDA does: values, devices, errors, memory, waits."""

from pathlib import Path

import pytest
from gpu.simulator import Machine

pytestmark = pytest.mark.thorough

CHECKS = """
import gc, tempfile, torch, simcuda
def raises(text, work, kind=RuntimeError):
    try:
        work()
    except kind as error:
        assert text in str(error), (text, str(error))
        return
    raise AssertionError(f"no error: {text}")

assert torch.cuda.is_available() and torch.cuda.device_count() == 2
x = torch.randn(5, 7, device="cuda")
c = x.cpu()
assert x.is_cuda and x.device == torch.device("cuda", 0) and not c.is_cuda
assert torch.allclose((x @ x.T).softmax(-1).sum(0).cpu(), (c @ c.T).softmax(-1).sum(0))
mixed = "Expected all tensors to be on the same device"
for work in (
    lambda: x + c,
    lambda: x @ c.T,
    lambda: torch.cat([x, c]),
    lambda: x.index_select(0, torch.tensor([1])),
    lambda: torch.nn.functional.embedding(torch.tensor([1]), x),
    lambda: torch.where(x > 0, x, c),
    lambda: x.masked_fill(c > 0, 0),
    lambda: x + x.to("cuda:1"),
):
    raises(mixed, work)
one = torch.tensor([1], device="cuda")
raises("indices should be either on cpu or on the same device", lambda: c[one], Exception)
raises("can't convert cuda:0 device type tensor to numpy", x.numpy, TypeError)
raises("invalid device ordinal", lambda: torch.empty(1, device="cuda:7"))
generator = "Expected a 'cuda' device type for generator"
raises(generator, lambda: torch.rand(3, device="cuda", generator=torch.Generator()))
x + torch.tensor(2.0), x[torch.tensor([1, 2])], x[[0, 2]], x[x > 0]
z = x.clone()
z.view(7, 5).add_(1)
assert torch.equal(z.cpu(), c + 1)
q, k = torch.randn(2, 4, 9, 8, device="cuda", requires_grad=True), torch.randn(2, 2, 9, 8, device="cuda")
f = torch.nn.functional.scaled_dot_product_attention
o, e = (f(q.to(d), k.to(d), k.to(d), is_causal=True, enable_gqa=True) for d in ("cuda", "cpu"))
assert torch.allclose(o.cpu(), e, atol=1e-6)
o.sum().backward()
assert q.grad.is_cuda
with torch.autocast("cuda", torch.bfloat16):
    assert (x @ x.T).dtype == torch.bfloat16
assert c.pin_memory().is_pinned() and not c.is_pinned()

del o, e, q
gc.collect()
before = torch.cuda.memory_allocated()
torch.cuda.reset_peak_memory_stats()
big = torch.empty(1 << 20, device="cuda")
assert torch.cuda.memory_allocated() - before == 4 << 20
del big
assert torch.cuda.memory_allocated() == before and torch.cuda.max_memory_allocated() == before + (4 << 20)
raises("CUDA out of memory", lambda: torch.empty(10**12, device="cuda"), torch.OutOfMemoryError)

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
LATER = """
import os, torch
assert torch.cuda.device_count() == 3
os.environ["CUDA_VISIBLE_DEVICES"] = "GPU-00000002-0000-0000-0000-000000000000"
assert torch.cuda.device_count() == 1
assert torch.cuda.is_available()
os.environ["CUDA_VISIBLE_DEVICES"] = "0"
assert torch.cuda.device_count() == 1 and str(torch.cuda.get_device_properties(0).uuid)[:8] == "00000002"
"""


def test_it_behaves_as_cuda(gpus: Machine, tmp_path: Path) -> None:
    assert gpus.python(CHECKS, here=tmp_path, SIMCUDA_DEVICES="2") == "as CUDA\n"


def test_cuda_sees_what_the_environment_named_when_it_started(gpus: Machine, tmp_path: Path) -> None:
    gpus.python(LATER, here=tmp_path, SIMCUDA_DEVICES="3")
