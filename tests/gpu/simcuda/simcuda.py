"""Makes a CPU build of torch believe in GPUs whose memory and arithmetic are those of the CPU (`simcuda.cpp`).

`torch.cuda` stays as it is: this sets what it calls in `torch._C`. `sitecustomize.py` calls `install` behind the
import of torch in every Python that has the built folder on PYTHONPATH. Environment:

SIMCUDA_DEVICES    number of GPUs in the machine (1)
SIMCUDA_NAME       name of each (NVIDIA H100 80GB HBM3)
SIMCUDA_MEMORY     bytes of each (85e9)
SIMCUDA_LIMIT      bytes beyond which allocations raise torch.OutOfMemoryError (SIMCUDA_MEMORY)
SIMCUDA_EXCLUSIVE  folder: compute mode "exclusive process"; a second process on a device fails as in CUDA
SIMCUDA_DRY        1: shapes and memory only, no numbers
SIMCUDA_REPORT     file to which each process appends what it did: contexts, peaks, launches, waits
CUDA_VISIBLE_DEVICES works as in CUDA: numbers or UUIDs, read when CUDA starts.
"""

import atexit
import ctypes
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

HERE = Path(__file__).parent
UUID = "{:08x}-0000-0000-0000-000000000000"
c: Any = None
"""The extension."""


def fresh() -> None:
    """Let a forked process be as one that has just started."""
    if c:
        c.forget()


def report() -> None:
    """Append to the file SIMCUDA_REPORT what this process did on its GPUs."""
    path = os.environ.get("SIMCUDA_REPORT")
    if not path or not c:
        return
    numbers = c.numbers()
    line = {
        "command": " ".join(sys.argv)[-300:],
        "contexts": [numbers[i] for i in c.contexts()],
        "peaks": {number: c.memory(i)["peak"] for i, number in enumerate(numbers)},
        "ooms": sum(c.memory(i)["ooms"] for i in range(len(numbers))),
        **{name: count for name, count in c.counts().items() if not name.startswith("aten::")},
    }
    with Path(path).open("a") as file:
        file.write(json.dumps(line) + "\n")


def install() -> None:
    """Give this process the simulated devices."""
    global c
    import torch
    from torch import cuda

    spec = importlib.util.spec_from_file_location("simcuda_c", HERE / "simcuda_c.so")
    assert spec and spec.loader
    c = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(c)
    c.set_unchecked(json.loads((HERE / "unchecked.json").read_text()))

    def properties(device: Any = None) -> SimpleNamespace:
        cuda._lazy_init()
        index = cuda._utils._get_device_index(device, optional=True)
        number = c.numbers()[index]
        uuid, size = UUID.format(number), c.memory(index)["total"]
        return SimpleNamespace(
            name=os.environ.get("SIMCUDA_NAME", "NVIDIA H100 80GB HBM3"),
            total_memory=size, uuid=uuid, major=9, minor=0, multi_processor_count=132, warp_size=32,
            L2_cache_size=50 << 20, pci_bus_id=number,
        )  # fmt: skip

    def stats(index: int) -> dict[str, Any]:
        m = c.memory(index)
        sizes = {"current": m["now"], "peak": m["peak"], "allocated": m["peak"], "freed": 0}
        kinds = ("allocated_bytes", "reserved_bytes", "active_bytes", "requested_bytes")
        counts = {"num_ooms": m["ooms"], "num_alloc_retries": 0}
        return {kind: {"all": sizes} for kind in kinds} | counts

    def free(index: int) -> tuple[int, int]:
        m = c.memory(index)
        return min(m["total"], m["limit"]) - m["now"], m["total"]

    def init() -> None:
        cuda.default_generators = tuple(map(c.generator, range(len(c.numbers()))))

    made = {
        "_cuda_getDeviceCount": lambda: len(c.numbers()),
        "_cuda_init": init,
        "_cuda_getDevice": c.get_device,
        "_cuda_setDevice": c.set_device,  # since CUDA 12, this creates a context
        "_cuda_exchangeDevice": c.exchange_device,
        "_cuda_maybeExchangeDevice": c.exchange_device,
        "_cuda_synchronize": c.synchronize,
        "_cuda_memoryStats": stats,
        "_cuda_resetPeakMemoryStats": c.reset_peak,
        "_cuda_resetAccumulatedMemoryStats": lambda index: None,
        "_cuda_emptyCache": lambda: None,
        "_cuda_ipc_collect": lambda: None,
        "_cuda_getArchFlags": lambda: "sm_90",
        "_cuda_getCompiledVersion": lambda: 13000,
        "_cuda_getCurrentStream": lambda index: (0, max(index, 0), 1),
        "_cuda_getDefaultStream": lambda index: (0, max(index, 0), 1),
        "_cuda_getAllocatorBackend": lambda: "native",
        "_cuda_isInBadFork": lambda: False,
        "_cuda_canDeviceAccessPeer": lambda a, b: True,
        "_cuda_clearCublasWorkspaces": lambda: None,
        "_cuda_getCurrentRawStream": lambda index: 0,
    }
    for name, function in made.items():
        setattr(torch._C, name, function)
    some = cuda._utils._get_device_index
    cuda._cudart = SimpleNamespace(cudaMemGetInfo=free, cudaError=SimpleNamespace(success=0))
    cuda._exchange_device = cuda._maybe_exchange_device = c.exchange_device
    cuda._get_device_properties = cuda.get_device_properties = properties
    cuda.mem_get_info = cuda.memory.mem_get_info = lambda device=None: free(some(device, optional=True))
    cuda.Event, cuda.Stream = torch.Event, torch.Stream
    cuda.current_stream = cuda.default_stream = lambda device=None: torch.Stream(
        device=f"cuda:{cuda.current_device()}"
    )
    cuda._device_count_nvml = _count  # which, unlike CUDA, reads the environment again
    torch.version.cuda = "13.0"
    _storages(torch)
    atexit.register(report)


def _count() -> int:
    """Return the number of visible devices, without starting CUDA."""
    driver, count = ctypes.CDLL(str(HERE / "libcount.so")), ctypes.c_int(0)
    driver.simcuda_forget()
    driver.cuInit(0)
    driver.cuDeviceGetCount(ctypes.byref(count))
    return count.value


def _storages(torch: ModuleType) -> None:
    """Let a storage move to a device, which in a CPU build it does with a tensor only."""
    to, clone = torch.storage._to, torch.UntypedStorage.clone

    def storage_to(self: Any, device: Any, non_blocking: bool = False) -> Any:
        if torch.device(device).type != "cuda":
            return to(self, device, non_blocking)
        found = torch.empty(self.nbytes(), dtype=torch.uint8, device=device).untyped_storage()
        found.copy_(self, non_blocking)
        return found

    torch.storage._to = storage_to
    torch.UntypedStorage.clone = lambda self: (
        storage_to(self, self.device) if self.device.type == "cuda" else clone(self)
    )


class Finder:
    """Calls `install` at the end of `import torch`."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "torch":
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = importlib.util.find_spec("torch")
        assert spec and spec.loader
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            # Before torch looks for such a library.
            for library in ("libcuda.so.1", "simcuda_c.so"):
                ctypes.CDLL(str(HERE / library))
            load(module)
            install()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
