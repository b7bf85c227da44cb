"""Pages of a checkpoint's file that stay in memory after the weights in them are gone.

safetensors maps a file as a whole, and the mapping lasts as long as any weight of it. So a weight that a plan
has cut would stay resident beside its cut copy.
"""

import ctypes
import mmap
from pathlib import Path

from torch import Tensor

MAPS = Path("/proc/self/maps")


def forget(weight: Tensor) -> None:
    """Give the pages of a weight back to the system, if they are those of a mapped file.

    Whoever reads the weight again gets it from the file again. So a weight that was written to is left to its own
    end, as are all that are in no file, and all on a system without Linux's `/proc`.
    """
    if weight.device.type != "cpu" or weight._version or not MAPS.exists():
        return
    start, size = weight.data_ptr(), weight.nbytes
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE  # pages that other weights share stay
    length = (start + size) // mmap.PAGESIZE * mmap.PAGESIZE - first
    if length > 0 and _in_file(start):
        # Advice: the pages stay if the system refuses.
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), mmap.MADV_DONTNEED)


def _in_file(address: int) -> bool:
    """Tell whether an address of this process is in a mapped file."""
    with MAPS.open() as maps:
        for line in maps:
            ends, _access, _offset, _disk, inode, *_name = line.split(maxsplit=5)
            first, end = (int(part, 16) for part in ends.split("-"))
            if first <= address < end:
                return inode != "0"
    return False
